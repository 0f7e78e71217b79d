from __future__ import annotations

import numpy as np
import pytest

from features.lazy_columns import LazyColumns, TakenColumns


def counting(names):
    made = []

    def make(name):
        made.append(name)
        return np.arange(len(name))

    return LazyColumns(names, make), made


def test_a_column_is_made_when_it_is_first_asked_for_and_then_kept():
    columns, made = counting(("one", "three"))
    assert (list(columns), len(columns), "one" in columns, "two" in columns) == (
        ["one", "three"],
        2,
        True,
        False,
    )
    assert made == []
    assert columns["three"] is columns["three"]
    assert columns["three"].tolist() == [0, 1, 2, 3, 4]
    assert made == ["three"]
    assert {name: len(values) for name, values in columns.items()} == {"one": 3, "three": 5}
    assert made == ["three", "one"]


def test_there_is_no_column_of_another_name():
    columns, made = counting(("one",))
    with pytest.raises(KeyError, match="two"):
        columns["two"]
    assert columns.get("two") is None
    assert made == []


def test_each_column_may_have_a_function_of_its_own():
    columns = LazyColumns.of({"zeros": lambda: np.zeros(2, np.int64), "ones": lambda: np.ones(2, np.int64)})
    assert {name: values.tolist() for name, values in columns.items()} == {"zeros": [0, 0], "ones": [1, 1]}


def test_what_is_taken_stands_in_the_order_of_its_positions():
    whole, made = counting(("three", "eleven"))
    columns = TakenColumns(whole, np.array([2, 0, 2], np.int32))
    assert (list(columns), made) == (["three", "eleven"], [])
    assert columns["three"].tolist() == [2, 0, 2]
    assert made == ["three"]
