"""Look-ups of many keys at one instant that all of them share, as when profiles are made."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from features.events import TYPE_CODES
from features.windows import NEVER, IntArray, KeyedEvents, Measure


class BoundaryRows:
    """Keys at one boundary. What it returns is what `features.windows.WindowRows` does, one pass a window.

    Nothing is sorted and nothing is kept with the memory: a boundary is looked at once.

    Parameters
    ----------
    memory
        The events.
    keys
        Shape (n_rows,), ascending, each once.
    boundary_us
        The instant, µs since the epoch.
    """

    def __init__(self, memory: KeyedEvents, keys: IntArray, boundary_us: int) -> None:
        self.memory = memory
        self.keys = keys
        self._boundary_us = boundary_us
        self._known: dict[int | None, _Known] = {}

    @cached_property
    def begin(self) -> IntArray:
        """Where each row's key begins in the memory."""
        return np.searchsorted(self.memory.key, self.keys).astype(np.int64)

    @cached_property
    def until(self) -> IntArray:
        """Where what each row knows ends in the memory."""
        counts = np.bincount(self._in(None).row, minlength=len(self.keys))
        return self.begin + counts

    def sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over the events known at the boundary and younger than the window."""
        known = self._in(window_us)
        chosen = known.of_types(measure.event_types)
        if measure.column == "one":
            return np.bincount(known.row[chosen], minlength=len(self.keys)).astype(np.int64)
        values = self.memory.columns[measure.column][known.position[chosen]]
        return known.reduced(np.add, values, chosen, 0)

    def latest(self, event_types: tuple[str, ...], column: str = "event_time") -> IntArray:
        """Return the largest value of a column over the events of some types; `NEVER` where there is none."""
        known = self._in(None)
        chosen = known.of_types(event_types)
        values = self.memory.event_time if column == "event_time" else self.memory.columns[column]
        return known.reduced(np.maximum, values[known.position[chosen]], chosen, NEVER)

    def earliest(self, event_types: tuple[str, ...]) -> IntArray:
        """Return the time of the first event of some types, or `NEVER`."""
        known = self._in(None)
        chosen = known.of_types(event_types)
        return known.reduced(np.minimum, self.memory.event_time[known.position[chosen]], chosen, NEVER)

    def distinct(self, event_types: tuple[str, ...], column: str, window_us: int | None) -> IntArray:
        """Count the different values of a column; a negative one is null and does not count."""
        known = self._in(window_us)
        chosen = known.of_types(event_types)
        row, value = known.row[chosen], self.memory.columns[column][known.position[chosen]]
        row, value = row[value >= 0], value[value >= 0]
        size = int(value.max(initial=0)) + 1
        pairs = row * size + value
        pairs.sort()
        is_first = np.ones(len(pairs), bool)
        np.not_equal(pairs[1:], pairs[:-1], out=is_first[1:])
        return np.bincount(pairs[is_first] // size, minlength=len(self.keys)).astype(np.int64)

    @cached_property
    def _here(self) -> slice:
        """The part of the memory that the keys lie in."""
        if len(self.keys) == 0:
            return slice(0, 0)
        start, end = np.searchsorted(self.memory.key, [self.keys[0], self.keys[-1] + 1]).tolist()
        return slice(start, end)

    @cached_property
    def _row_of_key(self) -> IntArray:
        rows = np.full(self.memory.key_count, -1, np.int64)
        rows[self.keys] = np.arange(len(self.keys))
        return rows

    def _in(self, window_us: int | None) -> _Known:
        if window_us not in self._known:
            memory, here = self.memory, self._here
            chosen = memory.known_at[here] <= self._boundary_us
            if window_us is not None:
                chosen &= memory.event_time[here] > self._boundary_us - window_us
            row = self._row_of_key[memory.key[here]]
            chosen &= row >= 0
            position = np.flatnonzero(chosen) + here.start
            self._known[window_us] = _Known(
                position, row[chosen], memory.event_type[position], len(self.keys)
            )
        return self._known[window_us]


class _Known:
    """The events of one window, by row."""

    def __init__(self, position: IntArray, row: IntArray, event_type: IntArray, row_count: int) -> None:
        self.position = position
        self.row = row
        self._event_type = event_type
        self._row_count = row_count
        self._of_types: dict[tuple[str, ...], IntArray] = {}

    def of_types(self, names: tuple[str, ...]) -> IntArray:
        """Return which of the window's events have one of the types, ascending."""
        if names not in self._of_types:
            is_of = np.isin(self._event_type, [TYPE_CODES[name] for name in names])
            self._of_types[names] = np.flatnonzero(is_of)
        return self._of_types[names]

    def reduced(self, reduce: np.ufunc, values: IntArray, chosen: IntArray, nothing: int) -> IntArray:
        """Reduce values of chosen events by row, shape (n_rows,)."""
        row = self.row[chosen]
        result = np.full(self._row_count, nothing, np.int64)
        if len(row):
            start = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
            result[row[start]] = reduce.reduceat(values, start)
        return result
