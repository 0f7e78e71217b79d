"""Which of several services on the same stores applies events, sweeps and refreshes profiles."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from configs.errors import TagtideError
from features.errors import LeaseLostError
from features.lease import Lease, LeaseRow
from features.packed_store import FENCE_MARK, PackedStore
from features.vital_sign import VitalSign, clear_away, is_gone

logger = logging.getLogger(__name__)

STREAM_LEASE = "stream"

LIFE_SECONDS = 15.0
"""A holder that is not heard of for so long is succeeded; one that died on the same home at once."""

RENEWALS = 3
"""How often a lease is renewed within its life."""

LOOK_SECONDS = 0.5
"""How often who stands by looks whether the lease is free."""


class Leadership:
    """Takes the lease when it is free, keeps it, and fences what is written without it.

    Call `tick` again and again. Safe to share between threads.

    Parameters
    ----------
    lease
        Which this is about.
    store
        The online store: it is written to by the lease's number from now on.
    processes
        Folder where the services of this home give their vital signs.
    life_seconds
        See `LIFE_SECONDS`.
    now_us
        The machine's clock, microseconds since the epoch, UTC.
    monotonic
        Seconds that no one sets back.
    """

    def __init__(
        self,
        lease: Lease,
        store: PackedStore,
        processes: Path,
        *,
        life_seconds: float = LIFE_SECONDS,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease = lease
        self._store = store
        self._processes = processes
        self._life_seconds = life_seconds
        self._now_us = now_us
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._number: int | None = None
        self._good_until = 0.0
        self._seen: LeaseRow | None = None
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._sign: VitalSign | None = None
        store.fence = self.number

    @property
    def is_ours(self) -> bool:
        """Whether this process holds the lease, and has not missed its renewal."""
        return self._number is not None and self._monotonic() < self._good_until

    @property
    def role(self) -> str:
        """What this process is, for people."""
        if self.is_ours:
            return "this process applies events, sweeps and refreshes profiles"
        seen = self._seen
        holder = "nobody yet" if seen is None or not seen.holder else seen.holder.rpartition(":")[0]
        return f"standing by; events are applied by {holder}"

    def number(self) -> int:
        """Return the number of the lease that is held.

        Raises
        ------
        LeaseLostError
            If it is not held.
        """
        number = self._number
        if number is None or not self.is_ours:
            raise LeaseLostError("this process does not hold the lease")
        return number

    def check(self, connection: sa.Connection) -> None:
        """Make sure, at the end of a transaction, that it was the holder's; see `Lease.check`."""
        self._lease.check(connection, self.number())

    def lose(self) -> None:
        """Learn that another holds it."""
        self._number = None

    def tick(self) -> float:
        """Renew the lease, or take it where it is free.

        Returns
        -------
        Seconds until the next call is due.

        Raises
        ------
        TagtideError
            If the database or the store does not answer. What is held is held until its life is over.
        """
        with self._lock:
            if self._sign is None:
                clear_away(self._processes)
                self._sign = VitalSign(self._processes, self.holder)
            asked = self._monotonic()
            life_us = round(self._life_seconds * 1_000_000)
            number = self._number
            if number is not None and self._lease.renew(number, self._now_us(), life_us):
                self._good_until = asked + self._life_seconds
                return self._life_seconds / RENEWALS
            if number is not None:
                logger.warning("the stream's lease was lost")
                self._number = None
            taken = self._lease.take(
                self.holder,
                self._now_us(),
                life_us,
                # A database that was made anew counts from the beginning; the store remembers.
                above=self._store.mark(FENCE_MARK) or 0,
                is_gone=lambda holder: is_gone(self._processes, holder),
            )
            self._seen = self._lease.row()
            if taken is None:
                return LOOK_SECONDS
            self._good_until = asked + self._life_seconds
            self._number = taken
            clear_away(self._processes)
            logger.info("this process applies events from now on")
            return self._life_seconds / RENEWALS

    def end(self) -> None:
        """Give the lease back: others need not wait. Ending twice is harmless."""
        with self._lock:
            number, self._number = self._number, None
            try:
                if number is not None:
                    self._lease.give_back(number)
            # Then it runs out by itself, or is seen to be a dead process's.
            except TagtideError:
                logger.warning("the stream's lease could not be given back", exc_info=True)
            if self._sign is not None:
                self._sign.end()
