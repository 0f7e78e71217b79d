"""The raw rows of a source, whatever it was read from, and where each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

TABLE = "source_rows"
ROW = "tagtide_row"
FILE = "tagtide_file"
UNREAD_PREFIX = "tagtide_unread_"
RAW = "raw_rows"
"""Like `TABLE`, with every value of a CSV file as the text that stands there."""

REJECTED_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.Int64(),
    "file": pl.String(),
    "field": pl.String(),
    "value": pl.String(),
    "expected": pl.String(),
    "raw": pl.String(),
}

PLACES_SCHEMA: dict[str, pl.DataType] = {
    "file": pl.String(),
    "start": pl.Int64(),
    "line": pl.Int64(),
    "rows": pl.Int64(),
}

Lines = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NumberFormat:
    """How a CSV file writes numbers."""

    decimal: str = "."
    thousands: str = ""

    def as_double(self, text: str) -> str:
        """Return SQL that reads a text as DOUBLE, null where it is no number so written.

        >>> NumberFormat().as_double("price")
        'TRY_CAST(price AS DOUBLE)'
        """
        if self == NumberFormat():
            return f"TRY_CAST({text} AS DOUBLE)"
        mark, point = _class_of(self.thousands), _class_of(self.decimal)
        whole = rf"\d{{1,3}}({mark}\d{{3}})+|\d+" if self.thousands else r"\d+"
        pattern = rf"\s*[-+]?({whole})?({point}\d*)?([eE][-+]?\d+)?\s*"
        plain = f"replace({text}, {literal(self.thousands)}, '')" if self.thousands else text
        value = f"TRY_CAST(replace({plain}, {literal(self.decimal)}, '.') AS DOUBLE)"
        return f"CASE WHEN regexp_full_match({text}, {literal(pattern)}) THEN {value} END"


def _class_of(character: str) -> str:
    return f"[{character}]" if character != "\\" else r"[\\]"


@dataclass(frozen=True)
class RawTable:
    """The raw rows of a source in a DuckDB connection of their own.

    Attributes
    ----------
    connection
        Holds the tables `TABLE` and `RAW`: the source's columns and `ROW`, 1 for the first row.
    columns
        The columns of `TABLE` and their DuckDB types.
    row_count
        Rows in the table.
    rejected
        Lines that could not be read as rows (`REJECTED_SCHEMA`).
    places
        Per file its name, the position of its first row in the table, the line that row stands on, and how
        many rows it has; empty where rows have no line.
    lines
        Asked for the lines of a file's rows (0 for its first one): their exact numbers where the file can be
        walked through again; otherwise None, and a line is taken for a row.
    numbers
        How numbers are written in text.
    unread
        Columns with texts that could not be read as what the column holds, and what was expected of them.
        `TABLE` then has null there, and true in a column of that name after `UNREAD_PREFIX`.
    """

    connection: duckdb.DuckDBPyConnection
    columns: Mapping[str, str]
    row_count: int
    rejected: pl.DataFrame
    places: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PLACES_SCHEMA))
    lines: Callable[[str, Lines], Lines | None] = lambda _file, _rows: None
    numbers: NumberFormat = NumberFormat()
    unread: Mapping[str, str] = field(default_factory=dict)

    def describe(self, rows: Sequence[int] | pl.Series) -> pl.DataFrame:
        """Return where rows stand and what they held: ``position row file raw``.

        Parameters
        ----------
        rows
            Positions as in `ROW`; each is returned once, in ascending order.

        Returns
        -------
        ``position`` as given; ``row``: the line of a CSV file on which the row begins, otherwise the position
        within the file or source; ``file`` or null; ``raw``: JSON, of a CSV file with every value as text.
        """
        wanted = pl.DataFrame({"position": pl.Series(rows, dtype=pl.Int64).unique()})
        self.connection.register("wanted_rows", wanted.to_arrow())
        pairs = ", ".join(f"{literal(name)}: {quoted(name)}" for name in self.columns)
        found: pl.DataFrame = self.connection.sql(
            f"SELECT position, CAST(to_json({{{pairs}}}) AS VARCHAR) AS raw "
            f"FROM wanted_rows JOIN {RAW} ON {ROW} = position ORDER BY position"
        ).pl()
        self.connection.unregister("wanted_rows")
        if self.places.is_empty():
            return found.select(
                "position", pl.col("position").alias("row"), pl.lit(None, pl.String).alias("file"), "raw"
            )
        placed = found.join_asof(self.places.sort("start"), left_on="position", right_on="start")
        located = [self._located(group) for _, group in placed.group_by("file", maintain_order=True)]
        columns = ["position", "row", "file", "raw"]
        return (
            pl.concat([one.select(columns) for one in located])
            if located
            else placed.select("position", pl.col("line").alias("row"), "file", "raw")
        )

    def _located(self, group: pl.DataFrame) -> pl.DataFrame:
        """Number the rows of one file by line."""
        name, first, start = group["file"][0], int(group["line"][0]), int(group["start"][0])
        within = group["position"].to_numpy() - start
        lines = self.lines(name, within) if within.size else within
        if lines is None:
            # A line is taken for a row; rejected lines above move it down.
            rejected = np.unique(self.rejected.filter(pl.col("file") == name)["row"].to_numpy())
            rows_above = rejected - first - np.arange(rejected.size)
            lines = first + within + np.searchsorted(rows_above, within, side="right")
        return group.with_columns(pl.Series("row", lines, dtype=pl.Int64))

    def texts(self, rows: pl.Series, columns: Sequence[str]) -> pl.Series:
        """Return what stands in some columns of rows, as one text each: ``a`` or ``x=a, y=b``.

        Parameters
        ----------
        rows
            Distinct positions.
        columns
            One or more of `columns`.

        Returns
        -------
        Shape of ``rows``; null where the only column is null.
        """
        wanted = rows.cast(pl.Int64).alias("position").to_frame().with_row_index("place")
        self.connection.register("wanted_rows", wanted.to_arrow())
        texts = [f"CAST({quoted(name)} AS VARCHAR)" for name in columns]
        named = [
            f"{literal(name + '=')} || coalesce({text}, 'null')"
            for name, text in zip(columns, texts, strict=True)
        ]
        value = texts[0] if len(texts) == 1 else f"concat_ws(', ', {', '.join(named)})"
        found: pl.DataFrame = self.connection.sql(
            f"SELECT place, {value} AS value FROM wanted_rows JOIN {RAW} ON {ROW} = position ORDER BY place"
        ).pl()
        self.connection.unregister("wanted_rows")
        return found["value"].cast(pl.String)


def literal(value: Any) -> str:
    """Write a value as a DuckDB literal.

    >>> literal({"a": ["it's", True, 3]})
    "{'a': ['it''s', true, 3]}"
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(str(key))}: {literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(inner) for inner in value) + "]"
    return "'" + str(value).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Write a column's name so that DuckDB takes it literally.

    >>> quoted("unit price")
    '"unit price"'
    """
    return '"' + name.replace('"', '""') + '"'


def first_line(error: Exception) -> str:
    """Return what a DuckDB error says, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines else type(error).__name__
    return text.partition(" You might need to")[0].partition(" Candidate")[0]
