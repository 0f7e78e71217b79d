"""Windows over a handful of events: every event is looked at in every row, all types of a column at once.

One customer asks for hundreds of sums over a few dozen events. What counts then is the number of array
operations, not their length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.events import EVENT_TYPES, TYPE_CODES
from features.key_order import BoolArray, IntArray, Keys
from features.keyed_events import KeyedEvents, Measure, SumPlan
from features.sorted_axis import NEVER

ByType = list[IntArray]
"""Shape (n_rows,) of each event type, by its code."""

FEW_CELLS = 10_000
"""Up to how many pairs of row and event that is the faster way."""


class FewEvents:
    """Rows (key, instant) over a small memory.

    Arguments and results mean what they do in `features.windows.WindowRows`.
    """

    def __init__(self, memory: KeyedEvents, keys: Keys, instants: IntArray, boundary: IntArray) -> None:
        self._memory = memory
        self._keys = keys
        self._instants = instants[:, None]
        self._boundary = boundary[:, None]
        self._inside: dict[int | None, BoolArray] = {}
        self._counts: dict[int | None, ByType] = {}
        self._new_counts: dict[int | None, ByType] = {}
        self._sum_masks: dict[tuple[tuple[str, ...], int | None], IntArray] = {}
        self._new_masks: dict[tuple[tuple[str, ...], int | None], IntArray] = {}
        self._latest: dict[str, IntArray] = {}
        self._distinct: dict[tuple[tuple[str, ...], str, int | None], ByType] = {}
        self._last_there: dict[tuple[tuple[str, ...], str], tuple[IntArray, IntArray]] = {}

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

    def sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over a window."""
        if measure.column != "one":
            return self._summed(measure, window_us, self._sum_masks, self._window)
        if window_us not in self._counts:
            self._counts[window_us] = _by_type(self._window(window_us), self._ones)
        return _total(self._counts[window_us], measure.event_types)

    def sums(self, plan: SumPlan) -> IntArray:
        """Sum all measures of a plan over all its windows, shape (n_measures, n_windows, n_rows)."""
        since = self._instants - plan.far_us[:, None, None]
        return self._planned(plan, self._known & (self._memory.event_time > since))

    def newly_known_sums(self, plan: SumPlan) -> IntArray | None:
        """Sum all measures over what each window got to know since the boundary; None if nothing anywhere."""
        if self._nothing is not None:
            return None
        since = self._boundary - plan.far_us[:, None, None]
        return self._planned(plan, self._new & (self._memory.event_time > since))

    def _planned(self, plan: SumPlan, inside: BoolArray) -> IntArray:
        """Sum over what is inside, shape (n_windows, n_rows, n)."""
        memory = self._memory
        one = np.ones(len(memory), np.int64)
        columns = np.stack([one if name == "one" else memory.columns[name] for name in plan.columns])
        values = columns[plan.column_of] * plan.is_meant[:, memory.event_type]
        summed: IntArray = values @ inside.astype(np.int64).transpose(0, 2, 1)
        return summed.transpose(1, 0, 2)

    def newly_known_sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over the events that became known since the boundary."""
        if self._nothing is not None:
            return self._nothing
        if window_us is not None and not self._memory.is_ever_late(window_us):
            window_us = None
        if measure.column != "one":
            return self._summed(measure, window_us, self._new_masks, self._new_window)
        if window_us not in self._new_counts:
            self._new_counts[window_us] = _by_type(self._new_window(window_us), self._ones)
        return _total(self._new_counts[window_us], measure.event_types)

    @cached_property
    def _nothing(self) -> IntArray | None:
        """What every newly known sum is if nothing has become known: then no column need be made."""
        return None if self._new.any() else np.zeros(len(self._keys), np.int64)

    @cached_property
    def _ones(self) -> IntArray:
        """Shape (n, n_types): 1 for the type of each event."""
        return self._is_type.astype(np.int64)

    def _new_window(self, window_us: int | None) -> BoolArray:
        if window_us is None:
            return self._new
        return self._new & (self._memory.event_time > self._boundary - window_us)

    def _summed(
        self,
        measure: Measure,
        window_us: int | None,
        masks: dict[tuple[tuple[str, ...], int | None], IntArray],
        window: Callable[[int | None], BoolArray],
    ) -> IntArray:
        """Sum a column over events of some types; which those are is kept among the masks."""
        name = (measure.event_types, window_us)
        if name not in masks:
            masks[name] = (window(window_us) & self._memory.of_types(measure.event_types)).astype(np.int64)
        total: IntArray = masks[name] @ self._memory.columns[measure.column]
        return total

    def distinct(self, event_types: tuple[str, ...], column: str, window_us: int | None) -> IntArray:
        """Count the different values of a column in a window: those whose latest event is in it."""
        together = event_types if len(event_types) > 1 else ()
        name = (together, column, window_us)
        if name not in self._distinct:
            latest, group_type = self._latest_of_values(together, column)
            since = NEVER if window_us is None else self._instants - window_us
            self._distinct[name] = _by_type(latest > since, group_type)
        return self._distinct[name][TYPE_CODES[event_types[0]]]

    def distincts(self, columns: Sequence[str], lengths_us: IntArray) -> IntArray:
        """Count the values of columns per type, shape (n_columns, n_types, n_windows, n_rows)."""
        memory, types = self._memory, len(EVENT_TYPES)
        counted = np.zeros((len(columns) * types, len(lengths_us), len(self._keys)), np.int64)
        values = np.array([memory.columns[column] for column in columns])
        column, place = np.nonzero(values >= 0)
        if len(place):
            kind, value = column * types + memory.event_type[place], values[column, place]
            order = np.lexsort((value, kind))
            kind, value, place = kind[order], value[order], place[order]
            groups = np.flatnonzero(_begins(kind, value))
            times = np.where(self._known, memory.event_time, NEVER)[:, place]
            latest = np.maximum.reduceat(times, groups, axis=1)
            there = latest > self._instants - lengths_us[:, None, None]
            kind = kind[groups]
            kinds = np.flatnonzero(_begins(kind))
            counted[kind[kinds]] = np.add.reduceat(there, kinds, axis=2, dtype=np.int64).transpose(2, 0, 1)
        return counted.reshape(len(columns), types, *counted.shape[1:])

    def _latest_of_values(self, together: tuple[str, ...], column: str) -> tuple[IntArray, IntArray]:
        """Return when each value was last there, shape (n_rows, n_values), and its type as 0 and 1."""
        name = (together, column)
        if name not in self._last_there:
            places, starts, group_type = self._groups(together, column)
            latest = np.empty((len(self._keys), 0), np.int64)
            if len(places):
                times = np.where(self._known, self._memory.event_time, NEVER)[:, places]
                latest = np.maximum.reduceat(times, starts, axis=1)
            self._last_there[name] = latest, group_type
        return self._last_there[name]

    def _groups(self, together: tuple[str, ...], column: str) -> tuple[IntArray, IntArray, IntArray]:
        """Return events sorted by type and value, where each value begins, and its type as 0 and 1.

        Types counted together are all taken for the first of them.
        """
        values, event_type = self._memory.columns[column], self._memory.event_type
        counts = values >= 0
        if together:
            counts &= self._memory.of_types(together)
            event_type = np.full(len(values), TYPE_CODES[together[0]])
        places = np.flatnonzero(counts)
        places = places[np.lexsort((values[places], event_type[places]))]
        value, kind = values[places], event_type[places]
        starts = np.flatnonzero(_begins(kind, value))
        group_type = (kind[starts][:, None] == np.arange(len(EVENT_TYPES))).astype(np.int64)
        return places, starts, group_type

    def latests(self, column: str) -> IntArray:
        """Return the largest value of a column known per type, or `NEVER`, shape (n_types, n_rows)."""
        if column not in self._latest:
            memory = self._memory
            values = memory.event_time if column == "event_time" else memory.columns[column]
            known = np.where(self._known[:, :, None] & self._is_type, values[:, None], NEVER)
            self._latest[column] = known.max(axis=1, initial=NEVER).T
        return self._latest[column]

    def latest(self, event_types: tuple[str, ...], column: str) -> IntArray:
        """Return the largest value of a column known, or `NEVER`."""
        by_type = self.latests(column)
        largest: IntArray = by_type[TYPE_CODES[event_types[0]]]
        for name in event_types[1:]:
            largest = np.maximum(largest, by_type[TYPE_CODES[name]])
        return largest


def _begins(*columns: npt.NDArray[np.integer]) -> BoolArray:
    """Return which entries differ from the one before in any column, shape (n,)."""
    begins: BoolArray = np.zeros(len(columns[0]), bool)
    begins[:1] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return begins


def _by_type(inside: BoolArray, values: IntArray) -> ByType:
    """Sum values, shape (n, n_types), over what is inside, shape (n_rows, n)."""
    return list((inside.astype(np.int64) @ values).T)


def _total(by_type: ByType, event_types: tuple[str, ...]) -> IntArray:
    total = by_type[TYPE_CODES[event_types[0]]]
    for name in event_types[1:]:
        total = total + by_type[TYPE_CODES[name]]
    return total
