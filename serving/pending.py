"""Triggers that are due now or later, durable, each once for a customer and what it is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from features.home_tables import CHUNK, HomeTables
from serving.errors import TriggerError

CURSOR = "triggers"

RECORDS_KEPT_US = 30 * 24 * 3600 * 1_000_000
"""How long is kept what became of triggers, microseconds."""

METADATA = sa.MetaData()

PENDING = sa.Table(
    "pending_triggers",
    METADATA,
    sa.Column("trigger", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.Text, primary_key=True),
    # The tag; empty where the trigger is about the customer as a whole.
    sa.Column("about", sa.Text, primary_key=True),
    sa.Column("key", sa.String(32), nullable=False),
    sa.Column("since_us", sa.BigInteger, nullable=False),
    sa.Column("due_at_us", sa.BigInteger, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Index("pending_triggers_by_time", "due_at_us"),
    sa.Index("pending_triggers_by_customer", "customer_id"),
)

RECORDS = sa.Table(
    "trigger_records",
    METADATA,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("trigger", sa.String(64), nullable=False),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("result", sa.String(8), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("trigger_records_by_time", "at_us"),
    sa.Index("trigger_records_by_customer", "customer_id"),
)

LEVELS = sa.Table(
    "trigger_levels",
    METADATA,
    sa.Column("trigger", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.Text, primary_key=True),
    sa.Index("trigger_levels_by_customer", "customer_id"),
)
"""Whose probability is above a trigger's bar, so that it can only rise above it again after it fell."""

