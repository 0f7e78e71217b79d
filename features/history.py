"""All that is known of everybody, ready to be looked at as of any instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from features.affinity import CandidateRule, PairRows
from features.customer import CustomerRows
from features.memory import (
    ATTENTION_TYPES,
    EventColumns,
    PairIndex,
    attention_pairs,
    columns_of,
    customer_events,
    pair_events,
)
from features.profile import (
    MOMENTS,
    ORDER_COUNT,
    Profile,
    customer_profile,
    key_profile,
    pack_customer,
    pack_key,
    pair_profile,
)
from features.windows import (
    LIFETIME,
    NEVER,
    IntArray,
    KeyedEvents,
    WindowRows,
    expand,
    profile_boundary,
)


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
                {name: values[order] for name, values in memory.columns.items()},
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
        self, key_column: str, customers: CustomerRows, rule: CandidateRule
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
            stored = WindowRows(memory, pair, since).sum(MOMENTS, rule.repeat_within.length_us)
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
        profile = key_profile(
            self.keys(key_column), np.arange(len(texts)), np.full(len(texts), boundary, np.int64)
        )
        for row, text in enumerate(texts):
            yield text, pack_key(profile, row)

    def packed_profiles(self, boundary: int) -> Iterator[tuple[str, bytes]]:
        """Pack the profile of every customer of whom something is known at a boundary."""
        at = np.array([boundary])
        everyone = np.arange(len(self.columns.customers))
        profile = customer_profile(self.customers, everyone, np.repeat(at, len(everyone)))
        pairs = {}
        for key_column in ("category", "brand"):
            index, memory = self.pairs(key_column)
            numbers = np.arange(len(index))
            all_pairs = np.repeat(at, len(numbers))
            seen = WindowRows(memory, numbers, all_pairs).latest(ATTENTION_TYPES) != NEVER
            numbers = numbers[seen]
            orders = profile.total(ORDER_COUNT, LIFETIME)[index.customer[numbers]]
            of_pairs = pair_profile(memory, numbers, all_pairs[seen], orders)
            start = np.searchsorted(index.customer[numbers], everyone, side="left")
            end = np.searchsorted(index.customer[numbers], everyone, side="right")
            texts = self.columns.texts(key_column)
            pairs[key_column] = texts, index.code[numbers], of_pairs, start, end
        known = profile.fields["first_event"] != NEVER
        for number in np.flatnonzero(known).tolist():
            mine = {}
            for key_column, (texts, codes, of_pairs, start, end) in pairs.items():
                here = slice(int(start[number]), int(end[number]))
                mine[key_column] = ([texts[code] for code in codes[here].tolist()], of_pairs, here)
            yield self.columns.customers[number], pack_customer(profile, number, mine)
