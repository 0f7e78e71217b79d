"""What columns of text hold: numbers, times, or text. Decided by every value, not by a sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from features.raw_table import NumberFormat, literal, quoted

LOOKED_AT_FIRST = 1_000
NOT_A_NUMBER = r"\s*[-+]?(0\d|\d{16,}).*"
"""Leading zeros, and more digits than a floating-point number holds, are those of an identifier."""


@dataclass(frozen=True)
class TextColumn:
    """How a column of text is understood.

    Attributes
    ----------
    value
        SQL of its value.
    unread
        SQL of the rows whose text is no such value, or None where every text is.
    expected
        What those rows should have held.
    """

    value: str
    unread: str | None = None
    expected: str = ""


def recognise(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    names: Collection[str],
    *,
    numbers: NumberFormat,
    never_numbers: Collection[str],
    time_formats: Mapping[str, str],
) -> dict[str, TextColumn]:
    """Find out what columns of text hold.

    A column is BOOLEAN, BIGINT or DOUBLE only if all of its values are, and if nothing of them gets lost. It
    is a time where formats are given and at least half of its values fit one.

    Parameters
    ----------
    connection, table
        Where they are; all VARCHAR.
    names
        The columns to look at.
    numbers
        How numbers are written.
    never_numbers
        Columns not to be taken for DOUBLE: identifiers such as ``1.10``, which is not ``1.1``.
    time_formats
        ``DATE`` and ``TIMESTAMP`` with their ``strptime`` format.
    """
    asked = [
        _Candidate(name, kind, fits, is_time=kind in time_formats)
        for name in names
        for kind, fits in _candidates(
            quoted(name), numbers, time_formats, may_be_double=name not in never_numbers
        )
    ]
    # The first rows rule most of them out, and cheaply.
    likely = _holding(connection, f"(FROM {table} LIMIT {LOOKED_AT_FIRST})", asked)
    found = {name: TextColumn(quoted(name)) for name in names}
    # The first type that fits is the narrowest.
    for one in reversed(_holding(connection, table, likely)):
        found[one.name] = _column(quoted(one.name), one.kind, numbers, time_formats)
    return found


@dataclass(frozen=True)
class _Candidate:
    name: str
    kind: str
    fits: str
    is_time: bool


def _holding(
    connection: duckdb.DuckDBPyConnection, table: str, candidates: Sequence[_Candidate]
) -> list[_Candidate]:
    """Return the candidates that hold in a table, in their order, by one query."""
    if not candidates:
        return []
    counts = ", ".join(f"count({quoted(one.name)}), count(*) FILTER ({one.fits})" for one in candidates)
    numbers = iter(connection.sql(f"SELECT {counts} FROM {table}").fetchall()[0])
    return [
        one
        for one, given, fitting in zip(candidates, numbers, numbers, strict=True)
        if given and (2 * fitting >= given if one.is_time else fitting == given)
    ]


def _candidates(
    column: str, numbers: NumberFormat, time_formats: Mapping[str, str], *, may_be_double: bool
) -> list[tuple[str, str]]:
    """Return types with the SQL condition that a text is one of them."""
    candidates = [
        ("BOOLEAN", f"lower({column}) IN ('true', 'false')"),
        # Read and written again it must be the same, but for blanks around it.
        ("BIGINT", f"CAST(TRY_CAST({column} AS BIGINT) AS VARCHAR) = trim({column})"),
    ]
    if may_be_double:
        is_number = f"{numbers.as_double(column)} IS NOT NULL"
        candidates.append(
            ("DOUBLE", f"{is_number} AND NOT regexp_full_match({column}, {literal(NOT_A_NUMBER)})")
        )
    candidates += [
        (kind, f"try_strptime({column}, {literal(form)}) IS NOT NULL") for kind, form in time_formats.items()
    ]
    return candidates


def _column(column: str, kind: str, numbers: NumberFormat, time_formats: Mapping[str, str]) -> TextColumn:
    if kind == "DOUBLE":
        return TextColumn(numbers.as_double(column))
    if kind not in time_formats:
        return TextColumn(f"CAST({column} AS {kind})")
    parsed = f"try_strptime({column}, {literal(time_formats[kind])})"
    return TextColumn(
        f"CAST({parsed} AS {kind})",
        f"{column} IS NOT NULL AND {parsed} IS NULL",
        f"a time like {time_formats[kind]}",
    )


def number_format(options: Mapping[str, Any]) -> NumberFormat:
    """Return how numbers are written, as the options beside ``csv:`` say."""
    return NumberFormat(str(options.get("decimal_separator") or "."), str(options.get("thousands") or ""))


def time_formats(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the formats of times that the options beside ``csv:`` give, by type."""
    given = {"DATE": options.get("dateformat"), "TIMESTAMP": options.get("timestampformat")}
    return {kind: str(form) for kind, form in given.items() if form}
