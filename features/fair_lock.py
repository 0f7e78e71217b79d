"""A lock that nobody can hog: it is handed over in the order it was asked for."""

from __future__ import annotations

import threading
from collections import deque


class FairLock:
    """Serves waiting threads first come, first served; any thread may give it back. Not re-entrant.

    The standard library's locks may be taken again at once by whoever gave them back, so that a loop which
    holds one chunk by chunk, such as a sweep, would keep everybody else out until its end.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_taken = False

    @property
    def waiting(self) -> int:
        """How many threads wait for it."""
        return len(self._waiting)

    def take(self, within_seconds: float | None = None) -> bool:
        """Wait for this thread's turn, for ever unless a time is given; False if it did not come in time.

        >>> lock = FairLock()
        >>> lock.take(), lock.take(within_seconds=0.0)
        (True, False)
        """
        with self._changing:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=-1 if within_seconds is None else within_seconds):
            return True
        with self._changing:
            # It may have come between the end of the wait and here.
            if mine not in self._waiting:
                return True
            self._waiting.remove(mine)
        return False

    def give(self) -> None:
        """Hand it over to who has waited longest."""
        with self._changing:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False
