"""The endpoints: each parses, calls and returns; and the list the document is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from configs.settings import Settings
from features.events import ID_BYTES_MAX, shown
from features.packed_store import CUSTOMER_MEMORY, CUSTOMER_PROFILE, KEY_PROFILE, PackedStore
from features.windows import from_us
from serving.answers import Answers
from serving.clock import Clock
from serving.envelope import encode
from serving.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from serving.gathering import Gathering
from serving.intake import Posted, read_ids, read_posted
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.openapi import Operation, docs_page, openapi_document
from serving.readiness import Readiness
from serving.schemas import (
    ID,
    CustomerReply,
    CustomerTags,
    Detail,
    EventsReply,
    EventsRequest,
    PredictionsReply,
    PredictionsRequest,
    StatusReply,
)
from serving.stream import Writer
from serving.tag_queue import TagQueue
from serving.upkeep import Upkeep

Outcome = TypeVar("Outcome")

SMALL_BODY_BYTES = 100_000
"""A body up to this size is parsed where it is, in under a millisecond."""

OPERATIONS = (
    Operation(
        "POST",
        "/v1/events",
        "post_events",
        "Post events",
        "Stores 1 to 1000 events. Before the reply they are durable, and the next answer's propensities know "
        "them; tags follow, unless the reply is asked to wait for them. Good rows go on where others are "
        "refused; `errors` names those by index. Sending the same event again changes nothing.",
        EventsRequest,
        EventsReply,
        202,
        (400, 413, 415, 422, 429, 503),
        (
            {
                "name": "return",
                "in": "query",
                "required": False,
                "description": "`tags`: wait until the tags of the customers posted know these events, and "
                "return those that are live",
                "schema": {"type": "string", "enum": ["tags"]},
            },
        ),
    ),
    Operation(
        "POST",
        "/v1/predictions:batchGet",
        "post_predictions",
        "Ask about customers",
        "Live tags, purchase propensity, lifetime value and life-cycle stage of up to 500 customers. An "
        "unknown customer has status `cold_start` and the population's priors.",
        PredictionsRequest,
        PredictionsReply,
        200,
        (400, 413, 415, 422, 503),
    ),
    Operation(
        "GET",
        "/v1/customers/{customer_id}",
        "get_customer",
        "Ask about one customer",
        "The same for one customer, with the reasons that speak for each tag now.",
        None,
        CustomerReply,
        200,
        (422, 503),
        (
            {
                "name": "customer_id",
                "in": "path",
                "required": True,
                "description": f"{ID}; may contain `/`",
                "schema": {"type": "string"},
            },
        ),
    ),
    Operation(
        "GET",
        "/v1/status",
        "get_status",
        "What is ready and what is served",
        "Every part with its state, the models in force, the clock and the age of the profiles.",
        None,
        StatusReply,
    ),
    Operation(
        "GET",
        "/metrics",
        "get_metrics",
        "Measures",
        "In Prometheus' text format, fixed labels.",
        is_open=True,
    ),
    Operation("GET", "/openapi.json", "get_openapi", "This document", "OpenAPI 3.1.", is_open=True),
    Operation("GET", "/docs", "get_docs", "This document, to read", "One page; loads nothing.", is_open=True),
)


class Routes:
    """The endpoints, named as in `OPERATIONS`."""

    def __init__(
        self,
        settings: Settings,
        store: PackedStore,
        live_tags: LiveTags,
        clock: Clock,
        writer: Writer,
        tags: TagQueue,
        upkeep: Upkeep,
        readiness: Readiness,
        measures: Measures,
        answers: Answers,
    ) -> None:
        self._settings = settings
        self._store = store
        self._live_tags = live_tags
        self._clock = clock
        self._writer = writer
        self._tags = tags
        self._upkeep = upkeep
        self._readiness = readiness
        self._measures = measures
        self._answers = answers
        self._together = Gathering(answers.predict, self._read)
        self.readers: ThreadPoolExecutor | None = None
        document = openapi_document(OPERATIONS, _version())
        self._document = encode(document)
        self._page = docs_page(document)

    async def post_events(self, request: Request) -> Response:
        """Store events."""
        wanted = request.query_params.get("return")
        if wanted not in (None, "tags"):
            raise InvalidRequest("unknown ?return", [Detail(None, "return", shown(wanted), "tags")])
        body = await _json_body(request, self._settings.max_body_bytes)
        posted = await self._parsed(body)
        done = self._writer.submit(posted, with_tags=wanted is not None)
        # Shielded: a sender that hangs up must not cancel what other senders' events wait with.
        written = await asyncio.shield(asyncio.wrap_future(done))
        if not (written.accepted or written.duplicates or written.erased):
            raise InvalidRequest("no event could be taken", written.errors)
        customers: list[CustomerTags] | msgspec.UnsetType = msgspec.UNSET
        if wanted is not None:
            customers = await self._read(lambda: self._answers.tags(written.customers))
        reply = EventsReply(
            accepted=written.accepted,
            duplicates=written.duplicates,
            erased=written.erased,
            errors=written.errors,
            as_of=self._answers.now(),
            model_version=self._answers.versions,
            request_id=request.state.request_id,
            customers=customers,
        )
        return _json(reply, 202)

    async def post_predictions(self, request: Request) -> Response:
        """Answer about many customers."""
        body = await _json_body(request, self._settings.max_body_bytes)
        asked = read_ids(body, most=self._settings.max_batch_ids)
        errors = [
            Detail(index, "customer_ids", shown(one), ID)
            for index, one in enumerate(asked)
            if not _is_id(one)
        ]
        customers = [one for one in asked if _is_id(one)]
        if not customers:
            raise InvalidRequest("no id could be answered", errors)
        answer = await self._together.predict(customers)
        return _json(
            PredictionsReply(
                answer.as_of, answer.model_version, request.state.request_id, answer.customers, errors
            )
        )

    async def get_customer(self, request: Request) -> Response:
        """Answer about one customer, with reasons."""
        customer = request.path_params["customer_id"]
        if not _is_id(customer):
            raise InvalidRequest("no such id", [Detail(None, "customer_id", shown(customer), ID)])
        answer = await self._read(lambda: self._answers.predict([customer], with_reasons=True))
        return _json(
            CustomerReply(answer.as_of, answer.model_version, request.state.request_id, answer.customers[0])
        )

    async def get_status(self, request: Request) -> Response:
        """Tell what is ready and what is served."""
        return _json(await self._read(lambda: self._status(request.state.request_id)))

    async def get_metrics(self, _: Request) -> Response:
        """Show the measures."""
        return Response(self._measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def get_openapi(self, _: Request) -> Response:
        """Show the document."""
        return Response(self._document, media_type="application/json")

    async def get_docs(self, _: Request) -> Response:
        """Show the document as a page."""
        return Response(self._page, media_type="text/html")

    def _status(self, request_id: str) -> StatusReply:
        boundary_us = self._upkeep.boundary_us
        return StatusReply(
            is_ready=self._readiness.is_ready(),
            parts=self._readiness.parts(),
            clock=self._clock.kind,
            as_of=self._answers.now(),
            profile_boundary=None if boundary_us is None else from_us(boundary_us),
            model_version=self._answers.versions,
            counts={
                "customers_remembered": self._store.count(CUSTOMER_MEMORY),
                "customer_profiles": self._store.count(CUSTOMER_PROFILE),
                "key_profiles": self._store.count(KEY_PROFILE),
                "customers_tagged": self._live_tags.count(),
                "waiting_events": self._writer.waiting_rows,
                "waiting_customers": self._tags.waiting_customers,
            },
            request_id=request_id,
        )

    async def _parsed(self, body: bytes) -> Posted:
        def parse() -> Posted:
            return read_posted(
                body,
                arrival_us=self._clock.now_us(),
                clock=self._clock.kind,
                most=self._settings.max_batch_events,
            )

        return parse() if len(body) <= SMALL_BODY_BYTES else await self._read(parse)

    async def _read(self, work: Callable[[], Outcome]) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self.readers, work)


async def _json_body(request: Request, most_bytes: int) -> bytes:
    """Read a request's body once its type and size are known to be right."""
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


def _is_id(text: str) -> bool:
    return 1 <= len(text.encode()) <= ID_BYTES_MAX


def _json(reply: msgspec.Struct, status: int = 200) -> Response:
    return Response(encode(reply), status, media_type="application/json")


def _version() -> str:
    try:
        return version("tagtide")
    except PackageNotFoundError:
        return "unpackaged"
