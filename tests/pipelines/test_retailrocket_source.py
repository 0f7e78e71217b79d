"""RetailRocket's clicks: read as its lines say, and live what they are in bulk."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from configs.home import Home
from tests.pipelines.live_replay import LiveSource, counted, sampled

TYPES = {"view": "view", "addtocart": "add_to_cart", "transaction": "purchase"}


@pytest.fixture
def source(home: Home, data_folder: Path) -> LiveSource:
    if not (data_folder / "retailrocket_sample").is_dir():
        pytest.skip("TAGTIDE_DATA holds no retailrocket_sample")
    return LiveSource(home, "retailrocket", data_folder)


def lines_of(source: LiveSource) -> list[dict[str, str]]:
    with (source.data / "retailrocket_sample" / "events.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_its_events_are_what_its_lines_say(source: LiveSource) -> None:
    lines, events = lines_of(source), source.events()
    assert events.height == len(lines) == 9_385
    assert events["customer_id"].to_list() == [line["visitorid"] for line in lines]
    assert events["item_id"].to_list() == [line["itemid"] for line in lines]
    assert events["event_type"].to_list() == [TYPES[line["event"]] for line in lines]
    assert counted(events) == {"view": 9_076, "add_to_cart": 263, "purchase": 46}
    assert events["customer_id"].n_unique() == 5_000
    orders = [line["transactionid"].removesuffix(".0") or None for line in lines]
    assert events["order_id"].to_list() == orders
    for absent in ("category", "brand", "amount_minor", "discount_minor", "coupon_minor"):
        assert events[absent].null_count() == events.height


def test_its_times_are_those_of_its_other_time_column_and_an_order_is_one_moment(source: LiveSource) -> None:
    lines = lines_of(source)
    times = [datetime.fromisoformat(line["datetime"]).replace(tzinfo=UTC) for line in lines]
    latest: dict[str, datetime] = {}
    for line, time in zip(lines, times, strict=True):
        if line["transactionid"]:
            latest[line["transactionid"]] = max(time, latest.get(line["transactionid"], time))
    expected = [latest.get(line["transactionid"], time) for line, time in zip(lines, times, strict=True)]
    events = source.events()
    assert events["event_time"].to_list() == expected
    assert events["ingested_at"].to_list() == expected
    assert sum(time != moment for time, moment in zip(times, expected, strict=True)) == 5
    purchases = events.filter(event_type="purchase").select("customer_id", "event_time", "order_id")
    assert purchases.unique().height == len(latest) == 40


def test_equal_lines_are_events_of_their_own_and_no_line_is_lost(source: LiveSource) -> None:
    lines = Counter(tuple(line.values()) for line in lines_of(source))
    repeated = sum(count - 1 for count in lines.values())
    assert repeated == 3
    first = source.run("import", "retailrocket", "--json").json
    figures = ("rows_read", "stored", "duplicate", "quarantined", "left_out", "later")
    assert [first[name] for name in figures] == [9_385, 9_385, 0, 0, 0, 0]
    again = source.run("import", "retailrocket", "--json").json
    assert [again[name] for name in figures] == [9_385, 0, 9_385, 0, 0, 0]
    ids = source.stored()["event_id"]
    assert ids.n_unique() == 9_385
    assert ids.str.ends_with("-1").sum() == repeated
    assert ids.str.ends_with("-0").sum() == 9_385 - repeated


def replayed_is_what_bulk_says(
    source: LiveSource, at: datetime, events: pl.DataFrame, customers: int = 60
) -> None:
    names = sampled(events, at, customers)
    cells, wrong = source.differing(names, at, events)
    assert wrong == []
    assert cells > 100 * len(names)


def test_a_week_imported_and_days_replayed_are_known_live_as_in_bulk(source: LiveSource) -> None:
    before, since = "2015-05-11T06:00:00+00:00", "2015-05-11T12:00:00+00:00"
    until = "2015-05-12T12:00:00+00:00"
    imported = source.run("import", "retailrocket", "--until", since, "--json").json
    source.run("features", "--json")
    spans = {"since": since, "until": until}, {"since": before, "until": until}
    first, again = source.replay(*spans, speed=500_000)
    events = source.events()
    known = events.filter(pl.col("ingested_at") <= datetime.fromisoformat(until))
    assert first["accepted"] == first["events"] == known.height - imported["stored"] > 50
    assert (first["duplicates"], first["refused"], first["tags_seen"]) == (0, 0, 0)
    assert (again["accepted"], again["duplicates"]) == (0, again["events"])
    assert again["events"] > first["events"], "what was imported is sent again too"
    assert source.stored().sort("event_id").equals(known.sort("event_id"))
    at = max(known["event_time"])
    assert first["status"]["as_of"] == at.isoformat().replace("+00:00", "Z")
    replayed_is_what_bulk_says(source, at, events)
    # Some time later, when nothing new came: windows empty, and recencies grow.
    replayed_is_what_bulk_says(source, at + timedelta(hours=11, microseconds=1), known)


@pytest.mark.slow  # four months day by day: minutes
def test_the_whole_of_it_replayed_from_nothing_is_known_live_as_in_bulk(source: LiveSource) -> None:
    (report,) = source.replay({"since": "2015-01-01"})
    events = source.events()
    assert report["accepted"] == events.height == 9_385
    assert source.stored().sort("event_id").equals(events.sort("event_id"))
    replayed_is_what_bulk_says(source, max(events["event_time"]), events, 1_000)
