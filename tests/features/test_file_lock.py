from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from features.file_lock import SharedLock


@pytest.fixture
def lock(tmp_path: Path) -> SharedLock:
    return SharedLock(tmp_path / "some.lock")


def enter(lock: SharedLock, order: list[str], name: str) -> threading.Thread:
    def run() -> None:
        with lock.alone() if name == "alone" else lock.together():
            order.append(name)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_many_hold_it_together_and_one_thread_more_than_once(lock: SharedLock) -> None:
    order: list[str] = []
    with lock.together(), lock.together():
        enter(lock, order, "together").join(5)
        assert order == ["together"]


def test_who_is_alone_waits_for_all_others_and_keeps_newcomers_out(lock: SharedLock) -> None:
    order: list[str] = []
    waits = threading.Event()

    def alone() -> None:
        with lock.alone(waits.set):
            order.append("alone")

    with lock.together():
        one = threading.Thread(target=alone)
        one.start()
        assert waits.wait(5)
        newcomer = enter(lock, order, "together")
        newcomer.join(0.1)
        # Who is in already may go in again: otherwise it would wait for itself.
        with lock.together():
            assert order == []
    one.join(5)
    newcomer.join(5)
    assert order == ["alone", "together"]


def test_nobody_is_in_beside_who_is_alone_and_the_waiting_is_told_once(lock: SharedLock) -> None:
    order: list[str] = []
    told: list[bool] = []
    with lock.alone(lambda: told.append(True)):
        thread = enter(lock, order, "together")
        thread.join(0.1)
        assert order == []
    thread.join(5)
    assert (order, told) == (["together"], [])


def hold(path: Path, entered: Event, leave: Event) -> None:
    with SharedLock(path).together():
        entered.set()
        leave.wait(30)


def test_processes_share_it_and_one_that_dies_gives_it_back(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    entered, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "some.lock", entered, leave))
    process.start()
    assert entered.wait(60)
    order: list[str] = []
    thread = enter(SharedLock(tmp_path / "some.lock"), order, "alone")
    thread.join(0.1)
    assert order == []
    process.kill()
    thread.join(10)
    process.join()
    assert order == ["alone"]


def test_who_waits_for_so_long_at_most_gives_up_and_lets_others_in_again(tmp_path: Path) -> None:
    one, other = SharedLock(tmp_path / "lock"), SharedLock(tmp_path / "lock")
    waits: list[bool] = []
    with one.together():
        with pytest.raises(TimeoutError), other.alone(lambda: waits.append(True), 0.1):
            pytest.fail("it was let in")
        with SharedLock(tmp_path / "lock").together():
            assert waits == [True]
    with other.alone(None, 0.1):
        pass
