"""Turns that are served in the order they were asked for, each under a guard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from features.fair_lock import FairLock


class Turns:
    """Serves waiting threads first come, first served. Not re-entrant.

    Parameters
    ----------
    guard
        Makes what is entered at the beginning of each turn and left at its end.
    """

    def __init__(self, guard: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._make_guard = guard
        self._entered: AbstractContextManager[object] = nullcontext()
        self.lock = FairLock()

    def __enter__(self) -> None:
        """Wait for this thread's turn."""
        self.lock.take()
        try:
            entered = self._make_guard()
            entered.__enter__()
        except BaseException:
            self.lock.give()
            raise
        self._entered = entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the turn to who has waited longest."""
        try:
            self._entered.__exit__(kind, error, trace)
        finally:
            self.lock.give()
