"""Packed online values: one binary value per (view, key), in SQLite or elsewhere.

The service reads and writes here directly; Feast reaches the same rows through `features.online_store`.
Three rules that Feast leaves open are kept by the store: a value past its life is not returned, an older
value never replaces a newer one, and one customer can be erased from every view.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from configs.errors import ConfigError
from configs.home import Home
from configs.settings import Settings
from features.errors import FeatureStoreError
from features.file_lock import exclusive

PROJECT = "tagtide"

CUSTOMER_MEMORY = "customer_memory"
CUSTOMER_PROFILE = "customer_profile"
KEY_PROFILE = "key_profile"

LIFE_US = 72 * 3600 * 1_000_000
"""Life of every online value, in microseconds."""

BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for another process to finish its transaction."""

SEPARATOR = "\x1f"
ESCAPE = "\x1e"


class PackedRow(NamedTuple):
    """One value of one key.

    Attributes
    ----------
    key
        As `packed_key` gives it.
    event_us
        The instant the value is as of, microseconds since the epoch, UTC.
    value
        The packed value.
    """

    key: str
    event_us: int
    value: bytes


def is_alive(row: PackedRow, now_us: int, ttl_us: int | None) -> bool:
    """Tell whether a row is within its life.

    >>> row = PackedRow("c-17", 100, b"")
    >>> is_alive(row, 109, 10), is_alive(row, 110, 10), is_alive(row, 110, None)
    (True, False, True)
    """
    return ttl_us is None or row.event_us > now_us - ttl_us


def packed_key(join_keys: Mapping[str, str]) -> str:
    r"""Map a view's join keys to the key its rows lie under.

    A view with one join key uses its value as it is. Several are taken in the order of their names and
    joined by a separator, which is escaped inside them, so that two different keys never meet.

    Parameters
    ----------
    join_keys
        Value by name of the join key.

    >>> packed_key({"customer_id": "c-17"})
    'c-17'
    >>> packed_key({"key_value": "MILK", "key_column": "category"})
    'category\x1fMILK'
    """
    if len(join_keys) == 1:
        return next(iter(join_keys.values()))
    return SEPARATOR.join(
        join_keys[name].replace(ESCAPE, ESCAPE + "1").replace(SEPARATOR, ESCAPE + "2")
        for name in sorted(join_keys)
    )


def profile_key(key_column: str, key_value: str) -> str:
    """Return the key of a category's or a brand's row in `KEY_PROFILE`.

    >>> profile_key("brand", "69") == packed_key({"key_column": "brand", "key_value": "69"})
    True
    """
    return packed_key({"key_column": key_column, "key_value": key_value})


class PackedStore(Protocol):
    """What the service and Feast ask of an online store. Safe to share between threads."""

    def put_many(self, view: str, rows: Sequence[PackedRow], mark: tuple[str, int] | None = None) -> int:
        """Write rows, and a mark with them, in one transaction.

        A row older than the one stored under its key is left out; one as old replaces it.

        Parameters
        ----------
        view
            Name of the view.
        rows
            May hold a key more than once.
        mark
            Name and value of a progress mark that becomes true with these rows, or not at all.

        Returns
        -------
        Number of rows written.
        """

    def get(self, view: str, key: str, *, now_us: int, ttl_us: int | None) -> PackedRow | None:
        """Return a key's row, or None where there is none or it has expired.

        Parameters
        ----------
        view, key
            Where it lies.
        now_us
            The present, microseconds since the epoch, UTC.
        ttl_us
            Life in microseconds: a row is alive iff ``event_us > now_us - ttl_us``. None: for ever.
        """

    def get_many(
        self, view: str, keys: Sequence[str], *, now_us: int, ttl_us: int | None
    ) -> dict[str, PackedRow]:
        """Return the live rows of many keys; a key without one is missing. See `get`."""

    def keys(self, view: str, *, newer_than_us: int | None = None) -> Iterator[str]:
        """Iterate over a view's keys, in no particular order.

        Parameters
        ----------
        view
            Name of the view.
        newer_than_us
            Only keys whose row has a larger ``event_us``; None: all of them.
        """

    def ages(self, view: str) -> dict[str, int]:
        """Return the ``event_us`` of every row of a view by key, expired ones included."""

    def erase(self, key: str) -> int:
        """Delete a key's row from every view and return how many rows that were."""

    def drop(self, view: str) -> int:
        """Delete every row of a view and return how many rows that were."""

    def count(self, view: str) -> int:
        """Count a view's rows, expired ones included."""

    def put_mark(self, name: str, value: int) -> None:
        """Set a progress mark, whatever it was before."""

    def mark(self, name: str) -> int | None:
        """Return a progress mark, or None where it was never set."""

    def close(self) -> None:
        """Give the connections back. Closing twice is harmless."""


def open_packed_store(home: Home, settings: Settings) -> PackedStore:
    """Open the online store the settings name.

    Raises
    ------
    ConfigError
        If Redis is chosen and no URL is set.
    FeatureStoreError
        If it cannot be opened.
    """
    if settings.online_store == "sqlite":
        return SqlitePackedStore(home.online_store)
    from features.redis_packed_store import RedisPackedStore

    if settings.redis_url is None:
        raise ConfigError(
            "setting 'online_store' is 'redis', but 'redis_url' is not set", "set TAGTIDE_REDIS_URL"
        )
    return RedisPackedStore(settings.redis_url.get_secret_value(), PROJECT)


