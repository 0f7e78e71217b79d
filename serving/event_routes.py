"""Events come in by HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from configs.settings import Settings
from features.events import shown
from serving.answers import Answers
from serving.clock import Clock
from serving.errors import ApiError, InvalidRequest
from serving.http_messages import about, json_body, json_reply
from serving.idempotency import IdempotentReplies
from serving.intake import Posted, read_posted
from serving.openapi import Operation
from serving.readers import Readers
from serving.schemas import CustomerTags, Detail, EventsReply, EventsRequest
from serving.stream import Writer

SMALL_BODY_BYTES = 100_000
"""A body up to this size is parsed where it is, in under a millisecond."""

KEY = re.compile(r"[!-~]{1,255}")
KEY_EXPECTED = "1 to 255 visible ASCII characters"


class EventRoutes:
    """`POST /v1/events`."""

    operations = (
        Operation(
            "POST",
            "/v1/events",
            "post_events",
            "Post events",
            "Stores 1 to 1000 events. Before the reply they are durable, and the next answer's propensities "
            "know them; tags follow, unless the reply is asked to wait for them. Good rows go on where "
            "others are refused; `errors` names those by index. The same event again changes nothing.",
            EventsRequest,
            EventsReply,
            202,
            (400, 409, 413, 415, 422, 429, 503),
            (
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "required": False,
                    "description": "the same key with the same body gets the same reply for 24 hours; with "
                    "another body it is a conflict",
                    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
                },
                {
                    "name": "return",
                    "in": "query",
                    "required": False,
                    "description": "`tags`: wait until the tags of the customers posted know these "
                    "events, and return those that are live",
                    "schema": {"type": "string", "enum": ["tags"]},
                },
            ),
            scope="write",
        ),
    )

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        writer: Writer,
        answers: Answers,
        readers: Readers,
        replies: IdempotentReplies | None = None,
        kept_ids: Callable[[Sequence[str]], list[str]] | None = None,
    ) -> None:
        self._kept_ids = kept_ids
        self._settings = settings
        self._clock = clock
        self._writer = writer
        self._answers = answers
        self._readers = readers
        self._replies = replies
        self._under_way: dict[str, asyncio.Lock] = {}

    async def post_events(self, request: Request) -> Response:
        """Store events."""
        wanted = request.query_params.get("return")
        if wanted not in (None, "tags"):
            raise InvalidRequest("unknown ?return", [Detail(None, "return", shown(wanted), "tags")])
        body = await json_body(request, self._settings.max_body_bytes)
        key = request.headers.get("idempotency-key")
        if key is None:
            return await self._stored(request, body, wanted)
        if self._replies is None or not KEY.fullmatch(key):
            raise InvalidRequest(
                "no such Idempotency-Key", [Detail(None, "idempotency-key", shown(key), KEY_EXPECTED)]
            )
        # The same key twice at once: the second waits for the first one's reply.
        lock = self._under_way.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                return await self._stored_once(self._replies, key, request, body, wanted)
        finally:
            if not lock.locked():
                self._under_way.pop(key, None)

    async def _stored_once(
        self, replies: IdempotentReplies, key: str, request: Request, body: bytes, wanted: str | None
    ) -> Response:
        asked = f"{wanted}\n".encode() + body
        now_us = self._clock.now_us()
        kept = await self._readers.run(lambda: replies.claim(key, asked, now_us))
        if kept is not None:
            return Response(kept, 202, {"idempotent-replayed": "true"}, "application/json")
        try:
            reply = await self._stored(request, body, wanted)
        except ApiError:
            await self._readers.run(lambda: replies.release(key))
            raise
        # A reply may hold ids as they were posted. Without one a repeated post is carried out again, in vain.
        if self._kept_ids is None:
            await self._readers.run(lambda: replies.keep(key, bytes(reply.body)))
        return reply

    async def _stored(self, request: Request, body: bytes, wanted: str | None) -> Response:
        # Before it is parsed: to refuse must cost little. Left unread, it would cost the sender the reply.
        self._writer.make_sure_of_room()
        posted = await self._parsed(body)
        given: list[str] = posted.columns["customer_id"]
        about(request, given)
        if self._kept_ids is not None:
            posted.columns["customer_id"] = self._kept_ids(given)
        done = self._writer.submit(posted, with_tags=wanted is not None)
        # Shielded: a sender that hangs up must not cancel what other senders' events wait with.
        written = await asyncio.shield(asyncio.wrap_future(done))
        if not (written.accepted or written.duplicates or written.erased):
            raise InvalidRequest("no event could be taken", written.errors)
        customers: list[CustomerTags] | msgspec.UnsetType = msgspec.UNSET
        if wanted is not None:
            asked_as = dict(zip(posted.columns["customer_id"], given, strict=True))
            tagged = await self._readers.run(lambda: self._answers.tags(written.customers), is_urgent=True)
            customers = [
                CustomerTags(asked_as.get(one.customer_id, one.customer_id), one.tags) for one in tagged
            ]
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
        return json_reply(reply, 202)

    async def _parsed(self, body: bytes) -> Posted:
        def parse() -> Posted:
            return read_posted(
                body,
                arrival_us=self._clock.now_us(),
                clock=self._clock.kind,
                most=self._settings.max_batch_events,
            )

        return parse() if len(body) <= SMALL_BODY_BYTES else await self._readers.run(parse)
