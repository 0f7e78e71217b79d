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
    names = [(measure, window_us) for measure in measures for window_us in windows_us]
    # One large array: the system hands it over in far fewer pages than many smaller ones.
    sums = np.empty((len(names), len(keys)), np.int64)

    def fill(rows: slice) -> None:
        at = instants[rows]
        part = SortedRows.of(memory, keys[rows], at, at)
        part.look_up([one for one in windows_us if one is not None and besides[one] is None])
        for (measure, window_us), total in zip(names, sums[:, rows], strict=True):
            if besides[window_us] is not None:
                total[:] = part.placed(part.sum(measure, window_us))
            elif part.order is None:
                total[:] = part.sum(measure, window_us)
            else:
                _put_less(*part.entered_and_gone(measure, window_us), part.order, total)

    each_part(fill, parts_of(len(keys)), work=len(keys))
    return dict(zip(names, sums, strict=True))


def _besides(memory: KeyedEvents, window_us: int | None) -> KeyedEvents | None:
    """Return the events whose sums a window needs besides those of all events, or instead."""
    if window_us is None or not memory.is_ever_late(window_us):
        return None
    return memory.in_time(window_us) if memory.is_mostly_late(window_us) else memory.too_late(window_us)


@compiled
def _put_less(entered: Prefix, prefix: Prefix, start: Positions, places: Positions, total: IntArray) -> None:
    """Put what has entered less what is gone where each row belongs."""
    for row in range(len(places)):
        total[places[row]] = np.int64(entered[row]) - prefix[start[row]]
