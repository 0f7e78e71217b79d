"""A mapping's SQL expressions, evaluated on every row of a source so that a failure stays in its row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb
import polars as pl

from configs.errors import did_you_mean
from features.errors import SourceError
from features.raw_table import RAW, ROW, TABLE, UNREAD_PREFIX, RawTable, first_line, quoted

TIME = "TIME"
"""The target of columns that are instants: local times, dates, zoned times, or text of any of these."""

WHOLE_TYPES = ("INTEGER", "BIGINT")
BINARY_FRACTIONS = ("FLOAT", "DOUBLE")
NAIVE_TYPES = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
ZONED_TYPE = "TIMESTAMP WITH TIME ZONE"
DATE_TEXT = r"\s*\d{4}-\d{1,2}-\d{1,2}\s*"
ZONED_TEXT = r".*\d:\d{2}.*?(Z|z|[+-]\d{2}(:?\d{2})?|\s[A-Za-z][A-Za-z_/+0-9-]*)\s*"
"""A time of day, then Z, an offset, or a zone's name."""

COMMA_NUMBER = r"\s*-?\d[\d.]*,\d+\s*"
RETYPES = ("DOUBLE", "TIMESTAMP")
UNREAD = "tagtide_unread"
PRECOMPUTED_PREFIX = "tagtide_value_of_"


@dataclass(frozen=True)
class _Bound:
    """An expression, and what must be done to evaluate it.

    Attributes
    ----------
    kind
        Its own DuckDB type.
    target
        The type wanted, or `TIME`.
    retyped
        Text columns to be read as another type, because the expression makes no sense on text; SQL of the
        value.
    unread
        Columns it names in which some texts could not be read; see `RawTable.unread`.
    is_precomputed
        Whether it holds a window or a subquery, which TRY does not take.
    """

    name: str
    expression: str
    kind: str
    target: str
    retyped: Mapping[str, str]
    is_precomputed: bool
    unread: tuple[str, ...] = ()

    @property
    def precomputed(self) -> str:
        """SQL of the expression as a column of a subquery."""
        return f"({self.expression}\n) AS {quoted(PRECOMPUTED_PREFIX + self.name)}"

    @property
    def guarded(self) -> str:
        """SQL of a struct that is null where the expression failed, and holds null where it gave null."""
        if not self.unread:
            return self._tried
        unread = " OR ".join(quoted(UNREAD_PREFIX + name) for name in self.unread)
        return f"CASE WHEN NOT ({unread}) THEN {self._tried} END"

    @property
    def _tried(self) -> str:
        value = quoted(PRECOMPUTED_PREFIX + self.name) if self.is_precomputed else f"({self.expression}\n)"
        if self.target in WHOLE_TYPES:
            return f"TRY({{'v': {self._whole(value)}}})"
        if self.target != TIME:
            return f"TRY({{'v': CAST({value} AS {self.target})}})"
        if self.kind == "DATE":
            zoned, naive, day = "NULL", "NULL", value
        elif self.kind in NAIVE_TYPES:
            zoned, naive, day = "NULL", value, "NULL"
        elif self.kind == ZONED_TYPE:
            zoned, naive, day = value, "NULL", "NULL"
        else:
            is_day = f"regexp_full_match({value}, '{DATE_TEXT}')"
            is_zoned = f"regexp_full_match({value}, '{ZONED_TEXT}')"
            zoned = f"CASE WHEN {is_zoned} THEN {value} END"
            naive = f"CASE WHEN NOT {is_zoned} AND NOT {is_day} THEN {value} END"
            day = f"CASE WHEN {is_day} THEN {value} END"
        return (
            f"TRY({{'zoned': CAST({zoned} AS TIMESTAMPTZ), 'naive': CAST({naive} AS TIMESTAMP), "
            f"'day': CAST({day} AS DATE)}})"
        )

    def _whole(self, value: str) -> str:
        """SQL that fails where a value is no whole number: a cast alone would round it."""
        cast = f"CAST({value} AS {self.target})"
        if self.kind == "VARCHAR" or self.kind in BINARY_FRACTIONS:
            number = f"CAST({value} AS DOUBLE)"
        elif self.kind.startswith("DECIMAL"):
            number = value
        else:
            return cast
        failing = f"CAST('fraction ' || CAST({value} AS VARCHAR) AS {self.target})"
        return f"CASE WHEN {number} <> trunc({number}) THEN {failing} ELSE {cast} END"


