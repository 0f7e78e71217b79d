"""Searches everything a home holds for ids, however it is stored."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import polars as pl


def places_naming(root: Path, ids: Collection[str]) -> list[str]:
    """Return where an id stands: raw in a file, in a column of a Parquet file, or in a table of SQLite.

    Databases are read through a connection of their own as well, so that what stands in a write-ahead log is
    seen too, and compressed values are unpacked.
    """
    needles = [one.encode() for one in ids]
    needles += [one.encode("utf-16-le") for one in ids]
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = str(path.relative_to(root))
        if any(needle in name.encode() for needle in needles):
            found.append(f"name of {name}")
        content = path.read_bytes()
        if _names(content, needles):
            found.append(f"bytes of {name}")
        if content[:4] == b"PAR1":
            found += [f"column {column} of {name}" for column in _columns_naming(path, needles)]
        elif content[:15] == b"SQLite format 3":
            found += [f"table {table} of {name}" for table in _tables_naming(path, needles)]
    return found


def keys_naming(url: str, ids: Collection[str]) -> list[str]:
    """Return the keys of a Redis database that name an id or hold a value that does."""
    import redis

    needles = [one.encode() for one in ids]
    client = redis.Redis.from_url(url)
    found = []
    for key in client.scan_iter():
        kind = client.type(key)
        if kind == b"string":
            values = [client.get(key)]
        elif kind == b"zset":
            values = client.zrange(key, 0, -1)
        elif kind == b"set":
            values = list(client.smembers(key))
        else:
            raise AssertionError(f"a key of type {kind!r} is not searched")
        if any(_names(value, needles) for value in [key, *values]):
            found.append(key.decode("utf-8", "replace"))
    client.close()
    return found


def rows_naming(url: str, ids: Collection[str]) -> list[str]:
    """Return the tables of a PostgreSQL schema with a row that names an id."""
    import sqlalchemy as sa

    needles = [one.encode() for one in ids]
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        tables = connection.execute(
            sa.text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        ).scalars()
        found = [
            f"table {table}"
            for table in tables
            for row in connection.execute(sa.text(f'SELECT * FROM "{table}"'))
            if any(_value_names(value, needles) for value in row)
        ]
    engine.dispose()
    return found


def _names(content: bytes, needles: Collection[bytes]) -> bool:
    return any(needle in content for needle in needles)


def _value_names(value: Any, needles: Collection[bytes]) -> bool:
    if isinstance(value, str):
        return _names(value.encode(), needles)
    if isinstance(value, bytes):
        return any(_names(content, needles) for content in _unpacked(value))
    return value is not None and _names(str(value).encode(), needles)


def _unpacked(value: bytes) -> Iterator[bytes]:
    """Yield a value, and whatever deflated data begins anywhere near its start."""
    yield value
    for start in range(min(len(value), 64)):
        try:
            yield zlib.decompressobj().decompress(value[start:])
        except zlib.error:
            continue


def _columns_naming(path: Path, needles: Collection[bytes]) -> Iterator[str]:
    frame = pl.read_parquet(path, hive_partitioning=False)
    for column in frame.iter_columns():
        kept = column if column.dtype in (pl.String, pl.Binary) else column.cast(pl.String, strict=False)
        if any(_value_names(value, needles) for value in kept.unique().to_list()):
            yield column.name


def _tables_naming(path: Path, needles: Collection[bytes]) -> Iterator[str]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')
            if any(_value_names(value, needles) for row in rows for value in row):
                yield table
    finally:
        connection.close()
