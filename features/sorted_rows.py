"""Windows over many events: rows sorted once, and every sum a difference of two places on a sorted axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from features.key_order import IntArray, Keys, Positions, gather, position_kind, stable_order
from features.keyed_events import KeyedEvents, Measure
from features.prefix_sums import Prefix
from features.sorted_axis import NEVER, Lookup, expand


@dataclass
class SortedRows:
    """Rows (key, instant) in an order in which searches run along memory instead of jumping about in it.

    Results are in that order too; `placed` brings them back. Arguments and results mean what they do in
    `features.windows.WindowRows`.

    Attributes
    ----------
    order
        Shape (n_rows,): which row given comes at each place; None where they keep their places.
    """

    memory: KeyedEvents
    keys: Keys
    instants: IntArray
    boundary: IntArray
    order: IntArray | None = None
    _entered: tuple[Measure, Prefix] | None = None
    _starts: dict[int, Positions] = field(default_factory=dict)
    _others: dict[KeyedEvents, SortedRows] = field(default_factory=dict)

    @classmethod
    def of(cls, memory: KeyedEvents, keys: Keys, instants: IntArray, boundary: IntArray) -> SortedRows:
        """Sort rows given in any order."""
        ascending = (keys[1:] > keys[:-1]) | (keys[1:] == keys[:-1]) & (instants[1:] >= instants[:-1])
        if ascending.all():
            return cls(memory, keys, instants, boundary)
        by_instant = np.argsort(instants)
        order = by_instant.take(stable_order(keys.take(by_instant), memory.key_count))
        sorted_instants = instants.take(order)
        sorted_boundary = sorted_instants if boundary is instants else boundary.take(order)
        return cls(memory, keys.take(order), sorted_instants, sorted_boundary, order)

    def placed(self, result: IntArray) -> IntArray:
        """Return a result, shape (n_rows,), in the order in which the rows were given."""
        return result if self._ranks is None else result.take(self._ranks)

    def place(self, result: Prefix, placed: IntArray) -> None:
        """Put a result, shape (n_rows,), into another array in the order in which the rows were given."""
        if self._ranks is None:
            placed[:] = result
        else:
            gather(result, self._ranks, placed)

    @cached_property
    def _ranks(self) -> Positions | None:
        """Where each row given comes in the order; read at random, which costs less than writing does."""
        if self.order is None:
            return None
        ranks: Positions = np.empty(len(self.order), position_kind(len(self.order)))
        ranks[self.order] = np.arange(len(ranks), dtype=ranks.dtype)
        return ranks

    @cached_property
    def known(self) -> Lookup:
        """Searches by when events became known."""
        return self.memory.known.of(self.keys)

    @cached_property
    def _happened(self) -> Lookup:
        return self.known if self.memory.happened is self.memory.known else self.memory.happened.of(self.keys)

    @cached_property
    def until(self) -> IntArray:
        """Where what each row knows ends."""
        return self.known.positions(self.instants)

    @cached_property
    def since(self) -> IntArray:
        """Where what each row's profile does not contain begins."""
        return self.until if self.boundary is self.instants else self.known.positions(self.boundary)

    def look_up(self, windows_us: Sequence[int]) -> Positions:
        """Find where each of many windows begins, in one pass over the rows.

        Returns
        -------
        Shape (n_windows, n_rows): where the window's events begin among those in the order they happened.
        """
        return self._happened.positions_before(self.instants, np.array(windows_us, np.int64))

    def sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over a window."""
        if window_us is None or not self.memory.is_ever_late(window_us):
            return self.sum_known_less_gone(measure, window_us)
        if self.memory.is_mostly_late(window_us):
            in_time = self._over(self.memory.in_time(window_us))
            return in_time.sum_known_less_gone(measure, window_us)
        # What was too late ever to be in the window may have left without having entered.
        too_late = self._over(self.memory.too_late(window_us))
        total = self.sum_known_less_gone(measure, window_us)
        total -= too_late.sum_known_less_gone(measure, window_us)
        return total

    def newly_known_sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over the events that became known since the boundary."""
        prefix = self.memory.prefix(measure)
        total = np.subtract(prefix[self.until], prefix[self.since], dtype=np.int64)
        if window_us is None or not self.memory.is_ever_late(window_us):
            return total
        # What happened before the window and was not known by its boundary was at least the window late.
        memory = self.memory
        late = self if memory.is_mostly_late(window_us) else self._over(memory.too_late(window_us))
        values = late.memory.values(measure)
        for rows, row, position in expand(late.since, late.until):
            too_old = late.memory.event_time[position] <= (self.boundary[rows] - window_us)[row]
            np.subtract.at(total[rows], row[too_old], values[position[too_old]])
        return total

    def distinct(self, event_types: tuple[str, ...], column: str, window_us: int | None) -> IntArray:
        """Count the different values of a column in a window."""
        comes, goes = self.memory.presence(event_types, column, window_us)
        return comes.of(self.keys).positions(self.instants) - goes.of(self.keys).positions(self.instants)

    def latest(self, event_types: tuple[str, ...], column: str) -> IntArray:
        """Return the largest value of a column known, or `NEVER`."""
        if len(self.memory) == 0:
            return np.full(len(self.keys), NEVER)
        running = self.memory.running_latest(event_types, column)
        return np.where(self.until > self.known.begin, running[np.maximum(self.until - 1, 0)], NEVER)

    def sum_known_less_gone(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum over the events known, less those that happened before the window, known or not."""
        if window_us is None:
            gone = self.memory.prefix(measure).take(self.known.begin)
        else:
            gone = self.memory.happened_prefix(measure).take(self._start(window_us))
        return np.subtract(self.entered(measure), gone, dtype=np.int64)

    def entered(self, measure: Measure) -> Prefix:
        """Return the sums of what is known up to each row."""
        if self._entered is None or self._entered[0] is not measure:
            self._entered = measure, self.memory.prefix(measure).take(self.until)
        return self._entered[1]

    def _start(self, window_us: int) -> Positions:
        """Return where the events of a window begin among those in the order they happened."""
        if window_us not in self._starts:
            self._starts[window_us] = self._happened.positions(self.instants - window_us)
        return self._starts[window_us]

    def _over(self, memory: KeyedEvents) -> SortedRows:
        """Return the same rows over some of the events."""
        if memory not in self._others:
            self._others[memory] = SortedRows(memory, self.keys, self.instants, self.boundary)
        return self._others[memory]
