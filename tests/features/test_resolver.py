from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from configs.home import Home
from configs.settings import load_settings
from features.database import open_engine
from features.events import INSTANT
from features.identities import Space
from features.quarantine import Quarantine
from features.resolver import Resolver, open_resolver
from tests.features.made_events import event, frame

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def resolver(home: Home) -> Iterator[Resolver]:
    engine = open_engine(None, home)
    made = open_resolver(home, engine, load_settings(home.root, {}).settings)
    made.identities.settle(Space("web", "", is_source=True))
    made.identities.settle(Space("pos", "pos:", is_source=True))
    made.identities.link("7", "pos:8", why="", at=NOON)
    yield made
    engine.dispose()


def test_rows_come_back_under_their_customer_and_otherwise_unchanged(resolver: Resolver) -> None:
    rows = frame([event(1, customer_id="pos:8"), event(2, customer_id="web:9"), event(3, customer_id="7")])
    found = resolver.resolve(rows)
    assert found["customer_id"].to_list() == ["7", "9", "7"]
    assert found.drop("customer_id").equals(rows.drop("customer_id"))
    assert resolver.one("pos:8") == "7"
    assert resolver.spellings(["7"]) == {"7", "web:7", "pos:8"}


def test_a_link_made_a_moment_ago_is_in_the_next_answer(resolver: Resolver) -> None:
    assert resolver.one("9") == "9"
    resolver.identities.link("9", "7", why="", at=NOON)
    assert resolver.one("9") == "7"
    resolver.identities.unlink("9", "7", why="", at=NOON)
    assert resolver.one("9") == "9"


def test_events_of_an_erased_customer_are_named_however_their_id_is_written(resolver: Resolver) -> None:
    rows = frame(
        [
            event(1, customer_id="7", event_time=NOON),
            event(2, customer_id="web:7", event_time=NOON - HOUR),
            event(3, customer_id="7", event_time=NOON + HOUR),
            event(4, customer_id="8", event_time=NOON),
        ]
    )
    assert resolver.erased(rows).to_list() == [False] * 4
    resolver.tombstones.bury(["7"], NOON)
    assert resolver.erased(rows).to_list() == [True, True, False, False]
    assert resolver.erased(rows.clear()).to_list() == []


def refusals(*customers: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "row": number,
                "field": "quantity",
                "value": "-1",
                "expected": "0 or more",
                "raw": json.dumps({"customer_id": customer, "quantity": -1}),
            }
            for number, customer in enumerate(customers)
        ]
    )


def test_a_refused_row_of_an_erased_customer_is_not_kept_either(resolver: Resolver, home: Home) -> None:
    resolver.tombstones.bury(["7"], NOON)
    quarantine = Quarantine(home.quarantine, resolver.barred)
    assert quarantine.append("api", refusals("7", "8", "web:7"), NOON) == 1
    assert quarantine.read()["raw"].str.json_path_match("$.customer_id").to_list() == ["8"]


def test_a_refused_row_from_after_the_erasure_is_a_new_customers(resolver: Resolver) -> None:
    resolver.tombstones.bury(["7"], NOON)
    times = pl.Series("event_time", [NOON, NOON + HOUR, None], INSTANT)
    rows = refusals("7", "7", "7").with_columns(times, customer_id=pl.lit("7"))
    assert resolver.barred(rows).to_list() == [True, False, True]


def test_while_nobody_was_erased_every_refused_row_is_kept(resolver: Resolver) -> None:
    assert resolver.barred(refusals("7", "8")).to_list() == [False, False]
    assert resolver.barred(refusals("7").clear()).to_list() == []
