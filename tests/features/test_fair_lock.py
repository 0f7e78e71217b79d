"""The lock is handed on in the order in which it was asked for, and to one thread at a time."""

import threading
import time

from features.fair_lock import FairLock


def waiting(lock, count):
    deadline = time.monotonic() + 10
    while lock.waiting < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_turns_are_handed_on_in_the_order_in_which_they_were_asked_for():
    lock, order, threads = FairLock(), [], []
    assert lock.take(0)

    def work(number):
        assert lock.take(10)
        order.append(number)
        lock.give()

    for number in range(20):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        waiting(lock, number + 1)
    lock.give()
    for thread in threads:
        thread.join()
    assert order == list(range(20))
    assert lock.take(0)


def test_who_waited_in_vain_does_not_get_the_turn_afterwards():
    lock = FairLock()
    assert lock.take(0)
    assert not lock.take(0.01)
    lock.give()
    assert lock.take(0)


def test_only_one_thread_at_a_time_holds_the_turn():
    lock, inside, seen = FairLock(), [], []

    def work():
        for _ in range(200):
            assert lock.take(10)
            inside.append(1)
            seen.append(len(inside))
            inside.pop()
            lock.give()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 1600
