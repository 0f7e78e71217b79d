"""How many calls in how much time: spread so that no span of it holds more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Allowance:
    """At most so many calls in any span of so many seconds."""

    calls: int
    seconds: float


class Budget:
    """Tells when the next call may be made. For one event loop.

    Parameters
    ----------
    allowances
        All of them hold.
    clock
        Seconds that only grow.
    """

    def __init__(self, allowances: Sequence[Allowance], clock: Callable[[], float] = time.monotonic) -> None:
        self._spent = [(allowance, deque[float]()) for allowance in allowances]
        self._clock = clock

    def wait_seconds(self) -> float:
        """Take one call's place if there is one now, and return 0; else return when to ask again."""
        now = self._clock()
        wait = 0.0
        for allowance, calls in self._spent:
            while calls and calls[0] <= now - allowance.seconds:
                calls.popleft()
            if len(calls) >= allowance.calls:
                wait = max(wait, calls[0] + allowance.seconds - now)
        if wait <= 0.0:
            for _, calls in self._spent:
                calls.append(now)
        return max(wait, 0.0)
