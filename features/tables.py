"""Opening a source as a table of raw rows: Parquet, CSV, SQL, or whatever a loader returns."""

from __future__ import annotations

import importlib
import inspect
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from configs.errors import did_you_mean
from features.errors import SourceError
from features.mapping import SourceMapping

TABLE = "source_rows"
ROW = "tagtide_row"
FILE = "tagtide_file"

CSV_OPTIONS = (
    "all_varchar",
    "comment",
    "compression",
    "dateformat",
    "decimal_separator",
    "delimiter",
    "encoding",
    "escape",
    "header",
    "max_line_size",
    "names",
    "null_padding",
    "nullstr",
    "quote",
    "sample_size",
    "skip",
    "strict_mode",
    "thousands",
    "timestampformat",
    "types",
    "union_by_name",
)
"""What may stand beside ``csv:``, as DuckDB's ``read_csv`` understands it.

``ignore_errors`` is missing on purpose: it drops bad lines silently.
"""

TIME_FORMATS = {"dateformat", "timestampformat"}
NO_TIMES = ("BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR")
"""What a column's type is guessed from. Times stay text unless their format is given: a guess takes 01/02 for
either day, a column of times with and without offset for UTC, and a date among times for its midnight."""

PARQUET_OPTIONS = ("union_by_name",)
SQL_OPTIONS = ("connection",)

REJECTED_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.Int64(),
    "file": pl.String(),
    "field": pl.String(),
    "value": pl.String(),
    "expected": pl.String(),
    "raw": pl.String(),
}


@dataclass(frozen=True)
class RawTable:
    """The raw rows of a source in a DuckDB connection of their own.

    Attributes
    ----------
    connection
        Holds the table `TABLE`: the source's columns and `ROW`, 1 for the first row.
    columns
        The source's columns and their DuckDB types.
    row_count
        Rows in the table.
    rejected
        Lines that could not be read as rows (`REJECTED_SCHEMA`).
    places
        Per file its name, the position of its first row in the table and the line that row stands on; empty
        where rows have no line.
    """

    connection: duckdb.DuckDBPyConnection
    columns: Mapping[str, str]
    row_count: int
    rejected: pl.DataFrame
    places: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema={"file": pl.String, "start": pl.Int64, "line": pl.Int64})
    )

    def describe(self, rows: Sequence[int] | pl.Series) -> pl.DataFrame:
        """Return where rows stand and what they held: ``position row file raw``.

        Parameters
        ----------
        rows
            Positions as in `ROW`; each is returned once, in ascending order.

        Returns
        -------
        ``position`` as given; ``row``: the line of a CSV file (exact where no value spans lines and no line
        is blank), otherwise the position within the file or source; ``file`` or null; ``raw``: JSON text.
        """
        wanted = pl.DataFrame({"position": pl.Series(rows, dtype=pl.Int64).unique()})
        self.connection.register("wanted_rows", wanted.to_arrow())
        pairs = ", ".join(f"{literal(name)}: {quoted(name)}" for name in self.columns)
        found: pl.DataFrame = self.connection.sql(
            f"SELECT position, CAST(to_json({{{pairs}}}) AS VARCHAR) AS raw "
            f"FROM wanted_rows JOIN {TABLE} ON {ROW} = position ORDER BY position"
        ).pl()
        self.connection.unregister("wanted_rows")
        if self.places.is_empty():
            return found.select(
                "position", pl.col("position").alias("row"), pl.lit(None, pl.String).alias("file"), "raw"
            )
        placed = found.join_asof(self.places.sort("start"), left_on="position", right_on="start")
        offset = pl.col("position") - pl.col("start") + pl.col("line")
        located = placed.select("position", offset.alias("row"), "file", "raw")
        return self._past_rejected(located)

    def _past_rejected(self, located: pl.DataFrame) -> pl.DataFrame:
        """Move rows down by the rejected lines above them."""
        if self.rejected.is_empty() or located.is_empty():
            return located
        shifted = []
        for (name,), group in located.group_by(["file"], maintain_order=True):
            first = self.places.filter(pl.col("file") == name)["line"].item()
            lines = np.unique(self.rejected.filter(pl.col("file") == name)["row"].to_numpy())
            rows_above = lines - first - np.arange(lines.size)
            rows = group["row"].to_numpy()
            lines_above = np.searchsorted(rows_above, rows - first, side="right")
            shifted.append(group.with_columns(pl.Series("row", rows + lines_above, dtype=pl.Int64)))
        return pl.concat(shifted).sort("position")


