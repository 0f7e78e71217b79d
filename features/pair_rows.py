"""Pairs of customer and key as every affinity feature looks at them, and those features' catalogue."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from features.customer_rows import CustomerRows
from features.definitions import PAIR_SERVICES, Catalogue
from features.profile import ORDER_COUNT, RECENT_ORDERS, Profile, field_name, order_bits
from features.windows import LIFETIME, IntArray, KeyedEvents, Measure, Window, WindowRows


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


CATALOGUE: Catalogue[PairRows] = Catalogue(PAIR_SERVICES)
