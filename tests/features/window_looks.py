"""The window cases as looks at a customer: events, an instant, and what must be seen of them then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from math import nan
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.features.oracle import Value
from tests.features.streams import event

UTC_ZONE, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("America/New_York")
LAG = timedelta(hours=1)
NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)
NONE, TICK, DAY, HOUR = timedelta(0), timedelta(microseconds=1), timedelta(days=1), timedelta(hours=1)
Row = dict[str, Any]


class Look(NamedTuple):
    """Customer a at an instant.

    Attributes
    ----------
    rows
        Events as they were delivered, a repeated one more than once.
    expected
        By feature, or by key and feature: ``category=tea.key_order_count_24h``.
    """

    rows: list[Row]
    now: datetime
    expected: dict[str, Value]
    zone: ZoneInfo = UTC_ZONE


def view(at: datetime, number: int = 0, lateness: timedelta = NONE, **columns: Any) -> Row:
    return event(number, "a", "view", at, lateness, **columns)


def purchase(at: datetime, number: int = 0, lateness: timedelta = NONE, **columns: Any) -> Row:
    return event(number, "a", "purchase", at, lateness, **columns)


def left_edge() -> list[Look]:
    looks = []
    for hours in (1, 6, 24, 72):
        for at, count in ((-TICK, 0), (NONE, 0), (TICK, 1)):
            rows = [purchase(NOW - hours * HOUR + at)]
            looks.append(Look(rows, NOW, {f"order_count_{hours}h": count}))
    return looks


def right_edge() -> list[Look]:
    return [
        Look([view(NOW + at)], NOW, {"view_count_24h": count, "view_count_30d": count})
        for at, count in ((-TICK, 1), (NONE, 1), (TICK, 0))
    ]


def causing_event() -> list[Look]:
    expected = {
        "order_count_1h": 1,
        "order_count_90d": 1,
        "order_count_lifetime": 1,
        "spend_72h_minor": 700,
        "spend_lifetime_minor": 700,
        "seconds_since_last_purchase": 0.0,
        "category=tea.key_order_count_24h": 1,
        "category=tea.key_order_count_90d": 1,
    }
    return [Look([purchase(NOW, amount_minor=700, category="tea")], NOW, expected)]


def one_instant() -> list[Look]:
    at = NOW - 24 * HOUR
    rows = [view(at, number) for number in range(5)]
    return [
        Look(rows, now, {"view_count_24h": count})
        for now, count in ((at - TICK, 0), (at, 5), (NOW - TICK, 5), (NOW, 0))
    ]


def permuted() -> list[Look]:
    rows = [
        purchase(NOW - 3 * HOUR, 0, category="tea", amount_minor=5),
        purchase(NOW - 3 * HOUR, 1, category="milk"),
        view(NOW - 2 * HOUR, 2, brand="9"),
        view(NOW - 2 * HOUR, 3, 1 * HOUR),
    ]
    expected = {"order_count_24h": 1, "line_count_72h": 2, "view_count_24h": 2, "spend_72h_minor": 5}
    return [Look(list(order), NOW, expected) for order in permutations(rows)]


def late() -> list[Look]:
    arrival = NOW - 2 * HOUR
    a_little = purchase(NOW - 5 * HOUR, 0, 3 * HOUR, amount_minor=9)
    looks = [
        Look([a_little], now, {"order_count_24h": count, "order_count_lifetime": count})
        for now, count in ((arrival - TICK, 0), (arrival, 1), (NOW, 1))
    ]
    very = purchase(NOW - 20 * DAY, 1, 19 * DAY, amount_minor=9)
    for now, count in ((NOW - DAY - TICK, 0), (NOW - DAY, 1), (NOW, 1), (NOW + DAY, 1)):
        expected = {"order_count_72h": 0, "order_count_30d": count, "order_count_lifetime": count}
        looks.append(Look([very], now, expected))
    both = {"order_count_lifetime": 1, "order_count_24h": 0}
    return [*looks, Look([a_little, very], arrival - TICK, both), Look([very], arrival - TICK, both)]


def ahead() -> list[Look]:
    stamped = NOW + timedelta(minutes=5)
    return [
        Look([view(stamped, 0, NOW - stamped)], now, {"view_count_24h": count, "view_count_7d": count})
        for now, count in ((NOW, 0), (stamped - TICK, 0), (stamped, 1))
    ]


def delivered_thrice() -> list[Look]:
    row = purchase(NOW - HOUR, amount_minor=4)
    again = [row, {**row, "ingested_at": NOW - HOUR / 2}, {**row, "ingested_at": NOW}]
    expected = {"order_count_24h": 1, "line_count_72h": 1, "spend_72h_minor": 4, "spend_lifetime_minor": 4}
    return [Look(again, now, expected) for now in (NOW - HOUR, NOW - HOUR / 2, NOW, NOW + HOUR)]


def long_tail() -> list[Look]:
    boundary = NOW.replace(hour=0)
    edge = boundary - 30 * DAY
    times = {edge - TICK: 0, edge: 0, edge + TICK: 1, boundary: 1, boundary + TICK: 1}
    times |= {NOW - HOUR: 1, NOW: 1, NOW + TICK: 0}
    looks = [Look([purchase(at)], NOW, {"order_count_30d": count}) for at, count in times.items()]
    # So it is with what became known only after the profile was made.
    for at, count in ((edge - TICK, 0), (edge, 0), (edge + TICK, 1)):
        expected = {"order_count_30d": count, "order_count_lifetime": 1, "spend_30d_minor": 7 * count}
        looks.append(Look([purchase(at, 0, NOW - HOUR - at, amount_minor=7)], NOW, expected))
    return looks


def clocks_change() -> list[Look]:
    noon = datetime(2024, 3, 10, 12, tzinfo=NEW_YORK).astimezone(
        UTC
    )  # the clock jumped at two in the morning
    same_wall_time_yesterday = datetime(2024, 3, 9, 12, tzinfo=NEW_YORK).astimezone(UTC)
    assert noon - same_wall_time_yesterday == 23 * HOUR
    looks = [
        Look([view(at)], noon, {"view_count_24h": count}, NEW_YORK)
        for at, count in ((same_wall_time_yesterday, 1), (noon - 24 * HOUR + TICK, 1), (noon - 24 * HOUR, 0))
    ]
    edge = datetime(2024, 3, 10, 5, tzinfo=UTC) - 30 * DAY
    for at, count in ((edge, 0), (edge + TICK, 1)):
        looks.append(Look([view(at)], noon, {"view_count_30d": count}, NEW_YORK))
    return looks


def leap_day() -> list[Look]:
    march, leap = datetime(2028, 3, 1, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC)
    return [
        Look([view(at)], march, {"view_count_24h": count})
        for at, count in ((leap, 0), (leap + TICK, 1), (leap + timedelta(seconds=1), 1))
    ]


def large_sums() -> list[Look]:
    looks = []
    for amount in (2**31 - 1, 2**31, 2**53 + 1):
        rows = [purchase(NOW - number * HOUR, number, amount_minor=amount) for number in range(3)]
        rows.append(purchase(NOW - 20 * DAY, 9, amount_minor=amount))
        looks.append(Look(rows, NOW, {"spend_72h_minor": 3 * amount, "spend_lifetime_minor": 4 * amount}))
    return looks


def nulls() -> list[Look]:
    expected = {"order_count_24h": 2, "spend_72h_minor": 8, "order_value_mean_90d_minor": 4.0}
    rows = [purchase(NOW - HOUR), purchase(NOW - 2 * HOUR, 1, amount_minor=8)]
    empty = {"order_count_90d": 0, "spend_90d_minor": 0, "order_value_mean_90d_minor": nan}
    keys = {"view_count_24h": 2, "category=.key_attention_count_24h": 1}
    return [
        Look(rows, NOW, expected),
        Look([view(NOW - 300 * DAY)], NOW, empty),
        Look([view(NOW, 0, category=None), view(NOW, 1, category="")], NOW, keys),
    ]


def expiry() -> list[Look]:
    first, last = purchase(NOW, 0, category="tea"), view(NOW + 72 * HOUR - TICK, 1)
    inside = {"order_count_72h": 1, "category=tea.key_order_count_72h": 1}
    looks = [
        Look([first, last], NOW + 72 * HOUR - TICK, inside),
        Look([first, last], NOW + 72 * HOUR, {"order_count_72h": 0}),
    ]
    # What came in a month late is in no window of 72 h, and is not lost to the long ones.
    month_late = purchase(NOW - 40 * DAY, 2, 40 * DAY)
    for days in range(5):
        expected = {"order_count_72h": 0, "order_count_90d": 1}
        looks.append(Look([month_late], NOW + days * DAY, expected))
    idle = [view(NOW - 40 * DAY, category="tea"), purchase(NOW - 40 * DAY, 1)]
    expected = {f"view_count_{window}": 0 for window in ("24h", "72h", "7d", "30d")}
    expected |= {"view_count_90d": 1, "order_count_72h": 0, "seconds_since_last_view": 40 * 86400.0}
    return [*looks, Look(idle, NOW, expected)]


CASES: dict[str, Callable[[], list[Look]]] = {
    "1, an event on the left edge is out and a microsecond later in": left_edge,
    "2, an event at the instant is in and a microsecond later out": right_edge,
    "3, the event that caused the request counts once": causing_event,
    "4, events at one instant enter and leave together": one_instant,
    "5, the order of arrival changes nothing": permuted,
    "6, a late event is absent before it arrives and counted afterwards": late,
    "7, an event stamped ahead counts from its time on": ahead,
    "8, an event delivered three times counts once": delivered_thrice,
    "9, a long window begins at the day's boundary and ends at the instant": long_tail,
    "11, 24 hours are 24 hours on a day on which clocks change": clocks_change,
    "12, the day before March in a leap year is the 29th": leap_day,
    "13, sums are exact past what a float holds": large_sums,
    "14, nulls count but do not add, and an empty window averages null": nulls,
    "15, expiry removes nothing that a window holds, and the idle read empty": expiry,
}
