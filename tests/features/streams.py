"""Generated event streams, for tests that compare paths."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from hypothesis import strategies as st

from features.events import EVENT_SCHEMA, EVENT_TYPES
from tests.features.oracle import DAY, HOUR, LONG, MINUTE, SHORT, Instant, from_microseconds

START = datetime(2024, 3, 8, tzinfo=UTC)
HOURS = st.integers(0, 24 * 40)
MICROSECONDS = st.sampled_from([0, 0, 0, 1, -1, 999_999])
TICKS = st.sampled_from([-1, 0, 1])
ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "America/Havana")
"""New York and Havana put the clocks forward two days after `START`, Havana at midnight."""


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


def _drawn_event(
    draw: st.DrawFn, number: int, customers: int, at: datetime, lateness: timedelta
) -> dict[str, Any]:
    return event(
        number,
        f"c{draw(st.integers(1, customers))}",
        draw(st.sampled_from(["purchase", "purchase", "purchase", "view", "contact", *EVENT_TYPES])),
        at,
        lateness,
        item_id=draw(st.sampled_from(["i1", "i2", "i3", None])),
        category=draw(st.sampled_from(["tea", "COFFEE/BEANS", "牛奶", None])),
        brand=draw(st.sampled_from(["1", "2", None])),
        amount_minor=draw(st.sampled_from([0, 1, 250, 2**40, None])),
        discount_minor=draw(st.sampled_from([0, 5, None])),
        coupon_minor=draw(st.sampled_from([0, 7, None])),
    )


@st.composite
def streams(draw: st.DrawFn, *, max_events: int = 40, customers: int = 3) -> list[dict[str, Any]]:
    """Draw events of a few customers: shared instants, late and early ones, null keys and amounts."""
    rows = []
    for number in range(draw(st.integers(0, max_events))):
        at = START + timedelta(hours=draw(HOURS), microseconds=draw(MICROSECONDS))
        late = draw(st.sampled_from([0, 0, 0, 0, 1, HOUR, 30 * HOUR, 9 * 24 * HOUR, -60 * 10**6]))
        rows.append(_drawn_event(draw, number, customers, at, timedelta(microseconds=late)))
    return rows


@dataclass(frozen=True)
class Scene:
    """A stream and an instant to look at it.

    Attributes
    ----------
    rows
        Events, each once, as they were delivered first.
    deliveries
        What arrives, in the order of ``ingested_at``: the rows, and some of them again while the memory still
        holds them. Whatever is repeated later is kept out by the log.
    at
        The instant. It may lie before the first event.
    """

    rows: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]
    at: Instant

    @property
    def customers(self) -> list[str]:
        return sorted({row["customer_id"] for row in self.rows})

    def __repr__(self) -> str:
        return f"{len(self.deliveries)} deliveries looked at on {self.at}"


@st.composite
def scenes(draw: st.DrawFn, *, max_events: int = 30, customers: int = 2) -> Scene:
    """Draw a stream whose events crowd about the edges of an instant's windows and sessions.

    An event happens at any hour, at an edge of a window, at the profile's boundary or at the instant, at the
    time of another event or the pause of a session after it, all give or take a microsecond. It becomes known
    at once, later, or as the profile closes or the instant comes.
    """
    hours, microseconds = draw(st.integers(-24, 24 * 45)), draw(MICROSECONDS)
    now = START + timedelta(hours=hours, microseconds=microseconds)
    at = Instant.of(
        now, ZoneInfo(draw(st.sampled_from(ZONES))), timedelta(hours=draw(st.sampled_from([0, 1, 5])))
    )
    turns = [at.us, at.boundary]
    edges = [
        *turns,
        *(at.us - size for size in SHORT.values()),
        *(at.boundary - size for size in LONG.values()),
    ]
    rows: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, max_events))):
        where = draw(st.sampled_from(["hour", "edge", "edge", "near", "near"]))
        if where == "edge":
            time = from_microseconds(draw(st.sampled_from(edges)) + draw(TICKS))
        elif where == "near" and rows:
            pause = draw(st.sampled_from([0, 0, 30 * MINUTE, 30 * MINUTE, 20 * MINUTE, -30 * MINUTE, DAY]))
            other = draw(st.sampled_from(rows))["event_time"]
            time = other + timedelta(microseconds=pause + draw(TICKS))
        else:
            time = START + timedelta(hours=draw(HOURS), microseconds=draw(MICROSECONDS))
        late = draw(st.sampled_from([0, 0, 0, 1, HOUR, 30 * HOUR, 9 * DAY, -MINUTE, *["at a turn"] * 3]))
        if late == "at a turn":
            arrival = max(from_microseconds(draw(st.sampled_from(turns)) + draw(TICKS)), time)
        else:
            arrival = time + timedelta(microseconds=late)
        rows.append(_drawn_event(draw, number, customers, time, arrival - time))
    again = [
        {
            **row,
            "ingested_at": row["ingested_at"]
            + timedelta(microseconds=draw(st.sampled_from([0, 1, HOUR, 3 * DAY]))),
        }
        for row in draw(st.lists(st.sampled_from(rows), max_size=4) if rows else st.just([]))
    ]
    return Scene(rows, sorted([*rows, *again], key=lambda row: row["ingested_at"]), at)
