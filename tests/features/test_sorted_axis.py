"""Searches, running maxima and merged intervals against the plainest way to each."""

from __future__ import annotations

import bisect

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.sorted_axis import (
    MERGED_FROM,
    MERGED_SHARE,
    NEVER,
    SortedAxis,
    entries_of,
    is_worth_merging,
    merged_ends,
    order_within,
    prefix_sum,
    running_max,
    stable_order,
)


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
    axis = SortedAxis(*columns(entries), 5)
    expected = [bisect.bisect_right(entries, query) for query in queries]
    if entries:
        assert axis.positions(*columns(queries)).tolist() == expected
    # Of a million keys hardly any have values.
    entries, queries = ([(key * 200_000 + 7, at) for key, at in rows] for rows in (entries, queries))
    queries += [(999_999, 0), (0, 0)]
    axis = SortedAxis(*columns(entries), 1_000_000)
    expected = [bisect.bisect_right(entries, query) for query in queries]
    assert axis.positions(*columns(queries)).tolist() == expected


def test_a_search_falls_back_on_ranks_where_key_and_value_do_not_fit_one_integer() -> None:
    keys, values = np.array([0, 0, 1, 2]), np.array([-(2**62), 2**62, -(2**62), 7])
    axis = SortedAxis(keys, values, 3)
    assert axis.positions(keys, values).tolist() == [1, 2, 3, 4]
    assert axis.positions(keys, values - 1).tolist() == [0, 1, 2, 3]


def test_nothing_is_made_of_nothing() -> None:
    nothing = np.empty(0, np.int64)
    assert SortedAxis(nothing, nothing, 2).positions(np.array([0, 1]), np.array([5, 5])).tolist() == [0, 0]
    assert running_max(nothing, nothing, nothing.astype(bool)).tolist() == []


@given(
    keys=st.lists(st.integers(0, 6), max_size=60),
    values=st.lists(st.integers(-9, 9), min_size=60, max_size=60),
    ascending=st.booleans(),
)
def test_an_order_is_that_of_a_stable_sort(keys: list[int], values: list[int], ascending: bool) -> None:
    values = sorted(values) if ascending else values
    places = range(len(keys))
    found = order_within(np.array(keys, np.int64), np.array(values[: len(keys)], np.int64), 7)
    assert found.tolist() == sorted(places, key=lambda place: (keys[place], values[place]))
    plain = sorted(places, key=lambda place: keys[place])
    assert stable_order(np.array(keys, np.int64), 7).tolist() == plain
    assert stable_order(np.array(keys, np.int64), 2**60).tolist() == plain


def test_a_line_too_long_for_an_integer_is_searched_in_parts() -> None:
    # 40 keys whose values lie up to 2**61 apart; every third has none.
    entries = [(key, at) for key in range(40) if key % 3 for at in (-(2**60) + key, 5, 2**60 + key)]
    queries = [(key, at + step) for key in range(40) for _, at in entries[:9] for step in (-1, 0, 1)]
    axis = SortedAxis(*columns(entries), 40)
    assert len(axis.part_keys) > 10
    expected = [bisect.bisect_right(entries, query) for query in queries]
    assert axis.positions(*columns(queries)).tolist() == expected


def test_prefix_sums_are_narrow_where_they_fit_and_right_where_they_do_not() -> None:
    assert prefix_sum(np.array([True, False, True])).tolist() == [0, 1, 1, 2]
    for values, kind in (([2**31 - 1], np.int32), ([2**31], np.int64), ([-(2**31) - 1, 5], np.int64)):
        prefix = prefix_sum(np.array(values))
        assert prefix.dtype == kind
        assert prefix.tolist() == [0, *np.cumsum(values).tolist()]


@given(
    line=st.lists(st.integers(0, 30), min_size=1, max_size=40).map(sorted),
    places=st.lists(st.integers(0, 31), max_size=40).map(sorted),
)
def test_places_merged_with_a_line_are_found_where_a_search_finds_them(
    line: list[int], places: list[int]
) -> None:
    # Beyond 2**63 a place is no signed integer any more.
    entries, sought = (np.array(values, np.uint64) + np.uint64(2**63 - 15) for values in (line, places))
    assert merged_ends(entries_of(entries), sought).tolist() == [
        bisect.bisect_right(line, place) for place in places
    ]


def test_merging_is_for_many_ascending_places() -> None:
    line, few = np.arange(100, dtype=np.uint64), np.arange(50, dtype=np.uint64)
    many = np.repeat(few, MERGED_FROM)
    assert [is_worth_merging(line, places) for places in (few, many, many[::-1])] == [False, True, False]
    assert not is_worth_merging(np.zeros(len(many) * MERGED_SHARE + 1, np.uint64), many[: len(many)])
