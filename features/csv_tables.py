"""Opening CSV files as a table of raw rows: what is no row is set aside, all else kept as it stands."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from configs.errors import did_you_mean
from features.csv_file import Dialect, inspect
from features.csv_lines import copy_readable, count_breaks, is_readable, lines_at, original_line, record_lines
from features.errors import SourceError
from features.events import shown_texts
from features.mapping import SourceMapping
from features.raw_table import (
    FILE,
    PLACES_SCHEMA,
    RAW,
    REJECTED_SCHEMA,
    ROW,
    TABLE,
    UNREAD_PREFIX,
    Lines,
    RawTable,
    first_line,
    literal,
    quoted,
)
from features.text_columns import TextColumn, number_format, recognise, time_formats

OPTIONS = (
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

PASSED_ON = (
    "comment",
    "dateformat",
    "decimal_separator",
    "max_line_size",
    "null_padding",
    "nullstr",
    "strict_mode",
    "thousands",
    "timestampformat",
)
MAX_LINE_BYTES = 1 << 26
RECOVERIES_MAX = 20
BARE_TEXT = re.compile(r'(?:CAST\(\s*)?"?(.+?)"?(?:\s+AS\s+(?:VARCHAR|TEXT|STRING)\s*\))?', re.IGNORECASE)
TEXT_COLUMNS = ("event_id", "customer_id", "item_id", "order_id", "category", "brand")
"""Columns of the event that are text: what goes into them as it stands stays as it stands."""

REJECTS_QUERY = """
    SELECT file_path AS copy, CAST(line AS BIGINT) AS record, first(column_name ORDER BY column_idx) AS field,
           first(error_message ORDER BY column_idx) AS message,
           CAST(first(error_type ORDER BY column_idx) AS VARCHAR) AS kind,
           CAST(min(line_byte_position) AS BIGINT) AS byte, any_value(csv_line) AS text
    FROM reject_errors JOIN reject_scans USING (scan_id, file_id)
    GROUP BY ALL ORDER BY file_path, record
"""


@dataclass
class _File:
    """A file and what became of it.

    Attributes
    ----------
    readable
        What is read: the file, or a copy of it.
    taken_out
        Lines that the copy lacks, with what they hold: their quote is never closed.
    """

    path: Path
    dialect: Dialect
    readable: Path
    taken_out: dict[int, str] = field(default_factory=dict)

    @property
    def is_copy(self) -> bool:
        return self.readable != self.path

    @property
    def compression(self) -> str:
        return "none" if self.is_copy else self.dialect.compression


def open_csv(
    mapping: SourceMapping, files: Sequence[Path], connection: duckdb.DuckDBPyConnection
) -> RawTable:
    """Read CSV files.

    Every column is read as text first, so that no value is lost to a wrong guess; then a column all of whose
    values are numbers is one of numbers.

    Raises
    ------
    SourceError
        If a file is no CSV file, or the files or the options do not fit each other.
    """
    what, options = f"source {mapping.source}", mapping.read
    sources = [_File(path, inspect(path, options, what), path) for path in files]
    names = _names_of_all(sources, options, what)
    types = _types(options, names, what)
    with tempfile.TemporaryDirectory(prefix="tagtide-csv-") as folder:
        rejects = _Reading(connection, sources, names, types, options, Path(folder), what).read()
        rejected = pl.concat([_rejected(one, rejects, what) for one in sources])
    texts = [name for name in names if name not in types]
    understood = (
        {}
        if options.get("all_varchar")
        else recognise(
            connection,
            "raw",
            texts,
            numbers=number_format(options),
            never_numbers=_identifiers(mapping),
            time_formats=time_formats(options),
        )
    )
    _make_views(connection, names, understood)
    places = _places(connection, sources)
    described = connection.sql(f"SELECT {', '.join(map(quoted, names))} FROM {TABLE}")
    return RawTable(
        connection,
        dict(zip(described.columns, map(str, described.types), strict=True)),
        int(connection.sql("SELECT count(*) FROM raw").fetchall()[0][0]),
        rejected.sort("file", "row"),
        places,
        lines=_Lines(sources, rejects, places, what),
        numbers=number_format(options),
        unread={name: column.expected for name, column in understood.items() if column.unread},
    )


def _identifiers(mapping: SourceMapping) -> set[str]:
    """Return the source's columns that become text of an event as they stand."""
    expressions = [mapping.columns[name].strip() for name in TEXT_COLUMNS if name in mapping.columns]
    return {found[1] for text in expressions if (found := BARE_TEXT.fullmatch(text))}


