"""Opening a source as a table of raw rows: Parquet, CSV, SQL, or whatever a loader returns."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from configs.errors import did_you_mean
from features.csv_tables import OPTIONS as CSV_OPTIONS
from features.csv_tables import open_csv
from features.errors import SourceError
from features.mapping import SourceMapping
from features.parquet_files import check_ends, check_pages
from features.raw_table import (
    FILE,
    RAW,
    REJECTED_SCHEMA,
    ROW,
    TABLE,
    RawTable,
    first_line,
    literal,
    quoted,
)

__all__ = ["CSV_OPTIONS", "ROW", "TABLE", "RawTable", "first_line", "open_table", "quoted"]

PARQUET_OPTIONS = ("union_by_name",)
SQL_OPTIONS = ("connection",)


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
            # It would take what two expressions have in common out of the TRY that guards each of them.
            "disabled_optimizers": "common_subexpressions",
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    # Progress would be drawn on standard output, which belongs to the command's own result. In a notebook
    # without widgets there is none to draw, and the setting is refused.
    with contextlib.suppress(duckdb.InvalidInputException):
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
    files, what = _files(mapping), f"source {mapping.source}"
    for path in files:
        check_ends(path, what)
    arguments = ", ".join(
        f"{name} = {literal(value)}" for name, value in {**options, "filename": FILE}.items()
    )
    paths = literal([str(path) for path in files])
    try:
        connection.execute(f"CREATE TABLE raw AS SELECT * FROM read_parquet({paths}, {arguments})")
    except duckdb.Error as error:
        for path in files:
            check_pages(path, what)
        differ = "schema mismatch" in str(error)
        raise SourceError(
            f"{what}: {mapping.read['parquet']} cannot be read: {first_line(error)}",
            "say `union_by_name: true` to take what is missing for null, or map the files one by one"
            if differ
            else "check the files and the options beside `parquet:`",
        ) from None
    for view in (TABLE, RAW):
        connection.execute(f"CREATE VIEW {view} AS SELECT rowid + 1 AS {ROW}, * EXCLUDE ({FILE}) FROM raw")
    places = connection.sql(
        f"SELECT {FILE} AS file, min(rowid) + 1 AS start, CAST(1 AS BIGINT) AS line, count(*) AS rows "
        "FROM raw GROUP BY ALL"
    ).pl()
    return RawTable(connection, _columns(connection), _count(connection), _nothing_rejected(), places)


def _open_csv(mapping: SourceMapping, connection: duckdb.DuckDBPyConnection) -> RawTable:
    _options(mapping, CSV_OPTIONS)
    return open_csv(mapping, _files(mapping), connection)


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
    rows = numbered.to_arrow()
    for view in (TABLE, RAW):
        connection.register(view, rows)
    return RawTable(connection, _columns(connection), frame.height, _nothing_rejected())


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


def _files(mapping: SourceMapping) -> list[Path]:
    given, what = str(mapping.read[mapping.reader]), f"source {mapping.source}"
    if re.match(r"[a-z][a-z0-9+.-]+://", given):
        raise SourceError(f"{what}: {given} is an address, expected a file", "download it and name the file")
    pattern = Path(given).expanduser()
    path = pattern if pattern.is_absolute() else mapping.folder / pattern
    if path.is_file():
        return [path]
    if path.is_dir():
        raise SourceError(
            f"{what}: {path} is a folder, expected files", f"name them: {path}/*.{mapping.reader}"
        )
    matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    found = sorted(match for match in matches if match.is_file())
    if not found:
        raise SourceError(f"{what}: no such file: {path}", f"check `{mapping.reader}:` in the mapping")
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


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    described = connection.sql(f"SELECT * EXCLUDE ({ROW}) FROM {TABLE}")
    return {name: str(kind) for name, kind in zip(described.columns, described.types, strict=True)}


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.sql(f"SELECT count(*) FROM {TABLE}").fetchall()[0][0])


def _nothing_rejected() -> pl.DataFrame:
    return pl.DataFrame(schema=REJECTED_SCHEMA)
