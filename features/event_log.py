"""The durable log of every event that was posted: what is in it survives a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from features.errors import EventLogError
from features.events import CONTENT, EVENT_SCHEMA, INSTANT, plain_columns
from features.lake import Lake
from features.stored_ids import StoredIds

LOOKUP_CHUNK = 500
COMPACTION_CHUNK = 100_000
DIALECTS = ("sqlite", "postgresql")
APPEND_LOCK = 0x7461677469646531
"""Any constant will do, so long as every writer takes the same."""

BODY_SCHEMA = {name: pl.Int64() if kind == INSTANT else kind for name, kind in EVENT_SCHEMA.items()}
"""The schema as it stands in a row's JSON: instants are microseconds since 1970, UTC."""

METADATA = sa.MetaData()
EVENT_LOG = sa.Table(
    "event_log",
    METADATA,
    # SQLite numbers rows by themselves only if the column's type is exactly INTEGER.
    sa.Column(
        "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
    ),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("content_hash", sa.String(32), nullable=False),
    sa.Column("ingested_at_us", sa.BigInteger, nullable=False),
    sa.Column("compacted", sa.Boolean, nullable=False, default=False),
    sa.UniqueConstraint("source", "event_id"),
    # No number is given twice, even after the newest rows were erased: readers remember how far they came.
    sqlite_autoincrement=True,
)
INDEXES = (
    sa.Index("event_log_by_customer", EVENT_LOG.c.customer_id),
    sa.Index("event_log_to_compact", EVENT_LOG.c.compacted, EVENT_LOG.c.seq),
)


@dataclass(frozen=True)
class LogReceipt:
    """What became of appended events; every row given is in exactly one of the three.

    Attributes
    ----------
    stored
        New rows of `EVENT_SCHEMA` with their ``seq``, in the order given. They are on disk.
    duplicates
        Rows (0 for the first given) whose event is stored already.
    conflicts
        Rows whose (source, event_id) belongs to an event of other content.
    """

    stored: pl.DataFrame
    duplicates: list[int]
    conflicts: list[int]


