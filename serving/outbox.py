"""Messages that wait to be delivered: durable, in order for each customer, leased to one deliverer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from features.home_tables import CHUNK, SERIAL, HomeTables
from serving.errors import OutboxError

DAY_US = 24 * 3600 * 1_000_000

WAITS_AT_MOST_US = 7 * DAY_US
"""What could not be delivered for so long becomes a dead letter, microseconds."""

DEAD_KEPT_US = 30 * DAY_US
"""How long a dead letter is kept, microseconds."""

ENQUEUE_LOCK = 0x7461677469646532
"""Any constant will do, so long as whoever changes which message is a customer's first takes the same."""

METADATA = sa.MetaData()

OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("seq", SERIAL, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(32), nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    # first: no earlier message of this customer waits; queued: one does; dead: given up.
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at_us", sa.BigInteger, nullable=False),
    sa.Column("leased_by", sa.String(32), nullable=False),
    sa.Column("leased_until_us", sa.BigInteger, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Index("outbox_due", "state", "due_at_us"),
    sa.Index("outbox_by_customer", "customer_id", "state", "seq"),
    sqlite_autoincrement=True,
)

TOTALS = sa.Table(
    "outbox_totals",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

ENQUEUE = sa.text(
    "INSERT INTO outbox (key, kind, customer_id, body, created_at_us, state, attempts, due_at_us, leased_by,"
    " leased_until_us, problem) SELECT :key, :kind, :customer_id, :body, :now_us, CASE WHEN EXISTS"
    " (SELECT 1 FROM outbox WHERE customer_id = :customer_id AND state IN ('first', 'queued'))"
    " THEN 'queued' ELSE 'first' END, 0, :now_us, '', 0, '' WHERE true ON CONFLICT (key) DO NOTHING"
)


def message_key(*parts: object) -> str:
    """Name a message by what makes it one, so that it is stored once however often it is made.

    >>> message_key("tag.changed", "c1", 5) == message_key("tag.changed", "c1", 5)
    True
    """
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Message:
    """Something to be posted to the receiver.

    Attributes
    ----------
    key
        From `message_key`; the receiver knows a repetition by it.
    kind
        ``tag.changed`` or ``trigger.fired``.
    body
        JSON.
    """

    key: str
    kind: str
    customer_id: str
    body: bytes


@dataclass(frozen=True)
class Leased:
    """A message that this deliverer alone may send now; ``attempts`` were made before."""

    seq: int
    message: Message
    attempts: int
    created_at_us: int


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt.

    Attributes
    ----------
    problem
        Why it failed; empty: delivered.
    again_at_us
        When to try again, microseconds since the epoch; None after a failure: never.
    """

    leased: Leased
    problem: str = ""
    again_at_us: int | None = None


@dataclass(frozen=True)
class Standing:
    """How much waits.

    Attributes
    ----------
    oldest_us
        When the oldest waiting message was enqueued, microseconds since the epoch; None: nothing waits.
    """

    waiting: int
    dead: int
    delivered: int
    oldest_us: int | None


class Outbox:
    """Messages in the home's database. Safe to share between threads and processes.

    At least once: a message is gone only after the receiver took it. A customer's messages go out one after
    the other; one that cannot be delivered holds up those of the same customer and of nobody else, until it
    becomes a dead letter.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. Tables are made if they are not there.

    Raises
    ------
    OutboxError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._tables = HomeTables(engine, METADATA, "outbox", OutboxError)

    def add(self, messages: Sequence[Message], now_us: int, connection: sa.Connection | None = None) -> None:
        """Store messages behind those of the same customers; a key that waits already is left as it is.

        Parameters
        ----------
        connection
            A transaction they are to be part of.
        """
        if not messages:
            return
        if connection is None:
            with self._tables.transaction() as own:
                self.add(messages, now_us, own)
            return
        self._keep_others_out(connection)
        connection.execute(ENQUEUE, [{**vars(one), "now_us": now_us} for one in messages])

    def turn(
        self, outcomes: Sequence[Outcome], *, owner: str, now_us: int, lease_us: int, most: int
    ) -> list[Leased]:
        """Write down what came of attempts, and lease what is due, in one transaction.

        Parameters
        ----------
        outcomes
            Of messages that ``owner`` leased.
        lease_us
            How long nobody else may send what is leased now; `renew` prolongs it.
        most
            At most so many messages, one a customer.
        """
        due = (
            sa.select(OUTBOX)
            .where(
                OUTBOX.c.state == "first", OUTBOX.c.due_at_us <= now_us, OUTBOX.c.leased_until_us <= now_us
            )
            .order_by(OUTBOX.c.due_at_us, OUTBOX.c.seq)
            .limit(most)
        )
        with self._tables.transaction() as connection:
            # Looking is cheap, and leaves the writers alone.
            if not outcomes and (most <= 0 or connection.execute(due.limit(1)).first() is None):
                return []
            self._keep_others_out(connection)
            if outcomes:
                self._settle(connection, outcomes, owner)
            return [] if most <= 0 else self._lease(connection, due, owner, now_us + lease_us)

    def renew(self, owner: str, now_us: int, lease_us: int) -> None:
        """Prolong every lease of an owner."""
        mine = sa.update(OUTBOX).where(OUTBOX.c.leased_by == owner, OUTBOX.c.state == "first")
        with self._tables.transaction() as connection:
            connection.execute(mine.values(leased_until_us=now_us + lease_us))

    def next_due_us(self) -> int | None:
        """Return when the next message may be sent; None: nothing waits."""
        soonest = sa.case(
            (OUTBOX.c.leased_until_us > OUTBOX.c.due_at_us, OUTBOX.c.leased_until_us),
            else_=OUTBOX.c.due_at_us,
        )
        with self._tables.transaction() as connection:
            found = connection.execute(sa.select(sa.func.min(soonest)).where(OUTBOX.c.state == "first"))
            value = found.scalar()
        return None if value is None else int(value)

    def standing(self) -> Standing:
        """Count what waits, what is dead and what was ever delivered."""
        states = sa.select(OUTBOX.c.state, sa.func.count(), sa.func.min(OUTBOX.c.created_at_us))
        with self._tables.transaction() as connection:
            found = {state: (n, oldest) for state, n, oldest in connection.execute(states.group_by("state"))}
            delivered = connection.execute(
                sa.select(TOTALS.c.value).where(TOTALS.c.name == "delivered")
            ).scalar()
        waiting = [found[state] for state in ("first", "queued") if state in found]
        return Standing(
            waiting=sum(count for count, _ in waiting),
            dead=found.get("dead", (0, 0))[0],
            delivered=int(delivered or 0),
            oldest_us=min((oldest for _, oldest in waiting), default=None),
        )

    def listed(self, states: Collection[str], most: int) -> list[Mapping[str, Any]]:
        """Return messages in some states, oldest first, without their bodies."""
        columns = [column for column in OUTBOX.columns if column.name != "body"]
        query = sa.select(*columns).where(OUTBOX.c.state.in_(sorted(states))).order_by(OUTBOX.c.seq)
        with self._tables.transaction() as connection:
            return [dict(row) for row in connection.execute(query.limit(most)).mappings()]

    def retry(self, keys: Collection[str] | None, now_us: int) -> int:
        """Let dead letters wait again, each at its old place; None: all of them. Return how many."""
        dead = sa.select(OUTBOX.c.seq, OUTBOX.c.customer_id).where(OUTBOX.c.state == "dead")
        if keys is not None:
            dead = dead.where(OUTBOX.c.key.in_(sorted(keys)))
        with self._tables.transaction() as connection:
            self._keep_others_out(connection)
            found = connection.execute(dead.order_by(OUTBOX.c.seq)).all()
            again = {"attempts": 0, "due_at_us": now_us, "created_at_us": now_us, "problem": ""}
            for seq, _ in found:
                mine = sa.update(OUTBOX).where(OUTBOX.c.seq == seq)
                connection.execute(mine.values(state="queued", **again))
            self._promote(connection, {customer for _, customer in found})
        return len(found)

    def prune(self, now_us: int) -> None:
        """Give up what has waited too long, and drop dead letters nobody asked for in time."""
        with self._tables.transaction() as connection:
            self._keep_others_out(connection)
            is_old = OUTBOX.c.created_at_us <= now_us - WAITS_AT_MOST_US
            is_waiting = OUTBOX.c.state.in_(["first", "queued"])
            old = connection.execute(sa.select(OUTBOX.c.customer_id).where(is_old, is_waiting)).scalars()
            customers = set(old)
            if customers:
                dead = sa.update(OUTBOX).where(is_old, is_waiting)
                connection.execute(dead.values(state="dead", problem="waited for too long"))
                self._promote(connection, customers)
            expired = OUTBOX.c.created_at_us <= now_us - DEAD_KEPT_US
            connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.state == "dead", expired))

    def forget(self, customers: Collection[str]) -> int:
        """Erase every message about some customers; return how many."""
        gone, listed = 0, sorted(customers)
        with self._tables.transaction() as connection:
            self._keep_others_out(connection)
            for start in range(0, len(listed), CHUNK):
                theirs = OUTBOX.c.customer_id.in_(listed[start : start + CHUNK])
                gone += connection.execute(sa.delete(OUTBOX).where(theirs)).rowcount
        return gone

    def _settle(self, connection: sa.Connection, outcomes: Sequence[Outcome], owner: str) -> None:
        delivered = [one.leased.seq for one in outcomes if not one.problem]
        for start in range(0, len(delivered), CHUNK):
            some = OUTBOX.c.seq.in_(delivered[start : start + CHUNK])
            connection.execute(sa.delete(OUTBOX).where(some))
        failed = [one for one in outcomes if one.problem]
        for one in failed:
            is_dead = one.again_at_us is None
            connection.execute(
                sa.update(OUTBOX)
                # Whose lease ended meanwhile has nothing more to say about it.
                .where(OUTBOX.c.seq == one.leased.seq, OUTBOX.c.leased_by == owner)
                .values(
                    state="dead" if is_dead else "first",
                    attempts=one.leased.attempts + 1,
                    due_at_us=one.again_at_us or 0,
                    leased_by="",
                    leased_until_us=0,
                    problem=one.problem,
                )
            )
        self._promote(
            connection,
            {
                one.leased.message.customer_id
                for one in outcomes
                if not one.problem or one.again_at_us is None
            },
        )
        if delivered:
            total = self._tables.insert(TOTALS).values(name="delivered", value=len(delivered))
            more = TOTALS.c.value + len(delivered)
            connection.execute(total.on_conflict_do_update(index_elements=["name"], set_={"value": more}))

    def _promote(self, connection: sa.Connection, customers: Iterable[str]) -> None:
        """Make the oldest waiting message of each customer its first, and only that."""
        listed = sorted(customers)
        for start in range(0, len(listed), CHUNK):
            some = listed[start : start + CHUNK]
            theirs = OUTBOX.c.customer_id.in_(some)
            firsts = sa.select(OUTBOX.c.customer_id).where(theirs, OUTBOX.c.state == "first")
            oldest = (
                sa.select(sa.func.min(OUTBOX.c.seq))
                .where(theirs, OUTBOX.c.state == "queued", OUTBOX.c.customer_id.not_in(firsts))
                .group_by(OUTBOX.c.customer_id)
            )
            seqs = list(connection.execute(oldest).scalars())
            if seqs:
                connection.execute(sa.update(OUTBOX).where(OUTBOX.c.seq.in_(seqs)).values(state="first"))

    def _lease(
        self, connection: sa.Connection, due: sa.Select[Any], owner: str, until_us: int
    ) -> list[Leased]:
        # SQLite lets one writer in at a time: with the first statement written, nobody else leases.
        if not self._tables.is_postgresql:
            connection.execute(sa.update(TOTALS).where(TOTALS.c.name == "").values(value=0))
        rows = connection.execute(due).all()
        seqs = [row.seq for row in rows]
        for start in range(0, len(seqs), CHUNK):
            some = OUTBOX.c.seq.in_(seqs[start : start + CHUNK])
            connection.execute(
                sa.update(OUTBOX).where(some).values(leased_by=owner, leased_until_us=until_us)
            )
        return [
            Leased(
                row.seq,
                Message(row.key, row.kind, row.customer_id, row.body),
                row.attempts,
                row.created_at_us,
            )
            for row in rows
        ]

    def _keep_others_out(self, connection: sa.Connection) -> None:
        """Wait for others who change whose turn it is, in databases that do not by themselves."""
        if self._tables.is_postgresql:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ENQUEUE_LOCK)))
