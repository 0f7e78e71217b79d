"""Threads on which routes compute, so that the event loop goes on answering."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Outcome = TypeVar("Outcome")

READERS = 2
"""More threads would only take turns."""


class Readers:
    """A small pool of threads, between `start` and `stop`."""

    def __init__(self, threads: int = READERS) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Begin to take work."""
        self._pool = ThreadPoolExecutor(self._threads, "tagtide-reader")

    def stop(self) -> None:
        """Finish what was begun."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    async def run(self, work: Callable[[], Outcome]) -> Outcome:
        """Do some work on a thread and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
