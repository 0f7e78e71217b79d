"""Requests about few customers that wait for a thread at the same time are answered together.

Asking about ten customers at once costs hardly more than asking about one: most of a request's time goes
into calls, not into rows. Nobody waits for others to come; who comes while a call is under way is taken along
by the next. What is said of a customer does not depend on who else is asked about.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from serving.answers import Answer
from serving.readers import WAITING_MAX, refuse_beyond

FEW = 10
"""Customers of a request up to which it is answered with others; a larger one is worth its own call."""

TOGETHER_MAX = 50
"""From so many customers on no further request is taken along: the first must not wait for the last."""

PASSES = 6
"""Passes of the event loop between two calls: in them those just answered get their replies, and who comes
meanwhile, often the same callers, is taken along. A call at once would take only who came before it."""

Predict = Callable[[Sequence[str]], Answer]
Found = Sequence[Answer | Exception]
Run = Callable[[Callable[[], Found]], Awaitable[Found]]


@dataclass(frozen=True)
class _Asked:
    customers: Sequence[str]
    answer: asyncio.Future[Answer]


class Gathering:
    """Answers requests, those that wait together. For use from one event loop.

    Parameters
    ----------
    predict
        Answers about customers, in the order given; called on threads.
    run
        Does some work on a thread; may refuse by raising.
    waiting_max
        Most requests that wait; beyond it a caller is told to come back.
    """

    def __init__(self, predict: Predict, run: Run, waiting_max: int = WAITING_MAX) -> None:
        self._predict = predict
        self._run = run
        self._waiting_max = waiting_max
        self._waiting: deque[_Asked] = deque()
        self._answering: asyncio.Task[None] | None = None

    async def predict(self, customers: Sequence[str]) -> Answer:
        """Answer about customers, in the order given.

        Raises
        ------
        TooManyRequests
            If too many wait.
        Exception
            What answering about these customers, or having it done on a thread, raises.
        """
        asked = _Asked(customers, asyncio.get_running_loop().create_future())
        if len(customers) > FEW:
            await self._answer([asked])
            return asked.answer.result()
        refuse_beyond(self._waiting_max, len(self._waiting))
        self._waiting.append(asked)
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer_waiting())
        return await asked.answer

    async def _answer_waiting(self) -> None:
        try:
            while taken := self._take():
                await self._answer(taken)
                for _ in range(PASSES):
                    await asyncio.sleep(0)
        finally:
            self._answering = None

    def _take(self) -> list[_Asked]:
        taken: list[_Asked] = []
        count = 0
        while self._waiting and count < TOGETHER_MAX:
            asked = self._waiting.popleft()
            # Not one whose caller has gone.
            if not asked.answer.done():
                taken.append(asked)
                count += len(asked.customers)
        return taken

    async def _answer(self, taken: Sequence[_Asked]) -> None:
        wanted = [asked.customers for asked in taken]
        found: Found
        try:
            found = await self._run(lambda: self._found(wanted))
        except Exception as error:  # noqa: BLE001 - raised where the requests wait
            found = [error] * len(taken)
        for asked, answer in zip(taken, found, strict=True):
            if asked.answer.done():
                continue
            if isinstance(answer, Exception):
                asked.answer.set_exception(answer)
            else:
                asked.answer.set_result(answer)

    def _found(self, wanted: Sequence[Sequence[str]]) -> Found:
        try:
            found = self._predict([customer for customers in wanted for customer in customers])
        except Exception as error:  # noqa: BLE001 - raised where the request waits
            # One customer's damaged data must not cost the others their answers: each is tried alone.
            return [error] if len(wanted) == 1 else [self._found([one])[0] for one in wanted]
        rows = iter(found.customers)
        return [
            Answer(found.as_of, found.model_version, list(islice(rows, len(customers))))
            for customers in wanted
        ]
