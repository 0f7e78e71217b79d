"""Texts numbered: the same number for the same text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from features.parallel import each_part
from features.sorted_axis import IntArray

PART = 131_072
"""Texts looked at together: few enough for the processor's cache."""

HALF = np.uint64(2**63)
"""Texts with hashes below it are numbered apart from those above, at the same time."""

HashArray = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class TextCodes:
    """The numbers of texts.

    Attributes
    ----------
    codes
        Shape (n,): the number of each text.
    order
        Shape (n,): positions in ascending order of number, equal ones in place order.
    in_order
        Shape (n,): the number of the text at each of these positions.
    distinct
        The texts in the order of their numbers, which is no order of the texts.
    """

    codes: IntArray
    order: IntArray
    in_order: IntArray
    distinct: pl.Series


def text_codes(texts: pl.Series) -> TextCodes:
    """Number the distinct texts; null is numbered like a text.

    >>> found = text_codes(pl.Series(["b", "a", "b"]))
    >>> bool(found.codes[0] == found.codes[2]), found.distinct.gather(found.codes).to_list()
    (True, ['b', 'a', 'b'])
    """
    return codes_by_hash(texts, lambda part: part.hash().to_numpy())


def codes_by_hash(texts: pl.Series, hashed: Callable[[pl.Series], HashArray]) -> TextCodes:
    """Number texts by sorting their hashes; each text is then compared with the first of its number.

    Should two different texts have met under one number, they are numbered by comparing instead.
    """
    size = len(texts)
    bits = np.uint64(size.bit_length())
    packed = np.empty(size, np.uint64)

    # Sorting numbers that carry their position is several times as fast as sorting positions by number. What
    # the positions leave of the hashes still seldom lets two texts meet.
    def pack(part: slice) -> None:
        hashes = hashed(texts[part]) >> bits << bits
        packed[part] = hashes | np.arange(part.start, part.start + len(hashes), dtype=np.uint64)

    each_part(pack, _parts(size), work=size)
    is_high = packed >= HALF
    middle = size - int(np.count_nonzero(is_high))
    low, high = slice(0, middle), slice(middle, size)
    in_order, order = np.empty(size, np.int64), np.empty(size, np.int64)

    def numbered(half: slice) -> pl.Series:
        hashes = in_order[half].view(np.uint64)
        np.compress(is_high == (half is high), packed, out=hashes)
        hashes.sort()
        np.bitwise_and(hashes, (np.uint64(1) << bits) - np.uint64(1), out=order[half].view(np.uint64))
        hashes >>= bits
        begins = np.ones(len(hashes), bool)
        np.not_equal(hashes[1:], hashes[:-1], out=begins[1:])
        np.cumsum(begins, out=in_order[half])
        return texts.gather(order[half][begins])

    distincts = each_part(numbered, (low, high), work=size)
    in_order[low] -= 1
    in_order[high] += len(distincts[0]) - 1
    distinct = pl.concat(distincts)
    codes = packed.view(np.int64)

    def place(half: slice) -> None:
        codes[order[half]] = in_order[half]

    def same(part: slice) -> bool:
        return bool(distinct.gather(codes[part]).eq_missing(texts[part]).all())

    each_part(place, (low, high), work=size)
    if all(each_part(same, _parts(size), work=size)):
        return TextCodes(codes, order, in_order, distinct)
    return _by_comparison(texts)


def _by_comparison(texts: pl.Series) -> TextCodes:
    distinct = texts.unique(maintain_order=True)
    numbers = pl.DataFrame({"text": distinct}).with_row_index("code")
    found = pl.DataFrame({"text": texts}).join(
        numbers, on="text", how="left", nulls_equal=True, maintain_order="left"
    )
    codes = found["code"].cast(pl.Int64).to_numpy()
    order = np.argsort(codes, kind="stable")
    return TextCodes(codes, order, codes[order], distinct)


def _parts(size: int) -> list[slice]:
    return [slice(start, start + PART) for start in range(0, max(size, 1), PART)]
