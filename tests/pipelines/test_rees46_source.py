"""REES46's clicks: read as its lines say, the cut one set aside, and live what they are in bulk."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from configs.home import Home
from features.lake import Lake
from features.quarantine import Quarantine
from tests.pipelines.live_replay import LiveSource, counted, sampled

TYPES = {"view": "view", "cart": "add_to_cart", "purchase": "purchase"}
CUT_LINE = 17_436


@pytest.fixture
def source(home: Home, data_folder: Path) -> LiveSource:
    if not (data_folder / "rees46_slice").is_dir():
        pytest.skip("TAGTIDE_DATA holds no rees46_slice")
    return LiveSource(home, "rees46", data_folder)


def file_of(source: LiveSource) -> Path:
    return source.data / "rees46_slice" / "2019-Oct-slice.csv"


def lines_of(source: LiveSource) -> list[dict[str, str]]:
    """All lines but the last, which is cut short."""
    with file_of(source).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))[:-1]


def is_bought(line: dict[str, str]) -> bool:
    return line["event_type"] == "purchase"


def test_its_events_are_what_its_lines_say(source: LiveSource) -> None:
    lines, events = lines_of(source), source.events()
    assert events.height == len(lines) == CUT_LINE - 2
    assert events["customer_id"].to_list() == [line["user_id"] for line in lines]
    assert events["item_id"].to_list() == [line["product_id"] for line in lines]
    assert events["category"].to_list() == [line["category_code"] or None for line in lines]
    assert events["brand"].to_list() == [line["brand"] or None for line in lines]
    assert events["event_type"].to_list() == [TYPES[line["event_type"]] for line in lines]
    assert counted(events) == {"view": 17_055, "add_to_cart": 165, "purchase": 214}
    assert events["category"].null_count() == 5_746
    times = [datetime.fromisoformat(line["event_time"].replace(" UTC", "+00:00")) for line in lines]
    assert events["event_time"].to_list() == times
    cents = [int(100 * Decimal(line["price"])) if is_bought(line) else None for line in lines]
    assert events["amount_minor"].to_list() == cents
    assert events["order_id"].null_count() == events.height


def test_the_cut_line_is_set_aside_with_its_line_and_byte_and_no_other_is_lost(source: LiveSource) -> None:
    repeated = sum(count - 1 for count in Counter(tuple(line.values()) for line in lines_of(source)).values())
    assert repeated == 5
    first = source.run("import", "rees46", "--json").json
    figures = ("rows_read", "stored", "duplicate", "quarantined", "left_out", "later")
    assert [first[name] for name in figures] == [17_435, 17_434, 0, 1, 0, 0]
    again = source.run("import", "rees46", "--json").json
    assert [again[name] for name in figures] == [17_435, 0, 17_434, 1, 0, 0]
    assert again["quarantined_new"] == 0
    # What an event is made of is less than a line: neither the session, nor the price of what is not bought.
    content = {
        tuple(line[name] for name in line if name != "user_session" and (name != "price" or is_bought(line)))
        for line in lines_of(source)
    }
    assert source.stored()["event_id"].str.ends_with("-0").sum() == len(content)

    (cut,) = Quarantine(source.home.quarantine).read("rees46").to_dicts()
    content = file_of(source).read_bytes()
    begin = content.rindex(b"\n") + 1
    assert (cut["row"], cut["file"], cut["field"]) == (CUT_LINE, str(file_of(source)), "user_session")
    assert content.count(b"\n") + 1 == CUT_LINE
    assert cut["expected"] == f"9 columns, not 8 (byte {begin + 1})"
    assert cut["raw"].encode() == content[begin:]


def replayed_is_what_bulk_says(
    source: LiveSource, at: datetime, events: pl.DataFrame, customers: int = 60
) -> None:
    names = sampled(events, at, customers)
    cells, wrong = source.differing(names, at, events)
    assert wrong == []
    assert cells > 100 * len(names)


def test_hours_imported_and_minutes_replayed_are_known_live_as_in_bulk(source: LiveSource) -> None:
    # The business day ends at midnight UTC: the profiles of 1 October 00:00 hold what came in at that second.
    before, since = "2019-10-01T01:30:00+00:00", "2019-10-01T02:00:00+00:00"
    until = "2019-10-01T02:18:30+00:00"
    imported = source.run("import", "rees46", "--until", since, "--json").json
    features = source.run("features", "--json").json
    assert features["online"]["customer_memory"] == Lake(source.home.lake).read()["customer_id"].n_unique()
    spans = {"since": since, "until": until}, {"since": before, "until": until}
    first, again = source.replay(*spans, speed=2_000)
    events = source.events()
    known = events.filter(pl.col("ingested_at") <= datetime.fromisoformat(until))
    assert first["accepted"] == first["events"] == known.height - imported["stored"] > 100
    assert (first["duplicates"], first["refused"]) == (0, 0)
    assert (again["accepted"], again["duplicates"]) == (0, again["events"])
    assert again["events"] > first["events"], "what was imported is sent again too"
    assert source.stored().sort("event_id").equals(known.sort("event_id"))
    at = max(known["event_time"])
    replayed_is_what_bulk_says(source, at, known)
    replayed_is_what_bulk_says(source, at + timedelta(minutes=59, microseconds=1), known)


@pytest.mark.slow  # seventeen thousand events in two thousand posts: a minute
def test_the_whole_of_it_replayed_from_nothing_is_known_live_as_in_bulk(source: LiveSource) -> None:
    (report,) = source.replay({"since": "2019-01-01"})
    events = source.events()
    assert report["accepted"] == events.height == 17_434
    assert source.stored().sort("event_id").equals(events.sort("event_id"))
    replayed_is_what_bulk_says(source, max(events["event_time"]), events, 1_000)
