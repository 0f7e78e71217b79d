"""What a table holds of each customer, kept at hand, and let go of where another process wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

import sqlalchemy as sa

from features.home_tables import CHUNK, HomeTables

Value = TypeVar("Value")

CUSTOMERS_MAX = 200_000
"""Most customers kept at hand; beyond it all are let go of, and read again as they are asked for."""


def generations(metadata: sa.MetaData, name: str) -> sa.Table:
    """Return the table that counts how often rows were removed."""
    return sa.Table(
        name,
        metadata,
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )


class RowCache(Generic[Value]):
    """Values by customer, from rows with ``customer_id`` and a ``seq`` that every change of a row raises.

    Safe to share between threads.

    Parameters
    ----------
    tables, table, removals
        Where the rows are, and the table of `generations` beside it.
    read
        Makes values of the rows of some customers; one without rows may be missing.
    missing
        The value of a customer without rows.
    """

    def __init__(
        self,
        tables: HomeTables,
        table: sa.Table,
        removals: sa.Table,
        read: Callable[[sa.Connection, Sequence[str]], Mapping[str, Value]],
        missing: Value,
    ) -> None:
        self._tables = tables
        self._table = table
        self._removals = removals
        self._read = read
        self._missing = missing
        self._lock = threading.Lock()
        self._known: dict[str, Value] = {}
        self._dropped = 0
        self._version: tuple[int, int] = (-1, -1)

    def of(self, customers: Iterable[str]) -> dict[str, Value]:
        """Return the value of each customer: from memory, and whoever is not there in one read."""
        wanted = dict.fromkeys(customers)
        with self._lock:
            found = {one: self._known[one] for one in wanted if one in self._known}
            dropped = self._dropped
        unknown = [one for one in wanted if one not in found]
        if not unknown:
            return found
        values = dict.fromkeys(unknown, self._missing)
        with self._tables.transaction() as connection:
            names = iter(unknown)
            while some := list(islice(names, CHUNK)):
                values.update(self._read(connection, some))
        with self._lock:
            # What was read while somebody wrote may be what was there before.
            if dropped == self._dropped:
                if len(self._known) + len(values) > CUSTOMERS_MAX:
                    self._known = {}
                self._known.update(values)
        return found | values

    def drop(self, customers: Iterable[str]) -> None:
        """Let go of customers whose rows this process has changed."""
        with self._lock:
            self._dropped += 1
            for one in customers:
                self._known.pop(one, None)

    def refresh(self) -> None:
        """Let go of the customers whose rows another process has changed since the last call."""
        newest = sa.select(sa.func.max(self._table.c.seq)).scalar_subquery()
        removed = sa.select(sa.func.max(self._removals.c.generation)).scalar_subquery()
        with self._tables.transaction() as connection:
            generation, seq = connection.execute(sa.select(removed, newest)).one()
            version = (int(generation or 0), int(seq or 0))
            before = self._version
            if version == before:
                return
            changed = None
            if version[0] == before[0] and version[1] > before[1]:
                since = sa.select(self._table.c.customer_id).where(self._table.c.seq > before[1])
                changed = list(connection.execute(since).scalars())
        with self._lock:
            self._version = version
            self._dropped += 1
            if changed is None:
                self._known = {}
            for one in changed or ():
                self._known.pop(one, None)

    def count_removal(self, connection: sa.Connection) -> None:
        """Note in a transaction that rows are removed: every process lets go of everything."""
        statement = self._tables.insert(self._removals).values(number=0, generation=1)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["number"], set_={"generation": self._removals.c.generation + 1}
            )
        )
