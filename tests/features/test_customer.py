"""Customer features of one worked example, each value by hand, and what holds of all of them."""

from __future__ import annotations

import math
import statistics
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from features import customer
from features.events import EVENT_TYPES
from features.history import History
from features.windows import to_us
from tests.features.streams import event, frame

ZONE = ZoneInfo("Asia/Shanghai")
LAG = timedelta(hours=1)
NOON = datetime(2024, 3, 15, 12, tzinfo=ZONE)
"""A Friday. Its profile ends at the midnight before."""

NONE = timedelta(0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ORDERS = (100 * DAY, 60 * DAY, 40 * DAY, 10 * DAY, 2 * DAY, 30 * timedelta(minutes=1))
"""How long before noon: two lines each, of 1000 and 500; the first discounted, the second with a coupon."""


def worked_example() -> dict[str, float]:
    rows = []
    for number, ago in enumerate(ORDERS):
        for line, amount in enumerate((1000, 500)):
            rows.append(
                event(
                    10 * number + line,
                    "a",
                    "purchase",
                    NOON - ago,
                    NONE,
                    amount_minor=amount,
                    discount_minor=50 if line == 0 else 0,
                    coupon_minor=20 if line == 1 and ago <= 40 * DAY else None,
                    quantity=2,
                )
            )
    rows += [
        event(100, "a", "refund", NOON - 3 * DAY, NONE, amount_minor=400),
        event(101, "a", "refund", NOON - 80 * DAY, NONE, amount_minor=300),
        event(102, "a", "view", NOON - 23 * HOUR, NONE),
        event(103, "a", "view", NOON - 25 * HOUR, NONE),
        event(104, "a", "view", NOON - 101 * DAY, NONE),
        event(105, "a", "contact", NOON - 90 * DAY, NONE),
    ]
    history = History(frame(rows), ZONE, LAG)
    found = customer.CATALOGUE.compute(history.customer_rows(history.numbers(["a"]), np.array([to_us(NOON)])))
    return {name: values[0].item() for name, values in found.items()}


GAPS_DAYS = [40, 20, 30, 8, 2 - 30 / 1440]
RECENT_GAPS_DAYS = GAPS_DAYS
EXPECTED: dict[str, float] = {
    **{f"order_count_{window}": 1 for window in ("1h", "6h", "24h")},
    "order_count_72h": 2,
    "order_count_7d": 2,
    "order_count_30d": 3,
    "order_count_90d": 5,
    "order_count_365d": 6,
    "order_count_lifetime": 6,
    "spend_72h_minor": 3000,
    "spend_7d_minor": 3000,
    "spend_30d_minor": 4500,
    "spend_90d_minor": 7500,
    "spend_365d_minor": 9000,
    "spend_lifetime_minor": 9000,
    "line_count_72h": 4,
    "line_count_7d": 4,
    "line_count_30d": 6,
    "line_count_90d": 10,
    "refund_30d_minor": 400,
    "refund_90d_minor": 700,
    "refund_lifetime_minor": 700,
    "discount_30d_minor": 150,
    "discount_90d_minor": 250,
    "coupon_30d_minor": 60,
    "coupon_90d_minor": 80,
    "view_count_24h": 1,
    "view_count_72h": 2,
    "view_count_7d": 2,
    "view_count_90d": 2,
    # Ninety days before the profile's midnight, not before noon.
    "contact_count_90d": 1,
    "seconds_since_last_view": 23 * 3600,
    "seconds_since_last_purchase": 1800,
    "seconds_since_last_refund": 3 * 86400,
    "seconds_since_last_contact": 90 * 86400,
    "seconds_since_last_search": math.nan,
    "seconds_since_first_purchase": 100 * 86400,
    "seconds_since_first_event": 101 * 86400,
    "order_gap_mean_days": statistics.mean(GAPS_DAYS),
    "order_gap_mean_90d_days": statistics.mean(RECENT_GAPS_DAYS),
    "order_gap_sd_days": statistics.stdev(GAPS_DAYS),
    "order_overdue_ratio": 30 / 1440 / statistics.mean(RECENT_GAPS_DAYS),
    "order_value_mean_90d_minor": 1500,
    "order_value_mean_minor": 1500,
    "lines_per_order_30d": 2,
    "discounted_line_share_90d": 0.5,
    "coupon_line_share_90d": 0.4,
    "order_trend_30d_90d": 9 / 5,
    "weekday": 4,
    "hour_of_day": 12,
}


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_a_feature_of_the_worked_example_is_what_it_is_by_hand(name: str, expected: float) -> None:
    assert worked_example()[name] == pytest.approx(expected, nan_ok=True, rel=1e-12)


def test_the_share_of_orders_on_the_coming_weekdays_counts_today_and_two_more() -> None:
    weekdays = [(NOON - ago).weekday() for ago in ORDERS]
    coming = {4, 5, 6}
    found = worked_example()
    assert found["order_share_on_next_3_weekdays"] == sum(day in coming for day in weekdays) / 6
    assert found["order_share_on_next_3_weekdays_90d"] == sum(day in coming for day in weekdays[1:]) / 5


def test_each_feature_says_its_unit_and_meaning_and_each_that_may_be_null_what_null_means() -> None:
    definitions = customer.catalogue()
    assert len({definition.name for definition in definitions}) == len(definitions)
    for definition in definitions:
        assert definition.unit, definition.name
        assert definition.meaning.endswith("."), definition.name
        assert definition.window == "" or definition.window in definition.name, definition.name
        if definition.null_meaning:
            assert definition.dtype == "float", definition.name


def test_of_a_customer_without_a_past_counts_are_zero_and_the_rest_is_null_as_declared() -> None:
    history = History(frame([event(0, "a", "view", NOON, NONE)]), ZONE, LAG)
    before = np.array([to_us(NOON) - 1])
    found = customer.CATALOGUE.compute(history.customer_rows(history.numbers(["a"]), before))
    for definition in customer.catalogue():
        value = found[definition.name][0]
        if definition.null_meaning:
            assert np.isnan(value), definition.name
        elif definition.name not in {"weekday", "hour_of_day"}:
            assert value == 0, definition.name


def test_every_type_of_event_has_its_count_and_its_time_since() -> None:
    names = {definition.name for definition in customer.catalogue()}
    for name in EVENT_TYPES:
        assert f"seconds_since_last_{name}" in names
        assert (f"{name}_count_72h" in names) == (name != "purchase")


def test_the_hour_and_weekday_are_those_of_the_business_zone() -> None:
    history = History(frame([event(0, "a", "view", NOON, NONE)]), ZONE, LAG)
    instants = np.array([to_us(NOON) + hours * 3_600_000_000 for hours in (0, 11, 12, 36)])
    rows = history.customer_rows(np.zeros(4, np.int64), instants)
    found = customer.CATALOGUE.compute(rows, ["weekday", "hour_of_day"])
    assert found["hour_of_day"].tolist() == [12, 23, 0, 0]
    assert found["weekday"].tolist() == [4, 4, 5, 6]


def test_no_rows_give_no_values() -> None:
    history = History(frame([]), ZONE, LAG)
    nothing = np.empty(0, np.int64)
    found = customer.CATALOGUE.compute(history.customer_rows(nothing, nothing))
    assert {len(values) for values in found.values()} == {0}
