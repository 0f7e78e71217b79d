"""Features of a customer at an instant. A new one is one function here."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np

from features.definitions import Catalogue, FeatureDefinition, FloatArray, ratio, seconds_between, spread
from features.events import EVENT_TYPES
from features.profile import (
    COUNTS,
    COUPON,
    COUPON_LINES,
    DISCOUNT,
    DISCOUNTED_LINES,
    GAP_COUNT,
    GAP_MINUTES,
    GAP_MINUTES_SQUARED,
    LINE_COUNT,
    ORDER_COUNT,
    REFUND,
    SPEND,
    WEEKDAY_ORDERS,
    Profile,
)
from features.windows import (
    DAY_7,
    DAY_30,
    DAY_90,
    DAY_365,
    HOUR_24,
    HOUR_72,
    HOUR_US,
    LIFETIME,
    NEVER,
    SHORT_WINDOWS,
    IntArray,
    KeyedEvents,
    Measure,
    Window,
    WindowRows,
    day_boundaries,
    local_weekday,
)


class CustomerRows:
    """Customers at instants, to compute features of.

    Parameters
    ----------
    memory
        Events by customer: all of them, or the short memory of one customer; the features are the same.
    keys, instants
        Shape (n_rows,): customer numbers in the memory, and µs since the epoch.
    profile
        Long memory at each row's boundary, one row each.
    zone
        Business time zone.
    """

    def __init__(
        self, memory: KeyedEvents, keys: IntArray, instants: IntArray, profile: Profile, zone: ZoneInfo
    ) -> None:
        self.instants = instants
        self.profile = profile
        self.zone = zone
        self.recent = WindowRows(memory, keys, instants, profile.boundary)

    def total(self, measure: Measure, window: Window) -> IntArray:
        """Sum a measure over a window; a long one is its profile plus what became known since."""
        if not window.is_long:
            return self.recent.sum(measure, window.length_us)
        return self.profile.total(measure, window) + self.recent.newly_known_sum(measure, window.length_us)

    def last(self, event_type: str) -> IntArray:
        """Return the time of the latest event of a type, `NEVER` where there was none."""
        return np.maximum(self.profile.fields[f"last_{event_type}"], self.recent.latest((event_type,)))

    def first(self, field: str, event_types: tuple[str, ...]) -> IntArray:
        """Return the time of the first event of some types, `NEVER` where there was none."""
        known, recent = self.profile.fields[field], self.recent.earliest(event_types)
        return np.where(known == NEVER, recent, np.where(recent == NEVER, known, np.minimum(known, recent)))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.instants)


CATALOGUE: Catalogue[CustomerRows] = Catalogue()
_feature, _windowed = CATALOGUE.feature, CATALOGUE.windowed


def catalogue() -> list[FeatureDefinition]:
    """Return every customer feature."""
    return CATALOGUE.definitions()


@_windowed("order_count_{window}", (*SHORT_WINDOWS, DAY_7, DAY_30, DAY_90, DAY_365, LIFETIME), unit="orders")
def order_count(rows: CustomerRows, window: Window) -> IntArray:
    """Orders in the window."""
    return rows.total(ORDER_COUNT, window)


@_windowed("spend_{window}_minor", (HOUR_72, DAY_7, DAY_30, DAY_90, DAY_365, LIFETIME), unit="minor units")
def spend(rows: CustomerRows, window: Window) -> IntArray:
    """Paid for purchases in the window, before refunds."""
    return rows.total(SPEND, window)


@_windowed("line_count_{window}", (HOUR_72, DAY_7, DAY_30, DAY_90), unit="lines")
def line_count(rows: CustomerRows, window: Window) -> IntArray:
    """Purchase lines in the window."""
    return rows.total(LINE_COUNT, window)


@_windowed("refund_{window}_minor", (DAY_30, DAY_90, LIFETIME), unit="minor units")
def refund(rows: CustomerRows, window: Window) -> IntArray:
    """Refunded in the window."""
    return rows.total(REFUND, window)


@_windowed("discount_{window}_minor", (DAY_30, DAY_90), unit="minor units")
def discount(rows: CustomerRows, window: Window) -> IntArray:
    """Promotional reductions on purchases in the window."""
    return rows.total(DISCOUNT, window)


@_windowed("coupon_{window}_minor", (DAY_30, DAY_90), unit="minor units")
def coupon(rows: CustomerRows, window: Window) -> IntArray:
    """Coupon reductions on purchases in the window."""
    return rows.total(COUPON, window)


def _declare_per_type(event_type: str) -> None:
    def counted(rows: CustomerRows, window: Window) -> IntArray:
        return rows.total(COUNTS[event_type], window)

    def since(rows: CustomerRows) -> FloatArray:
        return seconds_between(rows.last(event_type), rows.instants)

    counted.__doc__ = f"Events of type {event_type} in the window."
    since.__doc__ = f"Time since the latest event of type {event_type}."
    since.__name__ = f"seconds_since_last_{event_type}"
    if event_type != "purchase":
        windows = (HOUR_24, HOUR_72, DAY_7, DAY_30, DAY_90)
        _windowed(f"{event_type}_count_{{window}}", windows, unit="events")(counted)
    _feature(unit="seconds", null="no such event yet")(since)


for _event_type in EVENT_TYPES:
    _declare_per_type(_event_type)


@_feature(unit="seconds", null="no purchase yet")
def seconds_since_first_purchase(rows: CustomerRows) -> FloatArray:
    """Time since the first purchase."""
    return seconds_between(rows.first("first_purchase", ("purchase",)), rows.instants)


@_feature(unit="seconds", null="no event yet")
def seconds_since_first_event(rows: CustomerRows) -> FloatArray:
    """Time since the first event of any type."""
    return seconds_between(rows.first("first_event", EVENT_TYPES), rows.instants)


@_feature(unit="days", null="fewer than two orders")
def order_gap_mean_days(rows: CustomerRows) -> FloatArray:
    """Mean time between orders, over all orders."""
    return ratio(rows.total(GAP_MINUTES, LIFETIME) / 1440, rows.total(GAP_COUNT, LIFETIME))


@_feature(unit="days", null="fewer than two orders in the window")
def order_gap_mean_90d_days(rows: CustomerRows) -> FloatArray:
    """Mean time between orders, over the orders of the last 90 days."""
    return ratio(rows.total(GAP_MINUTES, DAY_90) / 1440, rows.total(GAP_COUNT, DAY_90))


@_feature(unit="days", null="fewer than three orders")
def order_gap_sd_days(rows: CustomerRows) -> FloatArray:
    """Standard deviation of the time between orders, over all orders."""
    moments = (rows.total(measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED))
    return spread(*moments) / 1440


@_feature(unit="ratio", null="fewer than two orders")
def order_overdue_ratio(rows: CustomerRows) -> FloatArray:
    """Time since the latest order over the mean time between orders of the last 90 days, or of all."""
    usual = order_gap_mean_90d_days(rows)
    usual = np.where(np.isnan(usual), order_gap_mean_days(rows), usual)
    return ratio(seconds_between(rows.last("purchase"), rows.instants) / 86400, usual)


@_feature(unit="minor units", null="no order in 90 days")
def order_value_mean_90d_minor(rows: CustomerRows) -> FloatArray:
    """Mean paid for an order in the last 90 days."""
    return ratio(rows.total(SPEND, DAY_90), rows.total(ORDER_COUNT, DAY_90))


@_feature(unit="minor units", null="no order yet")
def order_value_mean_minor(rows: CustomerRows) -> FloatArray:
    """Mean paid for an order, over all orders."""
    return ratio(rows.total(SPEND, LIFETIME), rows.total(ORDER_COUNT, LIFETIME))


@_feature(unit="lines", null="no order in 30 days")
def lines_per_order_30d(rows: CustomerRows) -> FloatArray:
    """Lines of an order, mean over the last 30 days."""
    return ratio(rows.total(LINE_COUNT, DAY_30), rows.total(ORDER_COUNT, DAY_30))


@_feature(unit="ratio", null="no purchase in 90 days")
def discounted_line_share_90d(rows: CustomerRows) -> FloatArray:
    """Share of the purchase lines of 90 days bought at a discount."""
    return ratio(rows.total(DISCOUNTED_LINES, DAY_90), rows.total(LINE_COUNT, DAY_90))


@_feature(unit="ratio", null="no purchase in 90 days")
def coupon_line_share_90d(rows: CustomerRows) -> FloatArray:
    """Share of the purchase lines of 90 days bought with a coupon."""
    return ratio(rows.total(COUPON_LINES, DAY_90), rows.total(LINE_COUNT, DAY_90))


@_feature(unit="ratio", null="no order in 90 days")
def order_trend_30d_90d(rows: CustomerRows) -> FloatArray:
    """Orders of the last 30 days over a third of those of the last 90."""
    return ratio(3 * rows.total(ORDER_COUNT, DAY_30), rows.total(ORDER_COUNT, DAY_90))


def _weekday_share(rows: CustomerRows, window: Window) -> FloatArray:
    today = local_weekday(rows.instants, rows.zone)
    orders = np.stack([rows.total(measure, window) for measure in WEEKDAY_ORDERS])
    column = np.arange(len(rows))
    ahead = sum(orders[(today + day) % 7, column] for day in range(3))
    return ratio(np.asarray(ahead), orders.sum(axis=0))


@_feature(unit="ratio", null="no order yet")
def order_share_on_next_3_weekdays(rows: CustomerRows) -> FloatArray:
    """Share of all orders placed on the weekdays of today and the next two days."""
    return _weekday_share(rows, LIFETIME)


@_feature(unit="ratio", null="no order in 90 days")
def order_share_on_next_3_weekdays_90d(rows: CustomerRows) -> FloatArray:
    """Share of the orders of 90 days placed on the weekdays of today and the next two days."""
    return _weekday_share(rows, DAY_90)


@_feature(unit="weekday, Monday is 0", dtype="int")
def weekday(rows: CustomerRows) -> IntArray:
    """Weekday of the instant in the business time zone."""
    return local_weekday(rows.instants, rows.zone)


@_feature(unit="hours")
def hour_of_day(rows: CustomerRows) -> FloatArray:
    """Time since the business day began."""
    if len(rows) == 0:
        return np.empty(0)
    boundaries = day_boundaries(int(rows.instants.min()), int(rows.instants.max()), rows.zone)
    begun = boundaries[np.searchsorted(boundaries, rows.instants, side="right") - 1]
    return (rows.instants - begun) / HOUR_US
