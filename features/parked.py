"""What the online store knew of customers before a link joined them, kept so that it can come back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from features.database import make_tables, transaction
from features.errors import IdentityError

CHUNK = 500
"""Ids named in one statement."""

METADATA = sa.MetaData()

PARKED = sa.Table(
    "identity_parked",
    METADATA,
    sa.Column("signature", sa.String(64), primary_key=True),
    sa.Column("newest_us", sa.BigInteger, nullable=False),
    sa.Column("online", sa.LargeBinary, nullable=False),
)

MEMBERS = sa.Table(
    "identity_parked_members",
    METADATA,
    sa.Column("signature", sa.String(64), primary_key=True),
    sa.Column("member", sa.Text, primary_key=True),
    sa.Index("identity_parked_by_member", "member"),
)

Online = Mapping[str, tuple[int, bytes]]
"""By view the instant and the bytes of a customer's row."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, tuple[int, bytes]]).decode


@dataclass(frozen=True)
class ParkedRows:
    """Rows of one customer as they were.

    Attributes
    ----------
    newest_us
        When the newest of the customer's events became known by then, µs since the epoch.
    online
        A view in which there was no row is missing.
    """

    newest_us: int
    online: Online


class Parked:
    """Parked rows of a home, each under the ids of one customer at that time.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. Tables are made if they are not there.

    Raises
    ------
    IdentityError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        with self._transaction() as connection:
            make_tables(connection, METADATA)

    def put(self, rows: Mapping[tuple[str, ...], ParkedRows]) -> None:
        """Park the rows of customers, each by exactly the ids they have, in place of earlier ones."""
        with self._transaction() as connection:
            for members, one in rows.items():
                signature = _signature(members)
                _remove(connection, [signature])
                connection.execute(
                    sa.insert(PARKED).values(
                        signature=signature, newest_us=one.newest_us, online=_encode(dict(one.online))
                    )
                )
                connection.execute(
                    sa.insert(MEMBERS), [{"signature": signature, "member": member} for member in members]
                )

    def get(self, members: Sequence[str]) -> ParkedRows | None:
        """Return what was parked of the customer who had exactly these ids, or None."""
        query = sa.select(PARKED).where(PARKED.c.signature == _signature(members))
        with self._transaction() as connection:
            found = connection.execute(query).first()
        return None if found is None else ParkedRows(found.newest_us, _decode(found.online))

    def keep_parts_of(self, customers: Sequence[Sequence[str]]) -> None:
        """Drop what can not come back: rows of ids that are now more than a part of one customer.

        Parameters
        ----------
        customers
            The ids of each; rows that touch none of them stay.
        """
        now = {member: frozenset(members) for members in customers for member in members}
        with self._transaction() as connection:
            found = _touching(connection, now)
            stale = [name for name, ids in found.items() if not ids < now.get(min(ids), frozenset())]
            _remove(connection, stale)

    def forget(self, ids: Collection[str]) -> int:
        """Drop every parked row of a customer who had one of some ids; return how many."""
        with self._transaction() as connection:
            found = list(_touching(connection, set(ids)))
            _remove(connection, found)
        return len(found)

    def _transaction(self) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, IdentityError, "the identities' database refused")


def _signature(members: Collection[str]) -> str:
    return hashlib.sha256("\x1f".join(sorted(members)).encode()).hexdigest()


def _touching(connection: sa.Connection, ids: Collection[str]) -> dict[str, set[str]]:
    """Return the members of every parked row that names one of some ids, by signature."""
    listed, signatures = sorted(ids), set()
    for start in range(0, len(listed), CHUNK):
        some = MEMBERS.c.member.in_(listed[start : start + CHUNK])
        signatures |= set(connection.execute(sa.select(MEMBERS.c.signature).where(some)).scalars())
    found: dict[str, set[str]] = {signature: set() for signature in sorted(signatures)}
    for signature in found:
        query = sa.select(MEMBERS.c.member).where(MEMBERS.c.signature == signature)
        found[signature] = set(connection.execute(query).scalars())
    return found


def _remove(connection: sa.Connection, signatures: Sequence[str]) -> None:
    for table in (MEMBERS, PARKED):
        for signature in signatures:
            connection.execute(sa.delete(table).where(table.c.signature == signature))
