"""The typed client for programs that wait for many things at once; see `serving.client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from serving import client_calls as calls
from serving.client_calls import Call, CustomerId, Event, Instant, Patience
from serving.client_errors import ClientError, NotReached, error_of
from serving.client_schemas import ConsentState, ErasureReceipt
from serving.schemas import CustomerPrediction, CustomerReply, EventsReply, PredictionsReply, StatusReply
from serving.tag_schemas import Carrier, CarriersReply, TagsReply
from serving.wecom_schemas import LIMIT_DEFAULT, WecomDiffReply

Reply = TypeVar("Reply")


class AsyncTagtideClient:
    """Calls the service and returns its replies as structs; each method is that of `TagtideClient`, awaited.

    It must be made and used in one event loop.

    Parameters
    ----------
    token
        Bearer token.
    base_url
        Of the service.
    timeout_seconds
        Of one try.
    patience
        When a call is made again.
    headers
        Sent with every request, such as ``X-Request-Id``.
    transport
        Sends requests; by default over the network.
    sleep
        Waits so many seconds.
    """

    def __init__(
        self,
        token: str,
        base_url: str = calls.LOCAL,
        *,
        timeout_seconds: float = 30.0,
        patience: Patience | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._patience = Patience() if patience is None else patience
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={**(headers or {}), "authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            transport=transport,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Use the client until the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def post_events(
        self, events: Iterable[Event], *, return_tags: bool = False, idempotency_key: str | None = None
    ) -> EventsReply:
        """Store events, however many, and return what became of all of them; see `post_events_in_lots`.

        Parameters
        ----------
        return_tags
            Whether to wait for the tags of the customers posted, and have them in the reply.
        idempotency_key
            The same key with the same events gets the same reply for a day.

        Raises
        ------
        ValueError
            If there is no event.
        """
        sizes: list[int] = []
        counted = calls.counted(calls.lots(events, calls.EVENTS_MOST), sizes)
        replies = [one async for one in self._post_lots(counted, return_tags, idempotency_key)]
        if not replies:
            raise ValueError("there is no event to post")
        return calls.merged(replies, sizes)

    def post_events_in_lots(
        self,
        events: Iterable[Event],
        *,
        lot: int = calls.EVENTS_MOST,
        return_tags: bool = False,
        idempotency_key: str | None = None,
    ) -> AsyncIterator[EventsReply]:
        """Store events as they come, up to ``lot`` a request, and yield each reply.

        Raises
        ------
        RequestRefused
            If not one event of a lot could be taken; those before are stored.
        """
        return self._post_lots(calls.lots(events, lot), return_tags, idempotency_key)

    async def _post_lots(
        self, batches: Iterable[list[Event]], return_tags: bool, key: str | None
    ) -> AsyncIterator[EventsReply]:
        for call in calls.posts(batches, return_tags, key):
            yield await self._call(call)

    async def batch_get(self, customers: Iterable[CustomerId]) -> PredictionsReply:
        """Ask about up to 500 customers at once."""
        return await self._call(calls.predictions(list(customers)))

    async def predictions(self, customers: Iterable[CustomerId]) -> AsyncIterator[CustomerPrediction]:
        """Ask about any number of customers, 500 at a time, and yield those whose ids are sound."""
        for lot in calls.lots(customers, calls.IDS_MOST):
            for one in (await self.batch_get(lot)).customers:
                yield one

    async def customer(self, customer_id: str, *, reasons: bool = True) -> CustomerReply:
        """Ask about one customer; ``unionid:…`` and ``external_userid:…`` are ids too.

        Parameters
        ----------
        reasons
            False leaves the reasons out, which cost most of such an answer.
        """
        return await self._call(calls.customer(customer_id, reasons=reasons))

    async def put_consent(self, customer_id: str, **changes: bool | str | None) -> ConsentState:
        """Say what a customer agreed to: ``profiling marketing do_not_disturb time_zone``."""
        return await self._call(calls.consent(customer_id, changes))

    async def put_takeover(self, customer_id: str, *, on: bool, until: Instant | None = None) -> ConsentState:
        """Say whether a person looks after a customer, and until when."""
        return await self._call(calls.takeover(customer_id, on=on, until=until))

    async def erase(self, customer_id: str) -> ErasureReceipt:
        """Forget a customer everywhere."""
        return await self._call(calls.erase(customer_id))

    async def erasure(self, erasure_id: str) -> ErasureReceipt:
        """Return the receipt of an erasure."""
        return await self._call(calls.erasure(erasure_id))

    async def tags(self) -> TagsReply:
        """List the tags."""
        return await self._call(calls.tags())

    async def carriers_page(
        self, tag: str, *, limit: int = calls.CARRIERS_MOST, cursor: str | None = None
    ) -> CarriersReply:
        """Return one page of those who carry a tag, given by its id or name."""
        return await self._call(calls.carriers(tag, limit=limit, cursor=cursor))

    async def carriers(self, tag: str, *, page: int = calls.CARRIERS_MOST) -> AsyncIterator[Carrier]:
        """Yield everybody who carries a tag, given by its id or name."""
        cursor: str | None = None
        while True:
            reply = await self.carriers_page(tag, limit=page, cursor=cursor)
            for one in reply.customers:
                yield one
            cursor = reply.next_cursor
            if cursor is None:
                return

    async def wecom_diff(
        self, cursor: str | None = None, *, limit: int = LIMIT_DEFAULT, dry_run: bool = False
    ) -> WecomDiffReply:
        """Ask what to send to WeCom since a cursor."""
        return await self._call(calls.wecom_diff(cursor, limit=limit, dry_run=dry_run))

    async def status(self) -> StatusReply:
        """Ask which part is ready, and what is served."""
        return await self._call(calls.status())

    async def is_ready(self) -> bool:
        """Ask whether requests can be answered; a service that cannot be reached is not ready."""
        try:
            return (await self._http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def is_alive(self) -> bool:
        """Ask whether the process runs."""
        try:
            return (await self._http.get("/livez")).status_code == 200
        except httpx.TransportError:
            return False

    async def metrics(self) -> str:
        """Return the measures in Prometheus' text format."""
        return (await self._http.get("/metrics")).text

    async def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        return await self._call(calls.openapi())

    async def _call(self, call: Call[Reply]) -> Reply:
        tried = 0
        while True:
            tried += 1
            try:
                return call.read(await self._sent(call))
            except ClientError as error:
                pause = self._patience.pause_seconds(error, tried)
                if pause is None:
                    raise
            await self._sleep(pause)

    async def _sent(self, call: Call[Reply]) -> bytes:
        try:
            reply = await self._http.request(
                call.method, call.path, params=call.query, content=call.body, headers=call.sent_headers()
            )
        except httpx.TransportError as error:
            raise NotReached(
                f"{call.method} {self._http.base_url}: {str(error) or type(error).__name__}"
            ) from error
        if not reply.is_success:
            raise error_of(reply)
        return reply.content
