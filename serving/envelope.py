"""What surrounds every request: its id, the bearer check, the error form, headers and measures."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Mapping
from time import perf_counter

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ApiError, InternalError, MethodNotAllowed, NotFound, NotReady
from serving.measures import Measures
from serving.outages import as_outage
from serving.schemas import ErrorReply
from serving.security import HEADERS, BearerAuth

logger = logging.getLogger(__name__)

GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

encode = msgspec.json.Encoder().encode


class Envelope:
    """ASGI middleware around all routes.

    Parameters
    ----------
    app
        The routes.
    auth
        Asked about every path under ``/v1``, known or not.
    measures
        Counts replies by route template.
    templates
        Template of a route by the name of its endpoint.
    """

    def __init__(
        self, app: ASGIApp, auth: BearerAuth, measures: Measures, templates: Mapping[str, str]
    ) -> None:
        self._app = app
        self._auth = auth
        self._measures = measures
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                message = {**message, "headers": [*message["headers"], *HEADERS]}
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            if scope["path"] == "/v1" or scope["path"].startswith("/v1/"):
                self._auth.check(scope["headers"])
            await self._app(scope, receive, send_with_headers)
        except ApiError as error:
            await error_response(error, request_id)(scope, receive, send_with_headers)
        # The service ends and could wait no longer.
        except asyncio.CancelledError:
            if not has_begun:
                ends = NotReady("the service ends; send this again: nothing doubles", retry_after_seconds=1)
                await error_response(ends, request_id)(scope, receive, send_with_headers)
            raise
        # A part that does not answer, or a defect: the caller gets the error form, the log the trace.
        except Exception as error:
            outage = as_outage(error)
            logger.exception("request %s failed", request_id)
            self._measures.failures.labels("request").inc()
            if has_begun:
                raise
            defect = InternalError("an unexpected error; the service's log has it under the request id")
            await error_response(outage or defect, request_id)(scope, receive, send_with_headers)
        finally:
            self._count(scope, status, perf_counter() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        endpoint = getattr(scope.get("endpoint"), "__name__", "")
        route = self._templates.get(endpoint, "other")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._measures.requests.labels(route, method, str(status)).inc()
        self._measures.seconds.labels(route).observe(seconds)


def error_response(error: ApiError, request_id: str) -> Response:
    """Put an error into its form."""
    reply = ErrorReply(error.code, error.message, error.details, request_id)
    return Response(encode(reply), error.status, error.headers, "application/json")


def on_api_error(request: Request, error: Exception) -> Response:
    """Answer with an error that a route raised."""
    assert isinstance(error, ApiError)  # noqa: S101 - the handler is registered for this class
    return error_response(error, request.state.request_id)


def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer where the router found no route, or not for this method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for this class
    refused: ApiError
    if error.status_code == 405:
        refused = MethodNotAllowed(f"{request.method} is not allowed here", headers=error.headers)
    elif error.status_code == 404:
        refused = NotFound("no such route; GET /docs lists them")
    else:
        refused = InternalError(error.detail)
    return error_response(refused, request.state.request_id)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and GIVEN_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex
