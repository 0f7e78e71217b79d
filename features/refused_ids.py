"""Finding customers' ids in refused rows, which are kept as they came."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from features.identities import MARK, POSTED_SPACES, Spaces
from features.mapping import SourceMapping

LEAST_CHARACTERS = 4
"""A shorter value counts only where a customer's id is expected: a quantity of 7 is not customer 7."""

PARTS = re.compile(r"[,;|\t]")
"""What parts the values of a line that could not be read as a row."""

IN_QUOTES = re.compile(r"[\"']([^\"']+)[\"']")

Chosen = Callable[[set[str]], Iterable[str]]
"""Of some canonical ids those that are looked for."""


@dataclass(frozen=True)
class IdPlaces:
    """Where a source's raw rows hold ids.

    Attributes
    ----------
    prefixes
        Of the spaces whose ids stand there without their prefix.
    expressions
        That give ids: a column they name may hold one, however short.
    """

    prefixes: tuple[str, ...] = ("", *(space + MARK for space in POSTED_SPACES))
    expressions: tuple[str, ...] = ("customer_id", *POSTED_SPACES)

    @classmethod
    def of(cls, mapping: SourceMapping | None, own_prefix: str, spaces: Spaces) -> IdPlaces:
        """Return the places of an imported source; of posted events for None."""
        if mapping is None:
            return cls()
        prefixes = (own_prefix, *(spaces.prefix_of(name) for name in mapping.identities))
        return cls(prefixes, (mapping.columns["customer_id"], *mapping.identities.values()))

    def names(self, column: str) -> bool:
        """Tell whether a column of the raw rows may hold an id."""
        word = re.compile(rf"(?<!\w){re.escape(column)}(?!\w)", re.IGNORECASE)
        return any(word.search(expression) for expression in self.expressions)


def rows_naming(rows: pl.DataFrame, places: IdPlaces, spaces: Spaces, chosen: Chosen) -> pl.Series:
    """Tell which refused rows hold an id that is looked for, as a whole value, in whatever column.

    Parameters
    ----------
    rows
        ``value expected raw``, and where it is known ``customer_id``; all text.
    places
        Of the rows' source.
    spaces
        Of the home.
    chosen
        What is looked for.

    Returns
    -------
    Booleans, shape (n_rows,).
    """
    named = {name: places.names(name) for name in _columns(rows)}
    candidates = []
    for row in rows.iter_rows(named=True):
        values = set(_values(row, named))
        found = {spaces.canonical(value) for value in values}
        found |= {prefix + value for value in values for prefix in places.prefixes}
        if row.get("customer_id"):
            found.add(spaces.canonical(row["customer_id"]))
        candidates.append(found)
    hits = set(chosen(set().union(*candidates)))
    return pl.Series([not hits.isdisjoint(found) for found in candidates], dtype=pl.Boolean)


def _columns(rows: pl.DataFrame) -> set[str]:
    names: set[str] = set()
    for raw in rows["raw"].drop_nulls():
        row = _parsed(raw)
        if isinstance(row, dict):
            names |= row.keys()
    return names


def _values(row: Mapping[str, str | None], named: Mapping[str, bool]) -> Iterator[str]:
    """Yield what a refused row holds: values of its columns, or the parts of a line that is no row."""
    for text in (row["value"], *IN_QUOTES.findall(row["expected"] or "")):
        if text and len(text) >= LEAST_CHARACTERS:
            yield text.strip()
    raw = row["raw"] or ""
    content = _parsed(raw)
    if isinstance(content, dict):
        for column, value in content.items():
            for text in _texts(value):
                if named[column] or len(text) >= LEAST_CHARACTERS:
                    yield text
        return
    yield from _texts(content)
    for part in PARTS.split(raw):
        yield part.strip().strip("\"'").strip()


def _parsed(raw: str) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        yield value.strip()
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, float):
        yield f"{value:.0f}" if value.is_integer() else str(value)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
