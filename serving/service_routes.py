"""What the service tells of itself: its state, its measures and its document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from starlette.requests import Request
from starlette.responses import Response

from configs.errors import TagtideError
from features.packed_store import CUSTOMER_MEMORY, CUSTOMER_PROFILE, KEY_PROFILE, PackedStore
from features.windows import from_us
from serving.answers import Answers
from serving.clock import Clock
from serving.envelope import encode
from serving.http_messages import json_reply
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.openapi import Operation, docs_page, openapi_document
from serving.readers import Readers
from serving.readiness import Readiness
from serving.schemas import StatusReply
from serving.stream import Writer
from serving.tag_queue import TagQueue
from serving.upkeep import Upkeep


class ServiceRoutes:
    """Status, measures and documentation."""

    operations = (
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
        Operation(
            "GET",
            "/openapi.json",
            "get_openapi",
            "This document",
            "OpenAPI 3.1.",
            is_open=True,
            media_type="application/json",
        ),
        Operation(
            "GET",
            "/docs",
            "get_docs",
            "This document, to read",
            "One page; loads nothing.",
            is_open=True,
            media_type="text/html",
        ),
    )

    def __init__(
        self,
        store: PackedStore,
        live_tags: LiveTags,
        clock: Clock,
        writer: Writer,
        tags: TagQueue,
        upkeep: Upkeep,
        readiness: Readiness,
        measures: Measures,
        answers: Answers,
        readers: Readers,
        others: Sequence[Operation],
        more_counts: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._store = store
        self._live_tags = live_tags
        self._clock = clock
        self._writer = writer
        self._tags = tags
        self._upkeep = upkeep
        self._readiness = readiness
        self._measures = measures
        self._answers = answers
        self._readers = readers
        self._more_counts = more_counts
        document = openapi_document([*others, *self.operations], _version())
        self._document = encode(document)
        self._page = docs_page(document)

    async def get_status(self, request: Request) -> Response:
        """Tell what is ready and what is served."""
        return json_reply(
            await self._readers.run(lambda: self._status(request.state.request_id), is_urgent=True)
        )

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
        boundary_us, stored = self._stored()
        return StatusReply(
            is_ready=self._readiness.is_ready(),
            parts=self._readiness.parts(),
            clock=self._clock.kind,
            as_of=self._answers.now(),
            profile_boundary=None if boundary_us is None else from_us(boundary_us),
            model_version=self._answers.versions,
            counts=stored
            | {
                "waiting_events": self._writer.waiting_rows,
                "waiting_customers": self._tags.waiting_customers,
                **self._more_counts(),
            },
            request_id=request_id,
        )

    def _stored(self) -> tuple[int | None, dict[str, int]]:
        """Return boundary and counts, or nothing where the store does not answer: its part says so."""
        try:
            return self._upkeep.boundary_us, {
                "customers_remembered": self._store.count(CUSTOMER_MEMORY),
                "customer_profiles": self._store.count(CUSTOMER_PROFILE),
                "key_profiles": self._store.count(KEY_PROFILE),
                "customers_tagged": self._live_tags.count(),
            }
        except TagtideError:
            return None, {}


def _version() -> str:
    try:
        return version("tagtide")
    except PackageNotFoundError:
        return "unpackaged"
