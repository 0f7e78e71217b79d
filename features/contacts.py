"""When each customer was contacted of late: by whomever posts ``contact`` events, and by our own triggers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from features.errors import ConsentError
from features.home_tables import CHUNK, SERIAL, HomeTables
from features.row_cache import RowCache, generations

KEPT_US = 8 * 24 * 3600 * 1_000_000
"""Contacts older than this count for nothing, microseconds."""

DELIVERY_KEY = re.compile(r"[0-9a-f]{32}")

METADATA = sa.MetaData()

CONTACTS = sa.Table(
    "contacts",
    METADATA,
    sa.Column("seq", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("key", sa.String(32), nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("customer_id", "key"),
    sa.Index("contacts_by_time", "at_us"),
    sqlite_autoincrement=True,
)

REMOVALS = generations(METADATA, "contacts_removals")


class Contact(NamedTuple):
    """One contact; the same key twice is one."""

    customer_id: str
    key: str
    at_us: int


def contact_key(source: str, event_id: str) -> str:
    """Name a ``contact`` event: 32 hexadecimal digits.

    Whoever sends a message because of a trigger posts its ``contact`` event under the trigger's delivery key,
    and so it counts once.

    >>> contact_key("crm", "0123456789abcdef0123456789abcdef")
    '0123456789abcdef0123456789abcdef'
    >>> contact_key("crm", "17") == contact_key("shop", "17")
    False
    """
    if DELIVERY_KEY.fullmatch(event_id):
        return event_id
    return hashlib.blake2b(f"{source}\x1f{event_id}".encode(), digest_size=16).hexdigest()


class Contacts:
    """Contacts of the last days. Safe to share between threads; processes share it by the database.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. Tables are made if they are not there.

    Raises
    ------
    ConsentError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._tables = HomeTables(engine, METADATA, "contacts", ConsentError)
        nothing: tuple[int, ...] = ()
        self._cache = RowCache(self._tables, CONTACTS, REMOVALS, _read, nothing)

    def of(self, customers: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Return when each id was contacted, microseconds since the epoch; older than `KEPT_US` or not."""
        return self._cache.of(customers)

    def refresh(self) -> None:
        """Hear of what other processes wrote."""
        self._cache.refresh()

    def add(self, contacts: Sequence[Contact], connection: sa.Connection | None = None) -> None:
        """Store contacts, each (customer, key) once.

        Parameters
        ----------
        connection
            A transaction they are to be part of; then `told` is to be called after its end.
        """
        if not contacts:
            return
        statement = self._tables.insert(CONTACTS).on_conflict_do_nothing(
            index_elements=["customer_id", "key"]
        )
        rows = [one._asdict() for one in contacts]
        if connection is not None:
            connection.execute(statement, rows)
            return
        with self._tables.transaction() as own:
            own.execute(statement, rows)
        self.told(one.customer_id for one in contacts)

    def told(self, customers: Iterable[str]) -> None:
        """Let go of what was known of customers whose contacts a transaction added."""
        self._cache.drop(customers)

    def take_back(self, keys: Sequence[str]) -> None:
        """Remove contacts that did not come about; those of other keys stay."""
        with self._tables.transaction() as connection:
            for start in range(0, len(keys), CHUNK):
                some = CONTACTS.c.key.in_(keys[start : start + CHUNK])
                connection.execute(sa.delete(CONTACTS).where(some))
            self._cache.count_removal(connection)

    def prune(self, now_us: int) -> int:
        """Remove contacts that count for nothing any more; return how many."""
        with self._tables.transaction() as connection:
            gone = connection.execute(
                sa.delete(CONTACTS).where(CONTACTS.c.at_us <= now_us - KEPT_US)
            ).rowcount
            if gone:
                self._cache.count_removal(connection)
        return gone

    def forget(self, customers: Collection[str]) -> int:
        """Erase the contacts of some ids; return how many."""
        gone, listed = 0, sorted(customers)
        with self._tables.transaction() as connection:
            for start in range(0, len(listed), CHUNK):
                theirs = CONTACTS.c.customer_id.in_(listed[start : start + CHUNK])
                gone += connection.execute(sa.delete(CONTACTS).where(theirs)).rowcount
            self._cache.count_removal(connection)
        self._cache.drop(listed)
        return gone


def _read(connection: sa.Connection, customers: Sequence[str]) -> Mapping[str, tuple[int, ...]]:
    query = sa.select(CONTACTS.c.customer_id, CONTACTS.c.at_us).where(CONTACTS.c.customer_id.in_(customers))
    found: dict[str, list[int]] = {}
    for customer, at_us in connection.execute(query):
        found.setdefault(customer, []).append(at_us)
    return {customer: tuple(sorted(instants)) for customer, instants in found.items()}
