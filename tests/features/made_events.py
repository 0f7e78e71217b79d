"""Events for tests: valid in everything that a test does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from features.events import EVENT_SCHEMA

MONDAY = datetime(2017, 5, 1, tzinfo=UTC)


def event(number: int = 0, **given: Any) -> dict[str, Any]:
    """One event; ``number`` makes its id and moves it an hour on."""
    moment = given.get("event_time", MONDAY + timedelta(hours=number))
    made: dict[str, Any] = dict.fromkeys(EVENT_SCHEMA)
    made |= {
        "event_id": f"e{number}",
        "customer_id": f"c{number % 3}",
        "event_type": "purchase",
        "event_time": moment,
        "ingested_at": moment,
        "category": "TEA",
        "quantity": 1,
        "amount_minor": 100 + number,
        "source": "shop",
    }
    return made | given


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Events as the door admits them."""
    return pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row")


def events(count: int, **given: Any) -> pl.DataFrame:
    """``count`` events an hour apart."""
    return frame([event(number, **given) for number in range(count)])
