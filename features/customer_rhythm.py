"""The rhythm of a customer: on which weekdays and parts of the day orders come, and which it is now."""

from __future__ import annotations

import numpy as np

from features.customer_rows import CATALOGUE, CONTEXT_SERVICES, PROPENSITY_SERVICES, CustomerRows
from features.day_parts import DAY_PARTS, day_part
from features.definitions import FloatArray, ratio
from features.phrases import Phrase
from features.profile import DAY_PART_ORDERS, ORDER_COUNT, WEEKDAY_ORDERS
from features.topics import Topic
from features.windows import DAY_90, HOUR_US, LIFETIME, IntArray, Window, day_boundaries

SATURDAY, SUNDAY = 5, 6
NEXT_DAYS = np.arange(3)[:, None]
"""Today and the two days after it."""


def _weekday_share(rows: CustomerRows, window: Window) -> FloatArray:
    orders = np.array([rows.total(measure, window) for measure in WEEKDAY_ORDERS])
    ahead = orders[(rows.weekday + NEXT_DAYS) % 7, np.arange(len(rows))]
    return ratio(np.add.reduce(ahead), np.add.reduce(orders))


@CATALOGUE.feature(
    unit="ratio",
    null="no order yet",
    phrase=Phrase(
        "{percent} of the orders fall on today's and the next two weekdays",
        "no order falls on today's or the next two weekdays",
        Topic.RHYTHM,
    ),
)
def order_share_on_next_3_weekdays(rows: CustomerRows) -> FloatArray:
    """Share of all orders placed on the weekdays of today and the next two days."""
    return _weekday_share(rows, LIFETIME)


@CATALOGUE.feature(
    unit="ratio",
    null="no order in 90 days",
    services=CONTEXT_SERVICES,
    phrase=Phrase(
        "{percent} of the orders in 90 days fall on today's and the next two weekdays",
        "no order in 90 days falls on today's or the next two weekdays",
        Topic.RHYTHM,
    ),
)
def order_share_on_next_3_weekdays_90d(rows: CustomerRows) -> FloatArray:
    """Share of the orders of 90 days placed on the weekdays of today and the next two days."""
    return _weekday_share(rows, DAY_90)


@CATALOGUE.feature(
    unit="ratio",
    null="no order in 90 days",
    services=(),
    phrase=Phrase("{percent} of the orders in 90 days fall on a weekend", topic=Topic.RHYTHM),
)
def order_share_on_weekend_90d(rows: CustomerRows) -> FloatArray:
    """Share of the orders of 90 days placed on a Saturday or Sunday."""
    saturday, sunday = (rows.total(WEEKDAY_ORDERS[day], DAY_90) for day in (SATURDAY, SUNDAY))
    return ratio(saturday + sunday, rows.total(ORDER_COUNT, DAY_90))


def _declare_part_of_day(number: int) -> None:
    part, hours = DAY_PARTS[number], range(6 * number, 6 * number + 6)

    def share(rows: CustomerRows) -> FloatArray:
        return ratio(rows.total(DAY_PART_ORDERS[number], DAY_90), rows.total(ORDER_COUNT, DAY_90))

    share.__doc__ = (
        f"Share of the orders of 90 days placed in the {part}: local hours {hours[0]} to {hours[-1]}."
    )
    share.__name__ = f"order_share_{part}_90d"
    phrase = Phrase(f"{{percent}} of the orders in 90 days fall in the {part}", topic=Topic.RHYTHM)
    CATALOGUE.feature(unit="ratio", null="no order in 90 days", services=(), phrase=phrase)(share)


for _number in range(len(DAY_PARTS)):
    _declare_part_of_day(_number)


@CATALOGUE.feature(
    unit="ratio",
    null="no order in 90 days",
    services=PROPENSITY_SERVICES,
    phrase=Phrase("{percent} of the orders in 90 days fall in this part of the day", topic=Topic.RHYTHM),
)
def order_share_in_this_day_part_90d(rows: CustomerRows) -> FloatArray:
    """Share of the orders of 90 days placed in the part of the day that it is now."""
    orders = np.array([rows.total(measure, DAY_90) for measure in DAY_PART_ORDERS])
    now = day_part(rows.instants, rows.zone)
    return ratio(orders[now, np.arange(len(rows))], rows.total(ORDER_COUNT, DAY_90))


@CATALOGUE.feature(
    unit="weekday, Monday is 0",
    dtype="int",
    services=CONTEXT_SERVICES,
    phrase=Phrase("it is {weekday}", topic=Topic.RHYTHM),
)
def weekday(rows: CustomerRows) -> IntArray:
    """Weekday of the instant in the business time zone."""
    return rows.weekday


@CATALOGUE.feature(
    unit="hours", services=CONTEXT_SERVICES, phrase=Phrase("it is {clock}", topic=Topic.RHYTHM)
)
def hour_of_day(rows: CustomerRows) -> FloatArray:
    """Time since the business day began."""
    if len(rows) == 0:
        return np.empty(0)
    boundaries = day_boundaries(int(rows.instants.min()), int(rows.instants.max()), rows.zone)
    begun = boundaries[np.searchsorted(boundaries, rows.instants, side="right") - 1]
    return (rows.instants - begun) / HOUR_US
