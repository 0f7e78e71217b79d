"""Texts numbered: the same number for the same text."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from features.compiled import compiled
from features.key_order import IntArray
from features.parallel import each_ahead, parts_of

PART = 32_768
"""Texts hashed together: few enough for the processor's cache."""

BLOCK = 2_048
"""Hashes numbered together."""

CodeArray = npt.NDArray[np.int32]
HashArray = npt.NDArray[np.uint64]
Hashed = Callable[[pl.Series], HashArray]


@dataclass(frozen=True)
class TextCodes:
    """The numbers of texts, in the order in which each came first.

    Attributes
    ----------
    texts
        The texts.
    codes
        Shape (n,), int32: the number of each text.
    count
        How many different texts there are.
    """

    texts: pl.Series
    codes: CodeArray
    count: int

    @cached_property
    def first(self) -> IntArray:
        """Shape (count,): where each number came first."""
        first = np.empty(self.count, np.int64)
        _put_first(self.codes, first)
        return first

    @cached_property
    def distinct(self) -> pl.Series:
        """The different texts, by number."""
        return self.texts.gather(self.first)


def text_codes(texts: pl.Series) -> TextCodes:
    """Number the distinct texts; null is numbered like a text.

    Texts are the same if 96 bits of two hashes are, the second with a seed drawn anew each time: of a billion
    different texts any two are taken for one once in a hundred billion times.

    >>> found = text_codes(pl.Series(["b", "a", "b"]))
    >>> found.codes, found.distinct.to_list()
    (array([0, 1, 0], dtype=int32), ['b', 'a'])
    """
    seed = secrets.randbits(64)
    return codes_by_hash(texts, lambda part: part.hash().to_numpy(), lambda part: part.hash(seed).to_numpy())


def codes_by_hash(texts: pl.Series, hashed: Hashed, confirmed: Hashed) -> TextCodes:
    """Number texts by a hash that finds them, and another that tells those apart that meet in the first."""
    codes, numbers = np.empty(len(texts), np.int32), _Numbers()

    def hashes_of(part: slice) -> tuple[HashArray, HashArray]:
        return hashed(texts[part]), confirmed(texts[part])

    parts = parts_of(len(texts), at_most=PART)
    for part, hashes in zip(parts, each_ahead(hashes_of, parts, work=len(texts)), strict=True):
        numbers.give(*hashes, codes[part])
    return TextCodes(texts, codes, numbers.count)


class _Numbers:
    """Numbers given to hashes in the order in which they come, in a table that grows with them.

    A slot of the table holds the upper 32 bits of a hash with its number from 1 on; an empty one holds 0.
    """

    def __init__(self) -> None:
        self.count = 0
        self._table = np.zeros(4 * BLOCK, np.uint64)
        self._known = np.empty((2 * BLOCK, 2), np.uint64)
        """Both hashes of each number."""

    def give(self, hashes: HashArray, confirming: HashArray, codes: CodeArray) -> None:
        """Number further hashes."""
        done = 0
        while done < len(hashes):
            if self.count + BLOCK > len(self._known):
                self._grow()
            rest = slice(done, None)
            numbered, self.count, _ = _number(
                hashes[rest], confirming[rest], codes[rest], self._table, self._known, self.count
            )
            done += numbered

    def _grow(self) -> None:
        smaller = self._table
        self._table = np.zeros(2 * len(smaller), np.uint64)
        _enter(smaller, self._known, self._table)
        self._known = np.concatenate([self._known, np.empty_like(self._known)])


@compiled
def _number(
    hashes: HashArray, confirming: HashArray, codes: CodeArray, table: HashArray, known: HashArray, count: int
) -> tuple[int, int, np.uint64]:
    """Number hashes block by block while there is room for as many numbers.

    Returns
    -------
    How many hashes are numbered, how many numbers there are, and what was seen in the table: that makes sure
    that all slots of a block are looked at together. One by one, each would be waited for.
    """
    lower, last, seen = np.uint64(0xFFFFFFFF), np.uint64(len(table) - 1), np.uint64(0)
    begin = 0
    while begin < len(hashes) and count + BLOCK <= len(known):
        end = min(begin + BLOCK, len(hashes))
        for place in range(begin, end):
            seen |= table[hashes[place] & last]
        for place in range(begin, end):
            sought, also = hashes[place], confirming[place]
            slot = sought & last
            while True:
                entry = table[slot]
                number = np.int64(entry & lower) - 1
                if number < 0:
                    known[count, 0], known[count, 1] = sought, also
                    codes[place] = count
                    count += 1
                    table[slot] = (sought & ~lower) | np.uint64(count)
                    break
                if (entry ^ sought) <= lower and known[number, 1] == also:
                    codes[place] = number
                    break
                slot = (slot + np.uint64(1)) & last
        begin = end
    return begin, count, seen


@compiled
def _enter(smaller: HashArray, known: HashArray, table: HashArray) -> None:
    """Enter what stands in a smaller table into an empty one."""
    lower, last = np.uint64(0xFFFFFFFF), np.uint64(len(table) - 1)
    for old in range(len(smaller)):
        number = np.int64(smaller[old] & lower) - 1
        if number >= 0:
            slot = known[number, 0] & last
            while table[slot] != 0:
                slot = (slot + np.uint64(1)) & last
            table[slot] = smaller[old]


@compiled
def _put_first(codes: CodeArray, first: IntArray) -> None:
    """Find where each number came first; a new one is always the next."""
    count = 0
    for place in range(len(codes)):
        if codes[place] == count:
            first[count] = place
            count += 1
