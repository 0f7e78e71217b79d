"""Features of a customer's affinity to a category or a brand. A new one is one function here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.customer import CustomerRows
from features.definitions import (
    PAIR_SERVICES,
    Catalogue,
    FeatureDefinition,
    FloatArray,
    ratio,
    seconds_between,
    spread,
)
from features.memory import ATTENTION_TYPES
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
    Profile,
    field_name,
    order_bits,
)
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
    KeyedEvents,
    Measure,
    Window,
    WindowRows,
)


@dataclass(frozen=True)
class CandidateRule:
    """Which pairs are worth a claim: attention lately, or repeatedly.

    Attributes
    ----------
    within
        A short window that must hold some attention to the key,
    repeat_within
        or a long one that must hold two moments of it.
    """

    within: Window
    repeat_within: Window

    def holds(self, recent: WindowRows, stored_moments: IntArray) -> npt.NDArray[np.bool_]:
        """Return which rows qualify, given the moments of the long window that the profile holds."""
        repeated = stored_moments + recent.newly_known_sum(MOMENTS, self.repeat_within.length_us)
        return (recent.sum(MOMENTS, self.within.length_us) >= 1) | (repeated >= 2)


class PairRows:
    """Pairs of customer and key at instants, to compute features of. What several need is looked up once.

    Parameters
    ----------
    memory
        Events by pair.
    pairs, instants
        Shape (n_rows,): pair numbers in the memory, and µs since the epoch.
    profile
        Long memory of the pairs at each row's boundary, one row each.
    customers, customer_row
        The customers at the same instants, and shape (n_rows,): which of their rows each pair belongs to.
    keys
        Profiles of the keys over all customers at each row's boundary, one row each.
    """

    def __init__(
        self,
        memory: KeyedEvents,
        pairs: IntArray,
        instants: IntArray,
        profile: Profile,
        customers: CustomerRows,
        customer_row: IntArray,
        keys: Profile,
    ) -> None:
        self.instants = instants
        self.profile = profile
        self.customers = customers
        self.customer_row = customer_row
        self.keys = keys
        self.recent = WindowRows(memory, pairs, instants, profile.boundary)
        self._totals: dict[str, IntArray] = {}
        self._latest: dict[str, IntArray] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.instants)

    def total(self, measure: Measure, window: Window) -> IntArray:
        """Sum a measure over a window; a long one is its profile plus what became known since."""
        name = field_name(measure, window)
        if name not in self._totals:
            self._totals[name] = self._total(measure, window)
        return self._totals[name]

    def _total(self, measure: Measure, window: Window) -> IntArray:
        if not window.is_long:
            return self.recent.sum(measure, window.length_us)
        return self.profile.total(measure, window) + self.recent.newly_known_sum(measure, window.length_us)

    def customer_total(self, measure: Measure, window: Window) -> IntArray:
        """Sum a measure over a window for the pair's customer."""
        return self.customers.total(measure, window)[self.customer_row]

    def last(self, event_type: str) -> IntArray:
        """Return the time of the latest event of a type with the key, `NEVER` where there was none."""
        if event_type not in self._latest:
            self._latest[event_type] = self.largest(f"last_{event_type}", (event_type,))
        return self._latest[event_type]

    def largest(self, field: str, event_types: tuple[str, ...], column: str = "event_time") -> IntArray:
        """Return the largest value of a column over events of some types; the profile has it in a field."""
        return np.maximum(self.profile.fields[field], self.recent.latest(event_types, column))

    @cached_property
    def customer_orders(self) -> IntArray:
        """How many orders the pair's customer has placed."""
        return self.customer_total(ORDER_COUNT, LIFETIME)

    @cached_property
    def recent_order_bits(self) -> IntArray:
        """Which of the customer's latest orders held the key, as bits: bit 0 is the latest order."""
        now = self.customer_orders
        at_boundary = self.customers.profile.total(ORDER_COUNT, LIFETIME)[self.customer_row]
        new_orders = now - at_boundary
        older = np.where(
            new_orders < RECENT_ORDERS,
            self.profile.fields["recent_orders"] << np.minimum(new_orders, RECENT_ORDERS),
            0,
        )
        newer = order_bits(self.recent.memory, self.recent.since, self.recent.until, now)
        return (older | newer) & ((1 << RECENT_ORDERS) - 1)


ATTENTION_WINDOWS = (*SHORT_WINDOWS, DAY_7, DAY_30, DAY_90)

CATALOGUE: Catalogue[PairRows] = Catalogue(PAIR_SERVICES)
_feature, _windowed = CATALOGUE.feature, CATALOGUE.windowed


