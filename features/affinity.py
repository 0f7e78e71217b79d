"""Features of a customer's affinity to a category or a brand. A new one is one function here."""

from __future__ import annotations

import numpy as np

from features.definitions import (
    PAIR_SERVICES,
    FeatureDefinition,
    FloatArray,
    ratio,
    seconds_between,
    spread,
)
from features.memory import ATTENTION_TYPES
from features.pair_rows import CATALOGUE, PairRows
from features.phrases import Phrase
from features.profile import (
    ATTENTION,
    COUNTS,
    DISCOUNTED_LINES,
    GAP_COUNT,
    GAP_MINUTES,
    GAP_MINUTES_SQUARED,
    LEAD_MINUTES,
    LINE_COUNT,
    MOMENTS,
    ORDER_COUNT,
    RECENT_ORDERS,
    SPEND,
)
from features.topics import Topic
from features.windows import (
    DAY_7,
    DAY_30,
    DAY_90,
    DAY_365,
    HOUR_24,
    HOUR_72,
    LIFETIME,
    NEVER,
    SHORT_WINDOWS,
    IntArray,
    Window,
)

__all__ = ["CATALOGUE", "PairRows", "catalogue"]

ATTENTION_WINDOWS = (*SHORT_WINDOWS, DAY_7, DAY_30, DAY_90)

_feature, _windowed = CATALOGUE.feature, CATALOGUE.windowed


def catalogue() -> list[FeatureDefinition]:
    """Return every affinity feature."""
    return CATALOGUE.definitions()


@_windowed(
    "key_order_count_{window}",
    (*SHORT_WINDOWS, DAY_7, DAY_30, DAY_90, DAY_365, LIFETIME),
    unit="orders",
    services=dict.fromkeys((HOUR_24, HOUR_72, DAY_7, DAY_30, DAY_90, DAY_365, LIFETIME), PAIR_SERVICES),
    phrase=Phrase("bought {key} {times} {window}", "did not buy {key} {window}", Topic.BUYING_KEY, "count"),
)
def key_order_count(rows: PairRows, window: Window) -> IntArray:
    """Orders with the key in the window."""
    return rows.total(ORDER_COUNT, window)


@_windowed(
    "key_attention_count_{window}",
    ATTENTION_WINDOWS,
    unit="events",
    services=dict.fromkeys((HOUR_24, HOUR_72, DAY_7, DAY_30, DAY_90), PAIR_SERVICES),
    phrase=Phrase(
        "looked at, carted or bought {key} {times} {window}",
        "paid no attention to {key} {window}",
        Topic.LOOKING_AT_KEY,
        "count",
    ),
)
def key_attention_count(rows: PairRows, window: Window) -> IntArray:
    """Views, carts and purchase lines with the key in the window."""
    return rows.total(ATTENTION, window)


@_windowed(
    "key_view_count_{window}",
    ATTENTION_WINDOWS,
    unit="events",
    services=(),
    phrase=Phrase("viewed {key} {times} {window}", "did not view {key} {window}", Topic.LOOKING_AT_KEY),
)
def key_view_count(rows: PairRows, window: Window) -> IntArray:
    """Views of the key in the window."""
    return rows.total(COUNTS["view"], window)


@_windowed(
    "key_cart_count_{window}",
    ATTENTION_WINDOWS,
    unit="events",
    services=(),
    phrase=Phrase(
        "put {key} in the cart {times} {window}",
        "did not put {key} in the cart {window}",
        Topic.LOOKING_AT_KEY,
    ),
)
def key_cart_count(rows: PairRows, window: Window) -> IntArray:
    """Additions to the cart with the key in the window."""
    return rows.total(COUNTS["add_to_cart"], window)


@_windowed(
    "key_moment_count_{window}",
    (DAY_90,),
    unit="moments",
    phrase=Phrase(
        "turned to {key} at {value} {window}", "did not turn to {key} {window}", Topic.LOOKING_AT_KEY
    ),
)
def key_moment_count(rows: PairRows, window: Window) -> IntArray:
    """Distinct moments of attention to the key in the window."""
    return rows.total(MOMENTS, window)


