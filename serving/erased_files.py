"""Removing customers' ids from a home's files: tables, reports, and what databases leave behind."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from configs.home import Home
from serving.errors import ErasureError

CUSTOMER = "customer_id"
IN_PLACE_OF_ID = "(erased)"
BUSY_SECONDS = 30


def forget_in_tables(folder: Path, ids: Collection[str]) -> int:
    """Remove rows from every Parquet file under a folder that has a column ``customer_id``.

    What writers left unfinished there goes altogether; nobody may be writing.

    Returns
    -------
    How many rows were removed.
    """
    erased = 0
    for unfinished in [*folder.rglob("*.tmp"), *folder.rglob(".*.parquet")]:
        unfinished.unlink()
    wanted = pl.Series(list(ids), dtype=pl.String).implode()
    is_theirs = pl.col(CUSTOMER).is_in(wanted).fill_null(value=False)
    for path in sorted(folder.rglob("*.parquet")):
        if pl.read_parquet_schema(path).get(CUSTOMER) != pl.String:
            continue
        found = int(pl.scan_parquet(path, glob=False).select(is_theirs.sum()).collect().item())
        if found:
            erased += found
            with _in_place_of(path) as made:
                pl.scan_parquet(path, glob=False).filter(~is_theirs).sink_parquet(made)
    return erased


def forget_in_reports(folder: Path, ids: Collection[str]) -> int:
    """Blank ids in every JSON file under a folder: whole values, and what stands in quotation marks.

    Returns
    -------
    How many places that were.
    """
    erased = 0
    quoted = re.compile("([\"'])(" + "|".join(re.escape(one) for one in sorted(ids)) + r")\1")
    for path in sorted(folder.rglob("*.json")):
        text = path.read_text(encoding="utf-8")
        if not any(one in text for one in ids):
            continue
        try:
            content, count = _blanked(json.loads(text), set(ids), quoted)
        except ValueError:
            continue
        if count:
            erased += count
            with _in_place_of(path) as made:
                made.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return erased


def empty_spill(home: Home) -> None:
    """Remove what computations that were cut short left behind."""
    shutil.rmtree(home.feature_store / "spill", ignore_errors=True)


def leave_no_traces(database: Path) -> None:
    """Write a SQLite file anew, so that nothing of deleted rows is left in it or in its write-ahead log.

    Raises
    ------
    ErasureError
        If others hold the file for too long.
    """
    if not database.is_file():
        return
    connection = sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("VACUUM")
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise ErasureError(
                f"{database.name} is in use: traces of what was erased may still be in its log",
                "run the command again",
            )
    except sqlite3.Error as error:
        raise ErasureError(
            f"{database.name} could not be written anew: {error}", "free the disk, and run the command again"
        ) from None
    finally:
        connection.close()


def _blanked(value: Any, ids: set[str], quoted: re.Pattern[str]) -> tuple[Any, int]:
    if isinstance(value, str):
        if value in ids:
            return IN_PLACE_OF_ID, 1
        return quoted.subn(rf"\1{IN_PLACE_OF_ID}\1", value)
    if isinstance(value, dict):
        parts = {name: _blanked(inner, ids, quoted) for name, inner in value.items()}
        return {name: inner for name, (inner, _) in parts.items()}, sum(n for _, n in parts.values())
    if isinstance(value, list):
        listed = [_blanked(inner, ids, quoted) for inner in value]
        return [inner for inner, _ in listed], sum(count for _, count in listed)
    return value, 0


@contextlib.contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    made = path.with_name(f".{path.name}.tmp")
    try:
        yield made
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
