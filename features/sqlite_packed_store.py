"""Packed online values in one SQLite file: the embedded store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from features.errors import FeatureStoreError
from features.file_lock import exclusive
from features.packed_store import FENCE_MARK, PackedRow, check_advance, check_fence, is_alive

BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for another process to finish its transaction."""

SQLITE_TABLES = """
CREATE TABLE IF NOT EXISTS packed (
    key TEXT NOT NULL, view TEXT NOT NULL, event_us INTEGER NOT NULL, value BLOB NOT NULL,
    UNIQUE (key, view)
);
CREATE INDEX IF NOT EXISTS packed_by_age ON packed (view, event_us, key);
CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
PUT = (
    "INSERT INTO packed (key, view, event_us, value) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key, view) DO UPDATE SET event_us = excluded.event_us, value = excluded.value "
    "WHERE excluded.event_us >= packed.event_us"
)
ROWS_AT_ONCE = 2_000
"""Rows that one transaction of a larger change touches."""


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
        self.fence: Callable[[], int] | None = None
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
        # Without it a deleted or replaced value stays legible in the file's free space.
        connection.execute("PRAGMA secure_delete = ON").fetchall()
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
            self._pass_fence(writer)
            before = writer.total_changes
            writer.executemany(PUT, ((row.key, view, row.event_us, row.value) for row in rows))
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

    def get_views(
        self, views: Sequence[str], keys: Sequence[str], *, now_us: int, ttl_us: int | None
    ) -> dict[str, dict[str, PackedRow]]:
        """See `PackedStore.get_views`."""
        return {view: self.get_many(view, keys, now_us=now_us, ttl_us=ttl_us) for view in views}

    def keys(self, view: str, *, newer_than_us: int | None = None) -> Iterator[str]:
        """See `PackedStore.keys`."""
        condition, values = ("", ()) if newer_than_us is None else (" AND event_us > ?", (newer_than_us,))
        found = self._query(f"SELECT key FROM packed WHERE view = ?{condition}", (view, *values))
        return iter([key for (key,) in found])

    def page(self, view: str, *, after: str, limit: int, newer_than_us: int) -> list[str]:
        """See `PackedStore.page`."""
        found = self._query(
            "SELECT key FROM packed INDEXED BY packed_by_age WHERE view = ? AND event_us > ? AND key > ? "
            "ORDER BY key LIMIT ?",
            (view, newer_than_us, after, limit),
        )
        return [key for (key,) in found]

    def change_views(
        self, written: Mapping[str, Sequence[PackedRow]], removed: Mapping[str, Collection[str]]
    ) -> None:
        """See `PackedStore.change_views`."""
        with self._transaction() as writer:
            self._pass_fence(writer)
            rows = ((row.key, view, row.event_us, row.value) for view in written for row in written[view])
            writer.executemany(PUT, rows)
            gone = ((view, key) for view, keys in removed.items() for key in keys)
            writer.executemany("DELETE FROM packed WHERE view = ? AND key = ?", gone)

    def ages(self, view: str) -> dict[str, int]:
        """See `PackedStore.ages`."""
        return dict(self._query("SELECT key, event_us FROM packed WHERE view = ?", (view,)))

    def advance(self, view: str, from_us: int, to_us: int, except_keys: Collection[str]) -> int:
        """See `PackedStore.advance`."""
        check_advance(view, from_us, to_us)
        kept = set(except_keys)
        found = self._query("SELECT key FROM packed WHERE view = ? AND event_us = ?", (view, from_us))
        return self._for_some_at_a_time(
            "UPDATE packed SET event_us = ? WHERE view = ? AND event_us = ? AND key = ?",
            [(to_us, view, from_us, key) for (key,) in found if key not in kept],
        )

    def erase(self, key: str) -> int:
        """See `PackedStore.erase`."""
        with self._transaction() as writer:
            erased = writer.execute("DELETE FROM packed WHERE key = ?", (key,)).rowcount
        with self._mended(), self._write_lock:
            # Deleted rows are overwritten in the file; the log beside it still holds their pages.
            is_busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if is_busy:
            raise FeatureStoreError(
                f"online store {self._path}: the row is gone, but a copy may be left in the write-ahead log",
                "erase again when no other process reads the store",
            )
        return erased

    def remove(self, view: str, keys: Collection[str]) -> int:
        """See `PackedStore.remove`."""
        return self._for_some_at_a_time(
            "DELETE FROM packed WHERE view = ? AND key = ?", [(view, key) for key in keys]
        )

    def prune(self, view: str, until_us: int) -> int:
        """See `PackedStore.prune`."""
        found = self._query("SELECT key FROM packed WHERE view = ? AND event_us <= ?", (view, until_us))
        return self._for_some_at_a_time(
            "DELETE FROM packed WHERE view = ? AND event_us <= ? AND key = ?",
            [(view, until_us, key) for (key,) in found],
        )

    def _for_some_at_a_time(self, sql: str, rows: Sequence[tuple[str | int, ...]]) -> int:
        """Change many rows, a transaction for some of them: other writers get their turn in between."""
        changed = 0
        for start in range(0, len(rows), ROWS_AT_ONCE):
            with self._transaction() as writer:
                before = writer.total_changes
                writer.executemany(sql, rows[start : start + ROWS_AT_ONCE])
                changed += writer.total_changes - before
        return changed

    def drop(self, view: str) -> int:
        """See `PackedStore.drop`."""
        with self._transaction() as writer:
            return writer.execute("DELETE FROM packed WHERE view = ?", (view,)).rowcount

    def count(self, view: str, *, newer_than_us: int | None = None) -> int:
        """See `PackedStore.count`."""
        condition, values = ("", ()) if newer_than_us is None else (" AND event_us > ?", (newer_than_us,))
        found = self._query(f"SELECT count(*) FROM packed WHERE view = ?{condition}", (view, *values))
        return int(found[0][0])

    def put_mark(self, name: str, value: int) -> None:
        """See `PackedStore.put_mark`."""
        with self._transaction() as writer:
            self._pass_fence(writer)
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

    def _pass_fence(self, writer: sqlite3.Connection) -> None:
        if self.fence is None:
            return
        mine = self.fence()
        found = writer.execute("SELECT value FROM mark WHERE name = ?", (FENCE_MARK,)).fetchone()
        stored = found[0] if found else 0
        check_fence(stored, mine)
        if stored != mine:
            self._write_mark(writer, FENCE_MARK, mine)

    @staticmethod
    def _write_mark(writer: sqlite3.Connection, name: str, value: int) -> None:
        writer.execute(
            "INSERT INTO mark (name, value) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
