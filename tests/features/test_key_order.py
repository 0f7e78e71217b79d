"""Entries in the order of their keys against sorting them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.key_order import begins_of, gathered, order_by_begins, order_within, stable_order
from features.parallel import WORTH_A_THREAD


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


def test_keys_begin_where_those_before_them_end_and_stay_so_once_used() -> None:
    keys = np.array([2, 0, 2, 4], np.int32)
    begins = begins_of(keys, 6)
    assert begins.tolist() == [sum(keys < key) for key in range(7)]
    assert order_by_begins(keys, begins).tolist() == [1, 0, 2, 3]
    assert begins.tolist() == [sum(keys < key) for key in range(7)]


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
@pytest.mark.parametrize("size", [0, 1, 2 * WORTH_A_THREAD + 1])
def test_values_are_gathered_in_the_order_of_the_positions(kind: type, size: int) -> None:
    random = np.random.default_rng(size)
    values, positions = random.integers(0, 256, 999).astype(kind), random.integers(0, 999, size)
    for narrow in (positions, positions.astype(np.int32)):
        found = gathered(values, narrow)
        assert found.dtype == kind
        assert found.tolist() == values[positions].tolist()
