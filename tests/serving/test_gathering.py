"""Requests that wait together are answered together, and each gets its own answer or its own error."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answers import Answer
from serving.errors import TooManyRequests
from serving.gathering import FEW, TOGETHER_MAX, Gathering

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Damaged(Exception):
    pass


class Predicting:
    """Answers each customer with their name in capitals; waits at the gate if it is closed."""

    def __init__(self, damaged=()):
        self.damaged = set(damaged)
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def __call__(self, customers):
        self.begun.set()
        self.gate.wait()
        self.calls.append(list(customers))
        if self.damaged & set(customers):
            raise Damaged(*sorted(self.damaged & set(customers)))
        return Answer(NOW, {"propensity": "1"}, [name.upper() for name in customers])


@asynccontextmanager
async def gathering(predicting, threads=1, refuse=lambda: None, waiting_max=400):
    pool = ThreadPoolExecutor(threads)

    async def run(work):
        refuse()
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    try:
        yield Gathering(predicting, run, waiting_max)
    finally:
        predicting.gate.set()
        pool.shutdown()


async def busy(asked, predicting):
    """Keep the only thread with a first request until the gate is opened."""
    predicting.gate.clear()
    first = asyncio.ensure_future(asked.predict(["first"]))
    await asyncio.to_thread(predicting.begun.wait)
    return first


async def while_busy(asked, predicting, requests):
    """Keep the only thread with a first request until all the others wait."""
    first = await busy(asked, predicting)
    others = [asyncio.ensure_future(asked.predict(one)) for one in requests]
    await asyncio.sleep(0)
    predicting.gate.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def ask(requests, damaged=()):
    predicting = Predicting(damaged)

    async def go():
        async with gathering(predicting) as asked:
            return await while_busy(asked, predicting, requests)

    first, *found = asyncio.run(go())
    assert first.customers == ["FIRST"]
    return predicting.calls[1:], found


def test_a_request_alone_is_answered_as_it_is():
    predicting = Predicting()

    async def go():
        async with gathering(predicting) as asked:
            return await asked.predict(["a", "b"])

    answer = asyncio.run(go())
    assert (answer.as_of, answer.model_version, answer.customers) == (NOW, {"propensity": "1"}, ["A", "B"])
    assert predicting.calls == [["a", "b"]]


def test_those_that_wait_are_answered_by_one_call_each_with_its_own_rows():
    calls, found = ask([["a"], ["b", "c"], ["a", "d"]])
    assert calls == [["a", "b", "c", "a", "d"]]
    assert [answer.customers for answer in found] == [["A"], ["B", "C"], ["A", "D"]]


def test_a_damaged_customer_costs_nobody_else_an_answer():
    calls, found = ask([["a"], ["bad", "c"], ["d"]], damaged=["bad"])
    assert [getattr(answer, "customers", answer.__class__) for answer in found] == [["A"], Damaged, ["D"]]
    assert calls == [["a", "bad", "c", "d"], ["a"], ["bad", "c"], ["d"]]


def test_a_large_request_is_a_call_of_its_own():
    large = [f"l{number}" for number in range(FEW + 1)]
    calls, found = ask([["a"], large, ["b"]])
    assert sorted(map(len, calls)) == [2, FEW + 1]
    assert found[1].customers == [name.upper() for name in large]
    with pytest.raises(Damaged):
        raise ask([["bad", *large]], damaged=["bad"])[1][0]


@given(st.lists(st.integers(1, FEW), max_size=60))
def test_however_many_wait_every_one_is_answered_and_no_call_grows_without_end(sizes):
    requests = [[f"c{number}-{place}" for place in range(size)] for number, size in enumerate(sizes)]
    calls, found = ask(requests)
    assert [answer.customers for answer in found] == [[name.upper() for name in one] for one in requests]
    assert [name for call in calls for name in call] == [name for one in requests for name in one]
    assert max(map(len, calls), default=0) < TOGETHER_MAX + FEW


def test_who_goes_away_is_not_answered_and_the_others_are():
    predicting = Predicting()

    async def go():
        async with gathering(predicting) as asked:
            first = await busy(asked, predicting)
            gone, other = (asyncio.ensure_future(asked.predict([name])) for name in "gx")
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(0)
            predicting.gate.set()
            return await asyncio.gather(first, gone, other, return_exceptions=True)

    first, gone, other = asyncio.run(go())
    assert (first.customers, other.customers) == (["FIRST"], ["X"])
    assert isinstance(gone, asyncio.CancelledError)
    assert predicting.calls == [["first"], ["x"]]


def test_the_first_may_go_away_while_it_is_answered_and_the_others_are_answered():
    predicting = Predicting()

    async def go():
        async with gathering(predicting) as asked:
            first = await busy(asked, predicting)
            other = asyncio.ensure_future(asked.predict(["x"]))
            await asyncio.sleep(0)
            first.cancel()
            predicting.gate.set()
            return await asyncio.gather(first, other, return_exceptions=True)

    first, other = asyncio.run(go())
    assert isinstance(first, asyncio.CancelledError)
    assert other.customers == ["X"]


def test_where_no_thread_is_to_be_had_those_that_waited_hear_of_it_and_later_ones_are_answered():
    predicting, refusals = Predicting(), [None, Damaged("too much waits"), None]

    def refuse():
        error = refusals.pop(0)
        if error is not None:
            raise error

    async def go():
        async with gathering(predicting, refuse=refuse) as asked:
            found = await while_busy(asked, predicting, [["r"], ["s"]])
            return [*found, await asked.predict(["x"])]

    first, *refused, later = asyncio.run(go())
    assert (first.customers, later.customers) == (["FIRST"], ["X"])
    assert [type(one) for one in refused] == [Damaged, Damaged]


def test_beyond_so_many_that_wait_a_caller_is_told_to_come_back():
    predicting = Predicting()

    async def go():
        async with gathering(predicting, waiting_max=3) as asked:
            found = await while_busy(asked, predicting, [[name] for name in "abcd"])
            return [*found, await asked.predict(["x"])]

    first, *found, refused, later = asyncio.run(go())
    assert [one.customers for one in (first, *found, later)] == [["FIRST"], ["A"], ["B"], ["C"], ["X"]]
    assert isinstance(refused, TooManyRequests)


def test_many_threads_and_many_requests_lose_and_mix_up_nothing():
    predicting = Predicting()

    async def go():
        async with gathering(predicting, threads=4) as asked:
            names = [f"c{number}" for number in range(400)]
            return names, await asyncio.gather(*(asked.predict([name]) for name in names))

    names, found = asyncio.run(go())
    assert [answer.customers for answer in found] == [[name.upper()] for name in names]
    assert sorted(name for call in predicting.calls for name in call) == sorted(names)
