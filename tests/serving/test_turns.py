import threading

import pytest

from serving.turns import Turns


def test_one_at_a_time_gets_its_turn():
    turns, inside, seen = Turns(), [], []

    def work():
        for _ in range(200):
            with turns:
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [1] * 800


def test_whoever_asked_first_is_served_first_though_another_asks_again_at_once():
    turns, order = Turns(), []
    queued = threading.Event()

    def wait_for_a_turn():
        with turns:
            order.append("waiting")

    with turns:
        thread = threading.Thread(target=wait_for_a_turn)
        thread.start()
        while not turns.lock.waiting:
            assert not queued.wait(0.001)
    # The other thread asked before this one asks again, so it has had its turn by then.
    with turns:
        order.append("again")
    thread.join(20)
    assert order == ["waiting", "again"]


def test_a_turn_that_fails_is_given_on():
    turns = Turns()
    with pytest.raises(ValueError, match="x"), turns:
        raise ValueError("x")
    with turns:
        pass
