"""Sums of the first so many entries against adding them up."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.prefix_sums import count_so_far, prefix_sum, sum_so_far


@given(
    entries=st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**40), 2**40)), max_size=30),
    meant=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_sums_so_far_take_what_is_meant(entries: list[tuple[int, int]], meant: list[bool]) -> None:
    codes, values = (np.array([entry[i] for entry in entries], np.int64) for i in range(2))
    counted = [meant[code] for code, _ in entries]
    summed = [value * meant[code] for code, value in entries]
    assert count_so_far(codes, np.array(meant)).tolist() == [sum(counted[:n]) for n in range(len(codes) + 1)]
    found = sum_so_far(codes.astype(np.uint8), np.array(meant), values)
    assert found.tolist() == [sum(summed[:n]) for n in range(len(codes) + 1)]
    assert found.dtype == prefix_sum(np.array(summed, np.int64)).dtype
    # The values may stand elsewhere, in any order.
    elsewhere = np.arange(len(codes), dtype=np.int32)[::-1].copy()
    again = sum_so_far(codes.astype(np.uint8), np.array(meant), values[::-1].copy(), elsewhere)
    assert (again.dtype, again.tolist()) == (found.dtype, found.tolist())


def test_prefix_sums_are_narrow_where_they_fit_and_right_where_they_do_not() -> None:
    assert prefix_sum(np.array([True, False, True])).tolist() == [0, 1, 1, 2]
    for values, kind in (
        ([2**31 - 1], np.int32),
        ([2**31], np.int64),
        ([-(2**31) - 1, 5], np.int64),
        ([2**30, -(2**31) + 1], np.int32),
        ([2**30, -(2**31)], np.int64),  # each fits, but not the one less the other
    ):
        prefix = prefix_sum(np.array(values))
        assert prefix.dtype == kind
        whole = sum_so_far(np.zeros(len(values), np.uint8), np.array([True]), np.array(values))
        assert (whole.dtype, whole.tolist()) == (kind, prefix.tolist())
        assert prefix.tolist() == [0, *np.cumsum(values).tolist()]
