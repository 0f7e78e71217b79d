"""Threads that write to one SQLite file take turns instead of asking again and again whether it is free."""

from __future__ import annotations

import threading
from typing import Any

import sqlalchemy as sa

from features.fair_lock import FairLock

READING = ("SELECT", "PRAGMA")
HOLDS_TURN = "holds_write_turn"

_of_file: dict[str, FairLock] = {}
_making = threading.Lock()


def take_turns(engine: sa.Engine, file: str, within_seconds: float) -> FairLock:
    """Let an engine's transactions write only one after the other, with those of all engines on the file.

    SQLite has one writer; whoever finds it busy sleeps and asks again, ever longer and in no order. A turn
    begins with a transaction's first statement that writes, and ends when its connection goes back to the
    pool. Who waits longer than ``within_seconds`` goes on without, and hears from SQLite.
    """
    with _making:
        turns = _of_file.setdefault(file, FairLock())

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
