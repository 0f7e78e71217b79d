from __future__ import annotations

from collections.abc import Iterator

import pytest

from configs.home import Home
from features.database import open_engine
from features.parked import Parked, ParkedRows

ANN = ParkedRows(5, {"memory": (3, b"\x00ann"), "tags": (4, b"")})
NOTHING = ParkedRows(-(2**62), {})


@pytest.fixture
def parked(home: Home) -> Iterator[Parked]:
    engine = open_engine(None, home)
    yield Parked(engine)
    engine.dispose()


def test_rows_are_found_by_exactly_the_ids_of_a_customer_in_any_order(parked: Parked) -> None:
    parked.put({("ann", "pos:7"): ANN, ("bob",): NOTHING})
    assert parked.get(["pos:7", "ann"]) == ANN
    assert parked.get(["bob"]) == NOTHING
    assert parked.get(["ann"]) is None
    assert parked.get(["ann", "pos:7", "bob"]) is None


def test_rows_parked_again_replace_the_earlier_ones(parked: Parked) -> None:
    parked.put({("ann",): ANN})
    parked.put({("ann",): NOTHING})
    assert parked.get(["ann"]) == NOTHING


def test_only_what_is_a_part_of_a_customer_can_come_back(parked: Parked) -> None:
    parked.put({(one,): ANN for one in "abcx"} | {("a", "b"): ANN, ("a", "x"): ANN})
    parked.keep_parts_of([("a", "b", "c"), ("d",)])
    assert [parked.get(ids) is not None for ids in ("a", "b", "c", "ab", "ax", "x")] == [True] * 4 + [
        False,
        True,
    ]
    parked.keep_parts_of([("a",), ("b", "c")])
    assert [parked.get(ids) is not None for ids in ("a", "b", "c", "ab")] == [False, True, True, False]


def test_forgetting_an_id_drops_whatever_it_had_a_part_in(parked: Parked) -> None:
    parked.put({("a",): ANN, ("a", "b"): ANN, ("b", "c"): ANN})
    assert parked.forget(["a", "nobody"]) == 2
    assert parked.get(["b", "c"]) == ANN
    assert parked.forget(["a"]) == 0
