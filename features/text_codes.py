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
    distinct
        The texts in the order of their numbers, which is no order of the texts.
    """

    codes: IntArray
    order: IntArray
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

    each_part(pack, _parts(size))
    packed.sort()
    order = (packed & ((np.uint64(1) << bits) - np.uint64(1))).view(np.int64)
    packed >>= bits
    begins = np.ones(size, bool)
    np.not_equal(packed[1:], packed[:-1], out=begins[1:])
    distinct = texts.gather(order[begins])
    number = packed.view(np.int64)
    np.cumsum(begins, out=number)
    number -= 1
    codes = np.empty(size, np.int64)
    codes[order] = number
    if _are_those(texts, distinct, codes):
        return TextCodes(codes, order, distinct)
    distinct = texts.unique(maintain_order=True)
    numbers = pl.DataFrame({"text": distinct}).with_row_index("code")
    found = pl.DataFrame({"text": texts}).join(
        numbers, on="text", how="left", nulls_equal=True, maintain_order="left"
    )
    codes = found["code"].cast(pl.Int64).to_numpy()
    return TextCodes(codes, np.argsort(codes, kind="stable"), distinct)


def _are_those(texts: pl.Series, distinct: pl.Series, codes: IntArray) -> bool:
    def same(part: slice) -> bool:
        return bool(distinct.gather(codes[part]).eq_missing(texts[part]).all())

    return all(each_part(same, _parts(len(texts))))


def _parts(size: int) -> list[slice]:
    return [slice(start, start + PART) for start in range(0, max(size, 1), PART)]
