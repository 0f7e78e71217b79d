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
from features.parallel import parts_of
from features.sorted_axis import IntArray

PART = 32_768
"""Texts hashed together: few enough for the processor's cache."""

SLOTS = 2**12
"""Of a table to begin with."""

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
        Shape (n,): the number of each text.
    first
        Shape (n_distinct,): where each number came first.
    """

    texts: pl.Series
    codes: IntArray
    first: IntArray

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
    (array([0, 1, 0]), ['b', 'a'])
    """
    seed = secrets.randbits(64)
    return codes_by_hash(texts, lambda part: part.hash().to_numpy(), lambda part: part.hash(seed).to_numpy())


def codes_by_hash(texts: pl.Series, hashed: Hashed, confirmed: Hashed) -> TextCodes:
    """Number texts by a hash that finds them, and another that tells those apart that meet in the first."""
    codes, numbers = np.empty(len(texts), np.int64), _Numbers()
    for part in parts_of(len(texts), at_most=PART):
        numbers.give(hashed(texts[part]), confirmed(texts[part]), codes[part])
    return TextCodes(texts, codes, numbers.first[: numbers.count])


class _Numbers:
    """Numbers given to hashes in the order in which they come, in a table that grows with them.

    A slot of the table holds the upper 32 bits of a hash and its number from 1 on; an empty one is 0.
    """

    def __init__(self) -> None:
        self.count = 0
        self._seen = 0
        self.first = np.empty(SLOTS // 2, np.int64)
        """Which of all hashes each number was given to first."""
        self._hash, self._confirming = np.empty(SLOTS // 2, np.uint64), np.empty(SLOTS // 2, np.uint64)
        self._table = np.zeros(SLOTS, np.uint64)

    def give(self, hashes: HashArray, confirming: HashArray, codes: IntArray) -> None:
        """Number further hashes."""
        done = 0
        while True:
            known = (self.first, self._hash, self._confirming)
            here = (hashes[done:], confirming[done:], codes[done:])
            numbered, self.count = _number(*here, self._table, *known, self._seen, self.count)
            done += numbered
            self._seen += numbered
            if done == len(hashes):
                return
            self.first = np.concatenate([self.first, np.empty(3 * self.count, np.int64)])
            self._hash, self._confirming = (
                np.concatenate([one, np.empty(3 * self.count, np.uint64)])
                for one in (self._hash, self._confirming)
            )
            self._table = np.zeros(4 * len(self._table), np.uint64)
            _enter(self._hash[: self.count], self._table)


@compiled
def _number(
    hashes: HashArray,
    confirming: HashArray,
    codes: IntArray,
    table: HashArray,
    first: IntArray,
    known_hash: HashArray,
    known_confirming: HashArray,
    seen: int,
    count: int,
) -> tuple[int, int]:
    """Number hashes until there is no room for more; return how many were, and how many numbers there are."""
    lower, last = np.uint64(0xFFFFFFFF), np.uint64(len(table) - 1)
    place = 0
    while place < len(hashes) and count < len(first):
        sought, also = hashes[place], confirming[place]
        slot = sought & last
        while True:
            entry = table[slot]
            number = np.int64(entry & lower) - 1
            if number < 0:
                first[count], known_hash[count], known_confirming[count] = seen + place, sought, also
                codes[place] = count
                count += 1
                table[slot] = (sought & ~lower) | np.uint64(count)
                break
            if (entry ^ sought) <= lower and known_confirming[number] == also:
                codes[place] = number
                break
            slot = (slot + np.uint64(1)) & last
        place += 1
    return place, count


@compiled
def _enter(hashes: HashArray, table: HashArray) -> None:
    """Enter numbered hashes, all different, into an empty table."""
    lower, last = np.uint64(0xFFFFFFFF), np.uint64(len(table) - 1)
    for number in range(len(hashes)):
        slot = hashes[number] & last
        while table[slot] != 0:
            slot = (slot + np.uint64(1)) & last
        table[slot] = (hashes[number] & ~lower) | np.uint64(number + 1)
