"""What routes read of a request and answer with: bodies, ids in paths, JSON."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from features.event_limits import ID_BYTES_MAX
from features.events import shown
from serving.envelope import encode
from serving.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from serving.schemas import ID, Detail


async def json_body(request: Request, most_bytes: int) -> bytes:
    """Read a request's body once its type and size are known to be right.

    Raises
    ------
    UnsupportedMediaType
        If it is not said to be uncompressed JSON in UTF-8.
    PayloadTooLarge
        If it has more than ``most_bytes``.
    """
    content_type = request.headers.get("content-type", "")
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.partition("charset=")[2].strip(' "').lower()
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        detail = Detail(None, "content-type", shown(content_type), "application/json")
        raise UnsupportedMediaType("the body must be JSON in UTF-8", [detail])
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        detail = Detail(None, "content-encoding", shown(encoding), "none")
        raise UnsupportedMediaType("the body must not be compressed", [detail])
    too_large = PayloadTooLarge(f"the body may have {most_bytes} bytes")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise too_large
    return bytes(body)


def is_id(text: str) -> bool:
    """Tell whether a text can be a customer's id.

    >>> is_id("c-17"), is_id("")
    (True, False)
    """
    return 1 <= len(text.encode()) <= ID_BYTES_MAX


def about(request: Request, customers: Collection[str]) -> None:
    """Note for the audit log which customers a request is about."""
    distinct = set(customers)
    request.state.customers = len(distinct)
    if len(distinct) == 1:
        (request.state.customer,) = distinct


def id_in_path(request: Request, name: str = "customer_id") -> str:
    """Return a customer's id that stands in a request's path; the request is about that customer.

    Raises
    ------
    InvalidRequest
        If it cannot be an id.
    """
    text = str(request.path_params[name])
    if not is_id(text):
        raise InvalidRequest("no such id", [Detail(None, name, shown(text), ID)])
    about(request, [text])
    return text


def json_reply(reply: msgspec.Struct, status: int = 200) -> Response:
    """Answer with a struct as JSON."""
    return Response(encode(reply), status, media_type="application/json")
