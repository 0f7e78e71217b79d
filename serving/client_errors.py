"""What the client of the HTTP service raises.

ClientError
├── NotReached               no reply came
├── NotUnderstood            a reply that is none of the service's
└── Refused                  an error in the service's form
    ├── RequestRefused       400 404 405 413 415 422: asking again as it is will not help
    ├── NotAllowed           401 403: a token that is missing, wrong, or good for less
    ├── Contradicted         409: an idempotency key that came with another body
    ├── Busy                 429: too much waits to be written
    └── Failed               500 and above: a defect, or a part that is not ready
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import msgspec

from serving.schemas import Detail, ErrorReply


class ClientError(Exception):
    """A call did not get its reply."""


class NotReached(ClientError):
    """No reply came: nobody listens there, or the connection broke."""


class NotUnderstood(ClientError):
    """A reply that is none of the service's, such as a proxy's page."""


class Refused(ClientError):
    """The service answered with an error.

    Attributes
    ----------
    status
        Of the reply.
    code, message, details, request_id
        As the service tells them; the log of the service has the ``request_id`` too.
    retry_after_seconds
        When to ask again; None where it does not say.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Sequence[Detail] = (),
        request_id: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        told = "".join(f"; {_told(one)}" for one in details[:3])
        super().__init__(f"{status} {code}: {message}{told} (request {request_id})")
        self.status, self.code, self.message = status, code, message
        self.details, self.request_id = list(details), request_id
        self.retry_after_seconds = retry_after_seconds


class RequestRefused(Refused):
    """The request means nothing there; asking again as it is will not help."""


class NotAllowed(Refused):
    """The token is missing, wrong, or good for less."""


class Contradicted(Refused):
    """The idempotency key came with another body."""


class Busy(Refused):
    """Too much waits to be written."""


class Failed(Refused):
    """A defect of the service, or a part of it that is not ready."""


def error_of(reply: httpx.Response) -> ClientError:
    """Return the exception for a reply that is not a success."""
    try:
        told = msgspec.json.decode(reply.content, type=ErrorReply)
    except msgspec.DecodeError:
        return NotUnderstood(f"status {reply.status_code} with a body that is no error of Tagtide's")
    wait = reply.headers.get("retry-after", "")
    return _kind(reply.status_code)(
        reply.status_code,
        told.code,
        told.message,
        told.details,
        told.request_id,
        float(wait) if wait.isascii() and wait.isdigit() else None,
    )


def _kind(status: int) -> type[Refused]:
    if status >= 500:
        return Failed
    named: dict[int, type[Refused]] = {401: NotAllowed, 403: NotAllowed, 409: Contradicted, 429: Busy}
    return named.get(status, RequestRefused)


def _told(detail: Detail) -> str:
    place = "" if detail.index is None else f"row {detail.index}, "
    return f"{place}{detail.field} is {detail.value!r}, expected {detail.expected}"