@_windowed(
    "key_spend_{window}_minor",
    (HOUR_72, DAY_7, DAY_30, DAY_90, DAY_365),
    unit="minor units",
    services=dict.fromkeys((DAY_30, DAY_90), PAIR_SERVICES),
    phrase=Phrase("spent {value} on {key} {window}", "spent nothing on {key} {window}", Topic.BUYING_KEY),
)
def key_spend(rows: PairRows, window: Window) -> IntArray:
    """Paid for the key in the window."""
    return rows.total(SPEND, window)


@_windowed(
    "key_share_of_attention_{window}",
    (HOUR_72, DAY_7, DAY_30, DAY_90),
    unit="ratio",
    dtype="float",
    null="no attention to anything in the window",
    services=(),
    phrase=Phrase("{percent} of the attention {window} went to {key}", topic=Topic.LOOKING_AT_KEY),
)
def key_share_of_attention(rows: PairRows, window: Window) -> FloatArray:
    """Share of the customer's views, carts and purchase lines in the window that were of the key."""
    parts = (COUNTS["view"], COUNTS["add_to_cart"], LINE_COUNT)
    whole = sum(rows.customer_total(measure, window) for measure in parts)
    return ratio(rows.total(ATTENTION, window), np.asarray(whole))


@_feature(
    unit="ratio",
    null="nothing paid in 90 days",
    services=(),
    phrase=Phrase("{percent} of the spend in 90 days went to {key}", topic=Topic.BUYING_KEY),
)
def key_share_of_spend_90d(rows: PairRows) -> FloatArray:
    """Share of what the customer paid in 90 days that was for the key."""
    return ratio(rows.total(SPEND, DAY_90), rows.customer_total(SPEND, DAY_90))


@_feature(
    unit="seconds",
    null="no attention to the key yet",
    phrase=Phrase("last looked at, carted or bought {key} {value} ago", "", Topic.LOOKING_AT_KEY, "last"),
)
def seconds_since_last_key_attention(rows: PairRows) -> FloatArray:
    """Time since the latest view, cart or purchase with the key."""
    return seconds_between(rows.largest("last_attention", ATTENTION_TYPES), rows.instants)


@_feature(
    unit="seconds",
    null="key never bought",
    phrase=Phrase("last bought {key} {value} ago", "", Topic.BUYING_KEY, "last"),
)
def seconds_since_last_key_purchase(rows: PairRows) -> FloatArray:
    """Time since the latest purchase with the key."""
    return seconds_between(rows.last("purchase"), rows.instants)


@_feature(
    unit="seconds",
    null="key never bought",
    services=(),
    phrase=Phrase("first bought {key} {value} ago", topic=Topic.BUYING_KEY),
)
def seconds_since_first_key_purchase(rows: PairRows) -> FloatArray:
    """Time since the first purchase with the key."""
    known, recent = rows.profile.fields["first_purchase"], rows.recent.earliest(("purchase",))
    first = np.where(known == NEVER, recent, np.where(recent == NEVER, known, np.minimum(known, recent)))
    return seconds_between(first, rows.instants)


@_feature(
    unit="seconds",
    null="key not in the cart, or bought since",
    services=(),
    phrase=Phrase("{key} has been in the cart for {value}", topic=Topic.LOOKING_AT_KEY),
)
def key_seconds_since_open_cart(rows: PairRows) -> FloatArray:
    """Time since the key was last added to the cart, if it was not bought since."""
    added = rows.last("add_to_cart")
    return seconds_between(np.where(added > rows.last("purchase"), added, NEVER), rows.instants)


@_feature(
    unit="days",
    null="key bought fewer than twice",
    services=(),
    phrase=Phrase("last bought {key} {value} after the time before", topic=Topic.BUYING_KEY),
)
def key_gap_last_days(rows: PairRows) -> FloatArray:
    """Time between the customer's latest order with the key and the one before it."""
    before = rows.largest("last_order_before", ("purchase",), "order_before")
    return seconds_between(before, rows.last("purchase")) / 86400


