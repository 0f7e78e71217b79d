"""Requests about few customers that wait for a thread at the same time are answered together.

Asking about ten customers at once costs hardly more than asking about one: most of a request's time goes into
calls, not into rows. Nobody waits for others to come; who waits anyway is taken along. What is said of a
customer does not depend on who else is asked about.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice

from serving.answers import Answer

FEW = 10
"""Customers of a request up to which it is answered with others; a larger one is worth its own call."""

TOGETHER_MAX = 50
"""From so many customers on no further request is taken along: the first must not wait for the last."""

Predict = Callable[[Sequence[str]], Answer]
Run = Callable[[Callable[[], None]], Awaitable[None]]


@dataclass(frozen=True)
class _Asked:
    customers: Sequence[str]
    answer: Future[Answer] = field(default_factory=Future)


class Gathering:
    """Answers requests, those that wait together. For use from one event loop.

    Parameters
    ----------
    predict
        Answers about customers, in the order given; called on threads.
    run
        Does some work on a thread; may refuse by raising.
    """

    def __init__(self, predict: Predict, run: Run) -> None:
        self._predict = predict
        self._run = run
        self._waiting: deque[_Asked] = deque()

    async def predict(self, customers: Sequence[str]) -> Answer:
        """Answer about customers, in the order given.

        Raises
        ------
        Exception
            What answering about these customers, or having it done on a thread, raises.
        """
        asked = _Asked(customers)
        if len(customers) > FEW:
            await self._run(lambda: self._answer(asked))
            return asked.answer.result()
        self._waiting.append(asked)
        try:
            # As many runs as requests wait: whoever is not taken along has a run of its own.
            await self._run(self._answer_waiting)
        except BaseException:
            asked.answer.cancel()
            raise
        return await asyncio.wrap_future(asked.answer)

    def _answer_waiting(self) -> None:
        taken = self._take()
        if len(taken) == 1:
            self._answer(taken[0])
        elif taken:
            self._answer_together(taken)

    def _take(self) -> list[_Asked]:
        taken: list[_Asked] = []
        count = 0
        while count < TOGETHER_MAX:
            try:
                asked = self._waiting.popleft()
            except IndexError:
                break
            # Not one whose caller was refused or has gone.
            if asked.answer.set_running_or_notify_cancel():
                taken.append(asked)
                count += len(asked.customers)
        return taken

    def _answer_together(self, taken: Sequence[_Asked]) -> None:
        try:
            found = self._predict([customer for asked in taken for customer in asked.customers])
        # One customer's damaged data must not cost the others their answers: each is tried alone.
        except Exception:  # noqa: BLE001
            for asked in taken:
                self._answer(asked)
            return
        rows = iter(found.customers)
        for asked in taken:
            own = list(islice(rows, len(asked.customers)))
            asked.answer.set_result(Answer(found.as_of, found.model_version, own))

    def _answer(self, asked: _Asked) -> None:
        try:
            asked.answer.set_result(self._predict(asked.customers))
        # Raised where the request waits.
        except Exception as error:  # noqa: BLE001
            asked.answer.set_exception(error)
