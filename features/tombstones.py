"""What erasure leaves behind: a keyed hash of each id, so that its events do not come back."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import threading
import uuid
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import polars as pl
import sqlalchemy as sa
from pydantic import SecretStr

from configs.home import Home
from features.database import make_tables, transaction
from features.errors import IdentityError
from features.windows import from_us, to_us

KEY_BYTES = 32
NAMING = b"tagtide erasure key"
"""What a key is named by: the hash of this text with it."""

METADATA = sa.MetaData()

TOMBSTONES = sa.Table(
    "tombstones",
    METADATA,
    sa.Column(
        "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
    ),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("key_name", sa.String(16), nullable=False),
    sa.Column("erased_at_us", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

ERASURES = sa.Table(
    "erasures",
    METADATA,
    sa.Column("erasure_id", sa.String(32), primary_key=True),
    sa.Column("erased_at_us", sa.BigInteger, nullable=False),
    sa.Column("counts", sa.Text, nullable=False),
)
"""That somebody was erased: when, and how many rows of what; nothing says who."""


@dataclass(frozen=True)
class Erasure:
    """That somebody was erased; nothing says who.

    Attributes
    ----------
    erased_at
        Events up to then do not come in again.
    ids
        How many ids have a tombstone by it; None where that was not written down.
    rows
        How many rows were erased, by place.
    """

    erasure_id: str
    erased_at: datetime
    ids: int | None
    rows: Mapping[str, int]


@dataclass(frozen=True)
class ErasureKey:
    """A secret that hashes ids, so that nobody without it can try ids out on the tombstones."""

    secret: bytes

    @cached_property
    def name(self) -> str:
        """What tells this key from another: 16 hexadecimal digits."""
        return hmac.digest(self.secret, NAMING, "sha256").hex()[:16]

    def hash(self, text: str) -> str:
        """Return the HMAC-SHA256 of a canonical id: 64 hexadecimal digits.

        >>> ErasureKey(b"k").hash("ann") == hmac.new(b"k", b"ann", "sha256").hexdigest()
        True
        """
        return hmac.digest(self.secret, text.encode(), "sha256").hex()


class ErasureKeys:
    """The keys of a home: one from the environment, one in a file of the home's own, or both.

    New tombstones are made with the one from the environment where there is one. The file is made the first
    time that a tombstone is needed and no other key is there; only its owner may read it.
    """

    def __init__(self, home: Home, from_environment: SecretStr | None) -> None:
        self._path = home.erasure_key
        self._environment = (
            None if from_environment is None else ErasureKey(from_environment.get_secret_value().encode())
        )

    def known(self) -> list[ErasureKey]:
        """Return every key there is, the one for new tombstones first."""
        keys = [] if self._environment is None else [self._environment]
        try:
            written = self._path.read_text(encoding="ascii").strip()
            return [*keys, ErasureKey(bytes.fromhex(written))]
        except FileNotFoundError:
            return keys
        except (OSError, ValueError):
            raise IdentityError(
                f"{self._path} is damaged or may not be read", "restore it: erasures hold only with it"
            ) from None

    def for_new(self) -> ErasureKey:
        """Return the key for new tombstones, made where there is none."""
        if not self.known():
            # Whole before it has its name: another process may ask for it at the same moment.
            made = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}")
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
                file.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):
                os.link(made, self._path)
            made.unlink()
        return self.known()[0]


class Tombstones:
    """Keyed hashes of the ids that were erased, each with the instant up to which it holds.

    An event is covered if its id has a tombstone and it happened at or before that instant. What happens
    later is a new customer's. Safe to share between threads.

    Parameters
    ----------
    engine
        From `features.database.open_engine`. Tables are made if they are not there.
    keys
        Of the home.

    Raises
    ------
    IdentityError
        If the database refuses, or a tombstone was made with a key that is not there; so does every method.
    """

    def __init__(self, engine: sa.Engine, keys: ErasureKeys) -> None:
        self._engine = engine
        self._keys = keys
        self._lock = threading.Lock()
        self._version = (0, 0)
        self._instants: dict[str, int] = {}
        self._in_use: list[ErasureKey] = []
        with self._transaction() as connection:
            make_tables(connection, METADATA)

    def until(self, texts: Collection[str]) -> dict[str, int]:
        """Return up to when each erased id is covered, µs since the epoch; others are missing.

        Parameters
        ----------
        texts
            Canonical ids.
        """
        with self._lock:
            self._refresh()
            instants, keys = self._instants, self._in_use
        if not instants:
            return {}
        found = {}
        for text in texts:
            covered = [instants[name] for name in (key.hash(text) for key in keys) if name in instants]
            if covered:
                found[text] = max(covered)
        return found

    def cover(self, ids: pl.Series, times: pl.Series) -> pl.Series:
        """Tell which events are covered.

        Parameters
        ----------
        ids
            Canonical ids; null is never covered.
        times
            When each event happened; null, a time that is not known, counts as covered.

        Returns
        -------
        Booleans, shape (n_events,).
        """
        until = self.until(ids.drop_nulls().unique().to_list()) if self.is_any() else {}
        last = ids.replace_strict(list(until), list(until.values()), default=None, return_dtype=pl.Int64)
        return ((times.dt.epoch("us") <= last) | (times.is_null() & last.is_not_null())).fill_null(
            value=False
        )

    def is_any(self) -> bool:
        """Tell whether anybody was erased."""
        with self._lock:
            self._refresh()
            return bool(self._instants)

    def bury(self, texts: Collection[str], erased_at: datetime) -> int:
        """Leave a tombstone for each canonical id; one that is there may come to cover more, never less.

        Returns
        -------
        How many ids.
        """
        key = self._keys.for_new()
        before = self.until(texts)
        rows = [
            {
                "hash": key.hash(text),
                "key_name": key.name,
                "erased_at_us": max(to_us(erased_at), before.get(text, 0)),
            }
            for text in texts
        ]
        with self._transaction() as connection:
            # A number that was never there tells every reader that something is new.
            for row in rows:
                connection.execute(sa.delete(TOMBSTONES).where(TOMBSTONES.c.hash == row["hash"]))
                connection.execute(sa.insert(TOMBSTONES).values(row))
        return len(rows)

    def lift(self, texts: Collection[str]) -> None:
        """Take the tombstones of canonical ids away: there was nothing to erase."""
        hashes = [key.hash(text) for key in self._keys.known() for text in texts]
        with self._transaction() as connection:
            connection.execute(sa.delete(TOMBSTONES).where(TOMBSTONES.c.hash.in_(hashes)))

    def record(self, erasure: Erasure) -> None:
        """Write down that an erasure was done."""
        row = {
            "erasure_id": erasure.erasure_id,
            "erased_at_us": to_us(erasure.erased_at),
            "counts": json.dumps({"ids": erasure.ids, "rows": dict(erasure.rows)}),
        }
        with self._transaction() as connection:
            connection.execute(sa.insert(ERASURES).values(row))

    def find(self, erasure_id: str) -> Erasure | None:
        """Return an erasure that was written down, or None."""
        query = sa.select(ERASURES).where(ERASURES.c.erasure_id == erasure_id)
        with self._transaction() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        content = json.loads(row.counts)
        # An earlier version wrote the rows alone.
        return Erasure(
            row.erasure_id, from_us(row.erased_at_us), content.get("ids"), content.get("rows", content)
        )

    def _refresh(self) -> None:
        with self._transaction() as connection:
            newest, count = connection.execute(
                sa.select(sa.func.max(TOMBSTONES.c.seq), sa.func.count())
            ).one()
            version = (int(newest or 0), int(count))
            if version == self._version:
                return
            rows = connection.execute(sa.select(TOMBSTONES)).all()
        names = {row.key_name for row in rows}
        there = {key.name: key for key in self._keys.known()}
        if missing := names - there.keys():
            raise IdentityError(
                f"erased customers are known by {len(missing)} key(s) that are not there",
                "set TAGTIDE_ERASURE_KEY as it was, or restore HOME/erasure.key: "
                "without it they could come back unnoticed",
            )
        self._instants = {row.hash: row.erased_at_us for row in rows}
        self._in_use = [there[name] for name in sorted(names)]
        self._version = version

    def _transaction(self) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, IdentityError, "the tombstones' database refused")
