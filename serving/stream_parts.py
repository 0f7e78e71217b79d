"""What the writer asks of the parts it is given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import polars as pl


class Receipt(Protocol):
    """What the log did with a frame."""

    @property
    def stored(self) -> pl.DataFrame:
        """The rows that were new, with their ``seq``."""

    @property
    def duplicates(self) -> Sequence[int]:
        """Numbers of the rows that were stored already."""

    @property
    def conflicts(self) -> Sequence[int]:
        """Numbers of the rows whose id is stored with other content."""


class DurableLog(Protocol):
    """See `features.event_log.EventLog`."""

    def append(self, events: pl.DataFrame) -> Receipt:
        """Store rows of the event schema in one transaction, durably on return."""

    def read_after(self, seq: int, limit: int) -> pl.DataFrame:
        """Return rows of the event schema with ``seq``, in its order."""

    def count_after(self, seq: int) -> int:
        """Count the rows after a number."""

    def last_seq(self) -> int:
        """Return the largest number there is."""


class Lead(Protocol):
    """Knows whether this process is the one that applies events; see `serving.leadership.Leadership`."""

    @property
    def is_ours(self) -> bool:
        """Whether it is this process now."""

    def lose(self) -> None:
        """Learn that another process does it by now."""


class AlwaysOurs:
    """The lead of a process that is the only one."""

    is_ours = True

    def lose(self) -> None:
        """See `Lead.lose`; nobody takes it."""


class RefusalKeeper(Protocol):
    """See `features.quarantine.Quarantine`."""

    def keep(self, source: str, rows: pl.DataFrame, at: datetime) -> None:
        """Keep refused rows."""


class Identified(Protocol):
    """See `features.identities.Resolution`."""

    def one(self, text: str) -> str:
        """Return the customer who carries an id's history."""


class Resolver(Protocol):
    """Knows which customers are one, and which asked to be forgotten."""

    def resolution(self) -> Identified:
        """Return who is who now."""

    def resolve(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return the same rows with ``customer_id`` replaced by that of the customer they belong to."""

    def erased(self, events: pl.DataFrame) -> pl.Series:
        """Return for each row whether it is about a customer who asked to be forgotten."""
