"""Merged intervals against the instants they cover; what is counted with them is in `test_windows`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.presence import merged_intervals


@given(
    intervals=st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 9), st.integers(0, 6)), max_size=20).map(
        sorted
    )
)
def test_merged_intervals_cover_the_same_instants_and_do_not_meet(
    intervals: list[tuple[int, int, int]],
) -> None:
    group, enter, length = (np.array([part[i] for part in intervals], np.int64) for i in range(3))
    merged = list(zip(*(c.tolist() for c in merged_intervals(group, enter, enter + length)), strict=True))
    covered = {(g, at) for g, begin, size in intervals for at in range(begin, begin + size)}
    assert [(g, at) for g, begin, end in merged for at in range(begin, end)] == sorted(covered)
    assert all(end < begin for (g, _, end), (h, begin, _) in pairwise(merged) if g == h)


def test_nothing_is_merged_of_nothing() -> None:
    nothing = np.empty(0, np.int64)
    assert [column.tolist() for column in merged_intervals(nothing, nothing, nothing)] == [[], [], []]