def evaluate(
    expressions: Mapping[str, str], targets: Mapping[str, str], table: RawTable, what: str
) -> pl.DataFrame:
    """Evaluate expressions on every row.

    Parameters
    ----------
    expressions
        DuckDB SQL by name.
    targets
        For each name the DuckDB type to cast to, or `TIME`.
    table
        The raw rows.
    what
        Names the source in errors.

    Returns
    -------
    `ROW`, ascending, and a struct by each name: null where the expression failed in that row, otherwise
    ``{v}``, or of a `TIME` column ``{zoned, naive, day}`` of which at most one is not null.

    Raises
    ------
    SourceError
        If an expression cannot be evaluated at all: it is no SQL, or names a column that is not there.
    """
    bound = [_bind(name, text, targets[name], table, what) for name, text in expressions.items()]
    together = [column for column in bound if not column.retyped]
    precomputed = [column.precomputed for column in together if column.is_precomputed]
    selected = ", ".join([ROW, *(f"{column.guarded} AS {quoted(column.name)}" for column in together)])
    frame = _query(
        f"SELECT {selected} FROM (SELECT {', '.join(['*', *precomputed])} FROM {TABLE})", table, what
    )
    for column in bound:
        if column.retyped:
            rows = f"({_retyping(column.retyped)})"
            if column.is_precomputed:
                rows = f"(SELECT *, {column.precomputed} FROM {rows})"
            statement = (
                f"SELECT {ROW}, CASE WHEN NOT {UNREAD} THEN {column.guarded} END AS {quoted(column.name)} "
                f"FROM {rows}"
            )
            frame = frame.join(_query(statement, table, what), on=ROW, how="left", maintain_order="left")
    return frame.select(ROW, *expressions)


def referenced(expression: str, table: RawTable) -> list[str]:
    """Return the source's columns that an expression names.

    Comparison is textual: a column named like a function is taken for referenced too.
    """
    return [
        name
        for name in table.columns
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", expression, re.IGNORECASE)
    ]


def _bind(name: str, expression: str, target: str, table: RawTable, what: str) -> _Bound:
    written = expression
    if expression.strip() in table.columns:
        # A column may be called like a word of SQL, or have blanks in its name.
        expression = quoted(expression.strip())
    try:
        kind = _type_of(expression, table, TABLE)
    except duckdb.BinderException as error:
        return _retype(name, expression, target, table, what, error)
    except duckdb.Error as error:
        raise _refusal(name, expression, table, what, error) from None
    unread = tuple(one for one in referenced(expression, table) if one in table.unread)
    column = _Bound(name, expression, kind, target, {}, is_precomputed=False, unread=unread)
    _check_kind(column, written, what)
    return _guardable(column, table, TABLE)


def _retype(
    name: str, expression: str, target: str, table: RawTable, what: str, error: duckdb.Error
) -> _Bound:
    """Read text columns as numbers or times, where they hold any, and bind again.

    One unreadable value makes a whole column text; that row shall be refused, not the source.
    """
    retyped: dict[str, str] = {}
    for column in referenced(expression, table):
        if table.columns[column] != "VARCHAR":
            continue
        casts = ", ".join(f"count({_read_as(column, kind, table)})" for kind in RETYPES)
        given, *readable = table.connection.sql(
            f"SELECT count({quoted(column)}), {casts} FROM {TABLE}"
        ).fetchall()[0]
        if given == 0 or max(readable) > 0:
            retyped[column] = RETYPES[readable.index(max(readable))]
    if not retyped:
        raise _no_numbers(name, expression, table, what) or _refusal(
            name, expression, table, what, error
        ) from None
    retyped = {column: _read_as(column, kind, table) for column, kind in retyped.items()}
    unread = tuple(one for one in referenced(expression, table) if one in table.unread)
    relation = f"({_retyping(retyped)})"
    try:
        kind = _type_of(expression, table, relation)
    except duckdb.Error:
        raise _refusal(name, expression, table, what, error) from None
    bound = _Bound(name, expression, kind, target, retyped, is_precomputed=False, unread=unread)
    _check_kind(bound, expression, what)
    return _guardable(bound, table, relation)


def _no_numbers(name: str, expression: str, table: RawTable, what: str) -> SourceError | None:
    """Explain an expression that wants numbers where texts stand, if these are numbers written otherwise."""
    for column in referenced(expression, table):
        if table.columns[column] != "VARCHAR":
            continue
        is_comma = f"regexp_full_match({quoted(column)}, '{COMMA_NUMBER}')"
        found = table.connection.sql(
            f"SELECT {quoted(column)} FROM {RAW} WHERE {is_comma} LIMIT 1"
        ).fetchall()
        if found:
            text = str(found[0][0])
            also = ' and `thousands: "."`' if "." in text else ""
            return SourceError(
                f"{what}: column {name!r}: {expression!r} needs numbers, and {column!r} holds text such as "
                f"{text!r}",
                f'say `decimal_separator: ","`{also} beside `csv:`',
            )
    return None


