"""Rows that were refused, kept whole with the reason: nothing is lost."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path

import polars as pl

from features.errors import EventLogError
from features.events import INSTANT

QUARANTINE_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "row": pl.Int64(),
    "file": pl.String(),
    "field": pl.String(),
    "value": pl.String(),
    "expected": pl.String(),
    "raw": pl.String(),
    "at": INSTANT,
}
"""``row``: the line of a CSV file, otherwise the position, 1 for the first; ``raw``: the row as JSON, or the
line as it was where it could not be read as a row; ``at``: when it was refused."""

IDENTITY = ("source", "file", "row", "field", "raw")
"""What makes two refusals the same one, met again."""


class Quarantine:
    """Refused rows under one folder, a Parquet file for each append.

    Parameters
    ----------
    root
        The folder. Nothing is created before the first `append`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def append(self, source: str, rows: pl.DataFrame, at: datetime) -> int:
        """Keep refused rows, except those kept already.

        Parameters
        ----------
        source
            Where they came from.
        rows
            ``row field value expected raw``, and ``file`` where there is one.
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
        whole = rows.with_columns(source=pl.lit(source), at=pl.lit(at, INSTANT))
        if "file" not in whole.columns:
            whole = whole.with_columns(file=pl.lit(None, pl.String))
        new = (
            whole.select(pl.col(name).cast(kind) for name, kind in QUARANTINE_SCHEMA.items())
            .unique(IDENTITY, keep="first", maintain_order=True)
            .join(self.read(source), on=IDENTITY, how="anti", nulls_equal=True, maintain_order="left")
        )
        if new.is_empty():
            return 0
        path = self.root / f"{uuid.uuid4().hex}.parquet"
        temporary = path.with_name(f".{path.name}")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            new.write_parquet(temporary)
            temporary.replace(path)
        except OSError as error:
            raise EventLogError(
                f"cannot write {path}: {error}", "check the disk and the permissions"
            ) from None
        return new.height

    def read(self, source: str | None = None) -> pl.DataFrame:
        """Return the rows kept (`QUARANTINE_SCHEMA`) of one source or of all, oldest refusal first."""
        parts = [path for path in sorted(self.root.glob("*.parquet")) if not path.name.startswith(".")]
        if not parts:
            return pl.DataFrame(schema=QUARANTINE_SCHEMA)
        frame = pl.scan_parquet(parts, glob=False)
        if source is not None:
            frame = frame.filter(pl.col("source") == source)
        return frame.sort("at", "source", "file", "row", maintain_order=True).collect()

    def count(self, source: str | None = None) -> int:
        """Return how many rows are kept, of one source or of all."""
        return self.read(source).height
