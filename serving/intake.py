"""From the body of a request to admitted rows and refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import polars as pl

from configs.errors import did_you_mean
from features.events import EVENT_SCHEMA, INSTANT, admit, shown
from serving.clock import ClockKind
from serving.customer_refs import BadField, id_given
from serving.errors import BadRequest, InvalidRequest
from serving.http_messages import is_id
from serving.lenient_json import bad_field, rows_of
from serving.schemas import (
    ID,
    TIME,
    Detail,
    EventsRequest,
    PostedEvent,
    PredictionsRequest,
    RawEventsRequest,
)

_request = msgspec.json.Decoder(EventsRequest)
_rows = msgspec.json.Decoder(RawEventsRequest)
_row = msgspec.json.Decoder(PostedEvent)
_ids = msgspec.json.Decoder(PredictionsRequest)

Body = TypeVar("Body")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_SECONDS = 253_402_300_800
"""Seconds to the year 10000, beyond which no timestamp is one."""

PLACED = re.compile(r"^(.*) - at `\$\.?([^`.\[]*)")
UNKNOWN = re.compile(r"unknown field `(.*)`")
MISSING = re.compile(r"missing required field `(.*)`")


@dataclass(frozen=True)
class Refusal:
    """A row that was kept out, with its text for the quarantine."""

    detail: Detail
    raw: str


class RawRows:
    """The rows of a body as they were sent, cut out when one is first asked for."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __getitem__(self, index: int) -> msgspec.Raw:
        return self.rows[index]

    @cached_property
    def rows(self) -> list[msgspec.Raw]:
        """All of them.

        Raises
        ------
        BadRequest, InvalidRequest
            As in `read_posted`.
        """
        try:
            return _decoded(_rows, self._body, "events").events
        except BadRequest:
            # One sender's NaN must not cost the rows beside it.
            rows = rows_of(self._body)
            if rows is None:
                raise
            return [msgspec.Raw(row) for row in rows]


@dataclass(frozen=True)
class Posted:
    """One request's rows as read: of the right form, not yet past the door.

    Attributes
    ----------
    raw
        The rows as they were sent.
    columns
        Values by column of the event schema, instants in microseconds since the epoch, UTC.
    index
        Each row's position in the request.
    refused
        The rows that are of another form, by position.
    """

    raw: RawRows
    columns: dict[str, list[Any]]
    index: list[int]
    refused: dict[int, Refusal]

    @property
    def height(self) -> int:
        """Number of rows read."""
        return len(self.index)

    def refuse(self, index: int, field: str, value: str, expected: str) -> Refusal:
        """Refuse the row at a position of the request, for what was found out about it later."""
        return _refusal(index, field, value, expected, self.raw[index])


@dataclass(frozen=True)
class Intake:
    """Some requests' events after the door.

    Attributes
    ----------
    admitted
        Rows of the event schema, one request's after the other's.
    post, index
        Each admitted row's request, and its position in it.
    refused
        Per request the rows kept out, in its order.
    """

    admitted: pl.DataFrame
    post: list[int]
    index: list[int]
    refused: list[list[Refusal]]


def read_posted(body: bytes, *, arrival_us: int, clock: ClockKind, most: int) -> Posted:
    """Read the events of a request; rows of the wrong form are named by position.

    Parameters
    ----------
    body
        JSON, ``{"events": [...]}``.
    arrival_us
        Becomes ``ingested_at`` under the wall clock, microseconds since the epoch, UTC.
    clock
        Under ``replay`` each row states its own ``ingested_at``.
    most
        Largest number of events allowed.

    Raises
    ------
    BadRequest
        If the body is not JSON.
    InvalidRequest
        If it is not of that shape, or holds no event or too many.
    """
    raw_rows = RawRows(body)
    refused: dict[int, Refusal] = {}
    try:
        # Nearly always every row is of the right form, and the body is read at once.
        events: list[PostedEvent | None] = [*_request.decode(body).events]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Counted before any row is looked at: to explain one costs far more than to read it.
        _require_count(len(raw_rows.rows), most)
        events = [_read_row(index, raw, refused) for index, raw in enumerate(raw_rows.rows)]
    _require_count(len(events), most)
    index: list[int] = []
    good: list[PostedEvent] = []
    customers: list[str] = []
    times: dict[str, list[int]] = {"event_time": [], "ingested_at": []}
    for number, event in enumerate(events):
        if event is None:
            continue
        try:
            customer = id_given(event)
            event_us, ingested_us = _instants(event, arrival_us, clock)
        except BadField as error:
            refused[number] = _refusal(number, error.field, error.value, error.expected, raw_rows[number])
            continue
        index.append(number)
        good.append(event)
        customers.append(customer)
        times["event_time"].append(event_us)
        times["ingested_at"].append(ingested_us)
    made: dict[str, list[Any]] = {**times, "customer_id": customers}
    columns = {
        name: made[name] if name in made else [getattr(event, name) for event in good]
        for name in EVENT_SCHEMA
    }
    return Posted(raw_rows, columns, index, refused)


def _require_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise InvalidRequest(
            f"a request carries 1 to {most} events", [Detail(None, "events", str(count), f"1 to {most}")]
        )


