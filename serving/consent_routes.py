"""What a customer agreed to, and who looks after them, is told by HTTP."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import available_timezones

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from configs.errors import did_you_mean
from configs.settings import Settings
from features.events import shown
from features.windows import from_us, to_us
from serving.clock import Clock
from serving.errors import BadRequest, InvalidRequest
from serving.http_messages import id_in_path, json_body, json_reply
from serving.intake import LATEST_SECONDS
from serving.openapi import Operation
from serving.permissions import Permissions
from serving.readers import Readers
from serving.schemas import (
    ID,
    TIME,
    ConsentReply,
    ConsentRequest,
    Contact,
    Detail,
    Takeover,
    TakeoverRequest,
)
from serving.tag_queue import TagQueue

logger = logging.getLogger(__name__)

Body = TypeVar("Body", bound=msgspec.Struct)

OF_CUSTOMER = (
    {
        "name": "customer_id",
        "in": "path",
        "required": True,
        "description": f"{ID}; may contain `/`; known or not",
        "schema": {"type": "string"},
    },
)

_consent = msgspec.json.Decoder(ConsentRequest)
_takeover = msgspec.json.Decoder(TakeoverRequest)


class ConsentRoutes:
    """Consent by purpose, do-not-disturb, time zone and human takeover."""

    operations = (
        Operation(
            "PUT",
            "/v1/customers/{customer_id}/consent",
            "put_consent",
            "Say what a customer agreed to",
            "Changes what is named and leaves the rest; `{}` only shows it. Without consent to `profiling` a "
            "customer is not scored and loses all tags; without consent to `marketing` nothing is sent. Null "
            "takes back what was said: the default of the settings holds again.",
            ConsentRequest,
            ConsentReply,
            200,
            (400, 413, 415, 422, 503),
            OF_CUSTOMER,
            scope="write",
        ),
        Operation(
            "PUT",
            "/v1/customers/{customer_id}/takeover",
            "put_takeover",
            "Say that a person looks after a customer",
            "While a person does, nothing is sent by itself: up to an instant, or until it is switched off.",
            TakeoverRequest,
            ConsentReply,
            200,
            (400, 413, 415, 422, 503),
            OF_CUSTOMER,
            scope="write",
        ),
    )

    def __init__(
        self, settings: Settings, clock: Clock, permissions: Permissions, tags: TagQueue, readers: Readers
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._permissions = permissions
        self._tags = tags
        self._readers = readers

    async def put_consent(self, request: Request) -> Response:
        """Write down what a customer agreed to."""
        customer = id_in_path(request)
        asked = _decoded(_consent, await json_body(request, self._settings.max_body_bytes))
        changes = {
            name: value for name, value in msgspec.structs.asdict(asked).items() if value is not msgspec.UNSET
        }
        zone = changes.get("time_zone")
        if zone is not None and zone not in available_timezones():
            hint = did_you_mean(zone, available_timezones())
            raise InvalidRequest(
                "no such time zone", [Detail(None, "time_zone", shown(zone), f"an IANA name{hint}")]
            )
        return await self._changed(request, customer, changes)

    async def put_takeover(self, request: Request) -> Response:
        """Write down whether a person looks after a customer."""
        customer = id_in_path(request)
        asked = _decoded(_takeover, await json_body(request, self._settings.max_body_bytes))
        until_us = None if asked.until is None else _instant(asked.until)
        if until_us is not None and not asked.on:
            raise InvalidRequest(
                "what is switched off has no end", [Detail(None, "until", shown(asked.until), "nothing")]
            )
        return await self._changed(request, customer, {"takeover": asked.on, "takeover_until_us": until_us})

    async def _changed(self, request: Request, customer: str, changes: dict[str, Any]) -> Response:
        # Whoever names the caller of a request leaves it there.
        said_by = str(getattr(getattr(request.state, "caller", None), "name", "api"))
        return json_reply(
            await self._readers.run(
                lambda: self._change(customer, changes, said_by, str(request.state.request_id))
            )
        )

    def _change(self, customer: str, changes: dict[str, Any], said_by: str, request_id: str) -> ConsentReply:
        now_us = self._clock.now_us()
        survivor = self._permissions.change(customer, changes, at_us=now_us, said_by=said_by)
        if "profiling" in changes:
            try:
                self._tags.reconsider([survivor])
            # No answer shows the tags from now on; the next sweep withdraws them.
            except Exception:
                logger.exception("tags could not be evaluated after a change of consent")
        said = self._permissions.of(survivor)
        verdict = self._permissions.verdicts([survivor], now_us)[survivor]
        until_us = said.takeover_until_us
        return ConsentReply(
            customer_id=customer,
            profiling=self._permissions.may(said.profiling),
            marketing=self._permissions.may(said.marketing),
            do_not_disturb=bool(said.do_not_disturb),
            time_zone=said.time_zone,
            takeover=Takeover(said.is_taken_over(now_us), None if until_us is None else from_us(until_us)),
            contact=Contact(verdict.is_allowed, verdict.reason),
            as_of=from_us(now_us),
            request_id=request_id,
            merged_into=msgspec.UNSET if survivor == customer else survivor,
        )


def _decoded(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$.")
        raise InvalidRequest(
            "the body is not as it should be", [Detail(None, place.rstrip("`"), "", said)]
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def _instant(value: datetime | float) -> int:
    if isinstance(value, datetime):
        return to_us(value)
    if not 0 <= value < LATEST_SECONDS:
        raise InvalidRequest("no such time", [Detail(None, "until", shown(value), TIME)])
    return round(value * 1_000_000)
