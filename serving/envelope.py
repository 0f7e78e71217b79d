"""What surrounds every request: its id, the bearer check, the error form, headers, measures, audit log."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from time import perf_counter
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitoring.audit import Entry
from serving.errors import ApiError, Forbidden, InternalError, MethodNotAllowed, NotFound, NotReady
from serving.measures import Measures
from serving.openapi import Operation
from serving.outages import as_outage
from serving.schemas import ErrorReply
from serving.security import HEADERS, BearerAuth, Caller

logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

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
    operations
        Operation of a route by the name of its endpoint.
    audit
        Takes what was asked and posted, unless nobody wants it.
    exact
        Endpoints by method and path, of paths that hold nothing variable: the router need not look for them.
    """

    def __init__(
        self,
        app: ASGIApp,
        auth: BearerAuth,
        measures: Measures,
        operations: Mapping[str, Operation],
        audit: Callable[[Entry], None] | None = None,
        exact: Mapping[tuple[str, str], Endpoint] | None = None,
    ) -> None:
        self._app = app
        self._exact = exact or {}
        self._auth = auth
        self._measures = measures
        self._operations = operations
        self._audit = audit

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
        caller: Caller | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                message = {**message, "headers": [*message["headers"], *HEADERS]}
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            if scope["path"] == "/v1" or scope["path"].startswith("/v1/"):
                caller = self._auth.check(scope["headers"])
                scope["state"]["caller"] = caller
            endpoint = self._exact.get((scope["method"], scope["path"]))
            if endpoint is None:
                await self._app(scope, receive, send_with_headers)
            else:
                scope["endpoint"] = endpoint
                response = await endpoint(Request(scope, receive, send_with_headers))
                await response(scope, receive, send_with_headers)
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
            operation = self._operations.get(getattr(scope.get("endpoint"), "__name__", ""))
            self._count(scope, operation, status, perf_counter() - began)
            if self._audit is not None and caller is not None and operation is not None:
                entry = entry_of(operation, caller, scope["state"], status)
                if entry is not None:
                    self._audit(entry)

    def _count(self, scope: Scope, operation: Operation | None, status: int, seconds: float) -> None:
        route = "other" if operation is None else operation.path
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._measures.requests.labels(route, method, str(status)).inc()
        self._measures.seconds.labels(route).observe(seconds)


def guarded(endpoint: Endpoint, operation: Operation) -> Endpoint:
    """Return an endpoint that only a token good for it reaches; nothing of the body is read before."""
    if operation.is_open:
        return endpoint

    @wraps(endpoint)
    async def reached(request: Request) -> Response:
        caller: Caller = request.state.caller
        caller.require(operation.scope)
        return await endpoint(request)

    return reached


def entry_of(operation: Operation, caller: Caller, state: Mapping[str, Any], status: int) -> Entry | None:
    """Return what the audit log is to hold of a request; None of one that reached no customer's data."""
    customers = state.get("customers", 0)
    what = operation.audited_as
    if status == Forbidden.status:
        what = "denied"
    elif (status >= 400 and not (status >= 500 and what != "read")) or (what == "read" and not customers):
        return None
    return Entry(
        at_us=time.time_ns() // 1000,
        who=caller.name,
        what=what,
        detail=state.get("detail", operation.name),
        customers=customers,
        customer=state.get("customer"),
        request_id=state["request_id"],
        status=status,
    )


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
