"""Customers are erased by HTTP, and erasures proven."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from configs.errors import TagtideError
from features.events import shown
from features.tombstones import Erasure
from features.windows import from_us
from serving.clock import Clock
from serving.errors import HomeBusyError, InvalidRequest, NotFound, NotReady, UnknownCustomerError
from serving.http_messages import id_in_path, json_reply
from serving.openapi import Operation
from serving.schemas import ID, Detail, ErasureReply

logger = logging.getLogger(__name__)

ERASURE_ID = re.compile(r"[0-9a-f]{32}")
BUSY_SECONDS, FAILED_SECONDS = 60, 10
"""When to ask again: after other jobs kept it from beginning, or a store from completing."""


class Receipt(Protocol):
    """See `serving.erasure.Receipt`."""

    @property
    def erasure_id(self) -> str:
        """What it can be asked for by."""

    @property
    def erased_at(self) -> str:
        """ISO instant up to which events do not come in again."""

    @property
    def ids(self) -> int:
        """How many ids the customer had."""

    @property
    def rows(self) -> Mapping[str, int]:
        """What was erased, by place."""


class Eraser(Protocol):
    """See `serving.erasure.Erasures`."""

    def erase(self, customer: str, now: datetime) -> Receipt:
        """Erase a customer."""

    def find(self, erasure_id: str) -> Erasure | None:
        """Return an erasure that was done, or None."""


class ErasureRoutes:
    """`DELETE /v1/customers/{customer_id}` and `GET /v1/erasures/{erasure_id}`."""

    operations = (
        Operation(
            "DELETE",
            "/v1/customers/{customer_id}",
            "delete_customer",
            "Erase a customer everywhere",
            "Removes events, refused rows, links, memories, profiles, tags, claims and scores under all ids "
            "of the customer, and keeps a keyed hash of each id: what happened until now is not taken in "
            "again. The receipt names nobody. Erasing again is harmless and completes what was cut short. "
            "While commands read customers in bulk it waits for ten seconds, then answers 503.",
            None,
            ErasureReply,
            200,
            (404, 422, 503),
            (
                {
                    "name": "customer_id",
                    "in": "path",
                    "required": True,
                    "description": f"one of the customer's ids, {ID}; may contain `/`",
                    "schema": {"type": "string"},
                },
            ),
            scope="admin",
            what="erasure",
        ),
        Operation(
            "GET",
            "/v1/erasures/{erasure_id}",
            "get_erasure",
            "Prove that somebody was erased",
            "When it was, how many ids have a tombstone since, how many rows of what were erased; not who.",
            None,
            ErasureReply,
            200,
            (404, 422),
            (
                {
                    "name": "erasure_id",
                    "in": "path",
                    "required": True,
                    "description": "from the receipt: 32 hexadecimal digits",
                    "schema": {"type": "string"},
                },
            ),
        ),
    )

    def __init__(self, eraser: Eraser, clock: Clock) -> None:
        self._eraser = eraser
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def delete_customer(self, request: Request) -> Response:
        """Erase a customer."""
        customer = id_in_path(request)
        now = from_us(self._clock.now_us())
        try:
            async with self._one_at_a_time:
                # Shielded: a caller that hangs up must not leave it half done.
                receipt = await asyncio.shield(asyncio.to_thread(self._eraser.erase, customer, now))
        except UnknownCustomerError:
            raise NotFound("nothing is known of such a customer") from None
        except HomeBusyError:
            message = "a job reads customers in bulk; nothing was erased: send this again"
            raise NotReady(message, BUSY_SECONDS) from None
        except TagtideError as error:
            logger.exception("request %s: an erasure was cut short", request.state.request_id)
            message = "the erasure could not be completed; send this again"
            raise NotReady(message, FAILED_SECONDS) from error
        request.state.detail = f"delete_customer {receipt.erasure_id}"
        erased_at = datetime.fromisoformat(receipt.erased_at)
        return json_reply(
            ErasureReply(
                receipt.erasure_id, erased_at, receipt.ids, dict(receipt.rows), request.state.request_id
            )
        )

    async def get_erasure(self, request: Request) -> Response:
        """Tell of an erasure."""
        name = str(request.path_params["erasure_id"])
        if not ERASURE_ID.fullmatch(name):
            expected = "32 hexadecimal digits"
            raise InvalidRequest("no such erasure", [Detail(None, "erasure_id", shown(name), expected)])
        found = await asyncio.to_thread(self._eraser.find, name)
        if found is None:
            raise NotFound("there was no such erasure")
        return json_reply(
            ErasureReply(name, found.erased_at, found.ids, dict(found.rows), request.state.request_id)
        )