CURSORS = sa.Table(
    "stream_cursors",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class Pending:
    """A trigger that is to be looked at when it is due. Instants are microseconds since the epoch, UTC.

    Attributes
    ----------
    about
        The tag; empty where it is about the customer as a whole.
    key
        Names this very firing; see `serving.outbox.message_key`.
    since_us
        When what set it off happened.
    event
        JSON of the event that set it off; empty where none did.
    """

    trigger: str
    customer_id: str
    about: str
    key: str
    since_us: int
    due_at_us: int
    event: str = ""


@dataclass(frozen=True)
class Record:
    """What became of a trigger: ``sent``, ``blocked`` or, without a receiver, ``recorded``."""

    key: str
    trigger: str
    customer_id: str
    about: str
    at_us: int
    result: str
    reason: str


class PendingTriggers:
    """What is pending in the home's database. Safe to share between threads and processes.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. Tables are made if they are not there.

    Raises
    ------
    TriggerError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._tables = HomeTables(engine, METADATA, "pending triggers", TriggerError)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Begin a transaction of several of the methods below: all of it or nothing."""
        with self._tables.transaction() as connection:
            yield connection

    def put(self, pending: Sequence[Pending], connection: sa.Connection) -> None:
        """Store pending triggers; one about the same as an earlier one takes its place."""
        if not pending:
            return
        insert = self._tables.insert(PENDING)
        newer = {name: insert.excluded[name] for name in ("key", "since_us", "due_at_us", "event")}
        statement = insert.on_conflict_do_update(
            index_elements=["trigger", "customer_id", "about"],
            set_=newer,
            # An event that arrives late does not take the place of one that happened after it.
            where=PENDING.c.since_us <= insert.excluded.since_us,
        )
        connection.execute(statement, [vars(one) for one in sorted(pending, key=_place)])

    def cancel(self, cancelled: Iterable[tuple[str, str, int]], connection: sa.Connection) -> None:
        """Remove what did not come about after all.

        Parameters
        ----------
        cancelled
            (trigger, customer, when that happened which was not to): what was set off later stays.
        """
        rows = [
            {"of_trigger": trigger, "of_customer": customer, "at_us": at_us}
            for trigger, customer, at_us in cancelled
        ]
        if rows:
            connection.execute(
                sa.delete(PENDING).where(
                    PENDING.c.trigger == sa.bindparam("of_trigger"),
                    PENDING.c.customer_id == sa.bindparam("of_customer"),
                    PENDING.c.since_us <= sa.bindparam("at_us"),
                ),
                rows,
            )

    def due(self, now_us: int, most: int) -> list[Pending]:
        """Return what is due at an instant, the longest due first."""
        query = sa.select(PENDING).where(PENDING.c.due_at_us <= now_us)
        query = query.order_by(PENDING.c.due_at_us, PENDING.c.key).limit(most)
        with self._tables.transaction() as connection:
            return [Pending(**row) for row in connection.execute(query).mappings()]

    def next_due_us(self) -> int | None:
        """Return when something is due next; None: nothing is pending."""
        with self._tables.transaction() as connection:
            value = connection.execute(sa.select(sa.func.min(PENDING.c.due_at_us))).scalar()
        return None if value is None else int(value)

    def take(self, pending: Iterable[Pending], connection: sa.Connection) -> set[str]:
        """Remove what was looked at.

        Returns
        -------
        The keys of what was removed: without those that somebody else took, or that something newer replaced.
        """
        # Always in one order, so that two processes do not wait for each other's rows.
        return {
            one.key
            for one in sorted(pending, key=_place)
            if connection.execute(sa.delete(PENDING).where(_is(one))).rowcount == 1
        }

    def postpone(self, pending: Pending, due_at_us: int, connection: sa.Connection) -> None:
        """Put off what was looked at."""
        connection.execute(sa.update(PENDING).where(_is(pending)).values(due_at_us=due_at_us))

    def record(self, records: Sequence[Record], connection: sa.Connection) -> None:
        """Write down what became of triggers, each key once."""
        if records:
            statement = self._tables.insert(RECORDS).on_conflict_do_nothing(index_elements=["key"])
            connection.execute(statement, [vars(one) for one in records])

    def records(self, most: int = 1000) -> list[Record]:
        """Return what became of triggers, the latest first."""
        query = sa.select(RECORDS).order_by(RECORDS.c.at_us.desc(), RECORDS.c.key).limit(most)
        with self._tables.transaction() as connection:
            return [Record(**row) for row in connection.execute(query).mappings()]

    def above(self, customers: Sequence[str]) -> set[tuple[str, str]]:
        """Return (trigger, customer) where the probability was above the bar when last looked at."""
        found: set[tuple[str, str]] = set()
        with self._tables.transaction() as connection:
            for start in range(0, len(customers), CHUNK):
                theirs = LEVELS.c.customer_id.in_(customers[start : start + CHUNK])
                rows = connection.execute(sa.select(LEVELS.c.trigger, LEVELS.c.customer_id).where(theirs))
                found.update((trigger, customer) for trigger, customer in rows)
        return found

    def set_levels(
        self,
        rose: Collection[tuple[str, str]],
        fell: Collection[tuple[str, str]],
        connection: sa.Connection,
    ) -> None:
        """Note whose probability rose above a bar, and whose fell."""
        if rose:
            statement = self._tables.insert(LEVELS).on_conflict_do_nothing()
            rows = [{"trigger": trigger, "customer_id": customer} for trigger, customer in rose]
            connection.execute(statement, rows)
        if fell:
            mine = sa.and_(
                LEVELS.c.trigger == sa.bindparam("of_trigger"),
                LEVELS.c.customer_id == sa.bindparam("of_customer"),
            )
            gone = [{"of_trigger": trigger, "of_customer": customer} for trigger, customer in fell]
            connection.execute(sa.delete(LEVELS).where(mine), gone)

    def cursor(self) -> int | None:
        """Return the last row of the log that was looked at; None: none ever was."""
        with self._tables.transaction() as connection:
            found = connection.execute(sa.select(CURSORS.c.seq).where(CURSORS.c.name == CURSOR)).scalar()
        return None if found is None else int(found)

    def begin_after(self, seq: int) -> None:
        """Let the log be looked at from a row on, if it never was before."""
        statement = self._tables.insert(CURSORS).values(name=CURSOR, seq=seq).on_conflict_do_nothing()
        with self._tables.transaction() as connection:
            connection.execute(statement)

    def advance(self, before: int, after: int, connection: sa.Connection) -> bool:
        """Note how far the log was looked at; False: another process did it, and this one writes nothing."""
        mine = sa.update(CURSORS).where(CURSORS.c.name == CURSOR, CURSORS.c.seq == before)
        return connection.execute(mine.values(seq=after)).rowcount == 1

    def counts(self) -> Mapping[str, int]:
        """Count what is pending, and what became of triggers by result."""
        with self._tables.transaction() as connection:
            results = connection.execute(sa.select(RECORDS.c.result, sa.func.count()).group_by("result"))
            found: dict[str, Any] = {row[0]: row[1] for row in results}
            found["pending"] = connection.execute(sa.select(sa.func.count()).select_from(PENDING)).scalar()
        return found

    def prune(self, now_us: int) -> None:
        """Drop the records nobody needs any more."""
        with self._tables.transaction() as connection:
            connection.execute(sa.delete(RECORDS).where(RECORDS.c.at_us <= now_us - RECORDS_KEPT_US))

    def forget(self, customers: Collection[str]) -> int:
        """Erase what is pending and what is recorded of some customers; return how many rows."""
        gone, listed = 0, sorted(customers)
        with self._tables.transaction() as connection:
            for start in range(0, len(listed), CHUNK):
                some = listed[start : start + CHUNK]
                for table in (PENDING, RECORDS, LEVELS):
                    theirs = table.c.customer_id.in_(some)
                    gone += connection.execute(sa.delete(table).where(theirs)).rowcount
        return gone


def _place(pending: Pending) -> tuple[str, str, str]:
    return pending.trigger, pending.customer_id, pending.about


def _is(pending: Pending) -> sa.ColumnElement[bool]:
    return sa.and_(
        PENDING.c.trigger == pending.trigger,
        PENDING.c.customer_id == pending.customer_id,
        PENDING.c.about == pending.about,
        PENDING.c.key == pending.key,
    )
