"""Events sorted by key and by when they became known, and the arrays that windows over them are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from features.events import TYPE_CODES
from features.key_order import (
    BoolArray,
    IntArray,
    Keys,
    Positions,
    begins_of,
    gathered,
    order_by_begins,
    order_within,
)
from features.lazy_columns import TakenColumns
from features.prefix_sums import Prefix, count_so_far, prefix_sum, sum_so_far
from features.presence import presence
from features.sorted_axis import SortedAxis, running_max

NO_LENGTH = 2**61
"""Longer than from the first instant to the last: about 73 000 years, in µs."""

TYPE_CODE_COUNT = 256
"""Codes of types are below it, that of events no measure counts included."""


@lru_cache(maxsize=256)
def type_codes(event_types: tuple[str, ...]) -> IntArray:
    """Return the codes of event types.

    >>> type_codes(("view", "purchase"))
    array([0, 4])
    """
    return np.array([TYPE_CODES[name] for name in event_types], np.int64)


@dataclass(frozen=True)
class Measure:
    """What is summed: a column over the events of some types.

    Attributes
    ----------
    name
        As it appears in profiles.
    event_types
        Names of the types that count.
    column
        ``one`` counts events; otherwise a column of the memory.
    """

    name: str
    event_types: tuple[str, ...]
    column: str = "one"


class SumPlan:
    """Measures and windows that are summed together.

    Parameters
    ----------
    measures
        What is summed.
    lengths_us
        Over which windows, in µs; None is unbounded.
    """

    def __init__(self, measures: Sequence[Measure], lengths_us: Sequence[int | None]) -> None:
        self.measures = tuple(measures)
        self.lengths_us = tuple(lengths_us)
        self.columns = tuple(dict.fromkeys(measure.column for measure in measures))
        self.column_of = np.array([self.columns.index(measure.column) for measure in measures], np.int64)
        """Shape (n_measures,): which of the columns each sums."""
        self.is_meant = np.zeros((len(self.measures), TYPE_CODE_COUNT), np.bool_)
        """Shape (n_measures, n_codes): which types of events each counts."""
        for number, measure in enumerate(self.measures):
            self.is_meant[number, type_codes(measure.event_types)] = True
        self.far_us = np.array([NO_LENGTH if one is None else one for one in lengths_us], np.int64)
        """Shape (n_windows,): the lengths; one beyond all times where there is none."""


class KeyedEvents:
    """Events sorted by (key, known_at, event_time), with prefix sums made when first asked for.

    Parameters
    ----------
    key
        Shape (n,), ascending from 0 to ``key_count - 1``; may be None where ``begins`` is given.
    event_time, known_at
        Shape (n,), µs since the epoch; ``known_at >= event_time``, ascending within a key.
    event_type
        Shape (n,), codes of `features.events.EVENT_TYPES`.
    columns
        Further int64 columns, shape (n,) each, that measures may sum.
    begins
        Shape (key_count + 1,): where each key begins, if that is known already.
    """

    def __init__(
        self,
        key_count: int,
        key: IntArray | None,
        event_time: IntArray,
        known_at: IntArray,
        event_type: npt.NDArray[np.integer],
        columns: Mapping[str, IntArray],
        *,
        begins: IntArray | None = None,
    ) -> None:
        self.key_count = key_count
        self._key = key
        self._begins = begins
        self.event_time = event_time
        self.known_at = known_at
        self.event_type = event_type
        self.columns = columns
        self._prefix: dict[Measure, Prefix] = {}
        self._happened_prefix: dict[Measure, Prefix] = {}
        self._latest: dict[tuple[tuple[str, ...], str], IntArray] = {}
        self._presence: dict[tuple[tuple[str, ...], str, int | None], tuple[SortedAxis, SortedAxis]] = {}
        self._late_count: dict[int, int] = {}
        self._part: dict[tuple[int, bool], KeyedEvents] = {}

    @classmethod
    def sorting(
        cls,
        key_count: int,
        key: Keys,
        event_time: IntArray,
        known_at: IntArray,
        event_type: Callable[[], npt.NDArray[np.integer]],
        columns: Mapping[str, IntArray],
    ) -> KeyedEvents:
        """Return events given in any order; their types are asked for last, so others may still make them."""
        begins = begins_of(key, key_count)
        if (known_at[1:] >= known_at[:-1]).all():
            order = order_by_begins(key, begins)
        else:
            # First by time, ties by when it happened, then by key.
            by_time = np.lexsort((event_time, known_at))
            order = by_time[order_by_begins(key[by_time], begins)]
        given = cls(key_count, None, event_time, known_at, event_type(), columns, begins=begins)
        return given._taken(order, begins)

    def _taken(self, positions: Positions, begins: IntArray | None = None) -> KeyedEvents:
        """Return the events at some positions, in that order; ``begins`` is where keys begin, if known."""
        happened = gathered(self.event_time, positions)
        known = happened if self.known_at is self.event_time else gathered(self.known_at, positions)
        types, columns = gathered(self.event_type, positions), TakenColumns(self.columns, positions)
        key = gathered(self.key, positions) if begins is None else None
        return KeyedEvents(self.key_count, key, happened, known, types, columns, begins=begins)

    @property
    def key(self) -> IntArray:
        """Shape (n,): the key of each event."""
        if self._key is None:
            self._key = np.repeat(np.arange(self.key_count), np.diff(self.known.begins))
        return self._key

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.event_time)

    @cached_property
    def known(self) -> SortedAxis:
        """Search by (key, known_at)."""
        if self._begins is not None:
            return SortedAxis(self._begins, self.known_at)
        return SortedAxis.by_key(self.key, self.known_at, self.key_count)

    @cached_property
    def _happened_order(self) -> IntArray | None:
        """Positions in the order of (key, event_time); None if that is the order known."""
        if self.largest_lateness_us == 0:
            return None
        return order_within(self.key, self.event_time, self.key_count)

    @cached_property
    def happened(self) -> SortedAxis:
        """Search by (key, event_time)."""
        order = self._happened_order
        return self.known if order is None else replace(self.known, values=self.event_time[order])

    @cached_property
    def largest_lateness_us(self) -> int:
        """Longest time between an event and its becoming known."""
        if self.known_at is self.event_time or len(self) == 0:
            return 0
        return int((self.known_at - self.event_time).max())

    def is_ever_late(self, window_us: int) -> bool:
        """Return whether an event became known so late that a window never held it."""
        return self.largest_lateness_us >= window_us

    def of_types(self, event_types: tuple[str, ...]) -> BoolArray:
        """Return which events have one of the types, shape (n,)."""
        if len(event_types) <= 3:
            is_meant: BoolArray = np.zeros(len(self), bool)
            for name in event_types:
                is_meant |= self.event_type == TYPE_CODES[name]
            return is_meant
        by_code: BoolArray = np.zeros(len(TYPE_CODES), bool)
        by_code[type_codes(event_types)] = True
        return by_code.take(self.event_type)

    def values(self, measure: Measure) -> IntArray | BoolArray:
        """Return what each event adds to a measure, shape (n,)."""
        chosen = self.of_types(measure.event_types)
        return chosen if measure.column == "one" else chosen * self.columns[measure.column]

    def prefix(self, measure: Measure) -> Prefix:
        """Return prefix sums in the order known, shape (n + 1,)."""
        if measure not in self._prefix:
            meant = np.zeros(TYPE_CODE_COUNT, np.bool_)
            meant[type_codes(measure.event_types)] = True
            if measure.column == "one":
                self._prefix[measure] = count_so_far(self.event_type, meant)
            elif isinstance(self.columns, TakenColumns):
                # Of a column that is summed by type mostly little is taken.
                whole, positions = self.columns.whole[measure.column], self.columns.positions
                self._prefix[measure] = sum_so_far(self.event_type, meant, whole, positions)
            else:
                self._prefix[measure] = sum_so_far(self.event_type, meant, self.columns[measure.column])
        return self._prefix[measure]

    def happened_prefix(self, measure: Measure) -> Prefix:
        """Return prefix sums in the order of (key, event_time), shape (n + 1,)."""
        order = self._happened_order
        if order is None:
            return self.prefix(measure)
        if measure not in self._happened_prefix:
            self._happened_prefix[measure] = prefix_sum(self.values(measure)[order])
        return self._happened_prefix[measure]

    def prepare(self, measure: Measure) -> None:
        """Make the prefix sums of a measure, so that threads find them made."""
        self.prefix(measure)
        self.happened_prefix(measure)

    def prepare_searches(self) -> tuple[SortedAxis, SortedAxis]:
        """Make both searches likewise."""
        return self.known, self.happened

    def is_mostly_late(self, window_us: int) -> bool:
        """Return whether most events became known so late that a window never held them."""
        if window_us not in self._late_count:
            late = self.known_at - self.event_time >= window_us
            self._late_count[window_us] = int(np.count_nonzero(late))
        return 2 * self._late_count[window_us] > len(self)

    def too_late(self, window_us: int) -> KeyedEvents:
        """Return the events that became known so late that a window never held them."""
        return self._by_lateness(window_us, is_late=True)

    def in_time(self, window_us: int) -> KeyedEvents:
        """Return the events that a window once held."""
        return self._by_lateness(window_us, is_late=False)

    def _by_lateness(self, window_us: int, *, is_late: bool) -> KeyedEvents:
        if (window_us, is_late) not in self._part:
            chosen = (self.known_at - self.event_time >= window_us) == is_late
            self._part[window_us, is_late] = self._taken(np.flatnonzero(chosen))
        return self._part[window_us, is_late]

    def presence(
        self, event_types: tuple[str, ...], column: str, window_us: int | None
    ) -> tuple[SortedAxis, SortedAxis]:
        """Return the searches by (key, time) of when a value comes into a window, and of when it goes."""
        name = (event_types, column, window_us)
        if name not in self._presence:
            self._presence[name] = presence(self, event_types, column, window_us)
        return self._presence[name]

    def running_latest(self, event_types: tuple[str, ...], column: str) -> IntArray:
        """Return per event the largest value of a column so far, over its key's events of some types."""
        name = (event_types, column)
        if name not in self._latest:
            values = self.event_time if column == "event_time" else self.columns[column]
            self._latest[name] = running_max(self.key, values, self.of_types(event_types))
        return self._latest[name]
