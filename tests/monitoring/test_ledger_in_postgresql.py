"""The ledger in PostgreSQL answers every question as the one in SQLite does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import polars as pl
import pytest

from configs.home import Home
from features.database import open_engine
from monitoring.ledger import CLAIM_WINDOW_US, Ledger, Measurement, Prediction, Transition
from tests.features.postgres_database import empty_postgres_schema
from tests.monitoring.shop import START_US, claim


@pytest.fixture
def ledgers(home: Home) -> Iterator[list[Ledger]]:
    with empty_postgres_schema() as url:
        engines = [open_engine(None, home), open_engine(url, home)]
        yield [Ledger(engine) for engine in engines]
        for engine in engines:
            engine.dispose()


CLAIMS = [claim(f"c{n % 3}", n, "茶/红" if n % 2 else None, is_control=n == 5) for n in range(8)]
STEPS = [
    Transition("c1", "interest:MILK", START_US + n, "absent", state, "why")
    for n, state in enumerate(["assigned", "withdrawn", "assigned"])
]
SERVED = [Prediction(f"c{n}", "72h", n / 10, START_US + n, "1") for n in range(4)]


def told(ledger: Ledger) -> list[object]:
    frames = [
        ledger.read(),
        ledger.read(since_us=CLAIMS[1].assigned_at_us, until_us=CLAIMS[5].assigned_at_us),
        ledger.open_claims(CLAIMS[6].assigned_at_us + CLAIM_WINDOW_US),
        ledger.read_transitions(since_us=START_US),
        ledger.read_predictions(until_us=START_US + 2),
    ]
    figures = [
        ledger.latest_measurement("p99_ms"),
        ledger.latest_measurement("p99_ms", until_us=START_US),
        ledger.first_needed_us(None),
        ledger.first_needed_us(START_US + 3),
    ]
    return [*((frame.schema, frame.rows()) for frame in frames), *figures]


def test_what_was_written_reads_the_same(ledgers: list[Ledger]) -> None:
    for ledger in ledgers:
        for _ in range(2):
            ledger.record(CLAIMS, STEPS)
            ledger.record([dataclasses.replace(CLAIMS[0], probability=0.5)], STEPS[:1])
            ledger.record_predictions(SERVED)
        for number, value in enumerate((3.0, 4.0)):
            ledger.record_measurement(Measurement("p99_ms", value, START_US + number, "how"))
            ledger.record_measurement(Measurement("p99_ms", value + 1, START_US + number, "again"))
        judged = {CLAIMS[2].claim_id: "confirmed", CLAIMS[3].claim_id: "unobserved"}
        outcomes = pl.DataFrame({"claim_id": list(judged), "outcome": list(judged.values())})
        ledger.write_outcomes(outcomes, START_US + 9)
    ours, theirs = (told(ledger) for ledger in ledgers)
    assert ours == theirs
    assert len(ours) > 0
    assert ledgers[0].read().height == len(CLAIMS)
    theirs_of_one = len(CLAIMS[1::3]) + len(STEPS) + 1
    assert [ledger.forget("c1") for ledger in ledgers] == [theirs_of_one] * 2
    assert told(ledgers[0]) == told(ledgers[1])
