"""Writes the audit log behind the requests: a thread of its own takes what they leave, batch by batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from monitoring.audit import Entry

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.2
"""How long an entry waits at most before it is durable: what a `kill -9` can lose."""

WAITING_MAX = 200_000
"""Entries kept while the database refuses; what comes beyond is counted, and the count written down."""


class Log(Protocol):
    """See `monitoring.audit.AuditLog`."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Write lines in one transaction."""


class AuditWriter:
    """Takes entries at the price of a list's append, and writes them in batches.

    Parameters
    ----------
    log
        Where to.
    every_seconds
        See `FLUSH_SECONDS`.
    waiting_max
        See `WAITING_MAX`.
    """

    def __init__(
        self, log: Log, *, every_seconds: float = FLUSH_SECONDS, waiting_max: int = WAITING_MAX
    ) -> None:
        self._log = log
        self._every_seconds = every_seconds
        self._waiting_max = waiting_max
        self._lock = threading.Lock()
        self._waiting: list[Entry] = []
        self._lost = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem = ""
        """Why entries are not written, or an empty string."""

    def record(self, entry: Entry) -> None:
        """Take an entry; it is durable within `FLUSH_SECONDS`."""
        with self._lock:
            if len(self._waiting) < self._waiting_max:
                self._waiting.append(entry)
            else:
                self._lost += 1

    def start(self) -> None:
        """Begin to write."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="tagtide-audit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
        self.flush()

    def flush(self) -> None:
        """Write what waits, in the calling thread."""
        with self._lock:
            entries, self._waiting = self._waiting, []
            lost, self._lost = self._lost, 0
        if not entries:
            return
        whole = entries
        if lost:
            at_us = time.time_ns() // 1000
            whole = [*entries, Entry(at_us, "service", "lost", "entries the database refused", lost)]
        try:
            self._log.append(whole)
            self.problem = ""
        # The requests were answered: their entries wait for the database to come back.
        except Exception as error:
            if self.problem:
                logger.debug("the audit log could not be written still")
            else:
                logger.exception("the audit log could not be written")
            self.problem = f"the last write failed: {type(error).__name__}"
            with self._lock:
                self._waiting = entries + self._waiting
                self._lost += lost

    def _run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            self.flush()
