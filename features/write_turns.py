"""Threads that write to one SQLite file take turns instead of asking again and again whether it is free."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import sqlalchemy as sa

READING = ("SELECT", "PRAGMA")
HOLDS_TURN = "holds_write_turn"

_of_file: dict[str, WriteTurns] = {}
_making = threading.Lock()


class WriteTurns:
    """A lock that is handed over in the order it was asked for in, and which any thread may give back."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_taken = False

    def take(self, within_seconds: float) -> bool:
        """Wait for the turn; False if it did not come in time.

        >>> turns = WriteTurns()
        >>> turns.take(0.0), turns.take(0.0)
        (True, False)
        """
        with self._changing:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=within_seconds):
            return True
        with self._changing:
            # It may have come between the end of the wait and here.
            if mine not in self._waiting:
                return True
            self._waiting.remove(mine)
        return False

    def give(self) -> None:
        """Hand the turn over to who waits longest."""
        with self._changing:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


def take_turns(engine: sa.Engine, file: str, within_seconds: float) -> WriteTurns:
    """Let an engine's transactions write only one after the other, with those of all engines on the file.

    SQLite has one writer; whoever finds it busy sleeps and asks again, ever longer and in no order. A turn
    begins with a transaction's first statement that writes, and ends when its connection goes back to the
    pool. Who waits longer than ``within_seconds`` goes on without, and hears from SQLite.
    """
    with _making:
        turns = _of_file.setdefault(file, WriteTurns())

    def before(
        connection: sa.Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        info = connection.info
        if not info.get(HOLDS_TURN) and not statement.lstrip()[:6].upper().startswith(READING):
            info[HOLDS_TURN] = turns.take(within_seconds)

    def after(_connection: Any, record: Any) -> None:
        if record.info.pop(HOLDS_TURN, False):
            turns.give()

    sa.event.listen(engine, "before_cursor_execute", before)
    sa.event.listen(engine, "checkin", after)
    return turns
