"""Threads on which routes compute, so that the event loop goes on answering."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.errors import TooManyRequests

Outcome = TypeVar("Outcome")

READERS = 2
"""More threads would only take turns."""

WAITING_MAX = 64
"""Most requests that wait for a thread or have one; beyond it a caller is told to come back."""


def refuse_beyond(most: int, waiting: int) -> None:
    """Refuse a further request where as many wait as may.

    Raises
    ------
    TooManyRequests
        If they do.
    """
    if waiting >= most:
        raise TooManyRequests(f"{waiting} requests wait to be answered; send this again")


class Readers:
    """A small pool of threads, between `start` and `stop`. For use from one event loop.

    Parameters
    ----------
    threads
        How many.
    waiting_max
        See `WAITING_MAX`.
    """

    def __init__(self, threads: int = READERS, waiting_max: int = WAITING_MAX) -> None:
        self._threads = threads
        self._waiting_max = waiting_max
        self._waiting = 0
        self._pool: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Begin to take work."""
        self._pool = ThreadPoolExecutor(self._threads, "tagtide-reader")

    def stop(self) -> None:
        """Finish what was begun."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    async def run(self, work: Callable[[], Outcome], *, is_urgent: bool = False) -> Outcome:
        """Do some work on a thread and return what it returns.

        Parameters
        ----------
        is_urgent
            Done however much waits, where what was promised already depends on it.

        Raises
        ------
        TooManyRequests
            If too much waits: an ever longer queue would serve nobody.
        """
        if not is_urgent:
            refuse_beyond(self._waiting_max, self._waiting)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1
