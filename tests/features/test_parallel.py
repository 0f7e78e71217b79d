from __future__ import annotations

import threading

import pytest

from features.parallel import PARTS_AHEAD, WORTH_A_THREAD, core_count, each_ahead, each_part


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


@pytest.mark.parametrize("work", [10, WORTH_A_THREAD])
def test_results_made_ahead_come_in_the_order_of_the_parts(work: int) -> None:
    before = threading.active_count()
    assert list(each_ahead(lambda number: number * 2, range(100), work=work)) == list(range(0, 200, 2))
    assert list(each_ahead(str, [], work=work)) == []
    assert threading.active_count() == before


@pytest.mark.skipif(core_count() == 1, reason="no other core to be ahead on")
def test_another_thread_is_ahead_but_not_far() -> None:
    begun: list[int] = []

    def made(number: int) -> threading.Thread:
        begun.append(number)
        return threading.current_thread()

    coming = each_ahead(made, range(100))
    first = next(coming)
    assert first is not threading.current_thread()
    assert len(begun) <= PARTS_AHEAD + 1
    assert set(coming) == {first}
    assert begun == list(range(100))


def test_an_error_in_a_part_made_ahead_is_raised_and_no_thread_is_left() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(each_ahead(lambda number: 1 // number, [2, 1, 0, 1]))
    assert threading.active_count() == before
