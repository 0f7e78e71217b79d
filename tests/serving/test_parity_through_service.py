"""What a served home knows of its customers is what bulk computation and plain Python know, cell for cell."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import perf_counter

import polars as pl
import pytest

from configs.home import Home
from features.history import History
from tests.features import oracle
from tests.features.oracle import Instant, from_microseconds
from tests.features.paths import Answer, Oracle, bulk_answers, differences, live_answers
from tests.features.real_streams import LAG, RealStream, chosen_instants, completejourney, retailrocket
from tests.serving.replayed_home import BYSTANDER, replayed_home, with_ticks

CLOCKS_CHANGE = [datetime(2017, 3, 12, 5, tzinfo=UTC), datetime(2017, 11, 5, 4, tzinfo=UTC)]
KEYS_EACH = 6
"""So many categories and brands are compared of a customer at an instant; which are candidates, of all."""
EXAMPLES = 20

logger = logging.getLogger(__name__)


class Compared:
    """Counts what was compared, and keeps the first cells that differ."""

    def __init__(self) -> None:
        self.rows = self.cells = self.differing = self.late = self.unpublished = 0
        self.examples: list[str] = []

    def add(self, where: str, bulk: Answer, online: Answer, expected: Answer) -> None:
        self.rows += 1
        self.cells += expected.cells
        for path, found in (("bulk", bulk), ("online", online)):
            wrong = differences(found, expected)
            self.differing += len(wrong)
            self.examples += [f"{path}, {where}: {cell}" for cell in wrong][: EXAMPLES - len(self.examples)]


async def compare(home: Home, stream: RealStream, instants: list[Instant], customers_each: int) -> Compared:
    """Replay a stream into a home, and ask all three paths for customers at each instant on the way."""
    events = with_ticks(stream.events, instants)
    history = History(events, stream.zone, LAG)
    brute = Oracle(oracle.by_customer(events))
    drawn, compared, began = Random(2), Compared(), perf_counter()
    async with replayed_home(home, stream.deliveries, stream.zone.key) as served:
        for at in instants:
            await served.reach(at)
            names = choose(brute, at, customers_each, drawn)
            expected = [brute.answer(name, at, most=KEYS_EACH, drawn=drawn) for name in names]
            keys = [answer.pairs.keys() for answer in expected]
            in_bulk = bulk_answers(history, names, [at.us] * len(names), keys)
            for name, mine, bulk, theirs in zip(names, keys, in_bulk, expected, strict=True):
                (online,) = live_answers(served.read(name, at), [mine])
                compared.add(f"{name} at {from_microseconds(at.us)}", bulk, online, theirs)
        end = max(instants[-1].us, oracle.microseconds(stream.deliveries["ingested_at"][-1])) + oracle.HOUR
        await served.reach(Instant(end, stream.zone, LAG))
        repeats = stream.deliveries.height - stream.events.height
        assert (served.accepted, served.duplicates) == (stream.events.height + served.ticks, repeats)
        served.log.compact(served.lake)
        kept = served.lake.read().filter(pl.col("source") != "clock")
    assert kept.sort("event_id", "source").equals(stream.events.sort("event_id", "source"))
    seconds = perf_counter() - began
    logger.info(
        "%d rows of %d customers at %d instants, %d cells on three paths, %d differing, %.0f s",
        *(compared.rows, len(brute.events) - 1, len(instants), compared.cells, compared.differing, seconds),
    )
    return compared


def choose(brute: Oracle, at: Instant, count: int, drawn: Random) -> list[str]:
    """Draw customers: half of them known and lately active where there are such, the others any at all."""
    lately = [name for name, events in brute.events.items() if name != BYSTANDER and was_active(events, at)]
    chosen = drawn.sample(lately, min(count // 2, len(lately)))
    others = sorted(brute.events.keys() - {*chosen, BYSTANDER})
    return sorted(chosen + drawn.sample(others, min(count - len(chosen), len(others))))


def was_active(events: list[oracle.Event], at: Instant) -> bool:
    """Tell whether something became known of a customer in the last 72 hours."""
    known = bisect_right(events, at.us, key=lambda event: event.known)
    return known > 0 and events[known - 1].known > at.us - oracle.SHORT["72h"]


def part_of(stream: RealStream, since: datetime, until: datetime) -> RealStream:
    """Cut a stream by arrival."""
    inside = pl.col("ingested_at").is_between(since, until)
    events = stream.events.filter(inside)
    mine = pl.col("event_id").is_in(events["event_id"].implode())
    return RealStream(events, stream.deliveries.filter(inside, mine), stream.zone)


def test_a_grocers_customers_are_known_alike_in_bulk_online_and_by_brute_force(home: Home) -> None:
    autumn = part_of(
        completejourney(every=80), datetime(2017, 10, 8, tzinfo=UTC), datetime(2017, 11, 12, tzinfo=UTC)
    )
    compared = asyncio.run(compare(home, autumn, chosen_instants(autumn, 15, CLOCKS_CHANGE[1:]), 16))
    assert (compared.differing, compared.examples) == (0, [])
    assert compared.rows == 15 * 16


def test_a_shops_visitors_are_known_alike_in_bulk_online_and_by_brute_force(
    home: Home, data_folder: Path
) -> None:
    june = part_of(
        retailrocket(data_folder), datetime(2015, 6, 1, tzinfo=UTC), datetime(2015, 6, 20, tzinfo=UTC)
    )
    compared = asyncio.run(compare(home, june, chosen_instants(june, 10), 16))
    assert (compared.differing, compared.examples) == (0, [])
    assert compared.rows == 10 * 16


@pytest.mark.slow  # twenty minutes on two busy cores
def test_twenty_thousand_rows_of_a_grocers_year_have_no_differing_cell(home: Home) -> None:
    year = completejourney(every=25)
    compared = asyncio.run(compare(home, year, chosen_instants(year, 250, CLOCKS_CHANGE), 80))
    assert (compared.differing, compared.examples) == (0, [])
    assert compared.rows == 20_000


@pytest.mark.slow  # eight minutes on two busy cores
def test_twenty_thousand_rows_of_a_shops_visitors_have_no_differing_cell(
    home: Home, data_folder: Path
) -> None:
    visitors = retailrocket(data_folder)
    compared = asyncio.run(compare(home, visitors, chosen_instants(visitors, 250), 80))
    assert (compared.differing, compared.examples) == (0, [])
    assert compared.rows == 20_000
