"""Values sorted within keys: searched for many queries at once, and summed or followed along the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from features.parallel import each_part, parts_of

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.signedinteger]
Prefix = npt.NDArray[np.signedinteger]

NEVER = np.iinfo(np.int64).min
"""Stands for a time that has not happened; becomes NaN in features."""

EXPANSION_ROWS = 4_000_000
"""Most (row, event) pairs held at once where events have to be looked at one by one."""

SPARSE = 4
"""Where there are more than this many times as many keys as entries, keys are not counted one by one."""

_PART_SPAN = 2.0**62
"""Up to about this many different values of (key, value) are one integer."""


def stable_order(keys: Keys, key_count: int) -> IntArray:
    """Return the positions of keys from 0 to ``key_count - 1`` in ascending order, equal keys in place order.

    >>> stable_order(np.array([1, 0, 1, 0]), 2)
    array([1, 3, 0, 2])
    """
    if key_count > SPARSE * len(keys):
        return np.argsort(keys, kind="stable")
    order = np.empty(len(keys), np.int64)
    _put_in_order(keys, begins_of(keys, key_count), order)
    return order


def begins_of(keys: Keys, key_count: int) -> IntArray:
    """Return where each key begins once keys are in order, shape (key_count + 1,).

    >>> begins_of(np.array([1, 0, 1]), 2)
    array([0, 1, 3])
    """
    begins = np.zeros(key_count + 1, np.int64)
    _count(keys, begins[1:])
    return np.cumsum(begins, out=begins)


@compiled
def _count(keys: Keys, counts: IntArray) -> None:
    for key in keys:
        counts[key] += 1


@compiled
def _put_in_order(keys: Keys, following: IntArray, order: IntArray) -> None:
    """Put positions where they belong; ``following`` is where the next one of each key goes."""
    for place in range(len(keys)):
        key = keys[place]
        order[following[key]] = place
        following[key] += 1


def order_within(keys: IntArray, values: IntArray, key_count: int) -> IntArray:
    """Return the positions in ascending order of key, then value, equal ones in place order.

    >>> order_within(np.array([1, 0, 1, 0]), np.array([5, 9, 4, 7]), 2)
    array([3, 1, 2, 0])
    """
    if (values[1:] >= values[:-1]).all():
        return stable_order(keys, key_count)
    by_value = np.argsort(values, kind="stable")
    return by_value[stable_order(keys[by_value], key_count)]


class SortedAxis:
    """Values sorted within keys, searchable for many (key, value) queries at once.

    Parameters
    ----------
    keys, values
        Shape (n,), ascending by both.
    key_count
        Keys are from 0 to ``key_count - 1``. Most of them may be without values.
    """

    def __init__(self, keys: Keys, values: IntArray, key_count: int) -> None:
        self.values = values
        self._present: IntArray | None = None
        if key_count > SPARSE * (len(values) + 1):
            new_key = np.r_[True, keys[1:] != keys[:-1]][: len(values)]
            self._present, keys = keys[new_key], np.cumsum(new_key) - 1
            key_count = len(self._present)
        self._begins = begins_of(keys, key_count)

    def of(self, keys: Keys) -> Lookup:
        """Return the searches within the keys of many rows, shape (n_rows,)."""
        if len(self.values) == 0:
            nothing = np.zeros(len(keys), np.int64)
            return Lookup(self.values, nothing, nothing)
        if self._present is None:
            return Lookup(self.values, self._begins.take(keys), self._begins[1:].take(keys))
        place = np.searchsorted(self._present, keys)
        known = np.minimum(place, len(self._present) - 1)
        begin = self._begins[place]
        end = np.where(self._present[known] == keys, self._begins[known + 1], begin)
        return Lookup(self.values, begin, end)

    def positions(self, keys: Keys, at_most: IntArray) -> IntArray:
        """Return for each query the end of its key's entries with a value ``<= at_most``.

        Returns
        -------
        Shape (n_rows,): positions in the sorted arrays, from the first entry of the key (nothing found) on.
        """
        return self.of(keys).positions(at_most)


@dataclass(frozen=True)
class Lookup:
    """Searches along an axis within the keys of some rows.

    Attributes
    ----------
    values
        Of the axis.
    begin, end
        Shape (n_rows,): where the entries of each row's key lie.
    """

    values: IntArray
    begin: IntArray
    end: IntArray

    def positions(self, at_most: IntArray) -> IntArray:
        """Return for each row the end of its key's entries with a value ``<= at_most``, shape (n_rows,)."""
        found = np.empty(len(at_most), np.int64)

        def search(rows: slice) -> None:
            _search(self.values, self.begin[rows], self.end[rows], at_most[rows], found[rows])

        each_part(search, parts_of(len(at_most)), work=len(at_most))
        return found


@compiled
def _search(values: IntArray, begin: IntArray, end: IntArray, at_most: IntArray, found: IntArray) -> None:
    """Search each row between its begin and end; along rows that ascend it goes on from where it was."""
    for row in range(len(at_most)):
        low, high, sought = begin[row], end[row], at_most[row]
        if row > 0 and low == begin[row - 1] and high == end[row - 1] and sought >= at_most[row - 1]:
            low, step = found[row - 1], 1
            while low + step <= high and values[low + step - 1] <= sought:
                low += step
                step *= 2
            high = min(high, low + step - 1)
        while low < high:
            middle = (low + high) >> 1
            if values[middle] <= sought:
                low = middle + 1
            else:
                high = middle
        found[row] = low