@_feature(
    unit="days",
    null="key bought fewer than twice",
    phrase=Phrase("usually buys {key} every {value}", "", Topic.BUYING_KEY, "gap"),
)
def key_gap_mean_days(rows: PairRows) -> FloatArray:
    """Mean time between the customer's orders with the key."""
    return ratio(rows.total(GAP_MINUTES, LIFETIME) / 1440, rows.total(GAP_COUNT, LIFETIME))


@_feature(
    unit="days",
    null="key bought fewer than three times",
    phrase=Phrase("the time between purchases of {key} varies by {value}", topic=Topic.BUYING_KEY),
)
def key_gap_sd_days(rows: PairRows) -> FloatArray:
    """Standard deviation of the time between the customer's orders with the key."""
    moments = (rows.total(measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED))
    return spread(*moments) / 1440


@_feature(
    unit="ratio",
    null="key bought fewer than twice",
    phrase=Phrase(
        "since the last purchase of {key}, {value} times the usual gap has passed", topic=Topic.BUYING_KEY
    ),
)
def key_overdue_ratio(rows: PairRows) -> FloatArray:
    """Time since the latest purchase with the key over the customer's own mean gap."""
    return ratio(seconds_since_last_key_purchase(rows) / 86400, key_gap_mean_days(rows))


@_feature(
    unit="ratio",
    null="key bought fewer than three times, or always after the same time",
    services=(),
    phrase=Phrase("the next purchase of {key} is {value} standard deviations late", topic=Topic.BUYING_KEY),
)
def key_overdue_sd_ratio(rows: PairRows) -> FloatArray:
    """How long the next order with the key is overdue, in standard deviations of the customer's own gap."""
    late = seconds_since_last_key_purchase(rows) / 86400 - key_gap_mean_days(rows)
    return ratio(late, key_gap_sd_days(rows))


@_feature(
    unit="ratio",
    null="key never bought, or by nobody twice",
    phrase=Phrase(
        "since the last purchase of {key}, {value} times everybody's usual gap has passed",
        topic=Topic.BUYING_KEY,
    ),
)
def key_overdue_ratio_of_all(rows: PairRows) -> FloatArray:
    """Time since the latest purchase with the key over everybody's mean gap."""
    return ratio(seconds_since_last_key_purchase(rows) / 86400, key_gap_mean_of_all_days(rows))


@_feature(
    unit="orders",
    null="key never bought",
    phrase=Phrase("{value} since the last one with {key}", "{key} was in the latest order", Topic.BUYING_KEY),
)
def orders_since_key(rows: PairRows) -> FloatArray:
    """Orders of the customer after the latest one with the key."""
    latest = rows.largest("last_order_ordinal", ("purchase",), "order_ordinal")
    return np.where(latest > 0, (rows.customer_orders - latest).astype(float), np.nan)


def _declare_order_share(order_limit: int) -> None:
    def share(rows: PairRows) -> FloatArray:
        held = np.bitwise_count(rows.recent_order_bits & ((1 << order_limit) - 1)).astype(np.int64)
        return ratio(held, np.minimum(rows.customer_orders, order_limit))

    share.__doc__ = f"Share of the customer's latest {order_limit} orders that held the key."
    share.__name__ = f"key_share_of_last_{order_limit}_orders"
    phrase = Phrase(
        f"{{key}} was in {{percent}} of the latest {order_limit} orders",
        f"{{key}} was in none of the latest {order_limit} orders",
        Topic.BUYING_KEY,
    )
    _feature(unit="ratio", null="no order yet", phrase=phrase)(share)


for _limit in (3, 5, 10, 20, RECENT_ORDERS):
    _declare_order_share(_limit)