def _names_of_all(sources: Sequence[_File], options: Mapping[str, Any], what: str) -> list[str]:
    """Return the columns of all files; refuse those with other columns, unless told to unite them."""
    names = list(sources[0].dialect.names)
    for source in sources[1:]:
        here = source.dialect.names
        if options.get("union_by_name"):
            names += [name for name in here if name not in names]
        elif set(here) != set(names):
            odd = min(set(here) ^ set(names))
            has, lacks = (source, sources[0]) if odd in here else (sources[0], source)
            raise SourceError(
                f"{what}: {has.path} has a column {odd!r}, which {lacks.path} has not",
                "say `union_by_name: true` to take what is missing for null, or map them one by one",
            )
    return names


def _types(options: Mapping[str, Any], names: Sequence[str], what: str) -> dict[str, str]:
    """Return the types that the mapping states, by column."""
    given = options.get("types") or {}
    if isinstance(given, list):
        return {name: str(kind) for name, kind in zip(names, given, strict=False)}
    for name in given:
        if name not in names:
            raise SourceError(
                f"{what}: 'read.types' names {name!r}, which the file has not"
                f"{did_you_mean(str(name), names)}",
                f"the file has: {', '.join(names)}",
            )
    return {str(name): str(kind) for name, kind in given.items()}


@dataclass(frozen=True)
class _Reading:
    """Reads files into the table ``raw``, again where lines had to be taken out first."""

    connection: duckdb.DuckDBPyConnection
    sources: Sequence[_File]
    names: Sequence[str]
    types: Mapping[str, str]
    options: Mapping[str, Any]
    folder: Path
    what: str

    def read(self) -> pl.DataFrame:
        """Return what was rejected: ``copy record field message kind byte text``."""
        for source in self.sources:
            if not is_readable(source.path, source.dialect, self.what):
                self._copy(source)
        rejects = self._read_once()
        for _ in range(RECOVERIES_MAX):
            # A quote that is never closed swallows good lines: without the line that opens it they are read.
            swallowing = rejects.filter(pl.col("kind") == "UNQUOTED VALUE", pl.col("text").str.contains("\n"))
            if swallowing.is_empty():
                break
            for source in self.sources:
                offsets = swallowing.filter(copy=str(source.readable))["byte"].to_list()
                if offsets:
                    found = lines_at(source.readable, source.compression, offsets, self.what)
                    source.taken_out |= {original_line(line, source.taken_out): raw for line, _, raw in found}
                    self._copy(source)
            rejects = self._read_once()
        return rejects

    def _read_once(self) -> pl.DataFrame:
        columns = ", ".join(f"{quoted(name)} {self.types.get(name, 'VARCHAR')}" for name in self.names)
        self.connection.execute(f"CREATE OR REPLACE TABLE raw ({columns}, {FILE} VARCHAR)")
        rejects = []
        for (dialect, _), group in groupby(self.sources, key=lambda one: (one.dialect, one.compression)):
            files = list(group)
            try:
                rejects.append(self._insert(dialect, files))
            except duckdb.Error as error:
                raise SourceError(
                    f"{self.what}: {self.options['csv']} cannot be read: {first_line(error)}",
                    "check the file and the options beside `csv:`",
                ) from None
        return pl.concat(rejects)

    def _insert(self, dialect: Dialect, files: Sequence[_File]) -> pl.DataFrame:
        given = {name: self.options[name] for name in PASSED_ON if name in self.options}
        nulls = given.get("nullstr", "")
        if nulls is None or (isinstance(nulls, list) and None in nulls):
            raise SourceError(
                f"{self.what}: 'read.nullstr' is {nulls!r}: YAML took a text for its own null",
                'write it in quotes: nullstr: ["NULL", ""]',
            )
        settings = {
            "auto_detect": False,
            "columns": {name: self.types.get(name, "VARCHAR") for name in dialect.names},
            "header": dialect.has_header,
            "skip": dialect.skip,
            "delim": dialect.delimiter,
            "quote": dialect.quote,
            "escape": dialect.escape,
            "compression": files[0].compression,
            "max_line_size": MAX_LINE_BYTES,
            "store_rejects": True,
            "filename": FILE,
        } | given
        self.connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
        arguments = ", ".join(f"{name} = {literal(value)}" for name, value in settings.items())
        paths = literal([str(one.readable) for one in files])
        self.connection.execute(f"INSERT INTO raw BY NAME SELECT * FROM read_csv({paths}, {arguments})")
        rejects: pl.DataFrame = self.connection.sql(REJECTS_QUERY).pl()
        return rejects

    def _copy(self, source: _File) -> None:
        target = self.folder / f"{self.sources.index(source)}.csv"
        copy_readable(source.path, source.dialect, source.taken_out, target, self.what)
        source.readable = target


