"""From the body of a request to admitted rows and refusals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
import polars as pl

from configs.errors import did_you_mean
from features.events import EVENT_SCHEMA, INSTANT, admit, shown
from serving.clock import ClockKind
from serving.errors import BadRequest, InvalidRequest
from serving.schemas import (
    TIME,
    Detail,
    PostedEvent,
    PredictionsRequest,
    RawEventsRequest,
)

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


@dataclass(frozen=True)
class Intake:
    """One request's events after the door.

    Attributes
    ----------
    admitted
        Rows of the event schema.
    index
        Each admitted row's position in the request.
    refused
        The rows kept out, in the order of the request.
    """

    admitted: pl.DataFrame
    index: list[int]
    refused: list[Refusal]


def read_events(
    body: bytes, *, arrival_us: int, clock: ClockKind, most: int, future_skew: timedelta
) -> Intake:
    """Read and check the events of a request: good rows go on, bad ones are named by index.

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
    future_skew
        See `features.events.admit`.

    Raises
    ------
    BadRequest
        If the body is not JSON.
    InvalidRequest
        If it is not of that shape, or holds no event or too many.
    """
    raw_rows = _decoded(_rows, body, "events").events
    if not 1 <= len(raw_rows) <= most:
        raise InvalidRequest(
            f"a request carries 1 to {most} events",
            [Detail(None, "events", str(len(raw_rows)), f"1 to {most}")],
        )
    refused: dict[int, Refusal] = {}
    good: list[tuple[int, PostedEvent, int, int]] = []
    for index, raw in enumerate(raw_rows):
        try:
            event = _row.decode(raw)
            good.append((index, event, *_instants(event, arrival_us, clock)))
        except (msgspec.DecodeError, RecursionError) as error:
            refused[index] = _refusal(index, *_explained(str(error), raw), raw)
        except _BadField as error:
            refused[index] = _refusal(index, error.field, error.value, error.expected, raw)
    admission = admit(_frame(good), future_skew=future_skew)
    for row in admission.refused.iter_rows(named=True):
        refused[row["row"]] = _refusal(
            row["row"], row["field"], row["value"], row["expected"], raw_rows[row["row"]]
        )
    kept = [index for index, *_ in good if index not in refused]
    return Intake(admission.admitted, kept, [refused[index] for index in sorted(refused)])


def read_ids(body: bytes, *, most: int) -> list[str]:
    """Read the ids of a prediction request.

    Raises
    ------
    BadRequest, InvalidRequest
        As in `read_events`.
    """
    ids = _decoded(_ids, body, "customer_ids").customer_ids
    if not 1 <= len(ids) <= most:
        raise InvalidRequest(
            f"a request asks for 1 to {most} customers",
            [Detail(None, "customer_ids", str(len(ids)), f"1 to {most}")],
        )
    return ids


class _BadField(Exception):
    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(field)
        self.field, self.value, self.expected = field, value, expected


def _instants(event: PostedEvent, arrival_us: int, clock: ClockKind) -> tuple[int, int]:
    event_us = _microseconds("event_time", event.event_time)
    if clock == "wall":
        if event.ingested_at is not None:
            raise _BadField("ingested_at", event.ingested_at, "nothing: only a replay states it")
        return event_us, arrival_us
    if event.ingested_at is None:
        raise _BadField("ingested_at", None, f"{TIME}: in a replay the sender states it")
    return event_us, _microseconds("ingested_at", event.ingested_at)


def _microseconds(field: str, value: datetime | float) -> int:
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    if not 0 <= value < LATEST_SECONDS:
        raise _BadField(field, value, TIME)
    return round(value * 1_000_000)


def _frame(good: list[tuple[int, PostedEvent, int, int]]) -> pl.DataFrame:
    times = {"event_time": [row[2] for row in good], "ingested_at": [row[3] for row in good]}
    columns: dict[str, pl.Series] = {"row": pl.Series([row[0] for row in good], dtype=pl.Int64)}
    for name, dtype in EVENT_SCHEMA.items():
        if name in times:
            columns[name] = pl.Series(times[name], dtype=pl.Int64).cast(INSTANT)
        else:
            columns[name] = pl.Series([getattr(row[1], name) for row in good], dtype=dtype)
    return pl.DataFrame(columns)


def _decoded(decoder: msgspec.json.Decoder[Body], body: bytes, field: str) -> Body:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f'the body is not {{"{field}": [...]}}', [Detail(None, field, "", str(error))]
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def _refusal(index: int, field: str, value: object, expected: str, raw: msgspec.Raw) -> Refusal:
    text = "" if value is None else shown(value)
    return Refusal(Detail(index, field, text, expected), bytes(raw).decode("utf-8", "replace"))


def _explained(message: str, raw: msgspec.Raw) -> tuple[str, object, str]:
    """Turn msgspec's message about a row into (field, value, expected)."""
    if unknown := UNKNOWN.search(message):
        field = unknown[1]
        return field, _value(raw, field), f"no such field{did_you_mean(field, PostedEvent.__struct_fields__)}"
    if missing := MISSING.search(message):
        return missing[1], None, "a value"
    if placed := PLACED.match(message):
        expected = TIME if placed[2] in ("event_time", "ingested_at") else placed[1].removeprefix("Expected ")
        return placed[2], _value(raw, placed[2]), expected
    return "", bytes(raw).decode("utf-8", "replace"), message


def _value(raw: msgspec.Raw, field: str) -> object:
    try:
        row = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return bytes(raw).decode("utf-8", "replace")
    value = row.get(field) if isinstance(row, dict) else row
    return "null" if value is None else value
