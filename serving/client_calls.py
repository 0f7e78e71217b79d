"""The calls of the HTTP service, without sending them: what goes out, and what type comes back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from serving.client_errors import Busy, ClientError, Failed, NotReached, NotUnderstood
from serving.client_schemas import ConsentState, ErasureReceipt
from serving.schemas import (
    CustomerRef,
    CustomerReply,
    EventsReply,
    PostedEvent,
    PredictionsReply,
    StatusReply,
)
from serving.tag_schemas import CarriersReply, TagsReply
from serving.wecom_schemas import WecomDiffReply

LOCAL = "http://127.0.0.1:8710"
"""Where a service listens unless it is told otherwise."""

EVENTS_MOST, IDS_MOST, CARRIERS_MOST = 1_000, 500, 1_000
"""What one request may hold."""

Reply = TypeVar("Reply")
Row = TypeVar("Row")

Event = PostedEvent | Mapping[str, Any]
CustomerId = str | CustomerRef
Instant = datetime | int | float


@dataclass(frozen=True)
class Call(Generic[Reply]):
    """One request, ready to be sent.

    Attributes
    ----------
    path
        With everything in it percent-encoded.
    reply
        Type of the reply.
    """

    method: str
    path: str
    reply: type[Reply]
    body: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def sent_headers(self) -> dict[str, str]:
        """Return the headers, with the type of the body where there is one."""
        return {**self.headers, **({} if self.body is None else {"content-type": "application/json"})}

    def read(self, content: bytes) -> Reply:
        """Read the body of a reply.

        Raises
        ------
        NotUnderstood
            If it is of another form.
        """
        try:
            return msgspec.json.decode(content, type=self.reply)
        except msgspec.DecodeError as error:
            raise NotUnderstood(f"{self.method} {self.path}: {error}") from None


@dataclass(frozen=True)
class Patience:
    """When a call is made again: after a broken connection, 429 or 503, later each time.

    Every call may be: events are stored once however often they come, and nothing else adds up.

    Attributes
    ----------
    tries
        How often a call is made at most, > 0.
    first_seconds, most_seconds
        The first pause, doubled each time, and the longest. What the service asks for goes before.
    draw
        A number in [0, 1) that spreads callers who failed together.
    """

    tries: int = 6
    first_seconds: float = 0.2
    most_seconds: float = 20.0
    draw: Callable[[], float] = random.random

    def pause_seconds(self, error: ClientError, tried: int) -> float | None:
        """Return how long to wait before the next try, or None where there is to be none.

        Parameters
        ----------
        tried
            How often the call was made.
        """
        may_help = isinstance(error, Busy | NotReached) or (isinstance(error, Failed) and error.status == 503)
        if not may_help or tried >= self.tries:
            return None
        asked = error.retry_after_seconds if isinstance(error, Busy | Failed) else None
        own = min(self.first_seconds * 2 ** (tried - 1), self.most_seconds)
        return float(max(asked or 0.0, own) * (1 + 0.25 * self.draw()))


def lots(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Cut rows into lists of at most so many.

    >>> list(lots("abc", 2))
    [['a', 'b'], ['c']]
    """
    left = iter(rows)
    while lot := list(islice(left, most)):
        yield lot


def counted(batches: Iterable[list[Row]], sizes: list[int]) -> Iterator[list[Row]]:
    """Pass lists on and note how long each is.

    >>> sizes = []
    >>> list(counted([["a", "b"], ["c"]], sizes)), sizes
    ([['a', 'b'], ['c']], [2, 1])
    """
    for batch in batches:
        sizes.append(len(batch))
        yield batch


def posts(batches: Iterable[list[Event]], return_tags: bool, key: str | None) -> Iterator[Call[EventsReply]]:
    """Return the calls that post lists of events, each after the first under a key of its own."""
    for number, batch in enumerate(batches):
        own = key if key is None or number == 0 else f"{key}#{number}"
        yield events(batch, return_tags=return_tags, idempotency_key=own)


def events(batch: Sequence[Event], *, return_tags: bool, idempotency_key: str | None) -> Call[EventsReply]:
    """Return the call of `POST /v1/events`."""
    rows = [as_row(event) if isinstance(event, PostedEvent) else event for event in batch]
    headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
    query = {"return": "tags"} if return_tags else {}
    return Call("POST", "/v1/events", EventsReply, _packed({"events": rows}), query, headers)