def expand(
    starts: IntArray, ends: IntArray, at_once: int = EXPANSION_ROWS
) -> Iterator[tuple[slice, IntArray, IntArray]]:
    """Enumerate the positions of many ranges, about ``at_once`` at a time; a range is never divided.

    Yields
    ------
    rows
        The slice of ranges covered.
    row
        Shape (n_pairs,): for each position the range it belongs to, counted from the slice's start.
    position
        Shape (n_pairs,).

    >>> [(row.tolist(), position.tolist()) for _, row, position in expand(np.array([3, 8]), np.array([5, 9]))]
    [([0, 0, 1], [3, 4, 8])]
    """
    lengths = np.maximum(ends - starts, 0)
    totals = np.cumsum(lengths)
    first, done = 0, 0
    while first < len(lengths):
        last = max(int(np.searchsorted(totals, done + at_once, side="right")), first + 1)
        size = lengths[first:last]
        row = np.repeat(np.arange(last - first), size)
        offset = np.cumsum(size) - size
        yield slice(first, last), row, np.arange(int(size.sum())) - offset[row] + starts[first:last][row]
        first, done = last, int(totals[last - 1])


def running_max(keys: IntArray, values: IntArray, counts: BoolArray) -> IntArray:
    """Return the largest value so far within each key, over the entries that count; `NEVER` before the first.

    Parameters
    ----------
    keys, values, counts
        Shape (n,); ``keys`` ascending. An entry with the value `NEVER` does not count.

    >>> running_max(np.array([0, 0, 0, 1]), np.array([5, 3, 9, 1]), np.array([True, True, False, True]))
    array([5, 5, 5, 1])
    """
    counts = counts & (values != NEVER)
    counted = np.flatnonzero(counts)
    if len(counted) == 0:
        return np.full(len(keys), NEVER)
    owners, largest = keys[counted], values[counted]
    begins = np.r_[True, owners[1:] != owners[:-1]]
    if not (begins[1:] | (largest[1:] >= largest[:-1])).all():
        largest = _accumulated(begins, largest)
    if len(counted) == len(keys):
        return largest
    so_far = np.cumsum(counts)
    latest = np.maximum(so_far - 1, 0)
    return np.where((so_far > 0) & (owners[latest] == keys), largest[latest], NEVER)


def _accumulated(begins: BoolArray, values: IntArray) -> IntArray:
    """Return the running maximum from each beginning on; every entry counts."""
    starts = np.flatnonzero(begins)
    lowest = np.minimum.reduceat(values, starts)
    span = np.maximum.reduceat(values, starts).astype(np.float64) - lowest
    if span.sum() + len(starts) < _PART_SPAN:
        length = np.maximum.reduceat(values, starts) - lowest + 1
        shift = np.repeat(np.cumsum(length) - length - lowest, np.diff(np.r_[starts, len(values)]))
        laid_out: IntArray = np.maximum.accumulate(values + shift)
        laid_out -= shift
        return laid_out
    distinct, rank = np.unique(values, return_inverse=True)
    base = (np.cumsum(begins) - 1) * len(distinct)
    best: IntArray = np.maximum.accumulate(base + rank)
    return distinct[best - base]


def prefix_sum(values: IntArray | BoolArray) -> Prefix:
    """Return the sums of the first 0, 1, … n values, shape (n + 1,), as int32 where that holds them.

    >>> prefix_sum(np.array([3, 4]))
    array([0, 3, 7], dtype=int32)
    """
    prefix: Prefix = np.zeros(len(values) + 1, np.int32 if values.dtype == np.bool_ else np.int64)
    np.cumsum(values, out=prefix[1:])
    if prefix.dtype == np.int32:
        return prefix
    fits = prefix.min() >= -(2**31) and prefix.max() < 2**31
    return prefix.astype(np.int32) if fits else prefix


def count_so_far(codes: npt.NDArray[np.integer], is_meant: BoolArray) -> Prefix:
    """Return how many of the first 0, 1, … n codes are meant, shape (n + 1,).

    >>> count_so_far(np.array([3, 1, 3]), np.arange(4) == 3)
    array([0, 1, 1, 2], dtype=int32)
    """
    prefix: Prefix = np.zeros(len(codes) + 1, np.int32)
    _count_meant(codes, is_meant, prefix)
    return prefix


def sum_so_far(codes: npt.NDArray[np.integer], is_meant: BoolArray, values: IntArray) -> Prefix:
    """Return the sums of the values whose code is meant, of the first 0, 1, … n, as `prefix_sum` does.

    >>> sum_so_far(np.array([3, 1, 3]), np.arange(4) == 3, np.array([5, 6, 7]))
    array([ 0,  5,  5, 12], dtype=int32)
    """
    prefix: Prefix = np.zeros(len(codes) + 1, np.int64)
    fits = _sum_meant(codes, is_meant, values, prefix)
    return prefix.astype(np.int32) if fits else prefix


@compiled
def _count_meant(codes: npt.NDArray[np.integer], is_meant: BoolArray, prefix: Prefix) -> None:
    count = 0
    for place in range(len(codes)):
        count += is_meant[codes[place]]
        prefix[place + 1] = count


@compiled
def _sum_meant(codes: npt.NDArray[np.integer], is_meant: BoolArray, values: IntArray, prefix: Prefix) -> bool:
    """Fill prefix sums; return whether all of them fit 32 bits."""
    total = lowest = highest = np.int64(0)
    for place in range(len(codes)):
        if is_meant[codes[place]]:
            total += values[place]
        lowest, highest = min(lowest, total), max(highest, total)
        prefix[place + 1] = total
    return bool(lowest >= -(2**31) and highest < 2**31)
