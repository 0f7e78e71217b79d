"""Headers in the document: what requests may carry and replies do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

REFERENCE = "#/components/{kind}/{name}"

PARAMETERS: Mapping[str, Any] = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "required": False,
        "description": "names the request; the reply repeats it, and so does the service's log where it says "
        "anything about it. Another text than the pattern's is replaced.",
        "schema": {"type": "string"},
        "example": "order-import-2031",
    }
}

HEADERS: Mapping[str, Any] = {
    "RequestId": {
        "description": "the request's own, or one made for it",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "RetryAfter": {
        "description": "when to ask again, seconds",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WwwAuthenticate": {
        "description": "what is wanted: a bearer token",
        "required": True,
        "schema": {"type": "string"},
    },
    "IdempotentReplayed": {
        "description": "`true` where this is the reply that an earlier request with the same key got",
        "required": False,
        "schema": {"type": "string", "enum": ["true"]},
    },
}

OF_STATUS: Mapping[int, Sequence[tuple[str, str]]] = {
    401: [("WWW-Authenticate", "WwwAuthenticate")],
    429: [("Retry-After", "RetryAfter")],
    503: [("Retry-After", "RetryAfter")],
}


def headers_of(status: int, operation: str) -> dict[str, Any]:
    """Return the headers of an operation's reply with a status."""
    named = [("X-Request-Id", "RequestId"), *OF_STATUS.get(status, ())]
    if (operation, status) == ("post_events", 202):
        named.append(("Idempotent-Replayed", "IdempotentReplayed"))
    return {header: {"$ref": REFERENCE.format(kind="headers", name=name)} for header, name in named}
