"""Windows over a handful of events: every event is looked at in every row, all types of a column at once.

One customer asks for hundreds of sums over a few dozen events. What counts then is the number of array
operations, not their length.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from features.events import EVENT_TYPES, TYPE_CODES
from features.keyed_events import KeyedEvents, Measure
from features.sorted_axis import NEVER, BoolArray, IntArray

ByType = list[IntArray]
"""Shape (n_rows,) of each event type, by its code."""

FEW_CELLS = 10_000
"""Up to how many pairs of row and event that is the faster way."""


class FewEvents:
    """Rows (key, instant) over a small memory.

    Arguments and results mean what they do in `features.windows.WindowRows`.
    """

    def __init__(self, memory: KeyedEvents, keys: IntArray, instants: IntArray, boundary: IntArray) -> None:
        self._memory = memory
        self._keys = keys
        self._instants = instants[:, None]
        self._boundary = boundary[:, None]
        self._inside: dict[int | None, BoolArray] = {}
        self._sums: dict[tuple[str, int | None], ByType] = {}
        self._new_sums: dict[tuple[str, int | None], ByType] = {}
        self._latest: dict[str, ByType] = {}
        self._distinct: dict[tuple[tuple[str, ...], str, int | None], ByType] = {}
        self._values_sorted: dict[tuple[tuple[str, ...], str], tuple[IntArray, IntArray, IntArray]] = {}

    @cached_property
    def _known(self) -> BoolArray:
        """Shape (n_rows, n): which events each row knows."""
        memory = self._memory
        known = memory.known_at <= self._instants
        return known if memory.key_count == 1 else known & (memory.key == self._keys[:, None])

    @cached_property
    def _new(self) -> BoolArray:
        """Shape (n_rows, n): which events each row's profile does not contain."""
        return self._known & (self._memory.known_at > self._boundary)

    @cached_property
    def _is_type(self) -> BoolArray:
        """Shape (n, n_types)."""
        is_type: BoolArray = self._memory.event_type[:, None] == np.arange(len(EVENT_TYPES))
        return is_type

    def _window(self, window_us: int | None) -> BoolArray:
        if window_us not in self._inside:
            inside = self._known
            if window_us is not None:
                inside = inside & (self._memory.event_time > self._instants - window_us)
            self._inside[window_us] = inside
        return self._inside[window_us]

    def _values(self, column: str) -> IntArray:
        """Shape (n, n_types): what each event adds to the sum of its type."""
        is_type = self._is_type
        if column == "one":
            return is_type.astype(np.int64)
        return is_type * self._memory.columns[column][:, None]

    def sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over a window."""
        name = (measure.column, window_us)
        if name not in self._sums:
            self._sums[name] = _by_type(self._window(window_us), self._values(measure.column))
        return _total(self._sums[name], measure.event_types)

    def newly_known_sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over the events that became known since the boundary."""
        if window_us is not None and not self._memory.is_ever_late(window_us):
            window_us = None
        name = (measure.column, window_us)
        if name not in self._new_sums:
            new = self._new
            if window_us is not None:
                new = new & (self._memory.event_time > self._boundary - window_us)
            self._new_sums[name] = _by_type(new, self._values(measure.column))
        return _total(self._new_sums[name], measure.event_types)

    def distinct(self, event_types: tuple[str, ...], column: str, window_us: int | None) -> IntArray:
        """Count the different values of a column in a window."""
        name = (event_types if len(event_types) > 1 else (), column, window_us)
        if name not in self._distinct:
            places, starts, group_type = self._groups(name[0], column)
            is_there = np.zeros((len(self._keys), 0), bool)
            if len(places):
                is_there = np.logical_or.reduceat(self._window(window_us)[:, places], starts, axis=1)
            self._distinct[name] = _by_type(is_there, group_type)
        return self._distinct[name][TYPE_CODES[event_types[0]]]

    def _groups(self, together: tuple[str, ...], column: str) -> tuple[IntArray, IntArray, IntArray]:
        """Return events sorted by type and value, where each value begins, and its type as 0 and 1.

        Types counted together are all taken for the first of them.
        """
        name = (together, column)
        if name not in self._values_sorted:
            values, event_type = self._memory.columns[column], self._memory.event_type
            counts = values >= 0
            if together:
                counts &= self._memory.of_types(together)
                event_type = np.full(len(values), TYPE_CODES[together[0]])
            places = np.flatnonzero(counts)
            places = places[np.lexsort((values[places], event_type[places]))]
            value, kind = values[places], event_type[places]
            begins = np.ones(len(places), bool)
            begins[1:] = (value[1:] != value[:-1]) | (kind[1:] != kind[:-1])
            starts = np.flatnonzero(begins)
            group_type = (kind[starts][:, None] == np.arange(len(EVENT_TYPES))).astype(np.int64)
            self._values_sorted[name] = places, starts, group_type
        return self._values_sorted[name]

    def latest(self, event_types: tuple[str, ...], column: str) -> IntArray:
        """Return the largest value of a column known, or `NEVER`."""
        if column not in self._latest:
            memory = self._memory
            values = memory.event_time if column == "event_time" else memory.columns[column]
            known = np.where(self._known[:, :, None] & self._is_type, values[:, None], NEVER)
            self._latest[column] = list(known.max(axis=1, initial=NEVER).T)
        by_type = self._latest[column]
        largest = by_type[TYPE_CODES[event_types[0]]]
        for name in event_types[1:]:
            largest = np.maximum(largest, by_type[TYPE_CODES[name]])
        return largest


def _by_type(inside: BoolArray, values: IntArray) -> ByType:
    """Sum values, shape (n, n_types), over what is inside, shape (n_rows, n)."""
    return list((inside.astype(np.int64) @ values).T)


def _total(by_type: ByType, event_types: tuple[str, ...]) -> IntArray:
    total = by_type[TYPE_CODES[event_types[0]]]
    for name in event_types[1:]:
        total = total + by_type[TYPE_CODES[name]]
    return total
