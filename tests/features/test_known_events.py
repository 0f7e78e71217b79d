from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from features.events import EVENT_SCHEMA
from features.known_events import BUCKETS, KNOWN_COLUMNS, KnownEvents, bucket_of, customers_in
from features.windows import DAY_US, LONG_WINDOWS, to_us
from tests.features.made_events import MONDAY, event, frame
from tests.features.streams import START, streams

DAYS = st.sampled_from([*range(-1, 45), *range(88, 132, 3), *range(364, 406, 3)])


def known_us(row: dict[str, Any]) -> int:
    return to_us(max(row["event_time"], row["ingested_at"]))


def in_windows(row: dict[str, Any], at_us: int) -> list[bool]:
    since = [at_us - window.length_us for window in LONG_WINDOWS if window.length_us is not None]
    return [known_us(row) <= at_us, *(start < to_us(row["event_time"]) <= at_us for start in since)]


@given(streams(max_events=30, customers=9), DAYS, st.integers(0, 3))
def test_the_customers_touched_are_those_of_whom_a_long_window_has_other_events(
    rows: list[dict[str, Any]], day: int, days: int
) -> None:
    before = to_us(START) + day * DAY_US
    after = before + days * DAY_US
    expected = {
        row["customer_id"]
        for row in rows
        if known_us(row) <= after and in_windows(row, before) != in_windows(row, after)
    }
    known = KnownEvents(pl.DataFrame(rows, schema=EVENT_SCHEMA), after)
    assert set(known.touched_since(before).to_list()) == expected


def test_nothing_known_later_is_looked_at() -> None:
    late = event(3, customer_id="late", category="COFFEE", ingested_at=MONDAY + timedelta(days=2))
    known = KnownEvents(frame([event(0), event(1, brand="7"), late]), to_us(MONDAY) + DAY_US)
    assert sorted(known.customers()) == ["c0", "c1"]
    assert (known.texts("category"), known.texts("brand")) == (["TEA"], ["7"])
    assert not known.is_empty
    assert KnownEvents(frame([late]), to_us(MONDAY)).is_empty


def test_a_fingerprint_is_the_same_whatever_the_order_of_events() -> None:
    rows = frame([event(number) for number in range(200)])
    by = to_us(MONDAY) + 100 * DAY_US
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    prints = [KnownEvents(some, by).fingerprint(by) for some in (rows, shuffled)]
    assert prints[0].shape == (BUCKETS,)
    assert np.array_equal(*prints)
    assert np.count_nonzero(prints[0]) == 3


def test_a_fingerprint_differs_just_for_the_customer_whose_events_differ() -> None:
    rows = [event(number) for number in range(60)]
    by = to_us(MONDAY) + 100 * DAY_US
    before = KnownEvents(frame(rows), by).fingerprint(by)
    changes: list[dict[str, Any]] = [
        {"customer_id": "c1"},
        {"source": "another"},
        {"event_id": "another"},
        {"event_time": MONDAY - timedelta(hours=1)},
        {"ingested_at": MONDAY + timedelta(days=1)},
    ]
    for change in changes:
        after = KnownEvents(frame([rows[0] | change, *rows[1:]]), by).fingerprint(by)
        touched = ["c0", "c1"] if "customer_id" in change else ["c0"]
        different = np.flatnonzero(before != after)
        assert sorted(different) == sorted(bucket_of(pl.Series(touched)).to_list())
        assert customers_in(different, pl.Series(["c0", "c1", "c2"])).to_list() == touched
    gone = KnownEvents(frame(rows[1:]), by).fingerprint(by)
    assert np.count_nonzero(gone != before) == 1


def test_a_fingerprint_of_an_earlier_instant_counts_what_was_known_then() -> None:
    rows = frame([event(number) for number in range(60)])
    early, by = to_us(MONDAY) + DAY_US, to_us(MONDAY) + 100 * DAY_US
    known = rows.filter(pl.col("event_time") <= MONDAY + timedelta(days=1))
    assert np.array_equal(
        KnownEvents(rows, by).fingerprint(early), KnownEvents(known, early).fingerprint(early)
    )


def test_only_the_columns_named_are_needed() -> None:
    rows = frame([event(0)]).select(KNOWN_COLUMNS)
    assert KnownEvents(rows, to_us(MONDAY)).customers().to_list() == ["c0"]
