"""Bulk, online and plain-Python features are the same values on a grocer's year and a shop's clicks."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import polars as pl
import pytest

from features.history import History
from features.live import LiveCustomers
from features.packed_memory import pack_memories
from features.packed_store import profile_key
from features.publishing import key_rows, profile_rows
from tests.features import oracle
from tests.features.oracle import Instant, from_microseconds
from tests.features.paths import Answer, Oracle, bulk_answers, differences, live_answers, unpacked_keys
from tests.features.real_streams import LAG, RealStream, chosen_instants, completejourney, retailrocket

CLOCKS_CHANGE = [datetime(2017, 3, 12, 5, tzinfo=UTC), datetime(2017, 11, 5, 4, tzinfo=UTC)]
INSTANTS, CUSTOMERS = 24, 12
"""So many instants are looked at, and so many customers at each: some hundred rows of each source."""


@pytest.fixture(scope="module", params=["completejourney", "retailrocket"])
def stream(request: pytest.FixtureRequest) -> RealStream:
    if request.param == "completejourney":
        return completejourney(every=40)
    return retailrocket(request.getfixturevalue("data_folder"))


@pytest.fixture(scope="module")
def history(stream: RealStream) -> History:
    return History(stream.events, stream.zone, LAG)


@pytest.fixture(scope="module")
def brute(stream: RealStream) -> Oracle:
    return Oracle(oracle.by_customer(stream.events))


def looks(stream: RealStream, brute: Oracle, count: int, seed: int) -> list[tuple[Instant, list[str]]]:
    """Choose instants and customers: half of these lately active, the others any at all."""
    drawn, found = Random(seed), []
    for at in chosen_instants(
        stream, count, CLOCKS_CHANGE if stream.zone.key == "America/New_York" else (), seed
    ):
        lately = [
            name
            for name, events in brute.events.items()
            if any(at.us - oracle.SHORT["72h"] < event.time <= at.us for event in events)
        ]
        chosen = drawn.sample(lately, min(CUSTOMERS // 2, len(lately)))
        others = sorted(brute.events.keys() - set(chosen))
        found.append((at, sorted(chosen + drawn.sample(others, CUSTOMERS - len(chosen)))))
    return found


def known_by(events: pl.DataFrame, at_us: int) -> pl.DataFrame:
    return events.filter(pl.max_horizontal("event_time", "ingested_at") <= from_microseconds(at_us))


def online_answers(stream: RealStream, names: list[str], at: Instant) -> list[Answer]:
    """Pack what is known of some customers, and read them all at once."""
    by_boundary = known_by(stream.events, at.boundary)
    mine = stream.events.filter(pl.col("customer_id").is_in(names))
    memories = pack_memories(mine, at.us)
    published = History(by_boundary.filter(pl.col("customer_id").is_in(names)), at.zone, LAG)
    profiles = {row.key: row for row in profile_rows(published, at.boundary)}
    keys = {row.key: row for row in key_rows(History(by_boundary, at.zone, LAG), at.boundary)}
    assert any(key.startswith(profile_key("category", "")) for key in keys)
    live = LiveCustomers(
        names,
        [memories.get(name) for name in names],
        [profiles.get(name) for name in names],
        at.us,
        at.boundary,
        unpacked_keys(keys),
        at.zone,
    )
    assert not live.is_stale.any()
    return live_answers(live)


def test_no_cell_differs_between_bulk_and_brute_force(
    stream: RealStream, history: History, brute: Oracle
) -> None:
    rows, drawn = 0, Random(5)
    for at, names in looks(stream, brute, INSTANTS, seed=3):
        expected = [brute.answer(name, at, most=4, drawn=drawn) for name in names]
        keys = [answer.pairs.keys() for answer in expected]
        for name, found, wanted in zip(
            names, bulk_answers(history, names, [at.us] * len(names), keys), expected, strict=True
        ):
            assert differences(found, wanted) == [], (name, at)
            rows += 1
    assert rows == INSTANTS * CUSTOMERS


def test_no_cell_differs_between_online_and_bulk_and_events_known_later_change_none(
    stream: RealStream, history: History, brute: Oracle
) -> None:
    for at, names in looks(stream, brute, 3, seed=4):
        past = History(known_by(stream.events, at.us), at.zone, LAG)
        names = [name for name in names if name in past.columns.customers]
        whole = bulk_answers(history, names, [at.us] * len(names))
        cut = bulk_answers(past, names, [at.us] * len(names))
        for name, ours, theirs, without in zip(
            names, online_answers(stream, names, at), whole, cut, strict=True
        ):
            known = brute.answer(name, at).pairs.keys()
            assert differences(ours, theirs, known_keys=known) == [], (name, at)
            assert differences(theirs, without, known_keys=known) == [], (name, at)
