"""A lock that nobody can hog: it is given in the order it was asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType


class Turns:
    """Serves waiting threads first come, first served. Not re-entrant.

    The standard library's locks may be taken again at once by whoever gave them back, so that a loop which
    holds one chunk by chunk, such as a sweep, would keep everybody else out until its end.

    Parameters
    ----------
    guard
        Makes what is entered at the beginning of each turn and left at its end.
    """

    def __init__(self, guard: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._make_guard = guard
        self._entered: AbstractContextManager[object] = nullcontext()
        self._guard = threading.Lock()
        self._queue: deque[threading.Lock] = deque()
        self._is_taken = False

    def __enter__(self) -> None:
        """Wait for this thread's turn."""
        self._wait()
        try:
            entered = self._make_guard()
            entered.__enter__()
        except BaseException:
            self._pass_on()
            raise
        self._entered = entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the turn to who has waited longest."""
        try:
            self._entered.__exit__(kind, error, trace)
        finally:
            self._pass_on()

    def _wait(self) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._queue.append(mine)
        mine.acquire()

    def _pass_on(self) -> None:
        with self._guard:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._is_taken = False
