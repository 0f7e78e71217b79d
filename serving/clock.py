"""What the service calls now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

ClockKind = Literal["wall", "replay"]

AHEAD_SECONDS = 60
"""By how much the machine's clock may be set back before the service's status tells of it."""


class Clock(Protocol):
    """A clock that never goes back. Safe to share between threads."""

    @property
    def kind(self) -> ClockKind:
        """Whether time passes by itself."""

    @property
    def problem(self) -> str:
        """Why the present is not what it should be, or an empty string."""

    def now_us(self) -> int:
        """Return the present, microseconds since the epoch, UTC."""

    def seen(self, instant_us: int) -> None:
        """Learn that something became known at an instant."""


class WallClock:
    """The machine's clock; where that is set back, time goes on as if it had not been.

    Standing still instead, what is to end after 72 hours would live longer by as much as the clock was set
    back.

    Parameters
    ----------
    read_us
        The machine's clock, microseconds since the epoch, UTC.
    elapsed_us
        A clock that only ever goes forward at the pace of time, microseconds.
    """

    kind: ClockKind = "wall"

    def __init__(
        self,
        read_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        elapsed_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._read_us = read_us
        self._elapsed_us = elapsed_us
        self._lock = threading.Lock()
        self._ahead_us = 0
        self._latest_us, self._latest_elapsed_us = read_us(), elapsed_us()

    @property
    def problem(self) -> str:
        """Why time is not the machine's, or an empty string."""
        seconds = self._ahead_us // 1_000_000
        if seconds <= AHEAD_SECONDS:
            return ""
        return f"the machine's clock was set back by {seconds} s; a restart follows it"

    def now_us(self) -> int:
        """See `Clock.now_us`."""
        with self._lock:
            elapsed_us, machine_us = self._elapsed_us(), self._read_us()
            now_us = max(machine_us, self._latest_us + elapsed_us - self._latest_elapsed_us)
            self._ahead_us = now_us - machine_us
            self._latest_us, self._latest_elapsed_us = now_us, elapsed_us
            return now_us

    def seen(self, instant_us: int) -> None:
        """See `Clock.seen`; the wall clock does not listen."""


class ReplayClock:
    """The latest arrival seen.

    >>> clock = ReplayClock(100)
    >>> clock.seen(250), clock.seen(200)
    (None, None)
    >>> clock.now_us()
    250
    """

    kind: ClockKind = "replay"
    problem = ""

    def __init__(self, start_us: int) -> None:
        self._lock = threading.Lock()
        self._latest_us = start_us

    def now_us(self) -> int:
        """See `Clock.now_us`."""
        return self._latest_us

    def seen(self, instant_us: int) -> None:
        """See `Clock.seen`."""
        with self._lock:
            self._latest_us = max(self._latest_us, instant_us)