def as_row(event: PostedEvent) -> dict[str, Any]:
    """Return an event's fields but for the unknown ones."""
    return {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}


def predictions(ids: Sequence[CustomerId]) -> Call[PredictionsReply]:
    """Return the call of `POST /v1/predictions:batchGet`."""
    asked = [one if isinstance(one, str) else _without_nulls(one) for one in ids]
    return Call("POST", "/v1/predictions:batchGet", PredictionsReply, _packed({"customer_ids": asked}))


def customer(customer_id: str, *, reasons: bool) -> Call[CustomerReply]:
    """Return the call of `GET /v1/customers/{customer_id}`."""
    query = {} if reasons else {"reasons": "false"}
    return Call("GET", _of_customer(customer_id), CustomerReply, query=query)


def consent(customer_id: str, changes: Mapping[str, bool | str | None]) -> Call[ConsentState]:
    """Return the call of `PUT /v1/customers/{customer_id}/consent`."""
    return Call("PUT", f"{_of_customer(customer_id)}/consent", ConsentState, _packed(changes))


def takeover(customer_id: str, *, on: bool, until: Instant | None) -> Call[ConsentState]:
    """Return the call of `PUT /v1/customers/{customer_id}/takeover`."""
    body = _packed({"on": on, "until": until})
    return Call("PUT", f"{_of_customer(customer_id)}/takeover", ConsentState, body)


def erase(customer_id: str) -> Call[ErasureReceipt]:
    """Return the call of `DELETE /v1/customers/{customer_id}`."""
    return Call("DELETE", _of_customer(customer_id), ErasureReceipt)


def erasure(erasure_id: str) -> Call[ErasureReceipt]:
    """Return the call of `GET /v1/erasures/{erasure_id}`."""
    return Call("GET", f"/v1/erasures/{quote(erasure_id, safe='')}", ErasureReceipt)


def tags() -> Call[TagsReply]:
    """Return the call of `GET /v1/tags`."""
    return Call("GET", "/v1/tags", TagsReply)


def carriers(tag: str, *, limit: int, cursor: str | None) -> Call[CarriersReply]:
    """Return the call of `GET /v1/tags/{tag_id}/customers`."""
    query = {"limit": str(limit), **({} if cursor is None else {"cursor": cursor})}
    return Call("GET", f"/v1/tags/{quote(tag, safe='')}/customers", CarriersReply, query=query)


def wecom_diff(cursor: str | None, *, limit: int, dry_run: bool) -> Call[WecomDiffReply]:
    """Return the call of `POST /v1/wecom:diff`."""
    body = _packed({"cursor": cursor, "limit": limit, "dry_run": dry_run})
    return Call("POST", "/v1/wecom:diff", WecomDiffReply, body)


def status() -> Call[StatusReply]:
    """Return the call of `GET /v1/status`."""
    return Call("GET", "/v1/status", StatusReply)


def openapi() -> Call[dict[str, Any]]:
    """Return the call of `GET /openapi.json`."""
    return Call("GET", "/openapi.json", dict[str, Any])


def merged(replies: Sequence[EventsReply], sizes: Sequence[int]) -> EventsReply:
    """Add replies to lots of events up; errors are numbered over all lots."""
    last, errors, begin = replies[-1], [], 0
    for reply, size in zip(replies, sizes, strict=True):
        for one in reply.errors:
            index = None if one.index is None else one.index + begin
            errors.append(msgspec.structs.replace(one, index=index))
        begin += size
    with_tags = [reply.customers for reply in replies if reply.customers is not msgspec.UNSET]
    return msgspec.structs.replace(
        last,
        accepted=sum(reply.accepted for reply in replies),
        duplicates=sum(reply.duplicates for reply in replies),
        erased=sum(reply.erased for reply in replies),
        errors=errors,
        customers=[one for some in with_tags for one in some] if with_tags else msgspec.UNSET,
    )


def _of_customer(customer_id: str) -> str:
    return f"/v1/customers/{quote(customer_id, safe='')}"


def _packed(body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(body)


def _without_nulls(ref: CustomerRef) -> dict[str, str]:
    return {name: value for name, value in msgspec.structs.asdict(ref).items() if value is not None}
