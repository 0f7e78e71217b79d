"""Many sums over many rows: each core sorts a part of the rows, looks it up, and puts its sums in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.compiled import compiled
from features.key_order import IntArray, Keys, Positions
from features.keyed_events import KeyedEvents, Measure
from features.parallel import each_part, parts_of
from features.prefix_sums import Prefix
from features.sorted_rows import SortedRows

Sums = dict[tuple[Measure, int | None], IntArray]
"""Shape (n_rows,) each, by measure and length of the window in µs."""


def sums_of_rows(
    memory: KeyedEvents,
    keys: Keys,
    instants: IntArray,
    measures: Sequence[Measure],
    windows_us: Sequence[int | None],
) -> Sums:
    """Sum measures over windows, as `features.sorted_rows.SortedRows.sum` does each, on all cores."""
    besides = {window_us: _besides(memory, window_us) for window_us in windows_us}
    memories = dict.fromkeys([memory, *(one for one in besides.values() if one is not None)])
    each_part(KeyedEvents.prepare_searches, memories, work=len(memory))
    # Columns take longer than counts: begun first, they are not waited for at the end.
    columns_first = sorted(measures, key=lambda measure: measure.column == "one")
    made = [(each, one) for each in memories for one in columns_first]
    each_part(lambda one: one[0].prepare(one[1]), made, work=len(memory))
    together = [one for one in windows_us if one is not None and besides[one] is None]
    apart = [one for one in windows_us if one is None or besides[one] is not None]
    # One large array: the system hands it over in far fewer pages than many smaller ones.
    sums = np.empty((len(measures), len(together) + len(apart), len(keys)), np.int64)

    def fill(rows: slice) -> None:
        at = instants[rows]
        part = SortedRows.of(memory, keys[rows], at, at)
        starts = part.look_up(together)
        room = np.empty(len(at), np.int64)
        for measure, totals in zip(measures, sums[:, :, rows], strict=True):
            entered, prefix = part.entered(measure), memory.happened_prefix(measure)
            less = room.view(prefix.dtype)[: len(at)]
            for start, total in zip(starts, totals[: len(together)], strict=True):
                _subtract(entered, prefix, start, less)
                part.place(less, total)
            for window_us, total in zip(apart, totals[len(together) :], strict=True):
                part.place(part.sum(measure, window_us), total)

    each_part(fill, parts_of(len(keys)), work=len(keys))
    place = {window_us: number for number, window_us in enumerate([*together, *apart])}
    return {
        (measure, window_us): sums[number, place[window_us]]
        for number, measure in enumerate(measures)
        for window_us in windows_us
    }


def _besides(memory: KeyedEvents, window_us: int | None) -> KeyedEvents | None:
    """Return the events whose sums a window needs besides those of all events, or instead."""
    if window_us is None or not memory.is_ever_late(window_us):
        return None
    return memory.in_time(window_us) if memory.is_mostly_late(window_us) else memory.too_late(window_us)


@compiled
def _subtract(entered: Prefix, prefix: Prefix, start: Positions, less: Prefix) -> None:
    """Subtract what is gone before a window begins from what has entered."""
    for row in range(len(entered)):
        less[row] = entered[row] - prefix[start[row]]
