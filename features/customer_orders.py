"""The sequence of a customer's orders: gaps between them, how overdue the next is, what they are worth."""

from __future__ import annotations

import numpy as np

from features.customer_rows import CATALOGUE, PROPENSITY_SERVICES, WORTH_SERVICES, CustomerRows
from features.definitions import EVERY_SERVICE, FloatArray, ratio, seconds_between, spread
from features.memory import ORDER_TYPES
from features.phrases import Phrase
from features.profile import GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED, LINE_COUNT, ORDER_COUNT, SPEND
from features.topics import Topic
from features.windows import DAY_30, DAY_90, LIFETIME, IntArray


def _days_between(earlier: IntArray, later: IntArray) -> FloatArray:
    """Return days from one time to another; NaN where the earlier one never was."""
    return seconds_between(earlier, later) / 86400


def _days_since_last_order(rows: CustomerRows) -> FloatArray:
    return _days_between(rows.last("purchase"), rows.instants)


@CATALOGUE.feature(
    unit="days",
    null="fewer than two orders",
    services=WORTH_SERVICES,
    phrase=Phrase("usually orders every {value}", "", Topic.ORDERS, "gap"),
)
def order_gap_mean_days(rows: CustomerRows) -> FloatArray:
    """Mean time between orders, over all orders."""
    return ratio(rows.total(GAP_MINUTES, LIFETIME) / 1440, rows.total(GAP_COUNT, LIFETIME))


@CATALOGUE.feature(
    unit="days",
    null="fewer than two orders in 90 days",
    services=EVERY_SERVICE,
    phrase=Phrase("lately orders every {value}", "", Topic.ORDERS, "gap"),
)
def order_gap_mean_90d_days(rows: CustomerRows) -> FloatArray:
    """Mean time between orders, over the orders of the last 90 days."""
    return ratio(rows.total(GAP_MINUTES, DAY_90) / 1440, rows.total(GAP_COUNT, DAY_90))


@CATALOGUE.feature(
    unit="days",
    null="fewer than three orders",
    services=WORTH_SERVICES,
    phrase=Phrase("the time between orders varies by {value}", topic=Topic.ORDERS),
)
def order_gap_sd_days(rows: CustomerRows) -> FloatArray:
    """Standard deviation of the time between orders, over all orders."""
    moments = (rows.total(measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED))
    return spread(*moments) / 1440


@CATALOGUE.feature(
    unit="days",
    null="fewer than two orders",
    services=PROPENSITY_SERVICES,
    phrase=Phrase("last ordered {value} after the time before", topic=Topic.ORDERS),
)
def order_gap_last_days(rows: CustomerRows) -> FloatArray:
    """Time between the latest order and the latest known before it; one that came late does not count."""
    before = rows.largest("last_order_before", ORDER_TYPES, "order_before")
    return _days_between(before, rows.last("purchase"))


@CATALOGUE.feature(
    unit="ratio",
    null="fewer than two orders",
    services=EVERY_SERVICE,
    phrase=Phrase("since the last order, {value} times the usual gap has passed", topic=Topic.ORDERS),
)
def order_overdue_ratio(rows: CustomerRows) -> FloatArray:
    """Time since the latest order over the mean time between orders of the last 90 days, or of all."""
    usual = order_gap_mean_90d_days(rows)
    usual = np.where(np.isnan(usual), order_gap_mean_days(rows), usual)
    return ratio(_days_since_last_order(rows), usual)


@CATALOGUE.feature(
    unit="standard deviations",
    null="fewer than three orders, or all gaps are the same",
    services=PROPENSITY_SERVICES,
    phrase=Phrase("the next order is {value} late", topic=Topic.ORDERS),
)
def order_overdue_sd_ratio(rows: CustomerRows) -> FloatArray:
    """By how many of its standard deviations the time since the latest order exceeds the mean gap."""
    return ratio(_days_since_last_order(rows) - order_gap_mean_days(rows), order_gap_sd_days(rows))


@CATALOGUE.feature(
    unit="minor units",
    null="no order in 90 days",
    services=EVERY_SERVICE,
    phrase=Phrase("spent {value} an order in 90 days", topic=Topic.SPENDING),
)
def order_value_mean_90d_minor(rows: CustomerRows) -> FloatArray:
    """Mean paid for an order in the last 90 days."""
    return ratio(rows.total(SPEND, DAY_90), rows.total(ORDER_COUNT, DAY_90))


@CATALOGUE.feature(
    unit="minor units",
    null="no order yet",
    services=WORTH_SERVICES,
    phrase=Phrase("spends {value} an order", topic=Topic.SPENDING),
)
def order_value_mean_minor(rows: CustomerRows) -> FloatArray:
    """Mean paid for an order, over all orders."""
    return ratio(rows.total(SPEND, LIFETIME), rows.total(ORDER_COUNT, LIFETIME))


@CATALOGUE.feature(
    unit="lines",
    null="no order in 30 days",
    services=EVERY_SERVICE,
    phrase=Phrase("{value} an order in 30 days", topic=Topic.SPENDING),
)
def lines_per_order_30d(rows: CustomerRows) -> FloatArray:
    """Lines of an order, mean over the last 30 days."""
    return ratio(rows.total(LINE_COUNT, DAY_30), rows.total(ORDER_COUNT, DAY_30))


@CATALOGUE.feature(
    unit="ratio",
    null="no order in 90 days",
    services=WORTH_SERVICES,
    phrase=Phrase(
        "ordered {value} times as often in 30 days as in 90",
        "did not order in 30 days, but did in 90",
        Topic.ORDERS,
    ),
)
def order_trend_30d_90d(rows: CustomerRows) -> FloatArray:
    """Orders of the last 30 days over a third of those of the last 90."""
    return ratio(3 * rows.total(ORDER_COUNT, DAY_30), rows.total(ORDER_COUNT, DAY_90))


@CATALOGUE.feature(
    unit="orders",
    dtype="int",
    services=(),
    phrase=Phrase("ordered again {times} after the first order", "never ordered again", Topic.ORDERS),
)
def rfm_repeat_order_count(rows: CustomerRows) -> IntArray:
    """Orders after the first: the frequency of buy-till-you-die models."""
    return np.maximum(rows.total(ORDER_COUNT, LIFETIME) - 1, 0)


@CATALOGUE.feature(
    unit="days",
    null="no purchase yet",
    services=(),
    phrase=Phrase("first and last purchase lie {value} apart", topic=Topic.TENURE),
)
def rfm_recency_days(rows: CustomerRows) -> FloatArray:
    """Time from the first to the latest purchase: the recency of buy-till-you-die models."""
    return _days_between(rows.first_purchase, rows.last("purchase"))


@CATALOGUE.feature(
    unit="days",
    null="no purchase yet",
    services=(),
    phrase=Phrase("first bought {value} ago", topic=Topic.TENURE),
)
def rfm_age_days(rows: CustomerRows) -> FloatArray:
    """Time since the first purchase: the age of buy-till-you-die models."""
    return _days_between(rows.first_purchase, rows.instants)


@CATALOGUE.feature(
    unit="minor units",
    null="no order yet",
    services=(),
    phrase=Phrase("spends {value} an order", topic=Topic.SPENDING),
)
def rfm_monetary_minor(rows: CustomerRows) -> FloatArray:
    """Mean paid for an order, over all orders: the monetary value of buy-till-you-die models."""
    return order_value_mean_minor(rows)
