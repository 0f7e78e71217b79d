"""All that is known of everybody, ready to be looked at as of any instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from features.affinity import PairRows
from features.candidates import PairRule
from features.customer import CustomerRows
from features.lazy_columns import LazyColumns
from features.memory import (
    KEY_COLUMNS,
    EventColumns,
    PairIndex,
    attention_pairs,
    columns_of,
    customer_events,
    pair_events,
)
from features.packed_profile import pack_customer, pack_key
from features.profile import (
    CUSTOMER_FIELDS,
    KEY_FIELDS,
    ORDER_COUNT,
    PAIR_FIELDS,
    Profile,
    customer_profile,
    key_profile,
    pair_profile,
)
from features.windows import (
    LIFETIME,
    IntArray,
    KeyedEvents,
    WindowRows,
    expand,
    profile_boundary,
)

PACKED_AT_ONCE = 20_000
"""Customers whose profiles are held at once while they are packed."""


class History:
    """Every event, by customer and by pair.

    Parameters
    ----------
    events
        Rows of the event schema.
    zone
        Business time zone.
    publication_lag
        How long after a day boundary its profiles are there.
    """

    def __init__(self, events: pl.DataFrame, zone: ZoneInfo, publication_lag: timedelta) -> None:
        self.columns: EventColumns = columns_of(events)
        self.zone = zone
        self.publication_lag = publication_lag
        self._number = {name: code for code, name in enumerate(self.columns.customers)}
        self._pairs: dict[str, tuple[PairIndex, KeyedEvents]] = {}
        self._keys: dict[str, KeyedEvents] = {}

    @cached_property
    def customers(self) -> KeyedEvents:
        """Events by customer."""
        return customer_events(self.columns, self.zone)

    def numbers(self, customer_ids: Sequence[str]) -> IntArray:
        """Return customers' numbers; all of them must occur in the events."""
        return np.array([self._number[name] for name in customer_ids], np.int64)

    def pairs(self, key_column: str) -> tuple[PairIndex, KeyedEvents]:
        """Return the pairs of customer and category (or brand), and their events."""
        if key_column not in self._pairs:
            index = attention_pairs(self.customers, key_column, len(self.columns.texts(key_column)))
            self._pairs[key_column] = index, pair_events(self.customers, key_column, index)
        return self._pairs[key_column]

    def keys(self, key_column: str) -> KeyedEvents:
        """Return the events of each category (or brand), all customers together."""
        if key_column not in self._keys:
            index, memory = self.pairs(key_column)
            code = index.code[memory.key]
            order = np.lexsort((memory.event_time, memory.known_at, code))
            self._keys[key_column] = KeyedEvents(
                index.code_count,
                code[order],
                memory.event_time[order],
                memory.known_at[order],
                memory.event_type[order],
                LazyColumns(tuple(memory.columns), lambda name: memory.columns[name][order]),
            )
        return self._keys[key_column]

    def key_texts(self, key_column: str, pair: IntArray) -> list[str]:
        """Return the category or brand of each pair."""
        texts = self.columns.texts(key_column)
        return [texts[code] for code in self.pairs(key_column)[0].code[pair].tolist()]

    def boundary(self, instants: IntArray) -> IntArray:
        """Return the day boundary of each instant's profile."""
        return profile_boundary(instants, self.zone, self.publication_lag)

    def customer_rows(self, customers: IntArray, instants: IntArray) -> CustomerRows:
        """Return customers at instants, shape (n_rows,) each, ready for their features."""
        boundary = self.boundary(instants)
        profile = customer_profile(self.customers, customers, boundary)
        return CustomerRows(self.customers, customers, instants, profile, self.zone)

    def candidate_pairs(
        self, key_column: str, customers: CustomerRows, rule: PairRule
    ) -> tuple[IntArray, IntArray]:
        """Return the pairs worth a claim at the customers' instants.

        Returns
        -------
        Customer rows and pair numbers, shape (n_pairs,) each.
        """
        index, memory = self.pairs(key_column)
        keys, boundary = customers.recent.keys, customers.profile.boundary
        kept_rows, kept_pairs = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for rows, row, pair in expand(*index.ranges(keys)):
            at, since = customers.instants[rows][row], boundary[rows][row]
            # The customers' orders matter to recent_orders alone, which no rule asks for.
            stored = pair_profile(memory, pair, since, np.zeros_like(pair))
            wanted = rule.holds(WindowRows(memory, pair, at, since), stored)
            kept_rows.append(row[wanted] + rows.start)
            kept_pairs.append(pair[wanted])
        return np.concatenate(kept_rows), np.concatenate(kept_pairs)

    def pair_rows(self, key_column: str, customers: CustomerRows, row: IntArray, pair: IntArray) -> PairRows:
        """Return pairs at their customers' instants, ready for their features.

        Parameters
        ----------
        row, pair
            Shape (n_pairs,): customer rows and pair numbers, as `candidate_pairs` gives them.
        """
        index, memory = self.pairs(key_column)
        boundary = customers.profile.boundary[row]
        orders = customers.profile.total(ORDER_COUNT, LIFETIME)[row]
        profile = pair_profile(memory, pair, boundary, orders)
        of_key = self._key_profile(key_column, index.code[pair], boundary)
        return PairRows(memory, pair, customers.instants[row], profile, customers, row, of_key)

    def _key_profile(self, key_column: str, code: IntArray, boundary: IntArray) -> Profile:
        days, day = np.unique(boundary, return_inverse=True)
        size = max(len(self.columns.texts(key_column)), 1)
        distinct, row = np.unique(day * size + code, return_inverse=True)
        return key_profile(self.keys(key_column), distinct % size, days[distinct // size]).take(row)

    def packed_keys(self, key_column: str, boundary: int) -> Iterator[tuple[str, bytes]]:
        """Pack the profile of every category (or brand) at a boundary."""
        texts = self.columns.texts(key_column)
        profile = key_profile(self.keys(key_column), np.arange(len(texts)), boundary)
        fields = profile.matrix(KEY_FIELDS)
        for row, text in enumerate(texts):
            yield text, pack_key(fields[:, row])

    def packed_profiles(
        self, boundary: int, customers: Sequence[str] | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Pack the profile of customers of whom something is known at a boundary.

        Parameters
        ----------
        boundary
            µs since the epoch.
        customers
            Whose; everybody's where it is not given. One without events has none.
        """
        if customers is None:
            numbers = np.arange(len(self.columns.customers))
        else:
            found = {self._number[name] for name in customers if name in self._number}
            numbers = np.array(sorted(found), np.int64)
        for start in range(0, len(numbers), PACKED_AT_ONCE):
            yield from self._packed(numbers[start : start + PACKED_AT_ONCE], boundary)

    def _packed(self, numbers: IntArray, boundary: int) -> Iterator[tuple[str, bytes]]:
        everyone = WindowRows(self.customers, numbers, np.full(len(numbers), boundary))
        numbers = numbers[everyone.until > everyone.begin]
        profile = customer_profile(self.customers, numbers, boundary)
        orders = profile.total(ORDER_COUNT, LIFETIME)
        fields = profile.matrix(CUSTOMER_FIELDS)
        pairs = {column: self._known_pairs(column, numbers, boundary, orders) for column in KEY_COLUMNS}
        for row, number in enumerate(numbers.tolist()):
            mine = {}
            for key_column, (texts, of_pairs, start) in pairs.items():
                here = slice(int(start[row]), int(start[row + 1]))
                mine[key_column] = texts[here], of_pairs[:, here]
            yield self.columns.customers[number], pack_customer(fields[:, row], mine)

    def _known_pairs(
        self, key_column: str, customers: IntArray, boundary: int, orders: IntArray
    ) -> tuple[list[str], IntArray, IntArray]:
        """Return the keys that customers paid attention to by a boundary, and what is known of each.

        Parameters
        ----------
        customers, orders
            Shape (n_customers,): their numbers, and how many orders each had made by then.

        Returns
        -------
        Texts; shape (len(PAIR_FIELDS), n_pairs); shape (n_customers + 1,): where each one's pairs begin.
        """
        index, memory = self.pairs(key_column)
        owner, pair = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for rows, row, position in expand(*index.ranges(customers)):
            everyone = WindowRows(memory, position, np.full(len(position), boundary))
            seen = everyone.until > everyone.begin
            owner.append(row[seen] + rows.start)
            pair.append(position[seen])
        row, chosen = np.concatenate(owner), np.concatenate(pair)
        of_pairs = pair_profile(memory, chosen, boundary, orders[row])
        start = np.searchsorted(row, np.arange(len(customers) + 1))
        return self.key_texts(key_column, chosen), of_pairs.matrix(PAIR_FIELDS), start