SQLITE_TABLES = """
CREATE TABLE IF NOT EXISTS packed (
    key TEXT NOT NULL, view TEXT NOT NULL, event_us INTEGER NOT NULL, value BLOB NOT NULL,
    UNIQUE (key, view)
);
CREATE INDEX IF NOT EXISTS packed_by_age ON packed (view, event_us, key);
CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class SqlitePackedStore:
    """Packed values in one SQLite file, in WAL mode: readers and the writer do not wait for each other.

    One connection reads and one writes, each behind its lock; other processes may do the same with the
    same file. A commit survives a crash of the process; one of the machine may cost the last commits,
    rows and their mark together.

    Parameters
    ----------
    path
        The file; it and its directory are made where missing.

    Raises
    ------
    FeatureStoreError
        If the file cannot be opened, is no database, or an operation fails.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_lock = threading.Lock()
        self._write_lock = threading.Lock()
        with self._mended():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            # SQLite does not wait for another process that changes the journal mode too.
            with exclusive(path.with_name(f"{path.name}.lock")):
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.executescript(SQLITE_TABLES)
            self._reader = self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = NORMAL")
        # Without a limit the write-ahead log keeps the size of the largest materialisation for ever.
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    @contextmanager
    def _mended(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise FeatureStoreError(
                f"online store {self._path}: {error}", "check the file, its directory and the free disk space"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._mended(), self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def put_many(self, view: str, rows: Sequence[PackedRow], mark: tuple[str, int] | None = None) -> int:
        """See `PackedStore.put_many`."""
        with self._transaction() as writer:
            before = writer.total_changes
            writer.executemany(
                "INSERT INTO packed (key, view, event_us, value) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (key, view) DO UPDATE SET event_us = excluded.event_us, value = excluded.value "
                "WHERE excluded.event_us >= packed.event_us",
                ((row.key, view, row.event_us, row.value) for row in rows),
            )
            written = writer.total_changes - before
            if mark is not None:
                self._write_mark(writer, *mark)
        return written

    def get(self, view: str, key: str, *, now_us: int, ttl_us: int | None) -> PackedRow | None:
        """See `PackedStore.get`."""
        found = self._query("SELECT key, event_us, value FROM packed WHERE key = ? AND view = ?", (key, view))
        return next((row for row in map(PackedRow._make, found) if is_alive(row, now_us, ttl_us)), None)

    def get_many(
        self, view: str, keys: Sequence[str], *, now_us: int, ttl_us: int | None
    ) -> dict[str, PackedRow]:
        """See `PackedStore.get_many`."""
        rows: dict[str, PackedRow] = {}
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            found = self._query(
                "SELECT key, event_us, value FROM packed WHERE view = ? "
                f"AND key IN ({', '.join('?' * len(some))})",
                (view, *some),
            )
            rows |= {row.key: row for row in map(PackedRow._make, found) if is_alive(row, now_us, ttl_us)}
        return rows

    def keys(self, view: str, *, newer_than_us: int | None = None) -> Iterator[str]:
        """See `PackedStore.keys`."""
        condition, values = ("", ()) if newer_than_us is None else (" AND event_us > ?", (newer_than_us,))
        found = self._query(f"SELECT key FROM packed WHERE view = ?{condition}", (view, *values))
        return iter([key for (key,) in found])

    def ages(self, view: str) -> dict[str, int]:
        """See `PackedStore.ages`."""
        return dict(self._query("SELECT key, event_us FROM packed WHERE view = ?", (view,)))

    def erase(self, key: str) -> int:
        """See `PackedStore.erase`."""
        with self._transaction() as writer:
            return writer.execute("DELETE FROM packed WHERE key = ?", (key,)).rowcount

    def drop(self, view: str) -> int:
        """See `PackedStore.drop`."""
        with self._transaction() as writer:
            return writer.execute("DELETE FROM packed WHERE view = ?", (view,)).rowcount

    def count(self, view: str) -> int:
        """See `PackedStore.count`."""
        return int(self._query("SELECT count(*) FROM packed WHERE view = ?", (view,))[0][0])

    def put_mark(self, name: str, value: int) -> None:
        """See `PackedStore.put_mark`."""
        with self._transaction() as writer:
            self._write_mark(writer, name, value)

    def mark(self, name: str) -> int | None:
        """See `PackedStore.mark`."""
        found = self._query("SELECT value FROM mark WHERE name = ?", (name,))
        return int(found[0][0]) if found else None

    def close(self) -> None:
        """See `PackedStore.close`."""
        with self._read_lock:
            self._reader.close()
        with self._write_lock:
            self._writer.close()

    def _query(self, sql: str, values: Sequence[str | int]) -> list[Any]:
        with self._mended(), self._read_lock:
            return self._reader.execute(sql, values).fetchall()

    @staticmethod
    def _write_mark(writer: sqlite3.Connection, name: str, value: int) -> None:
        writer.execute(
            "INSERT INTO mark (name, value) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