def _guardable(column: _Bound, table: RawTable, relation: str) -> _Bound:
    """Return the column, to be evaluated beforehand where TRY does not take its expression."""
    try:
        _type_of(column.guarded, table, relation)
    except duckdb.Error:
        return replace(column, is_precomputed=True)
    return column


def _read_as(column: str, kind: str, table: RawTable) -> str:
    text = quoted(column)
    return table.numbers.as_double(text) if kind == "DOUBLE" else f"TRY_CAST({text} AS {kind})"


def _retyping(retyped: Mapping[str, str]) -> str:
    casts = ", ".join(f"{value} AS {quoted(name)}" for name, value in retyped.items())
    unread = " OR ".join(
        f"({quoted(name)} IS NOT NULL AND {value} IS NULL)" for name, value in retyped.items()
    )
    return f"SELECT * REPLACE ({casts}), ({unread}) AS {UNREAD} FROM {TABLE}"


def _type_of(expression: str, table: RawTable, relation: str) -> str:
    described = table.connection.sql(f"SELECT ({expression}\n) AS v FROM {relation}")
    return str(described.types[0])


def _check_kind(column: _Bound, written: str, what: str) -> None:
    if column.target in WHOLE_TYPES and column.kind == "BOOLEAN":
        raise SourceError(
            f"{what}: column {column.name!r}: {written!r} is of type BOOLEAN, expected a number",
            "if true shall count as one, say CAST(… AS INTEGER)",
        )
    if column.target == "VARCHAR" and (remedy := _remedy_of_no_text(column.kind)):
        raise SourceError(
            f"{what}: column {column.name!r}: {written!r} is of type {column.kind}, "
            "expected text or a whole number",
            remedy,
        )
    if column.target != TIME:
        return
    if column.kind not in {"DATE", *NAIVE_TYPES, ZONED_TYPE, "VARCHAR", '"NULL"'}:
        raise SourceError(
            f"{what}: column {column.name!r}: {written!r} is of type {column.kind}, "
            "expected TIMESTAMP, TIMESTAMP WITH TIME ZONE, DATE or VARCHAR",
            "since 1970: seconds by to_timestamp(x), milliseconds by to_timestamp(x / 1000), nanoseconds by "
            "to_timestamp(x / 1e9)",
        )


def _remedy_of_no_text(kind: str) -> str:
    """Return what to do about a type that has a text, but none that anybody means; empty of the others."""
    if kind in BINARY_FRACTIONS:
        return "an id of 17 would be written 17.0: say CAST(… AS BIGINT)"
    if kind == "BLOB":
        return "bytes become text by decode(…)"
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return "take one of its elements, for example by x[1] or x.name"
    return ""


def _query(statement: str, table: RawTable, what: str) -> pl.DataFrame:
    try:
        frame: pl.DataFrame = table.connection.sql(statement).pl()
    except duckdb.Error as error:
        raise SourceError(
            f"{what}: the columns cannot be evaluated together: {first_line(error)}",
            "aggregates such as sum() are not possible here: each row becomes one event",
        ) from None
    return frame.sort(ROW)


def _refusal(name: str, expression: str, table: RawTable, what: str, error: duckdb.Error) -> SourceError:
    text = first_line(error)
    missing = re.search(r'Referenced column "([^"]+)" not found', str(error))
    field = "'left_out'" if name == "left_out" else f"column {name!r}"
    if missing:
        hint = did_you_mean(missing.group(1), table.columns)
        return SourceError(
            f"{what}: {field}: {expression!r} names {missing.group(1)!r}, which the source has not{hint}",
            _bare(expression, table)
            or f"the source has: {', '.join(table.columns)}"
            + ("; if its header is elsewhere, say `skip` or `delimiter`" if len(table.columns) == 1 else ""),
        )
    return SourceError(
        f"{what}: {field}: {expression!r}: {text}",
        _bare(expression, table) or "expected a DuckDB SQL expression over one row",
    )


def _bare(expression: str, table: RawTable) -> str:
    """Return how to write a column's name that SQL would take apart, if the expression holds one."""
    for column in table.columns:
        is_there = column in expression and quoted(column) not in expression
        if is_there and not re.fullmatch(r"\w+", column):
            return f"write that column's name in double quotes: {quoted(column)}"
    return ""
