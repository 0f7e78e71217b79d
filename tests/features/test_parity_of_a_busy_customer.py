"""A customer with fifty thousand events has the same features on every path."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from features.events import EVENT_SCHEMA, EVENT_TYPES
from features.history import History
from features.live import LiveCustomers
from features.packed_memory import merge_memory, pack_memories
from features.publishing import key_rows, profile_rows
from tests.features import oracle
from tests.features.oracle import DAY, HOUR, MINUTE, Instant, from_microseconds
from tests.features.paths import Oracle, bulk_answers, differences, live_answers, unpacked_keys
from tests.features.streams import event

EVENTS = 50_000
ARRIVALS_AT_ONCE = 500
ZONE, LAG = ZoneInfo("America/New_York"), timedelta(hours=1)
BEGAN = datetime(2023, 1, 1, tzinfo=UTC)
DAYS = 420
INSTANTS = [
    Instant.of(BEGAN + timedelta(days=200, hours=3, microseconds=7), ZONE, LAG),
    Instant.of(
        datetime(2024, 1, 10, 6, tzinfo=UTC), ZONE, LAG
    ),  # a local hour into the day: profiles are out
    Instant.of(BEGAN + timedelta(days=DAYS), ZONE, LAG),
    Instant.of(BEGAN + timedelta(days=DAYS + 2), ZONE, LAG),
]


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    """Events by the minute, a tenth of them in the last four days, some late, many at once."""
    drawn = Random(11)
    rows = []
    for number in range(EVENTS):
        days = drawn.uniform(DAYS - 4, DAYS) if drawn.random() < 0.1 else drawn.uniform(0, DAYS)
        at = BEGAN + timedelta(minutes=int(days * 24 * 60))
        late = drawn.choice((0, 0, 0, 0, 0, 1, MINUTE, 5 * HOUR, 80 * HOUR, 20 * DAY))
        kind = drawn.choice((*EVENT_TYPES, *("view", "add_to_cart", "purchase") * 3))
        columns = {
            "item_id": f"i{int(drawn.paretovariate(0.7)) % 3000}",
            "category": drawn.choice([None, *(f"c{place}" for place in range(20))]),
            "brand": drawn.choice([None, "1", "2", "3"]),
            "amount_minor": drawn.choice((None, 199, 2**40)),
            "discount_minor": drawn.choice((None, 0, 50)),
            "coupon_minor": drawn.choice((None, 0, 70)),
        }
        rows.append(event(number, "busy", kind, at, timedelta(microseconds=late), **columns))
    rows.append(event(EVENTS, "quiet", "view", BEGAN, timedelta(0), category="c1"))
    return pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row").sort("ingested_at", "event_id")


@pytest.fixture(scope="module")
def history(events: pl.DataFrame) -> History:
    return History(events, ZONE, LAG)


def memory_of(events: pl.DataFrame, at: Instant) -> bytes | None:
    """Let the events arrive some at a time."""
    arrived = events.filter(
        pl.col("customer_id") == "busy", pl.col("ingested_at") <= from_microseconds(at.us)
    )
    memory = None
    for start in range(0, arrived.height, ARRIVALS_AT_ONCE):
        part = arrived[start : start + ARRIVALS_AT_ONCE]
        arrival = oracle.microseconds(part["ingested_at"][-1])
        memory = merge_memory(memory, pack_memories(part, arrival)["busy"], arrival)
    return memory


@pytest.mark.parametrize("at", INSTANTS, ids=lambda at: str(from_microseconds(at.us)))
def test_no_cell_of_a_busy_customer_differs(events: pl.DataFrame, history: History, at: Instant) -> None:
    expected = Oracle(oracle.by_customer(events)).answer("busy", at)
    assert len(expected.pairs) == 20 + 3
    (in_bulk,) = bulk_answers(history, ["busy"], [at.us])
    assert differences(in_bulk, expected) == []

    by_boundary = events.filter(
        pl.max_horizontal("event_time", "ingested_at") <= from_microseconds(at.boundary)
    )
    published = History(by_boundary, ZONE, LAG)
    profiles = {row.key: row for row in profile_rows(published, at.boundary)}
    keys = unpacked_keys({row.key: row for row in key_rows(published, at.boundary)})
    live = LiveCustomers(
        ["busy"], [memory_of(events, at)], [profiles["busy"]], at.us, at.boundary, keys, ZONE
    )
    (online,) = live_answers(live)
    assert differences(online, expected) == []