def admit_posted(posts: Sequence[Posted], *, future_skew: timedelta) -> Intake:
    """Lead the rows of some requests through the door, together: the price is nearly that of one.

    Parameters
    ----------
    posts
        From `read_posted`.
    future_skew
        See `features.events.admit`.
    """
    owner = [(number, index) for number, post in enumerate(posts) for index in post.index]
    columns: dict[str, pl.Series] = {"row": pl.Series(range(len(owner)), dtype=pl.Int64)}
    for name, dtype in EVENT_SCHEMA.items():
        values = [value for post in posts for value in post.columns[name]]
        is_instant = dtype == INSTANT
        series = pl.Series(values, dtype=pl.Int64 if is_instant else dtype)
        columns[name] = series.cast(INSTANT) if is_instant else series
    admission = admit(pl.DataFrame(columns), future_skew=future_skew)
    refused = [dict(post.refused) for post in posts]
    kept_out = set()
    for row in admission.refused.iter_rows(named=True):
        kept_out.add(row["row"])
        number, index = owner[row["row"]]
        refused[number][index] = _refusal(
            index, row["field"], row["value"], row["expected"], posts[number].raw[index]
        )
    kept = [place for row, place in enumerate(owner) if row not in kept_out] if kept_out else owner
    return Intake(
        admission.admitted,
        [number for number, _ in kept],
        [index for _, index in kept],
        [[one[index] for index in sorted(one)] for one in refused],
    )


def _read_row(index: int, raw: msgspec.Raw, refused: dict[int, Refusal]) -> PostedEvent | None:
    try:
        return _row.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        refused[index] = _refusal(index, *_explained(str(error), raw), raw)
        return None


def read_ids(body: bytes, *, most: int) -> tuple[list[str], list[Detail]]:
    """Read the ids of a prediction request, and which of them cannot be ids.

    Raises
    ------
    BadRequest, InvalidRequest
        As in `read_posted`.
    """
    ids = _decoded(_ids, body, "customer_ids").customer_ids
    if not 1 <= len(ids) <= most:
        raise InvalidRequest(
            f"a request asks for 1 to {most} customers",
            [Detail(None, "customer_ids", str(len(ids)), f"1 to {most}")],
        )
    good: list[str] = []
    errors: list[Detail] = []
    for index, one in enumerate(ids):
        try:
            text = one if isinstance(one, str) else id_given(one)
        except BadField as error:
            value = "" if error.value is None else shown(error.value)
            errors.append(Detail(index, error.field, value, error.expected))
            continue
        if is_id(text):
            good.append(text)
        else:
            errors.append(Detail(index, "customer_ids", shown(text), ID))
    return good, errors


def _instants(event: PostedEvent, arrival_us: int, clock: ClockKind) -> tuple[int, int]:
    event_us = _microseconds("event_time", event.event_time)
    if clock == "wall":
        if event.ingested_at is not None:
            raise BadField("ingested_at", event.ingested_at, "nothing: only a replay states it")
        return event_us, arrival_us
    if event.ingested_at is None:
        raise BadField("ingested_at", None, f"{TIME}: in a replay the sender states it")
    return event_us, _microseconds("ingested_at", event.ingested_at)


def _microseconds(field: str, value: datetime | float) -> int:
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    if not 0 <= value < LATEST_SECONDS:
        raise BadField(field, value, TIME)
    return round(value * 1_000_000)


def decoded(body: bytes, kind: type[Body], shape: str) -> Body:
    """Read a body of a type.

    Parameters
    ----------
    shape
        What such a body looks like, for the message.

    Raises
    ------
    BadRequest
        If it is not JSON.
    InvalidRequest
        If it is of another shape.
    """
    return _read(msgspec.json.Decoder(kind), body, "", shape)


def _decoded(decoder: msgspec.json.Decoder[Body], body: bytes, field: str) -> Body:
    return _read(decoder, body, field, f'{{"{field}": [...]}}')


def _read(decoder: msgspec.json.Decoder[Body], body: bytes, field: str, shape: str) -> Body:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body is not {shape}", [Detail(None, field, "", str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def _refusal(index: int, field: str, value: object, expected: str, raw: msgspec.Raw) -> Refusal:
    text = "" if value is None else shown(value)
    detail = Detail(index, _legible(field), _legible(text), expected)
    return Refusal(detail, bytes(raw).decode("utf-8", "backslashreplace"))


def _legible(text: str) -> str:
    r"""Write out halves of characters, which JSON can name and no text can hold.

    >>> _legible("a\ud800")
    'a\\ud800'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _explained(message: str, raw: msgspec.Raw) -> tuple[str, object, str]:
    """Turn msgspec's message about a row into (field, value, expected)."""
    if unknown := UNKNOWN.search(message):
        field = unknown[1]
        return field, _value(raw, field), f"no such field{did_you_mean(field, PostedEvent.__struct_fields__)}"
    if missing := MISSING.search(message):
        return missing[1], None, "a value"
    if found := bad_field(bytes(raw)):
        return found
    if placed := PLACED.match(message):
        expected = TIME if placed[2] in ("event_time", "ingested_at") else placed[1].removeprefix("Expected ")
        return placed[2], _value(raw, placed[2]), expected
    return "", bytes(raw).decode("utf-8", "backslashreplace"), message


def _value(raw: msgspec.Raw, field: str) -> object:
    try:
        row = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bytes(raw).decode("utf-8", "backslashreplace")
    value = row.get(field) if isinstance(row, dict) else row
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
