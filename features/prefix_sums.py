"""Sums of the first so many entries: those of any range are the difference of two of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from features.key_order import BoolArray, IntArray, Positions

Prefix = npt.NDArray[np.signedinteger]


def prefix_sum(values: IntArray | BoolArray) -> Prefix:
    """Return the sums of the first 0, 1, … n values, shape (n + 1,).

    They are int32 where that holds them and the difference of any two.

    >>> prefix_sum(np.array([3, 4]))
    array([0, 3, 7], dtype=int32)
    """
    prefix: Prefix = np.zeros(len(values) + 1, np.int32 if values.dtype == np.bool_ else np.int64)
    np.cumsum(values, out=prefix[1:])
    if prefix.dtype == np.int32:
        return prefix
    fits = int(prefix.max()) < int(prefix.min()) + 2**31
    return prefix.astype(np.int32) if fits else prefix


def count_so_far(codes: npt.NDArray[np.integer], is_meant: BoolArray) -> Prefix:
    """Return how many of the first 0, 1, … n codes are meant, shape (n + 1,).

    >>> count_so_far(np.array([3, 1, 3]), np.arange(4) == 3)
    array([0, 1, 1, 2], dtype=int32)
    """
    prefix: Prefix = np.zeros(len(codes) + 1, np.int32)
    _count_meant(codes, is_meant, prefix)
    return prefix


def sum_so_far(
    codes: npt.NDArray[np.integer], is_meant: BoolArray, values: IntArray, positions: Positions | None = None
) -> Prefix:
    """Return the sums of the values whose code is meant, of the first 0, 1, … n, as `prefix_sum` does.

    Parameters
    ----------
    positions
        Shape (n,): where the value of each code stands, if not at the same place.

    >>> sum_so_far(np.array([3, 1, 3]), np.arange(4) == 3, np.array([5, 6, 7]))
    array([ 0,  5,  5, 12], dtype=int32)
    """
    prefix: Prefix = np.zeros(len(codes) + 1, np.int64)
    fits = _sum_meant(codes, is_meant, values, positions, prefix)
    return prefix.astype(np.int32) if fits else prefix


@compiled
def _count_meant(codes: npt.NDArray[np.integer], is_meant: BoolArray, prefix: Prefix) -> None:
    count = 0
    for place in range(len(codes)):
        count += is_meant[codes[place]]
        prefix[place + 1] = count


@compiled
def _sum_meant(
    codes: npt.NDArray[np.integer],
    is_meant: BoolArray,
    values: IntArray,
    positions: Positions | None,
    prefix: Prefix,
) -> bool:
    """Fill prefix sums; return whether they and all differences fit 32 bits."""
    total = lowest = highest = np.int64(0)
    for place in range(len(codes)):
        if is_meant[codes[place]]:
            total += values[place if positions is None else positions[place]]
        lowest, highest = min(lowest, total), max(highest, total)
        prefix[place + 1] = total
    return bool(highest < lowest + 2**31)
