from __future__ import annotations

import threading

import pytest

from features.parallel import core_count, each_part


def test_results_come_in_the_order_of_the_parts() -> None:
    assert each_part(lambda number: number * 2, range(100)) == [number * 2 for number in range(100)]
    assert each_part(str, []) == []


def test_an_error_in_a_part_is_raised_and_no_thread_is_left() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        each_part(lambda number: 1 // number, [2, 1, 0, 1])
    assert threading.active_count() == before


def test_little_work_is_done_by_the_calling_thread() -> None:
    mine = threading.current_thread()
    assert each_part(lambda _: threading.current_thread(), range(4), work=10) == [mine] * 4


def test_one_part_alone_is_done_by_the_calling_thread() -> None:
    assert each_part(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]
    assert core_count() >= 1
