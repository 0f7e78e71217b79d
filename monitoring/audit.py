"""The audit log: who read or changed what, when, and how many customers it was about. It only grows."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from features.database import make_tables, transaction
from features.identities import Spaces
from features.tombstones import ErasureKey, ErasureKeys
from monitoring.errors import AuditError

CHAIN, CUSTOMER = b"tagtide audit chain", b"tagtide audit customer"
"""What the home's key is made into two further ones with: for the chain, and for customers' ids."""

BEGINNING = "0" * 64
"""What the first line follows."""

APPEND_LOCK = 0x7A6_7A1D
"""Number of PostgreSQL's advisory lock: two who append must not follow the same line."""

BATCH_ROWS = 5_000

METADATA = sa.MetaData()

AUDIT = sa.Table(
    "audit",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("customers", sa.Integer, nullable=False),
    sa.Column("customer_hash", sa.String(64)),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("key_name", sa.String(16), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index(
        "audit_by_customer",
        "customer_hash",
        sqlite_where=sa.text("customer_hash IS NOT NULL"),
        postgresql_where=sa.text("customer_hash IS NOT NULL"),
    ),
)
CONTENT = [column.name for column in AUDIT.columns if column.name != "hash"]

INSERT = {
    dialect: f"INSERT INTO audit ({', '.join(AUDIT.columns.keys())}) "
    f"VALUES ({', '.join([mark] * len(AUDIT.columns))})"
    for dialect, mark in (("sqlite", "?"), ("postgresql", "%s"))
}

ONLY_GROWS = "the audit log only grows"
REFUSE = f"BEGIN SELECT RAISE(ABORT, '{ONLY_GROWS}'); END"
# REPLACE deletes without asking the rule about deletions: it is stopped as an insertion.
SQLITE_RULES = [
    f"CREATE TRIGGER IF NOT EXISTS audit_{name} BEFORE {what} ON audit {when} {REFUSE}"
    for name, what, when in (
        ("no_update", "UPDATE", ""),
        ("no_delete", "DELETE", ""),
        ("at_the_end", "INSERT", "WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit)"),
    )
]
POSTGRESQL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{ONLY_GROWS}'; END $$
"""
POSTGRESQL_RULE = """
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()
"""
HAS_POSTGRESQL_RULE = sa.text(
    "SELECT count(*) FROM pg_trigger WHERE tgname = 'audit_only_grows' AND tgrelid = 'audit'::regclass"
)


class Entry(NamedTuple):
    """One thing that somebody did.

    Attributes
    ----------
    at_us
        When, microseconds since the epoch, UTC.
    who
        A token's name; ``cli`` for the command line, ``environment`` for the token given there.
    what
        ``read``, ``write``, ``erasure``, ``promotion``, ``denied`` and so on.
    detail
        Which operation, model or setting. Never an id.
    customers
        How many customers it was about.
    customer
        Its id, where it was one: kept as a keyed hash only.
    request_id, status
        Of the request over HTTP; empty and 0 of the command line.
    """

    at_us: int
    who: str
    what: str
    detail: str
    customers: int = 0
    customer: str | None = None
    request_id: str = ""
    status: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a look at the whole chain found.

    Attributes
    ----------
    lines
        How many follow from the first one on without a fault.
    head
        The last of them as ``SEQ:HASH``, to be noted elsewhere: who has it can tell later that no line at
        the end was taken away.
    problem
        What is wrong with the line after them; empty if nothing is.
    """

    lines: int
    head: str
    problem: str = ""


class AuditLog:
    """Lines that follow from each other by keyed hashes, in a table that refuses to be changed.

    Customers stand in it as keyed hashes, so that an erasure leaves it alone and yet it can be told whether a
    given id was looked at. Safe to share between threads and processes.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. Table and rules are made if they are not there.
    keys
        Of the home; the one for new tombstones is used.
    spaces
        How ids are written in the home now.

    Raises
    ------
    AuditError
        If the database refuses; so does every method.
    """

    def __init__(self, engine: sa.Engine, keys: ErasureKeys, spaces: Callable[[], Spaces] = Spaces) -> None:
        self._engine = engine
        self._keys = keys
        self._spaces = spaces
        with self._transaction() as connection:
            make_tables(connection, METADATA)
            self._make_rules(connection)

    def append(self, entries: Sequence[Entry]) -> None:
        """Write lines in one transaction, durably on return."""
        if not entries:
            return
        key, spaces = self._keys.for_new(), self._spaces()
        chain, customer = _derived(key, CHAIN), _derived(key, CUSTOMER)
        with self._transaction() as connection:
            self._keep_others_out(connection)
            last = connection.execute(
                sa.select(AUDIT.c.seq, AUDIT.c.hash).order_by(AUDIT.c.seq.desc()).limit(1)
            ).first()
            seq, before = (0, BEGINNING) if last is None else (last.seq, last.hash)
            rows = []
            for entry in entries:
                seq += 1
                whose = None if entry.customer is None else spaces.canonical(entry.customer)
                content = (
                    seq,
                    entry.at_us,
                    entry.who,
                    entry.what,
                    entry.detail,
                    entry.customers,
                    None if whose is None else _keyed(customer, whose.encode()),
                    entry.request_id,
                    entry.status,
                    key.name,
                )
                before = _link(chain, before, content)
                rows.append((*content, before))
            # By the driver's own hand: a third of the price of the statement's.
            connection.exec_driver_sql(INSERT[self._engine.dialect.name], rows)

    def read(
        self,
        *,
        since_us: int | None = None,
        what: str | None = None,
        customers: Collection[str] | None = None,
        last: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return lines, oldest first.

        Parameters
        ----------
        since_us
            Only later ones.
        what
            Only what was called so.
        customers
            Only what was about exactly one customer, known by one of these canonical ids.
        last
            Only so many, the latest.
        """
        query = sa.select(AUDIT).order_by(AUDIT.c.seq.desc())
        if since_us is not None:
            query = query.where(AUDIT.c.at_us > since_us)
        if what is not None:
            query = query.where(AUDIT.c.what == what)
        if customers is not None:
            keys = [_derived(key, CUSTOMER) for key in self._keys.known()]
            hashes = [_keyed(key, one.encode()) for key in keys for one in customers]
            query = query.where(AUDIT.c.customer_hash.in_(hashes))
        with self._transaction() as connection:
            found = connection.execute(query if last is None else query.limit(last)).mappings().all()
        return [dict(row) for row in reversed(found)]

    def verify(self, head: str | None = None) -> Verdict:
        """Follow the chain from its first line to its last.

        Parameters
        ----------
        head
            ``SEQ:HASH`` as an earlier verdict told it: that line must be there still.

        Raises
        ------
        AuditError
            If ``head`` is not of that form.
        """
        expected = _head_of(head)
        chains = {key.name: _derived(key, CHAIN) for key in self._keys.known()}
        seq, before = 0, BEGINNING
        for row in self._lines():
            problem = ""
            if row["seq"] != seq + 1:
                problem = f"line {seq + 1} is missing"
            elif row["key_name"] not in chains:
                problem = f"line {row['seq']} was written with a key that is not there"
            elif _link(chains[row["key_name"]], before, [row[name] for name in CONTENT]) != row["hash"]:
                problem = f"line {row['seq']} is not what was written"
            elif row["seq"] == expected[0] and row["hash"] != expected[1]:
                problem = f"line {row['seq']} is not the one that was noted"
            if problem:
                return Verdict(seq, f"{seq}:{before}", problem)
            seq, before = row["seq"], row["hash"]
        missing = f"line {seq + 1} is missing: up to {expected[0]} were noted" if seq < expected[0] else ""
        return Verdict(seq, f"{seq}:{before}", missing)

    def _lines(self) -> Iterator[dict[str, Any]]:
        seq = -1
        while True:
            query = sa.select(AUDIT).where(AUDIT.c.seq > seq).order_by(AUDIT.c.seq).limit(BATCH_ROWS)
            with self._transaction() as connection:
                rows = connection.execute(query).mappings().all()
            if not rows:
                return
            yield from (dict(row) for row in rows)
            seq = rows[-1]["seq"]

    def _make_rules(self, connection: sa.Connection) -> None:
        if self._engine.dialect.name == "sqlite":
            for rule in SQLITE_RULES:
                connection.exec_driver_sql(rule)
            return
        self._keep_others_out(connection)
        if not connection.execute(HAS_POSTGRESQL_RULE).scalar():
            connection.exec_driver_sql(POSTGRESQL_FUNCTION)
            connection.exec_driver_sql(POSTGRESQL_RULE)

    def _keep_others_out(self, connection: sa.Connection) -> None:
        if self._engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(APPEND_LOCK)))

    def _transaction(self) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, AuditError, "the audit log's database refused")


def _derived(key: ErasureKey, purpose: bytes) -> bytes:
    return hmac.digest(key.secret, purpose, "sha256")


def _keyed(key: bytes, content: bytes) -> str:
    # Several times faster than an HMAC, and made for being keyed.
    return hashlib.blake2b(content, key=key, digest_size=32).hexdigest()


def _link(key: bytes, before: str, content: Sequence[Any]) -> str:
    return _keyed(key, msgspec.json.encode([before, *content]))


def _head_of(text: str | None) -> tuple[int, str]:
    if text is None:
        return 0, ""
    seq, _, hashed = text.partition(":")
    if not seq.isdecimal() or len(hashed) != len(BEGINNING):
        raise AuditError(f"head {text!r}: expected SEQ:HASH", "as `tagtide audit verify` printed it")
    return int(seq), hashed
