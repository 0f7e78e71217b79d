"""Values sorted within keys: searched for many queries at once, and summed or followed along the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from features.compiled import compiled
from features.key_order import SPARSE, BoolArray, IntArray, Keys, Positions, begins_of, position_kind
from features.parallel import each_part, parts_of

NEVER = np.iinfo(np.int64).min
"""Stands for a time that has not happened; becomes NaN in features."""

EXPANSION_ROWS = 4_000_000
"""Most (row, event) pairs held at once where events have to be looked at one by one."""

_PART_SPAN = 2.0**62
"""Up to about this many different values of (key, value) are one integer."""


@dataclass(frozen=True)
class SortedAxis:
    """Values sorted within keys, searchable for many (key, value) queries at once.

    Attributes
    ----------
    begins
        Where the values of each key begin, and the last ones end.
    values
        Shape (n,), ascending within a key.
    present
        The keys that ``begins`` tells of, ascending; None where it tells of all from 0 on.
    """

    begins: IntArray
    values: IntArray
    present: Keys | None = None

    @classmethod
    def by_key(cls, keys: Keys, values: IntArray, key_count: int) -> SortedAxis:
        """Return the search through values ascending by key and value, both of shape (n,).

        Keys are from 0 to ``key_count - 1``. Most of them may be without values.
        """
        if key_count <= SPARSE * (len(values) + 1):
            return cls(begins_of(keys, key_count), values)
        new_key = np.r_[True, keys[1:] != keys[:-1]][: len(values)]
        present = keys[new_key]
        return cls(begins_of(np.cumsum(new_key) - 1, len(present)), values, present)

    def of(self, keys: Keys) -> Lookup:
        """Return the searches within the keys of many rows, shape (n_rows,)."""
        if len(self.values) == 0:
            nothing = np.zeros(len(keys), np.int64)
            return Lookup(self.values, nothing, nothing)
        if self.present is None:
            return Lookup(self.values, self.begins.take(keys), self.begins[1:].take(keys))
        place = np.searchsorted(self.present, keys)
        known = np.minimum(place, len(self.present) - 1)
        begin = self.begins[place]
        end = np.where(self.present[known] == keys, self.begins[known + 1], begin)
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

    def positions_before(self, instants: IntArray, lengths: IntArray) -> Positions:
        """Return for each length and row the end of its key's entries ``<= instant - length``.

        Parameters
        ----------
        instants
            Shape (n_rows,).
        lengths
            Shape (n_lengths,).

        Returns
        -------
        Shape (n_lengths, n_rows); as int32 where that holds positions.
        """
        found: Positions = np.empty((len(lengths), len(instants)), position_kind(len(self.values)))
        _search_before(self.values, self.begin, self.end, instants, lengths, found)
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


@compiled
def _search_before(
    values: IntArray,
    begin: IntArray,
    end: IntArray,
    instants: IntArray,
    lengths: IntArray,
    found: Positions,
) -> None:
    """Do what `_search` does for some lengths before each row's instant, one after the other."""
    for row in range(len(instants)):
        first, last, instant = begin[row], end[row], instants[row]
        goes_on = (
            row > 0 and first == begin[row - 1] and last == end[row - 1] and instant >= instants[row - 1]
        )
        for number in range(len(lengths)):
            sought = instant - lengths[number]
            low, high = first, last
            if goes_on:
                low, step = found[number, row - 1], 1
                while low + step <= high and values[low + step - 1] <= sought:
                    low += step
                    step *= 2
                high = min(high, low + step - 1)
            elif number > 0 and lengths[number] >= lengths[number - 1]:
                high = found[number - 1, row]
            while low < high:
                middle = (low + high) >> 1
                if values[middle] <= sought:
                    low = middle + 1
                else:
                    high = middle
            found[number, row] = low


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
