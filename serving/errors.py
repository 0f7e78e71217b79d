"""Errors of the service: those that stop it, and those it answers with.

TagtideError
├── ServingError             the service cannot start or keep running
│   ├── KeptRepliesError     replies to requests that may be repeated cannot be read or written
│   ├── RemovalsError        tags that are to be taken off in WeCom cannot be read or written
│   ├── ErasureError         an erasure cannot be done, or not be completed
│   │   ├── HomeBusyError            others read customers in bulk for too long
│   │   └── UnknownCustomerError     there is nobody to erase
│   └── TokenError           the file of bearer tokens, or a name in it
├── OutboxError              messages that wait cannot be read or written
└── TriggerError             a trigger is declared wrongly, or what is pending cannot be read or written

ApiError                     becomes one reply in the error form
├── BadRequest               400 the body is not JSON
├── Unauthorized             401 no bearer token, or a wrong one
├── Forbidden                403 the token is good for less
├── NotFound                 404 no such route, or nothing known by that name
├── MethodNotAllowed         405 the route knows other methods
├── Conflict                 409 an idempotency key that came with another body
├── PayloadTooLarge          413 the body exceeds its limit
├── UnsupportedMediaType     415 the body is not uncompressed JSON
├── InvalidRequest           422 JSON that means nothing here
├── TooManyRequests          429 the queue is full
├── InternalError            500 a defect of ours
└── NotReady                 503 a model or a store is missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from configs.errors import TagtideError
from serving.schemas import Detail


class ServingError(TagtideError):
    """The service cannot start or keep running."""


class KeptRepliesError(ServingError):
    """Replies to requests that may be repeated cannot be read or written."""


class RemovalsError(ServingError):
    """Tags that are to be taken off in WeCom cannot be read or written."""


class OutboxError(TagtideError):
    """Messages that wait cannot be read or written."""


class TriggerError(TagtideError):
    """A trigger is declared wrongly, or what is pending cannot be read or written."""


class ErasureError(ServingError):
    """An erasure cannot be done, or not be completed; doing it again completes it."""


class HomeBusyError(ErasureError):
    """Others read customers in bulk, and did not end in time."""


class UnknownCustomerError(ErasureError):
    """Nothing is known of such a customer."""


class TokenError(ServingError):
    """The file of bearer tokens is damaged, or a name in it is wrong."""


class ApiError(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    message
        One sentence for the caller, without anything from the inside of the service.
    details
        Which rows or fields are wrong.
    headers
        Extra reply headers, lower case.
    """

    status = 500
    code = "internal_error"

    def __init__(
        self,
        message: str,
        details: Sequence[Detail] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)
        self.headers = dict(headers or {})


class BadRequest(ApiError):
    """The body is not JSON."""

    status, code = 400, "bad_request"


class Unauthorized(ApiError):
    """No bearer token, or a wrong one."""

    status, code = 401, "unauthorized"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"www-authenticate": "Bearer"})


class Forbidden(ApiError):
    """The token is good for less than this."""

    status, code = 403, "forbidden"


class NotFound(ApiError):
    """No such route, or nothing is known by that name."""

    status, code = 404, "not_found"


class MethodNotAllowed(ApiError):
    """The route knows other methods."""

    status, code = 405, "method_not_allowed"


class Conflict(ApiError):
    """An idempotency key that came with another body before."""

    status, code = 409, "conflict"


class PayloadTooLarge(ApiError):
    """The body exceeds its limit."""

    status, code = 413, "payload_too_large"


class UnsupportedMediaType(ApiError):
    """The body is not uncompressed JSON."""

    status, code = 415, "unsupported_media_type"


class InvalidRequest(ApiError):
    """JSON that means nothing here."""

    status, code = 422, "invalid_request"


class TooManyRequests(ApiError):
    """More waits to be written than the queue holds."""

    status, code = 429, "too_many_requests"

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message, headers={"retry-after": str(retry_after_seconds)})


class InternalError(ApiError):
    """A defect of ours; the log has it under the request id."""


class NotReady(ApiError):
    """A model or a store is missing; ``/v1/status`` says which."""

    status, code = 503, "not_ready"

    def __init__(self, message: str, retry_after_seconds: int = 5) -> None:
        super().__init__(message, headers={"retry-after": str(retry_after_seconds)})