class EventLog:
    """Append-only table of events, numbered in the order they became durable.

    Parameters
    ----------
    engine
        From `open_engine`. The table is made if it is not there.
    imported
        What the lake holds besides, which is not stored once more.

    Raises
    ------
    EventLogError
        If the database cannot be opened or written, or is of another kind.
    """

    def __init__(self, engine: sa.Engine, imported: StoredIds | None = None) -> None:
        if engine.dialect.name not in DIALECTS:
            raise EventLogError(
                f"the event log's database is {engine.dialect.name!r}; expected one of {', '.join(DIALECTS)}",
                "set TAGTIDE_DATABASE_URL to such a URL, or unset it to use SQLite in the home",
            )
        self._engine = engine
        self._imported = imported
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._insert = (
            insert(EVENT_LOG)
            .on_conflict_do_nothing(index_elements=["source", "event_id"])
            .returning(EVENT_LOG.c.seq, EVENT_LOG.c.source, EVENT_LOG.c.event_id)
        )
        with self._transaction() as connection:
            self._keep_others_out(connection)
            connection.execute(CreateTable(EVENT_LOG, if_not_exists=True))
            for index in INDEXES:
                connection.execute(CreateIndex(index, if_not_exists=True))

    def append(self, events: pl.DataFrame) -> LogReceipt:
        """Store events, each (source, event_id) once, in one transaction.

        To store many requests at the price of one, append them together: the receipt speaks of rows.

        Parameters
        ----------
        events
            Rows of `EVENT_SCHEMA` as the door admitted them.

        Returns
        -------
        The receipt. On return the stored rows are durable.

        Raises
        ------
        EventLogError
            If the database refuses; then nothing was stored.
        """
        rows = _as_rows(events)
        first: dict[tuple[str, str], int] = {}
        for number, row in enumerate(rows):
            first.setdefault((row["source"], row["event_id"]), number)
        stored: dict[int, int] = {}
        hashes = {key: rows[number]["content_hash"] for key, number in first.items()}
        in_lake = self._hashes_in_lake(events)
        hashes.update(in_lake)
        new = [rows[number] for key, number in first.items() if key not in in_lake]
        if new:
            with self._transaction() as connection:
                self._keep_others_out(connection)
                for seq, source, event_id in connection.execute(self._insert, new):
                    stored[first[source, event_id]] = seq
                missed = [key for key, number in first.items() if number not in stored and key not in in_lake]
                hashes.update(self._stored_hashes(connection, missed))
        duplicates: list[int] = []
        conflicts: list[int] = []
        for number, row in enumerate(rows):
            if number in stored:
                continue
            is_same = hashes[row["source"], row["event_id"]] == row["content_hash"]
            (duplicates if is_same else conflicts).append(number)
        order = sorted(stored)
        kept = events if events.columns == list(EVENT_SCHEMA) else events.select(list(EVENT_SCHEMA))
        if len(order) < events.height:
            kept = kept[order]
        numbered = kept.hstack([pl.Series("seq", [stored[number] for number in order], pl.Int64)])
        return LogReceipt(numbered, duplicates, conflicts)

    def read_after(self, seq: int, limit: int) -> pl.DataFrame:
        """Return the next events after ``seq``, oldest first.

        Parameters
        ----------
        seq
            The last number already read; 0 to begin.
        limit
            At most so many rows.

        Returns
        -------
        `EVENT_SCHEMA` and ``seq``.
        """
        query = sa.select(EVENT_LOG.c.seq, EVENT_LOG.c.body).where(EVENT_LOG.c.seq > seq)
        with self._transaction() as connection:
            return _as_frame(connection.execute(query.order_by(EVENT_LOG.c.seq).limit(limit)).all())

    def last_seq(self) -> int:
        """Return the largest number given so far, 0 of an empty log."""
        with self._transaction() as connection:
            return int(connection.execute(sa.select(sa.func.max(EVENT_LOG.c.seq))).scalar() or 0)

    def count_after(self, seq: int) -> int:
        """Count the events after a number."""
        query = sa.select(sa.func.count()).select_from(EVENT_LOG).where(EVENT_LOG.c.seq > seq)
        with self._transaction() as connection:
            return int(connection.execute(query).scalar_one())

    def compact(self, lake: Lake) -> int:
        """Copy into the lake what is not there yet.

        A crash in between leaves rows in the lake that the log does not know of; the next call finds them
        there by (source, event_id) and only marks them. An event the lake already holds stays as it is there.

        Returns
        -------
        The number of rows written to the lake.
        """
        pending = sa.select(EVENT_LOG.c.seq, EVENT_LOG.c.body).where(~EVENT_LOG.c.compacted)
        written = 0
        while True:
            with self._transaction() as connection:
                found = connection.execute(pending.order_by(EVENT_LOG.c.seq).limit(COMPACTION_CHUNK)).all()
            if not found:
                if written:
                    lake.tidy()
                return written
            events = _as_frame(found)
            with lake.writing():
                for (source,), group in events.group_by("source", maintain_order=True):
                    there = lake.existing(str(source), group["event_id"])["event_id"]
                    written += lake.append(group.filter(~pl.col("event_id").is_in(there.implode())))
            done = sa.update(EVENT_LOG).where(
                ~EVENT_LOG.c.compacted, EVENT_LOG.c.seq <= found[-1].seq, EVENT_LOG.c.seq >= found[0].seq
            )
            with self._transaction() as connection:
                connection.execute(done.values(compacted=True))

    def forget(self, source_ids: Sequence[tuple[str, str]], until: datetime | None = None) -> int:
        """Delete events of some customers, leaving no bytes of them in SQLite's files.

        PostgreSQL keeps deleted rows in its files until it vacuums, and in its own log for as long as that
        is kept.

        Parameters
        ----------
        source_ids
            (source, customer_id) as they were posted.
        until
            Only what happened at or before this instant; None for everything.

        Returns
        -------
        Number of events deleted.

        Raises
        ------
        EventLogError
            If the database refuses, or is in use so that a copy may be left in its files: forget again then.
        """
        gone = 0
        with self._transaction() as connection:
            for start in range(0, len(source_ids), LOOKUP_CHUNK):
                is_theirs = sa.tuple_(EVENT_LOG.c.source, EVENT_LOG.c.customer_id).in_(
                    source_ids[start : start + LOOKUP_CHUNK]
                )
                found = connection.execute(
                    sa.select(EVENT_LOG.c.seq, EVENT_LOG.c.body).where(is_theirs)
                ).all()
                times = _as_frame(found).select("seq", "event_time")
                if until is not None:
                    times = times.filter(pl.col("event_time") <= until)
                wanted = times["seq"].to_list()
                for first in range(0, len(wanted), LOOKUP_CHUNK):
                    some = EVENT_LOG.c.seq.in_(wanted[first : first + LOOKUP_CHUNK])
                    gone += connection.execute(sa.delete(EVENT_LOG).where(some)).rowcount
        if self._engine.dialect.name == "sqlite":
            self._rewrite()
        return gone

    def _rewrite(self) -> None:
        """Write SQLite's file anew: where rows are merely overwritten, copies stay that pages once made."""
        with self._mended(), self._engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            alone.exec_driver_sql("VACUUM")
            is_busy = alone.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        if is_busy:
            raise EventLogError(
                "the events are deleted, but a copy may be left in the event log's write-ahead log",
                "erase again when no other process reads it",
            )

    def _keep_others_out(self, connection: sa.Connection) -> None:
        """Wait for other writers to end, in databases that do not by themselves.

        Otherwise a smaller seq could become visible after a larger one, and a reader miss it.
        """
        if self._engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(APPEND_LOCK)))

    def _hashes_in_lake(self, events: pl.DataFrame) -> Mapping[tuple[str, str], str]:
        """Return the content hash of the events that the lake holds and the log does not."""
        asked = [] if self._imported is None else self._imported.may_hold(events)
        if self._imported is None or not asked:
            return {}
        keys = events[asked].select("source", "event_id").unique(maintain_order=True)
        with self._transaction() as connection:
            # What came in live was compacted into the lake: the log answers for it faster.
            in_log = self._stored_hashes(connection, keys.rows())
        is_elsewhere = pl.Series([key not in in_log for key in keys.iter_rows()], dtype=pl.Boolean)
        found = _as_rows(self._imported.find(keys.filter(is_elsewhere)))
        return {(row["source"], row["event_id"]): row["content_hash"] for row in found}

    def _stored_hashes(
        self, connection: sa.Connection, keys: Sequence[tuple[str, str]]
    ) -> Mapping[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for start in range(0, len(keys), LOOKUP_CHUNK):
            wanted = keys[start : start + LOOKUP_CHUNK]
            query = sa.select(EVENT_LOG.c.source, EVENT_LOG.c.event_id, EVENT_LOG.c.content_hash).where(
                sa.tuple_(EVENT_LOG.c.source, EVENT_LOG.c.event_id).in_(wanted)
            )
            found.update(
                {(source, event_id): hashed for source, event_id, hashed in connection.execute(query)}
            )
        return found

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._mended(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _mended(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise EventLogError(
                f"the event log refused: {str(cause).splitlines()[0]}", "check the database and its disk"
            ) from error


def _as_rows(events: pl.DataFrame) -> list[dict[str, Any]]:
    columns = plain_columns(events, BODY_SCHEMA)
    plain = (dict(zip(BODY_SCHEMA, values, strict=True)) for values in zip(*columns, strict=True))
    return [
        {
            "source": event["source"],
            "event_id": event["event_id"],
            "customer_id": event["customer_id"],
            "body": msgspec.json.encode(event),
            "content_hash": _content_hash(event),
            "ingested_at_us": event["ingested_at"],
            "compacted": False,
        }
        for event in plain
    ]


def _content_hash(event: Mapping[str, Any]) -> str:
    # Nulls are skipped: a column added to the schema later leaves the hashes as they are.
    content = {name: event[name] for name in CONTENT if event[name] is not None}
    return hashlib.blake2b(msgspec.json.encode(content), digest_size=16).hexdigest()


def _as_frame(rows: Sequence[sa.Row[Any, Any]]) -> pl.DataFrame:
    events = [msgspec.json.decode(row.body) for row in rows]
    frame = pl.DataFrame(events, schema=BODY_SCHEMA, orient="row")
    numbers = pl.Series("seq", [row.seq for row in rows], pl.Int64)
    return frame.select(pl.col(name).cast(kind) for name, kind in EVENT_SCHEMA.items()).with_columns(numbers)
