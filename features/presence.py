"""When the values of a column come into a moving window and when they go, to count the distinct ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from features.key_order import IntArray, order_within
from features.sorted_axis import SortedAxis, running_max

if TYPE_CHECKING:
    from features.keyed_events import KeyedEvents


def presence(
    memory: KeyedEvents, event_types: tuple[str, ...], column: str, window_us: int | None
) -> tuple[SortedAxis, SortedAxis]:
    """Return the searches by (key, time) of when a value comes into a window, and of when it goes.

    A value is there while at least one event of the types with it is; it may come and go many times. How many
    are there at an instant is how many have come less how many have gone.

    Parameters
    ----------
    column
        Of codes; negative ones are no values.
    window_us
        Length in µs; None for a window that nothing leaves.
    """
    chosen = np.flatnonzero(memory.of_types(event_types) & (memory.columns[column] >= 0))
    key, value = memory.key[chosen], memory.columns[column][chosen]
    order = np.lexsort((value, key))
    chosen, key, value = chosen[order], key[order], value[order]
    group = np.zeros(len(chosen), np.int64)
    np.cumsum((key[1:] != key[:-1]) | (value[1:] != value[:-1]), out=group[1:])
    enters = memory.known_at[chosen]
    if window_us is None:
        leaves = np.full(len(chosen), np.iinfo(np.int64).max)
    else:
        leaves = np.maximum(enters, memory.event_time[chosen] + window_us)
    merged, comes, goes = merged_intervals(group, enters, leaves)
    owner = key[np.searchsorted(group, merged)]

    def search(times: IntArray) -> SortedAxis:
        return SortedAxis.by_key(owner, times[order_within(owner, times, memory.key_count)], memory.key_count)

    return search(comes), search(goes)


def merged_intervals(
    group: IntArray, enter: IntArray, leave: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Merge half-open intervals ``[enter, leave)`` that overlap within a group; empty ones are dropped.

    Parameters
    ----------
    group, enter, leave
        Shape (n,); ascending by group, then ``enter``.

    Returns
    -------
    Group, begin and end of each merged interval, ascending by group and time.

    >>> merged = merged_intervals(np.array([0, 0, 0, 1]), np.array([1, 2, 9, 2]), np.array([4, 3, 9, 5]))
    >>> [column.tolist() for column in merged]
    [[0, 1], [1, 2], [4, 5]]
    """
    kept = leave > enter
    group, enter, leave = group[kept], enter[kept], leave[kept]
    if len(group) == 0:
        return group, enter, leave
    furthest = running_max(group, leave, np.ones(len(group), bool))
    begins = np.ones(len(group), bool)
    begins[1:] = (group[1:] != group[:-1]) | (enter[1:] > furthest[:-1])
    ends = np.r_[begins[1:], True]
    return group[begins], enter[begins], furthest[ends]
