"""Long answers come in pages: how many rows a request wants, and where it goes on."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec
from starlette.requests import Request

from features.events import shown
from serving.errors import InvalidRequest
from serving.schemas import Detail

CURSOR = "`next_cursor` of an earlier reply, or nothing"

Content = TypeVar("Content", bound=msgspec.Struct)


def as_cursor(content: msgspec.Struct) -> str:
    """Write down where to go on, in letters that need no escaping in a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(content)).decode().rstrip("=")


def read_cursor(text: str, kind: type[Content]) -> Content:
    """Read what `as_cursor` wrote.

    Raises
    ------
    InvalidRequest
        If it was not written so.
    """
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(packed, type=kind)
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        raise bad_cursor(text) from None


def bad_cursor(text: str) -> InvalidRequest:
    """Return the error for a cursor that is none, or is another question's."""
    return InvalidRequest("no such cursor", [Detail(None, "cursor", shown(text), CURSOR)])


def limit_in_query(request: Request, *, default: int, most: int) -> int:
    """Return how many rows a request wants.

    Raises
    ------
    InvalidRequest
        If that is no number from 1 to ``most``.
    """
    text = request.query_params.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise InvalidRequest("no such limit", [Detail(None, "limit", shown(text), f"1 to {most}")])
    return int(text)