@_feature(
    unit="ratio",
    null="no order yet",
    phrase=Phrase("{key} was in {percent} of all orders", "{key} was in no order", Topic.BUYING_KEY),
)
def key_share_of_orders(rows: PairRows) -> FloatArray:
    """Share of all the customer's orders that held the key."""
    return ratio(rows.total(ORDER_COUNT, LIFETIME), rows.customer_orders)


@_feature(
    unit="ratio",
    null="no order in 90 days",
    phrase=Phrase(
        "{key} was in {percent} of the orders in 90 days",
        "{key} was in no order in 90 days",
        Topic.BUYING_KEY,
    ),
)
def key_share_of_orders_90d(rows: PairRows) -> FloatArray:
    """Share of the customer's orders of 90 days that held the key."""
    return ratio(rows.total(ORDER_COUNT, DAY_90), rows.customer_total(ORDER_COUNT, DAY_90))


@_windowed(
    "key_share_of_lead_time_{window}",
    (DAY_30, DAY_90, LIFETIME),
    unit="ratio",
    dtype="float",
    null="no order in the window",
    phrase=Phrase(
        "{percent} of the time before orders {window} led to one with {key}", topic=Topic.BUYING_KEY
    ),
)
def key_share_of_lead_time(rows: PairRows, window: Window) -> FloatArray:
    """Share of the time with an order at most 72 h ahead that had one with the key at most 72 h ahead."""
    # A lead of the key may reach over the window's edge further than those of the customer's closer orders.
    return np.minimum(ratio(rows.total(LEAD_MINUTES, window), rows.customer_total(LEAD_MINUTES, window)), 1.0)


@_feature(
    unit="ratio",
    null="key not bought in 90 days",
    phrase=Phrase("{percent} of the {key} bought in 90 days was discounted", topic=Topic.BUYING_KEY),
)
def key_discounted_share_90d(rows: PairRows) -> FloatArray:
    """Share of the customer's lines with the key of 90 days bought at a discount."""
    return ratio(rows.total(DISCOUNTED_LINES, DAY_90), rows.total(LINE_COUNT, DAY_90))


@_feature(
    unit="ratio",
    null="key not bought in 90 days",
    phrase=Phrase(
        "bought {key} {value} times as often in 30 days as in 90",
        "did not buy {key} in 30 days, but did in 90",
        Topic.BUYING_KEY,
    ),
)
def key_trend_30d_90d(rows: PairRows) -> FloatArray:
    """Orders with the key of 30 days over a third of those of 90."""
    return ratio(3 * rows.total(ORDER_COUNT, DAY_30), rows.total(ORDER_COUNT, DAY_90))


@_feature(
    unit="orders",
    dtype="int",
    phrase=Phrase(
        "all customers together bought {key} {times} in 30 days",
        "nobody bought {key} in 30 days",
        Topic.POPULARITY,
    ),
)
def key_popularity_30d(rows: PairRows) -> IntArray:
    """Orders with the key of all customers in the 30 days before the profile's boundary."""
    return rows.keys.total(ORDER_COUNT, DAY_30)


@_feature(
    unit="ratio",
    null="nobody bought the key in 30 days",
    phrase=Phrase(
        "{key} sells {value} times as often in 7 days as in 30, over all customers", topic=Topic.POPULARITY
    ),
)
def key_popularity_trend(rows: PairRows) -> FloatArray:
    """Everybody's orders with the key of 7 days over 7/30 of those of 30, at the profile's boundary."""
    return ratio(30 * rows.keys.total(ORDER_COUNT, DAY_7), 7 * rows.keys.total(ORDER_COUNT, DAY_30))


@_feature(
    unit="days",
    null="nobody bought the key twice",
    phrase=Phrase("customers usually buy {key} every {value}", topic=Topic.POPULARITY),
)
def key_gap_mean_of_all_days(rows: PairRows) -> FloatArray:
    """Mean time between one customer's orders with the key, over all customers, at the profile's boundary."""
    return ratio(rows.keys.total(GAP_MINUTES, LIFETIME) / 1440, rows.keys.total(GAP_COUNT, LIFETIME))
