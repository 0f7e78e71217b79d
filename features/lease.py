"""A named lease in the database: of many processes one holds it, for as long as it renews it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from features.errors import EventLogError, LeaseLostError

NOBODY = ""

METADATA = sa.MetaData()
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("expires_at_us", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class LeaseRow:
    """How a lease stands.

    Attributes
    ----------
    holder
        Who holds it, or held it last; empty once it was given back.
    number
        Grows with every change of hands: of two who believe to hold it, the larger number is right.
    expires_at_us
        Until when it is held unless it is renewed, microseconds since the epoch, UTC.
    """

    holder: str
    number: int
    expires_at_us: int


def _never(_: str) -> bool:
    return False


class Lease:
    """One lease; the instant is always an argument.

    Where the clocks of two machines differ, a lease changes hands earlier or later by as much; its number
    tells then whose writing counts.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. The table is made if it is not there.
    name
        Which lease.

    Raises
    ------
    EventLogError
        If the database cannot be read or written.
    """

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self._engine = engine
        self.name = name
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._mine = LEASES.c.name == name
        with self._transaction() as connection:
            connection.execute(CreateTable(LEASES, if_not_exists=True))

    def row(self) -> LeaseRow | None:
        """Return how it stands, or None before it was ever held."""
        with self._transaction() as connection:
            return self._row(connection)

    def take(
        self,
        holder: str,
        now_us: int,
        life_us: int,
        *,
        above: int = 0,
        is_gone: Callable[[str], bool] = _never,
    ) -> int | None:
        """Take the lease if nobody else holds it.

        Parameters
        ----------
        holder
            Who asks: an id no other process has.
        now_us, life_us
            It is held until ``now_us + life_us``.
        above
            A number that has been used already, wherever that is known from.
        is_gone
            Tells whether a holder is known to have died, so that its lease need not run out.

        Returns
        -------
        Its number, or None if another holds it.
        """
        with self._transaction() as connection:
            row = self._row(connection)
            number = max(above, 0 if row is None else row.number) + 1
            values = {"holder": holder, "number": number, "expires_at_us": now_us + life_us}
            if row is None:
                made = self._insert(LEASES).values(name=self.name, **values).on_conflict_do_nothing()
                is_made = connection.execute(made.returning(LEASES.c.number)).first() is not None
                return number if is_made else None
            if row.holder not in (NOBODY, holder) and now_us < row.expires_at_us and not is_gone(row.holder):
                return None
            # Only if nobody took or renewed it since it was read.
            unchanged = sa.and_(
                LEASES.c.number == row.number,
                LEASES.c.holder == row.holder,
                LEASES.c.expires_at_us == row.expires_at_us,
            )
            taken = sa.update(LEASES).where(self._mine, unchanged).values(**values)
            return number if connection.execute(taken).rowcount == 1 else None

    def renew(self, number: int, now_us: int, life_us: int) -> bool:
        """Hold the lease until ``now_us + life_us``; return whether it is still that number's."""
        with self._transaction() as connection:
            held = sa.update(LEASES).where(self._mine, LEASES.c.number == number, LEASES.c.holder != NOBODY)
            return connection.execute(held.values(expires_at_us=now_us + life_us)).rowcount == 1

    def give_back(self, number: int) -> None:
        """Let others take it at once, if it is still that number's."""
        with self._transaction() as connection:
            held = sa.update(LEASES).where(self._mine, LEASES.c.number == number)
            connection.execute(held.values(holder=NOBODY, expires_at_us=0))

    def check(self, connection: sa.Connection, number: int) -> None:
        """Make sure, at the end of a transaction that wrote something, that it was the holder's.

        Until the transaction ends nobody can take the lease.

        Raises
        ------
        LeaseLostError
            If another has taken it; the transaction is to be undone.
        """
        held = sa.select(LEASES.c.number).where(self._mine).with_for_update(read=True)
        if connection.execute(held).scalar() != number:
            raise LeaseLostError(f"the lease {self.name!r} is not number {number}'s any more")

    def _row(self, connection: sa.Connection) -> LeaseRow | None:
        query = sa.select(LEASES.c.holder, LEASES.c.number, LEASES.c.expires_at_us).where(self._mine)
        found = connection.execute(query).first()
        return None if found is None else LeaseRow(found.holder, found.number, found.expires_at_us)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise EventLogError(
                f"the lease {self.name!r} cannot be read or written: {str(cause).splitlines()[0]}",
                "check the database and its disk",
            ) from error
