"""What the service calls now."""

from __future__ import annotations

import threading
import time
from typing import Literal, Protocol

ClockKind = Literal["wall", "replay"]


class Clock(Protocol):
    """A clock that never goes back. Safe to share between threads."""

    @property
    def kind(self) -> ClockKind:
        """Whether time passes by itself."""

    def now_us(self) -> int:
        """Return the present, microseconds since the epoch, UTC."""

    def seen(self, instant_us: int) -> None:
        """Learn that something became known at an instant."""


class WallClock:
    """The machine's clock, held still while the machine sets it back."""

    kind: ClockKind = "wall"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest_us = 0

    def now_us(self) -> int:
        """See `Clock.now_us`."""
        with self._lock:
            self._latest_us = max(self._latest_us, time.time_ns() // 1000)
            return self._latest_us

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
