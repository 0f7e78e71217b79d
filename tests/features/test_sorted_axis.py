"""Searches and running maxima against the plainest way to each."""

from __future__ import annotations

import bisect

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.sorted_axis import NEVER, SortedAxis, running_max


def columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([key for key, _ in rows], np.int64), np.array([at for _, at in rows], np.int64)


@given(
    entries=st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9), st.booleans()), max_size=30).map(
        lambda entries: sorted(entries, key=lambda entry: entry[0])
    )
)
def test_the_running_maximum_begins_anew_with_each_key(entries: list[tuple[int, int, bool]]) -> None:
    keys, values, counts = (
        np.array([e[i] for e in entries], kind) for i, kind in enumerate((int, int, bool))
    )
    expected = [
        max((v for k, v, counted in entries[: place + 1] if counted and k == key), default=NEVER)
        for place, (key, _, _) in enumerate(entries)
    ]
    assert running_max(keys, values, counts).tolist() == expected


@given(
    entries=st.lists(st.tuples(st.integers(0, 4), st.integers(-(2**62), 2**62)), max_size=20),
    queries=st.lists(st.tuples(st.integers(0, 4), st.integers(-(2**62), 2**62)), max_size=20),
)
def test_a_search_is_right_however_far_apart_the_values_are(
    entries: list[tuple[int, int]], queries: list[tuple[int, int]]
) -> None:
    entries.sort()
    queries += [(key, at + step) for key, at in entries for step in (-1, 0, 1)]
    axis = SortedAxis.by_key(*columns(entries), 5)
    expected = [bisect.bisect_right(entries, query) for query in queries]
    if entries:
        assert axis.positions(*columns(queries)).tolist() == expected
    # Of a million keys hardly any have values.
    entries, queries = ([(key * 200_000 + 7, at) for key, at in rows] for rows in (entries, queries))
    queries += [(999_999, 0), (0, 0)]
    axis = SortedAxis.by_key(*columns(entries), 1_000_000)
    expected = [bisect.bisect_right(entries, query) for query in queries]
    assert axis.positions(*columns(queries)).tolist() == expected


def test_values_as_far_apart_as_integers_go_are_found() -> None:
    keys, values = np.array([0, 0, 1, 2]), np.array([-(2**62), 2**62, -(2**62), 7])
    axis = SortedAxis.by_key(keys, values, 3)
    assert axis.positions(keys, values).tolist() == [1, 2, 3, 4]
    assert axis.positions(keys, values - 1).tolist() == [0, 1, 2, 3]


def test_nothing_is_made_of_nothing() -> None:
    nothing = np.empty(0, np.int64)
    assert SortedAxis.by_key(nothing, nothing, 2).positions(np.array([0, 1]), np.array([5, 5])).tolist() == [
        0,
        0,
    ]
    assert running_max(nothing, nothing, nothing.astype(bool)).tolist() == []


def test_rows_that_ascend_or_jump_about_are_found_alike() -> None:
    random = np.random.default_rng(5)
    keys = np.sort(random.integers(0, 40, 3_000))
    values = random.integers(-500, 500, 3_000)
    values = values[np.lexsort((values, keys))]
    axis, entries = (
        SortedAxis.by_key(keys, values, 41),
        list(zip(keys.tolist(), values.tolist(), strict=True)),
    )
    rows = [(int(key), int(at)) for key, at in zip(*random.integers(-600, 600, (2, 5_000)), strict=True)]
    rows = [(abs(key) % 41, at) for key, at in rows]
    for asked in (rows, sorted(rows), sorted(rows, reverse=True)):
        expected = [bisect.bisect_right(entries, query) for query in asked]
        assert axis.positions(*columns(asked)).tolist() == expected


@given(
    entries=st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 9)), max_size=40),
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 20)), max_size=20),
    lengths=st.lists(st.integers(0, 15), max_size=4),
    ascending=st.booleans(),
)
def test_many_lengths_are_searched_as_each_alone(
    entries: list[tuple[int, int]], rows: list[tuple[int, int]], lengths: list[int], ascending: bool
) -> None:
    entries.sort()
    rows = sorted(rows) if ascending else rows
    keys, instants = columns(rows)
    found = (
        SortedAxis.by_key(*columns(entries), 3).of(keys).positions_before(instants, np.array(lengths, int))
    )
    if entries:
        expected = [[bisect.bisect_right(entries, (key, at - one)) for key, at in rows] for one in lengths]
        assert found.tolist() == expected
    assert found.shape == (len(lengths), len(rows))