def _rejected(source: _File, rejects: pl.DataFrame, what: str) -> pl.DataFrame:
    """Describe the lines of a file that are no rows, in the shape of `REJECTED_SCHEMA`."""
    mine = rejects.filter(copy=str(source.readable))
    stands = lines_at(source.readable, source.compression, mine["byte"].to_list(), what)
    rows = []
    for row, (line, byte, raw) in zip(mine.iter_rows(named=True), stands, strict=True):
        # What is no text was replaced by the reader, and what is long was cut: the file still has it.
        is_whole = row["kind"] == "LINE SIZE OVER MAXIMUM" or (
            row["kind"] != "INVALID ENCODING" and raw in row["text"]
        )
        text = row["text"].strip("\r\n") if is_whole else raw
        at = "" if source.is_copy or source.dialect.compression != "none" else f" (byte {byte})"
        expected = _expected(row["kind"], row["message"], source.dialect) + at
        rows.append((original_line(line, source.taken_out), row["field"] or "line", text, expected, text))
    rows += [(line, "line", text, "a closing quote", text) for line, text in source.taken_out.items()]
    names = ["row", "field", "value", "expected", "raw"]
    frame = pl.DataFrame(rows, schema={name: REJECTED_SCHEMA[name] for name in names}, orient="row")
    return frame.with_columns(
        shown_texts(frame["value"]).alias("value"), file=pl.lit(str(source.path))
    ).select(list(REJECTED_SCHEMA))


def _expected(kind: str, message: str, dialect: Dialect) -> str:
    match kind:
        case "MISSING COLUMNS" | "TOO MANY COLUMNS":
            return re.sub(r"^.*: (\d+) Found: (\d+).*$", r"\1 columns, not \2", message, flags=re.DOTALL)
        case "UNQUOTED VALUE":
            return "a closing quote, and nothing between it and the next delimiter"
        case "INVALID ENCODING":
            return f"text in {dialect.encoding}: for another encoding say `encoding:`"
        case "CAST":
            return message.rpartition(" to ")[2].strip(" '\n")
        case _:
            return " ".join(message.split())


def _make_views(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str], understood: Mapping[str, TextColumn]
) -> None:
    columns = [f"rowid + 1 AS {ROW}"]
    for name in names:
        column = understood.get(name, TextColumn(quoted(name)))
        columns.append(f"{column.value} AS {quoted(name)}")
        if column.unread is not None:
            columns.append(f"({column.unread}) AS {quoted(UNREAD_PREFIX + name)}")
    connection.execute(f"CREATE VIEW {TABLE} AS SELECT {', '.join(columns)} FROM raw")
    connection.execute(f"CREATE VIEW {RAW} AS SELECT rowid + 1 AS {ROW}, * EXCLUDE ({FILE}) FROM raw")


def _places(connection: duckdb.DuckDBPyConnection, sources: Sequence[_File]) -> pl.DataFrame:
    starts: pl.DataFrame = connection.sql(
        f"SELECT {FILE} AS copy, min(rowid) + 1 AS start, count(*) AS rows FROM raw GROUP BY ALL"
    ).pl()
    files = pl.DataFrame(
        {
            "copy": [str(one.readable) for one in sources],
            "file": [str(one.path) for one in sources],
            "line": [1 + one.dialect.skip + one.dialect.has_header for one in sources],
        }
    )
    placed = starts.join(files, on="copy")
    return placed.select(pl.col(name).cast(kind) for name, kind in PLACES_SCHEMA.items())


class _Lines:
    """Finds the lines of a file's rows; a file is walked through once, and only if it must be."""

    def __init__(
        self, sources: Sequence[_File], rejects: pl.DataFrame, places: pl.DataFrame, what: str
    ) -> None:
        self._sources = {str(one.path): one for one in sources}
        self._rejects = {
            str(one.path): rejects.filter(copy=str(one.readable))["record"].to_numpy() - 1 for one in sources
        }
        self._rows = dict(places.select("file", "rows").iter_rows())
        self._what = what
        self._known: dict[str, Lines | None] = {}

    def __call__(self, file: str, rows: Lines) -> Lines | None:
        """See `RawTable.lines`."""
        if file not in self._known:
            self._known[file] = self._found(file)
        known = self._known[file]
        return None if known is None else known[rows]

    def _found(self, file: str) -> Lines | None:
        source, rejects, rows = self._sources[file], self._rejects[file], self._rows[file]
        dialect = source.dialect
        records = dialect.skip + dialect.has_header + rows + len(rejects) + len(source.taken_out)
        if not source.taken_out and count_breaks(source.path, dialect, self._what).lines == records:
            # Each record has one line at least: so many lines are one each.
            return np.delete(np.arange(1, records + 1), np.r_[: dialect.skip + dialect.has_header, rejects])
        walked = record_lines(source.path, dialect, source.taken_out, self._what)
        if walked is None:
            return None
        begins, filled = walked
        sound = np.setdiff1d(filled, rejects)
        return begins[sound] if len(sound) == rows else None
