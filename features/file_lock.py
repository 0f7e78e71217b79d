"""Locks that processes of one machine share by a file's name."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

GATE_SUFFIX = ".gate"
POLL_SECONDS = 0.05


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
    def alone(
        self, on_wait: Callable[[], None] | None = None, within_seconds: float | None = None
    ) -> Iterator[None]:
        """Hold it while nobody else does. Not re-entrant, nor from within `together`.

        Parameters
        ----------
        on_wait
            Called once if others hold it now and have to be waited for.
        within_seconds
            How long they are waited for at most; None: until they end.

        Raises
        ------
        TimeoutError
            If they do not end in time.
        """
        wait = _Once(on_wait)
        until = None if within_seconds is None else time.monotonic() + within_seconds
        with _held(self._gate, fcntl.LOCK_EX, wait, until), _held(self._path, fcntl.LOCK_EX, wait, until):
            yield


class _Once:
    def __init__(self, call: Callable[[], None] | None) -> None:
        self._call = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


@contextmanager
def _held(
    path: Path, kind: int, on_wait: Callable[[], None] | None = None, until: float | None = None
) -> Iterator[None]:
    with path.open("w") as file:
        if not _taken(file, kind):
            if on_wait is not None:
                on_wait()
            if until is None:
                fcntl.flock(file, kind)
            else:
                _wait(file, kind, until)
        yield


def _wait(file: IO[str], kind: int, until: float) -> None:
    while not _taken(file, kind):
        if time.monotonic() >= until:
            raise TimeoutError("others hold the lock")
        time.sleep(POLL_SECONDS)


def _taken(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
