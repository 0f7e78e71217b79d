from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.features.customer_looks import look, seen

NEW_YORK = ZoneInfo("America/New_York")
UTC = ZoneInfo("UTC")
DAY = timedelta(days=1)
PARTS = ("night", "morning", "afternoon", "evening")
SHARES = [f"order_share_{part}_90d" for part in PARTS]
NOW = datetime(2024, 3, 15, 12, tzinfo=NEW_YORK)


def shares(*orders, now=NOW):
    found = look([seen(at, "purchase") for at in orders], now)
    return [found[name] for name in SHARES], found["order_share_in_this_day_part_90d"]


@pytest.mark.parametrize(
    ("hour", "minute", "part"),
    [(0, 0, 0), (5, 59, 0), (6, 0, 1), (11, 59, 1), (12, 0, 2), (17, 59, 2), (18, 0, 3), (23, 59, 3)],
)
def test_a_day_has_four_parts_of_six_hours(hour, minute, part):
    order = datetime(2024, 3, 14, hour, minute, tzinfo=NEW_YORK)
    found, now = shares(order)
    assert found == [float(part == number) for number in range(4)]
    assert now == float(part == 2)


def test_parts_of_the_day_are_those_on_the_clock_when_clocks_change():
    # At 02:00 of the 10th of March clocks go to 03:00: 05:30 is four and a half hours after midnight.
    before, after = (
        datetime(2024, 3, 10, 5, 30, tzinfo=NEW_YORK),
        datetime(2024, 3, 10, 6, 15, tzinfo=NEW_YORK),
    )
    assert shares(before, after)[0] == [0.5, 0.5, 0, 0]
    # On the 3rd of November they go back: 05:30 is six and a half hours after midnight.
    now = datetime(2024, 11, 10, 5, 0, tzinfo=NEW_YORK)
    autumn = [datetime(2024, 11, 3, hour, 30, tzinfo=NEW_YORK) for hour in (5, 6, 23)]
    found, at_night = shares(*autumn, now=now)
    assert found == [1 / 3, 1 / 3, 0, 1 / 3]
    assert at_night == 1 / 3


def test_the_zone_decides_the_part_of_the_day():
    at = datetime(2024, 3, 14, 23, tzinfo=UTC)
    now = datetime(2024, 3, 15, 12, tzinfo=UTC)
    in_utc, in_shanghai = (
        shares(at, now=now.astimezone(ZoneInfo(zone))) for zone in ("UTC", "Asia/Shanghai")
    )
    assert in_utc == ([0, 0, 0, 1], 0)
    assert in_shanghai == ([0, 1, 0, 0], 0)


def test_orders_count_once_whatever_their_lines_and_others_not_at_all():
    at = datetime(2024, 3, 14, 7, tzinfo=NEW_YORK)
    evening = at + timedelta(hours=12)
    rows = [*(seen(at, "purchase") for _ in range(5)), seen(evening, "purchase"), seen(evening, "view")]
    assert look(rows, NOW)["order_share_morning_90d"] == 0.5


def test_without_orders_in_90_days_there_is_no_rhythm():
    midnight = datetime(2024, 3, 15, tzinfo=NEW_YORK)
    names = [*SHARES, "order_share_in_this_day_part_90d", "order_share_on_weekend_90d"]
    edge = (midnight.astimezone(UTC) - 90 * DAY).astimezone(NEW_YORK)
    for at, known in ((edge, False), (edge + timedelta(microseconds=1), True)):
        found = look([seen(at, "purchase")], NOW, names)
        assert [not np.isnan(found[name]) for name in names] == [known] * 6


def test_the_weekend_is_saturday_and_sunday_in_the_business_zone():
    # In New York a Friday, a Saturday, a Sunday and a Monday; in UTC the Friday is a Saturday, and the Sunday
    # a Monday.
    friday = datetime(2024, 3, 8, 23, 30, tzinfo=NEW_YORK)
    rows = [seen(friday + timedelta(hours=hours), "purchase") for hours in (0, 12, 47, 50)]
    assert look(rows, NOW)["order_share_on_weekend_90d"] == 0.5
    assert look(rows, NOW.astimezone(UTC))["order_share_on_weekend_90d"] == 0.5
    assert look(rows[:2], NOW.astimezone(UTC))["order_share_on_weekend_90d"] == 1