def catalogue() -> list[FeatureDefinition]:
    """Return every affinity feature."""
    return CATALOGUE.definitions()


@_windowed(
    "key_order_count_{window}",
    (*SHORT_WINDOWS, DAY_7, DAY_30, DAY_90, DAY_365, LIFETIME),
    unit="orders",
    services=dict.fromkeys((HOUR_24, HOUR_72, DAY_7, DAY_30, DAY_90, DAY_365, LIFETIME), PAIR_SERVICES),
)
def key_order_count(rows: PairRows, window: Window) -> IntArray:
    """Orders with the key in the window."""
    return rows.total(ORDER_COUNT, window)


@_windowed(
    "key_attention_count_{window}",
    ATTENTION_WINDOWS,
    unit="events",
    services=dict.fromkeys((HOUR_24, HOUR_72, DAY_7, DAY_30, DAY_90), PAIR_SERVICES),
)
def key_attention_count(rows: PairRows, window: Window) -> IntArray:
    """Views, carts and purchase lines with the key in the window."""
    return rows.total(ATTENTION, window)


@_windowed("key_view_count_{window}", ATTENTION_WINDOWS, unit="events", services=())
def key_view_count(rows: PairRows, window: Window) -> IntArray:
    """Views of the key in the window."""
    return rows.total(COUNTS["view"], window)


@_windowed("key_cart_count_{window}", ATTENTION_WINDOWS, unit="events", services=())
def key_cart_count(rows: PairRows, window: Window) -> IntArray:
    """Additions to the cart with the key in the window."""
    return rows.total(COUNTS["add_to_cart"], window)


@_windowed("key_moment_count_{window}", (DAY_90,), unit="moments")
def key_moment_count(rows: PairRows, window: Window) -> IntArray:
    """Distinct moments of attention to the key in the window."""
    return rows.total(MOMENTS, window)


@_windowed(
    "key_spend_{window}_minor",
    (HOUR_72, DAY_7, DAY_30, DAY_90, DAY_365),
    unit="minor units",
    services=dict.fromkeys((DAY_30, DAY_90), PAIR_SERVICES),
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
)
def key_share_of_attention(rows: PairRows, window: Window) -> FloatArray:
    """Share of the customer's views, carts and purchase lines in the window that were of the key."""
    parts = (COUNTS["view"], COUNTS["add_to_cart"], LINE_COUNT)
    whole = sum(rows.customer_total(measure, window) for measure in parts)
    return ratio(rows.total(ATTENTION, window), np.asarray(whole))


@_feature(unit="ratio", null="nothing paid in 90 days", services=())
def key_share_of_spend_90d(rows: PairRows) -> FloatArray:
    """Share of what the customer paid in 90 days that was for the key."""
    return ratio(rows.total(SPEND, DAY_90), rows.customer_total(SPEND, DAY_90))


@_feature(unit="seconds", null="no attention to the key yet")
def seconds_since_last_key_attention(rows: PairRows) -> FloatArray:
    """Time since the latest view, cart or purchase with the key."""
    return seconds_between(rows.largest("last_attention", ATTENTION_TYPES), rows.instants)


@_feature(unit="seconds", null="key never bought")
def seconds_since_last_key_purchase(rows: PairRows) -> FloatArray:
    """Time since the latest purchase with the key."""
    return seconds_between(rows.last("purchase"), rows.instants)


@_feature(unit="seconds", null="key never bought", services=())
def seconds_since_first_key_purchase(rows: PairRows) -> FloatArray:
    """Time since the first purchase with the key."""
    known, recent = rows.profile.fields["first_purchase"], rows.recent.earliest(("purchase",))
    first = np.where(known == NEVER, recent, np.where(recent == NEVER, known, np.minimum(known, recent)))
    return seconds_between(first, rows.instants)


@_feature(unit="seconds", null="key not in the cart, or bought since", services=())
def key_seconds_since_open_cart(rows: PairRows) -> FloatArray:
    """Time since the key was last added to the cart, if it was not bought since."""
    added = rows.last("add_to_cart")
    return seconds_between(np.where(added > rows.last("purchase"), added, NEVER), rows.instants)


@_feature(unit="days", null="key bought fewer than twice", services=())
def key_gap_last_days(rows: PairRows) -> FloatArray:
    """Time between the customer's latest order with the key and the one before it."""
    before = rows.largest("last_order_before", ("purchase",), "order_before")
    return seconds_between(before, rows.last("purchase")) / 86400


