"""Values sorted within keys: searched for many queries at once, and summed or followed along the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
LineArray = npt.NDArray[np.uint64]
Prefix = npt.NDArray[np.signedinteger]

NEVER = np.iinfo(np.int64).min
"""Stands for a time that has not happened; becomes NaN in features."""

EXPANSION_ROWS = 4_000_000
"""Most (row, event) pairs held at once where events have to be looked at one by one."""

MERGED_FROM = 20_000
MERGED_SHARE = 40
"""So many sorted queries, and one for so many entries, are merged with them instead of searched for."""

_PART_SPAN = 2.0**62
"""At about this many different values of (key, value) a new part of the line begins."""


def stable_order(keys: IntArray, key_count: int) -> IntArray:
    """Return the positions of keys from 0 to ``key_count - 1`` in ascending order, equal keys in place order.

    >>> stable_order(np.array([1, 0, 1, 0]), 2)
    array([1, 3, 0, 2])
    """
    bits = len(keys).bit_length()
    if key_count << bits >= 2**63:
        return np.argsort(keys, kind="stable")
    # Sorting numbers that carry their position is several times as fast as sorting positions by number.
    packed = keys << bits
    packed |= np.arange(len(keys))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


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

    Each key's values are laid out on one line, from the key's first to its last, so that a key and a value
    are one number. Where the line would be longer than 64 bits count, it is cut into parts between keys.

    Parameters
    ----------
    keys, values
        Shape (n,), ascending by both; values of one key lie less than 2**63 apart.
    key_count
        Keys are from 0 to ``key_count - 1``. Most of them may be without values.
    """

    def __init__(self, keys: IntArray, values: IntArray, key_count: int) -> None:
        self.size = len(values)
        self._present: IntArray | None = None
        if key_count > 4 * (self.size + 1):
            new_key = np.r_[True, keys[1:] != keys[:-1]][: self.size]
            self._present, keys = keys[new_key], np.cumsum(new_key) - 1
            key_count = len(self._present)
        self.offsets = np.searchsorted(keys, np.arange(key_count + 1)).astype(np.int64)
        """Shape (key_count + 1,): where each key's values begin."""
        if self.size == 0:
            return
        begin, end = self.offsets[:-1], self.offsets[1:]
        self.first = values[np.minimum(begin, self.size - 1)]
        self.last = np.where(end > begin, values[end - 1], self.first - 1)
        length = (self.last - self.first).view(np.uint64) + np.uint64(1)
        part = np.cumsum(length, dtype=np.float64) // _PART_SPAN
        firsts = np.flatnonzero(np.r_[True, part[1:] != part[:-1]])
        self.part_keys = np.r_[firsts, key_count]
        """Where each part begins, as a key; and the end."""
        line_begin = np.cumsum(length) - length
        line_begin -= np.repeat(line_begin[firsts], np.diff(self.part_keys))
        self.shift = line_begin - self.first.view(np.uint64)
        """Shape (key_count,): added to a value it is its place on its part of the line."""
        self.line = np.repeat(self.shift, end - begin)
        """Shape (n,): ascending within each part."""
        self.line += values.view(np.uint64)

    def of(self, keys: IntArray) -> Lookup:
        """Return the searches within the keys of many rows, shape (n_rows,)."""
        if self.size == 0:
            nothing = np.zeros(len(keys), np.int64)
            return Lookup(self, keys, nothing, nothing, nothing, nothing, nothing.view(np.uint64))
        if self._present is None:
            begin, end = self.offsets[keys], self.offsets[1:][keys]
            return Lookup(self, keys, begin, end, self.first[keys], self.last[keys], self.shift[keys])
        place = np.searchsorted(self._present, keys)
        known = np.minimum(place, len(self._present) - 1)
        is_there = self._present[known] == keys
        begin, last = self.offsets[place], np.where(is_there, self.last[known], NEVER)
        end = np.where(is_there, self.offsets[1:][known], begin)
        return Lookup(self, known, begin, end, self.first[known], last, self.shift[known])

    def positions(self, keys: IntArray, at_most: IntArray) -> IntArray:
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
    begin, end
        Shape (n_rows,): where the entries of each row's key lie.
    first, last
        Shape (n_rows,): their smallest and largest value.
    """

    axis: SortedAxis
    keys: IntArray
    begin: IntArray
    end: IntArray
    first: IntArray
    last: IntArray
    shift: LineArray

    def positions(self, at_most: IntArray) -> IntArray:
        """Return for each row the end of its key's entries with a value ``<= at_most``, shape (n_rows,)."""
        is_behind = at_most >= self.last
        found = np.where(is_behind, self.end, self.begin)
        sought = np.flatnonzero((at_most >= self.first) > is_behind)
        if len(sought):
            found[sought] = self._search(sought, at_most[sought].view(np.uint64) + self.shift[sought])
        return found

    def _search(self, rows: IntArray, places: LineArray) -> IntArray:
        axis = self.axis
        if len(axis.part_keys) == 2:
            if is_worth_merging(axis.line, places):
                return merged_ends(self._entries, places)
            return np.searchsorted(axis.line, places, side="right").astype(np.int64)
        keys = self.keys[rows]
        found = np.empty(len(rows), np.int64)
        for first, end in pairwise(axis.part_keys.tolist()):
            mine = np.flatnonzero((keys >= first) & (keys < end))
            begin, stop = axis.offsets[[first, end]]
            found[mine] = begin + np.searchsorted(axis.line[begin:stop], places[mine], side="right")
        return found

    @cached_property
    def _entries(self) -> pl.DataFrame:
        return entries_of(self.axis.line)


def is_worth_merging(line: LineArray, places: LineArray) -> bool:
    """Tell whether places ascend and are so many that walking along them and the line is the faster way."""
    if len(places) < MERGED_FROM or len(places) * MERGED_SHARE < len(line):
        return False
    return bool((places[1:] >= places[:-1]).all())


def entries_of(line: LineArray) -> pl.DataFrame:
    """Return a line as `merged_ends` takes it."""
    return _frame(place=line, end=np.arange(1, len(line) + 1, dtype=np.uint32))


def merged_ends(entries: pl.DataFrame, places: LineArray) -> IntArray:
    """Return for each of ascending places the end of the entries of a line that are not beyond it.

    Walking along both is several times as fast as searching, whose every step is a guess to the processor.

    >>> merged_ends(entries_of(np.array([2, 5, 5], np.uint64)), np.array([1, 5, 9], np.uint64))
    array([0, 3, 3])
    """
    found = _frame(place=places).join_asof(entries, on="place", check_sortedness=False)["end"]
    ends: IntArray = found.fill_null(0).cast(pl.Int64).to_numpy()
    return ends


def _frame(**columns: npt.NDArray[np.unsignedinteger]) -> pl.DataFrame:
    """Return a frame that shares its memory with the arrays; its places are sorted."""
    return pl.DataFrame(pa.table({name: pa.array(values) for name, values in columns.items()})).set_sorted(
        "place"
    )


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
