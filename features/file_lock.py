"""Locks that processes of one machine share by a file's name."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

GATE_SUFFIX = ".gate"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that no other process or thread holds meanwhile. Not re-entrant.

    Parameters
    ----------
    path
        The lock's own file, made where missing and never removed; its directory must exist.
    """
    with _held(path, fcntl.LOCK_EX):
        yield


class SharedLock:
    """A lock that many hold together or one holds alone. Who waits to be alone lets nobody in any more.

    Parameters
    ----------
    path
        The lock's own file; see `exclusive`. Another one stands beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gate = path.with_name(path.name + GATE_SUFFIX)
        self._mine = threading.local()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hold it beside others; a thread may do so again while it does."""
        if getattr(self._mine, "is_held", False):
            yield
            return
        with ExitStack() as held:
            with _held(self._gate, fcntl.LOCK_SH):
                held.enter_context(_held(self._path, fcntl.LOCK_SH))
            self._mine.is_held = True
            try:
                yield
            finally:
                self._mine.is_held = False

    @contextmanager
    def alone(self, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold it while nobody else does. Not re-entrant, nor from within `together`.

        Parameters
        ----------
        on_wait
            Called once if others hold it now and have to be waited for.
        """
        wait = _Once(on_wait)
        with _held(self._gate, fcntl.LOCK_EX, wait), _held(self._path, fcntl.LOCK_EX, wait):
            yield


class _Once:
    def __init__(self, call: Callable[[], None] | None) -> None:
        self._call = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


@contextmanager
def _held(path: Path, kind: int, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(file, kind)
        yield