def open_table(mapping: SourceMapping, *, threads: int) -> RawTable:
    """Read a source's raw rows.

    Parameters
    ----------
    mapping
        With its environment variables filled in.
    threads
        How many DuckDB may use.

    Raises
    ------
    SourceError
        If a file, a query or a loader is missing or fails, or an option is unknown.
    """
    connection = duckdb.connect(
        config={
            "threads": threads,
            "temp_directory": str(Path(tempfile.gettempdir()) / "tagtide-duckdb"),
            # An extension would be fetched from the network.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    # Progress would be drawn on standard output, which belongs to the command's own result.
    connection.execute("SET enable_progress_bar = false")
    readers: dict[str, Callable[[SourceMapping, duckdb.DuckDBPyConnection], RawTable]] = {
        "parquet": _open_parquet,
        "csv": _open_csv,
        "sql": _open_sql,
        "loader": _open_loader,
    }
    return readers[mapping.reader](mapping, connection)


def _open_parquet(mapping: SourceMapping, connection: duckdb.DuckDBPyConnection) -> RawTable:
    options = _options(mapping, PARQUET_OPTIONS)
    files = _files(mapping)
    arguments = _arguments([_list(files), *options.items(), ("filename", FILE)])
    _run(connection, f"CREATE TABLE raw AS SELECT * FROM read_parquet({arguments})", mapping)
    return _finish(connection, first_line=1, rejected=pl.DataFrame(schema=REJECTED_SCHEMA))


def _open_csv(mapping: SourceMapping, connection: duckdb.DuckDBPyConnection) -> RawTable:
    options = _options(mapping, CSV_OPTIONS)
    options.setdefault("header", "names" not in options)
    files = _files(mapping)
    for name in files:
        if Path(name).is_file() and Path(name).stat().st_size == 0:
            raise SourceError(f"source {mapping.source}: {name} is empty", "check the export that wrote it")
    own: list[tuple[str, Any]] = [("store_rejects", True), ("filename", FILE)]
    if not TIME_FORMATS & options.keys():
        own.append(("auto_type_candidates", NO_TIMES))
    arguments = _arguments([_list(files), *options.items(), *own])
    _run(connection, f"CREATE TABLE raw AS SELECT * FROM read_csv({arguments})", mapping)
    errors = connection.sql(
        """
        SELECT CAST(line AS BIGINT) AS "row", file_path AS file, column_name AS field, csv_line,
               byte_position, error_type, error_message
        FROM reject_errors JOIN reject_scans USING (scan_id, file_id)
        ORDER BY file_path, line, column_idx
        """
    ).pl()
    rejected = (
        errors.unique(["file", "row"], keep="first", maintain_order=True)
        .with_columns(pl.col("csv_line").str.strip_chars("\r\n"))
        .select(
            "row",
            "file",
            pl.col("field").fill_null("line"),
            pl.col("csv_line").alias("value"),
            pl.format(
                "{} (byte {})",
                pl.col("error_message")
                .str.replace_all(r"\s+", " ")
                .str.replace(r"^Expected Number of Columns: (\d+) Found: (\d+)$", "$1 columns, not $2"),
                pl.coalesce("byte_position", pl.lit(0)),
            ).alias("expected"),
            pl.col("csv_line").alias("raw"),
        )
        .cast(REJECTED_SCHEMA)
    )
    skipped = int(options.get("skip", 0) or 0)
    table = _finish(connection, first_line=1 + skipped + bool(options["header"]), rejected=rejected)
    _check_names(table, options, mapping)
    return table


def _check_names(table: RawTable, options: Mapping[str, Any], mapping: SourceMapping) -> None:
    """Refuse names that the reader would ignore silently."""
    names = options.get("names")
    if isinstance(names, list) and list(table.columns) != names:
        raise SourceError(
            f"source {mapping.source}: {mapping.read['csv']} has {len(table.columns)} columns, "
            f"where `names` gives {len(names)}",
            "name every column, and say which `delimiter` parts them",
        )
    types = options.get("types")
    for name in types if isinstance(types, Mapping) else ():
        if name not in table.columns:
            raise SourceError(
                f"source {mapping.source}: 'read.types' names {name!r}, which the file has not"
                f"{did_you_mean(str(name), table.columns)}",
                f"the file has: {', '.join(table.columns)}",
            )


def _finish(connection: duckdb.DuckDBPyConnection, *, first_line: int, rejected: pl.DataFrame) -> RawTable:
    connection.execute(f"CREATE VIEW {TABLE} AS SELECT rowid + 1 AS {ROW}, * EXCLUDE ({FILE}) FROM raw")
    places = connection.sql(
        f"SELECT {FILE} AS file, min(rowid) + 1 AS start, CAST({first_line} AS BIGINT) AS line "
        "FROM raw GROUP BY ALL"
    ).pl()
    return RawTable(connection, _columns(connection), _count(connection), rejected, places)


def _open_sql(mapping: SourceMapping, connection: duckdb.DuckDBPyConnection) -> RawTable:
    import sqlalchemy

    options = _options(mapping, SQL_OPTIONS)
    if not isinstance(options.get("connection"), str):
        raise SourceError(
            f"source {mapping.source}: 'read.connection' is missing: expected a database URL",
            "add `connection: ${NAME}` beside `sql:` and set NAME in the environment",
        )
    try:
        engine = sqlalchemy.create_engine(options["connection"])
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        # The URL may hold a password: it is not shown.
        reason = f"{type(error).__name__}" if "URL" in str(error) else str(error).splitlines()[0]
        raise SourceError(
            f"source {mapping.source}: 'read.connection' is no database URL that can be opened: {reason}",
            "expected DIALECT://USER:PASSWORD@HOST/DATABASE",
        ) from None
    try:
        with engine.connect() as opened:
            result = opened.execute(sqlalchemy.text(mapping.read["sql"]))
            names = list(result.keys())
            rows = [tuple(row) for row in result]
    except sqlalchemy.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise SourceError(
            f"source {mapping.source}: the query failed: {str(cause).splitlines()[0]}",
            "check `sql:` and `connection:` in the mapping",
        ) from None
    finally:
        engine.dispose()
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SourceError(
            f"source {mapping.source}: the query returns column {repeated[0]!r} twice",
            "rename one with AS",
        )
    return _from_frame(_frame_of_rows(names, rows), connection)


def _open_loader(mapping: SourceMapping, connection: duckdb.DuckDBPyConnection) -> RawTable:
    dotted = mapping.read["loader"]
    module_name, _, attribute = dotted.rpartition(".")
    try:
        loader = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SourceError(
            f"source {mapping.source}: loader {dotted!r} cannot be imported: {error}",
            "expected package.module.function, importable from here",
        ) from None
    options = {name: value for name, value in mapping.read.items() if name != "loader"}
    try:
        inspect.signature(loader).bind(**options)
    except TypeError as error:
        raise SourceError(
            f"source {mapping.source}: loader {dotted!r}: {error}",
            "what stands beside `loader:` is handed to it as keyword arguments",
        ) from None
    try:
        frame = loader(**options)
    except OSError as error:
        raise SourceError(
            f"source {mapping.source}: loader {dotted!r}: {error}", "check what the loader reads"
        ) from None
    return _from_frame(_as_polars(frame, mapping), connection)


def _as_polars(frame: Any, mapping: SourceMapping) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    try:
        made = frame if isinstance(frame, pl.DataFrame) else pl.from_dataframe(frame, rechunk=False)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise SourceError(
            f"source {mapping.source}: loader {mapping.read['loader']!r} returned a {type(frame).__name__} "
            f"that is no table: {str(error).splitlines()[0]}",
            "expected a polars or pandas DataFrame, or an Arrow table",
        ) from None
    return made


def _from_frame(frame: pl.DataFrame, connection: duckdb.DuckDBPyConnection) -> RawTable:
    numbered = frame.with_row_index(ROW, offset=1).with_columns(pl.col(ROW).cast(pl.Int64))
    connection.register(TABLE, numbered.to_arrow())
    return RawTable(connection, _columns(connection), frame.height, pl.DataFrame(schema=REJECTED_SCHEMA))


def _frame_of_rows(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    columns = []
    for position, name in enumerate(names):
        values = [row[position] for row in rows]
        try:
            columns.append(pl.Series(name, values, strict=True))
        except (TypeError, pl.exceptions.PolarsError):
            # Databases without column types (SQLite) may mix them: as text nothing is lost.
            columns.append(
                pl.Series(name, [None if value is None else str(value) for value in values], pl.String)
            )
    return pl.DataFrame(columns)


def _files(mapping: SourceMapping) -> list[str]:
    given = str(mapping.read[mapping.reader])
    if re.match(r"[a-z][a-z0-9+.-]+://", given):
        return [given]
    pattern = Path(given).expanduser()
    path = pattern if pattern.is_absolute() else mapping.folder / pattern
    if path.is_file():
        return [str(path)]
    matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    found = sorted(str(match) for match in matches if match.is_file())
    if not found:
        raise SourceError(
            f"source {mapping.source}: no such file: {path}", f"check `{mapping.reader}:` in the mapping"
        )
    return found


def _options(mapping: SourceMapping, known: Sequence[str]) -> dict[str, Any]:
    options = {name: value for name, value in mapping.read.items() if name != mapping.reader}
    for name in options:
        if name not in known:
            raise SourceError(
                f"source {mapping.source}: unknown option 'read.{name}'{did_you_mean(name, known)}",
                f"known beside `{mapping.reader}:`: {', '.join(known)}",
            )
    return options


def _run(connection: duckdb.DuckDBPyConnection, statement: str, mapping: SourceMapping) -> None:
    try:
        connection.execute(statement)
    except duckdb.Error as error:
        raise SourceError(
            f"source {mapping.source}: {mapping.read[mapping.reader]} cannot be read: {first_line(error)}",
            f"check the file and the options beside `{mapping.reader}:`",
        ) from None


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    described = connection.sql(f"SELECT * EXCLUDE ({ROW}) FROM {TABLE}")
    return {name: str(kind) for name, kind in zip(described.columns, described.types, strict=True)}


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.sql(f"SELECT count(*) FROM {TABLE}").fetchall()[0][0])


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(literal(value) for value in values)}]"


def _arguments(parts: Sequence[str | tuple[str, Any]]) -> str:
    return ", ".join(part if isinstance(part, str) else f"{part[0]} = {literal(part[1])}" for part in parts)


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
    return " ".join(lines[:2]) if lines else type(error).__name__
