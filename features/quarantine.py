"""Rows that were refused, kept whole with the reason: nothing is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl

from features.errors import EventLogError
from features.events import INSTANT
from features.file_lock import exclusive

LOCK_NAME = ".lock"
WRITE_HINT = "check the disk and the permissions"

QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "row": pl.Int64(),
    "file": pl.String(),
    "field": pl.String(),
    "value": pl.String(),
    "expected": pl.String(),
    "raw": pl.String(),
    "at": INSTANT,
    "customer_id": pl.String(),
}
"""``row``: the line of a CSV file, otherwise the position, 1 for the first; ``raw``: the row as JSON, or the
line as it was where it could not be read as a row; ``at``: when it was refused; ``customer_id``: whose it is,
as Tagtide writes it, where that could be told."""

Barred = Callable[[pl.DataFrame], pl.Series]
"""Rows (``value expected raw customer_id``) to booleans."""

Hidden = Callable[[pl.DataFrame], pl.DataFrame]
"""Rows (``value expected raw customer_id``) to the same rows with less in them."""

IDENTITY = ("source", "file", "row", "field", "raw")
"""What makes two refusals the same one, met again."""

FILES_MAX = 64
"""From so many small files on they become one: each costs whoever reads them."""
SMALL_BYTES = 4_000_000


class Quarantine:
    """Refused rows under one folder: a Parquet file for each time some came, until there are many.

    Parameters
    ----------
    root
        The folder. Nothing is created before the first `append`.
    barred
        Which rows are not to be kept, for they hold an erased customer's id; None: all may.
    hidden
        Makes of rows what may be kept of them; None: they are kept as they are.
    """

    def __init__(self, root: Path, barred: Barred | None = None, hidden: Hidden | None = None) -> None:
        self.root = root
        self._barred = barred
        self._hidden = hidden

    def append(self, source: str, rows: pl.DataFrame, at: datetime) -> int:
        """Keep refused rows, except those kept already.

        Parameters
        ----------
        source
            Where they came from.
        rows
            ``row field value expected raw``, and ``file`` and ``customer_id`` where there are such.
        at
            When they were refused.

        Returns
        -------
        How many rows were new.

        Raises
        ------
        EventLogError
            If they cannot be written.
        """
        if rows.is_empty():
            return 0
        whole = self._whole(source, rows, at)
        with self._writing():
            new = whole.unique(IDENTITY, keep="first", maintain_order=True).join(
                self.read(source), on=IDENTITY, how="anti", nulls_equal=True, maintain_order="left"
            )
            self._add(new)
        return new.height

    def keep(self, source: str, rows: pl.DataFrame, at: datetime) -> None:
        """Keep refused rows without looking what is kept already: it takes no longer the more there is.

        A refusal that was kept before is dropped when refusals are read, or when files become one.
        """
        if rows.is_empty():
            return
        whole = self._whole(source, rows, at)
        with self._writing():
            self._add(whole)
            self._merge()

    def _whole(self, source: str, rows: pl.DataFrame, at: datetime) -> pl.DataFrame:
        """Return what is to be kept of some rows."""
        whole = rows.with_columns(source=pl.lit(source), at=pl.lit(at, INSTANT))
        for name in ("file", "customer_id"):
            if name not in whole.columns:
                whole = whole.with_columns(pl.lit(None, pl.String).alias(name))
        if self._barred is not None:
            whole = whole.filter(~self._barred(whole))
        if self._hidden is not None:
            whole = self._hidden(whole)
        return whole.select(pl.col(name).cast(kind) for name, kind in QUARANTINE_SCHEMA.items())

    def _add(self, rows: pl.DataFrame) -> None:
        if not rows.is_empty():
            self._write(self.root / f"{uuid.uuid4().hex}.parquet", rows)

    def _merge(self) -> None:
        """Make one file of the small ones if there are many; half-way, some rows are there twice."""
        try:
            small = [path for path in self._files() if path.stat().st_size < SMALL_BYTES]
            if len(small) < FILES_MAX:
                return
            self._add(self._distinct(small).collect())
            for path in small:
                path.unlink()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise EventLogError(
                f"cannot make one file of those in {self.root}: {error}", WRITE_HINT
            ) from None

    def forget(self, is_theirs: Callable[[str, pl.DataFrame], pl.Series]) -> int:
        """Remove rows; the files that hold one are written anew.

        Parameters
        ----------
        is_theirs
            Source and rows to booleans: which are to go.

        Returns
        -------
        How many rows were removed.

        Raises
        ------
        EventLogError
            If a file cannot be written. Removing again completes it.
        """
        erased = 0
        if not self.root.is_dir():
            return erased
        with self._writing():
            # Nobody writes now: what has not reached its place is of a writer that is no more.
            for unfinished in self.root.glob(".*.parquet"):
                unfinished.unlink()
            for path in self._files():
                rows = self._scan([path]).collect()
                going = pl.Series([False]).new_from_index(0, rows.height)
                for (source,), group in rows.with_row_index("number").group_by("source"):
                    theirs = is_theirs(str(source), group)
                    going[group["number"].filter(theirs).to_list()] = True
                if not going.any():
                    continue
                erased += int(going.sum())
                kept = rows.filter(~going)
                if kept.is_empty():
                    path.unlink()
                else:
                    self._write(path, kept)
        return erased

    def read(self, source: str | None = None) -> pl.DataFrame:
        """Return the rows kept (`QUARANTINE_SCHEMA`) of one source or of all, oldest refusal first."""
        while True:
            parts = self._files()
            if not parts:
                return pl.DataFrame(schema=QUARANTINE_SCHEMA)
            frame = self._distinct(parts)
            try:
                return (frame if source is None else frame.filter(pl.col("source") == source)).collect()
            except FileNotFoundError:
                # Files became one, or were erased, since they were listed.
                if self._files() == parts:
                    raise

    def _distinct(self, files: list[Path]) -> pl.LazyFrame:
        """Return the rows of some files, each refusal once, oldest first."""
        frame = self._scan(files).sort("at", "source", "file", "row", maintain_order=True)
        return frame.unique(IDENTITY, keep="first", maintain_order=True)

    def count(self, source: str | None = None) -> int:
        """Return how many rows are kept, of one source or of all."""
        return self.read(source).height

    def _files(self) -> list[Path]:
        return [path for path in sorted(self.root.glob("*.parquet")) if not path.name.startswith(".")]

    def _scan(self, files: list[Path]) -> pl.LazyFrame:
        # Files of an earlier version lack the columns that came later.
        return pl.scan_parquet(files, glob=False, schema=QUARANTINE_SCHEMA, missing_columns="insert")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / LOCK_NAME).touch()
        except OSError as error:
            raise EventLogError(f"cannot write {self.root}: {error}", WRITE_HINT) from None
        with exclusive(self.root / LOCK_NAME):
            yield

    def _write(self, path: Path, rows: pl.DataFrame) -> None:
        temporary = path.with_name(f".{path.name}")
        try:
            rows.write_parquet(temporary)
            temporary.replace(path)
        except OSError as error:
            raise EventLogError(f"cannot write {path}: {error}", WRITE_HINT) from None