@_feature(unit="days", null="key bought fewer than twice")
def key_gap_mean_days(rows: PairRows) -> FloatArray:
    """Mean time between the customer's orders with the key."""
    return ratio(rows.total(GAP_MINUTES, LIFETIME) / 1440, rows.total(GAP_COUNT, LIFETIME))


@_feature(unit="days", null="key bought fewer than three times")
def key_gap_sd_days(rows: PairRows) -> FloatArray:
    """Standard deviation of the time between the customer's orders with the key."""
    moments = (rows.total(measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED))
    return spread(*moments) / 1440


@_feature(unit="ratio", null="key bought fewer than twice")
def key_overdue_ratio(rows: PairRows) -> FloatArray:
    """Time since the latest purchase with the key over the customer's own mean gap."""
    return ratio(seconds_since_last_key_purchase(rows) / 86400, key_gap_mean_days(rows))


@_feature(unit="ratio", null="key bought fewer than three times, or always after the same time", services=())
def key_overdue_sd_ratio(rows: PairRows) -> FloatArray:
    """How long the next order with the key is overdue, in standard deviations of the customer's own gap."""
    late = seconds_since_last_key_purchase(rows) / 86400 - key_gap_mean_days(rows)
    return ratio(late, key_gap_sd_days(rows))


@_feature(unit="ratio", null="key never bought, or by nobody twice")
def key_overdue_ratio_of_all(rows: PairRows) -> FloatArray:
    """Time since the latest purchase with the key over everybody's mean gap."""
    return ratio(seconds_since_last_key_purchase(rows) / 86400, key_gap_mean_of_all_days(rows))


@_feature(unit="orders", null="key never bought")
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
    _feature(unit="ratio", null="no order yet")(share)


for _limit in (3, 5, 10, 20, RECENT_ORDERS):
    _declare_order_share(_limit)


@_feature(unit="ratio", null="no order yet")
def key_share_of_orders(rows: PairRows) -> FloatArray:
    """Share of all the customer's orders that held the key."""
    return ratio(rows.total(ORDER_COUNT, LIFETIME), rows.customer_orders)


@_feature(unit="ratio", null="no order in 90 days")
def key_share_of_orders_90d(rows: PairRows) -> FloatArray:
    """Share of the customer's orders of 90 days that held the key."""
    return ratio(rows.total(ORDER_COUNT, DAY_90), rows.customer_total(ORDER_COUNT, DAY_90))


@_windowed(
    "key_share_of_lead_time_{window}",
    (DAY_30, DAY_90, LIFETIME),
    unit="ratio",
    dtype="float",
    null="no order in the window",
)
def key_share_of_lead_time(rows: PairRows, window: Window) -> FloatArray:
    """Share of the time with an order at most 72 h ahead that had one with the key at most 72 h ahead."""
    # A lead of the key may reach over the window's edge further than those of the customer's closer orders.
    return np.minimum(ratio(rows.total(LEAD_MINUTES, window), rows.customer_total(LEAD_MINUTES, window)), 1.0)


@_feature(unit="ratio", null="key not bought in 90 days")
def key_discounted_share_90d(rows: PairRows) -> FloatArray:
    """Share of the customer's lines with the key of 90 days bought at a discount."""
    return ratio(rows.total(DISCOUNTED_LINES, DAY_90), rows.total(LINE_COUNT, DAY_90))


@_feature(unit="ratio", null="key not bought in 90 days")
def key_trend_30d_90d(rows: PairRows) -> FloatArray:
    """Orders with the key of 30 days over a third of those of 90."""
    return ratio(3 * rows.total(ORDER_COUNT, DAY_30), rows.total(ORDER_COUNT, DAY_90))


@_feature(unit="orders", dtype="int")
def key_popularity_30d(rows: PairRows) -> IntArray:
    """Orders with the key of all customers in the 30 days before the profile's boundary."""
    return rows.keys.total(ORDER_COUNT, DAY_30)


@_feature(unit="ratio", null="nobody bought the key in 30 days")
def key_popularity_trend(rows: PairRows) -> FloatArray:
    """Everybody's orders with the key of 7 days over 7/30 of those of 30, at the profile's boundary."""
    return ratio(30 * rows.keys.total(ORDER_COUNT, DAY_7), 7 * rows.keys.total(ORDER_COUNT, DAY_30))


@_feature(unit="days", null="nobody bought the key twice")
def key_gap_mean_of_all_days(rows: PairRows) -> FloatArray:
    """Mean time between one customer's orders with the key, over all customers, at the profile's boundary."""
    return ratio(rows.keys.total(GAP_MINUTES, LIFETIME) / 1440, rows.keys.total(GAP_COUNT, LIFETIME))
