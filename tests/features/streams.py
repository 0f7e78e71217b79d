"""Generated event streams, for tests that compare paths."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from features.events import EVENT_SCHEMA, EVENT_TYPES

START = datetime(2024, 3, 8, tzinfo=UTC)
HOURS = st.integers(0, 24 * 40)
HOUR = 3600 * 10**6
MICROSECONDS = st.sampled_from([0, 0, 0, 1, -1, 999_999])


def event(
    number: int, customer: str, event_type: str, at: datetime, lateness: timedelta, **columns: Any
) -> dict[str, Any]:
    """Return one event with every column of the schema."""
    row = dict.fromkeys(EVENT_SCHEMA)
    row |= {
        "event_id": f"e{number}",
        "customer_id": customer,
        "event_type": event_type,
        "event_time": at,
        "ingested_at": at + lateness,
        "quantity": 1,
        "source": "test",
    }
    return row | columns


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return events as a frame of the schema."""
    return pl.DataFrame(rows, schema=EVENT_SCHEMA)


@st.composite
def streams(draw: st.DrawFn, *, max_events: int = 40, customers: int = 3) -> list[dict[str, Any]]:
    """Draw events of a few customers: shared instants, late and early ones, null keys and amounts."""
    rows = []
    for number in range(draw(st.integers(0, max_events))):
        at = START + timedelta(hours=draw(HOURS), microseconds=draw(MICROSECONDS))
        late = draw(st.sampled_from([0, 0, 0, 0, 1, HOUR, 30 * HOUR, 9 * 24 * HOUR, -60 * 10**6]))
        rows.append(
            event(
                number,
                f"c{draw(st.integers(1, customers))}",
                draw(st.sampled_from(["purchase", "purchase", "purchase", "view", "contact", *EVENT_TYPES])),
                at,
                timedelta(microseconds=late),
                category=draw(st.sampled_from(["tea", "COFFEE/BEANS", "牛奶", None])),
                brand=draw(st.sampled_from(["1", "2", None])),
                amount_minor=draw(st.sampled_from([0, 1, 250, 2**40, None])),
                discount_minor=draw(st.sampled_from([0, 5, None])),
                coupon_minor=draw(st.sampled_from([0, 7, None])),
            )
        )
    return rows
