"""Bodies that are nearly JSON: with a number that is none, such as Python's NaN, or a text that is none."""

from __future__ import annotations

import json
import math
import re

BEGINNING = re.compile(r'\s*\{\s*"events"\s*:\s*\[\s*')
BETWEEN = re.compile(r"\s*(,|\])\s*")
END = re.compile(r"\}\s*")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
BYTE_KEPT = re.compile("[\udc80-\udcff]")
KEPT_BYTES = "surrogateescape"
"""Bytes that are no UTF-8 stand as lone surrogates, which no text holds."""


def rows_of(body: bytes) -> list[bytes] | None:
    """Cut the rows out of ``{"events": [...]}`` as they were sent; None if the body is nothing of that shape.

    >>> rows_of(b'{"events": [{"quantity": NaN}, {"quantity": 1}]}')
    [b'{"quantity": NaN}', b'{"quantity": 1}']
    >>> rows_of(b'{"events": [{"quantity": 1,}]}') is None
    True
    """
    text = body.decode("utf-8", KEPT_BYTES)
    begun = BEGINNING.match(text)
    rows: list[bytes] = []
    if begun is None:
        return None
    at, decoder = begun.end(), json.JSONDecoder()
    try:
        while True:
            _, end = decoder.raw_decode(text, at)
            rows.append(text[at:end].encode("utf-8", KEPT_BYTES))
            between = BETWEEN.match(text, end)
            if between is None:
                return None
            at = between.end()
            if between[1] == "]":
                return rows if END.fullmatch(text, at) else None
    except (ValueError, RecursionError):
        return None


def bad_field(row: bytes) -> tuple[str, str, str] | None:
    """Find the field for which a row is no JSON: its name, its value and what was expected.

    >>> bad_field(b'{"quantity": 1, "amount_minor": -Infinity}')
    ('amount_minor', '-Infinity', 'a finite number')
    """
    try:
        found = json.loads(row.decode("utf-8", KEPT_BYTES))
    except (ValueError, RecursionError):
        return None
    for name, value in found.items() if isinstance(found, dict) else ():
        if isinstance(value, float) and not math.isfinite(value):
            return name, json.dumps(value), "a finite number"
        if isinstance(value, str) and LONE_SURROGATE.search(value):
            escaped = BYTE_KEPT.sub(lambda kept: f"\\x{ord(kept[0]) - 0xDC00:02x}", value)
            return name, escaped.encode("utf-8", "backslashreplace").decode(), "text in UTF-8"
    return None
