"""Sums of a frame of events against adding them up one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import WindowError
from features.events import INSTANT
from features.window_sums import window_sums
from features.windows import HOUR_1, HOUR_6, HOUR_24, LIFETIME, Measure, Window

START = datetime(2024, 5, 1, tzinfo=UTC)
MEASURES = (
    Measure("view_count", ("view",)),
    Measure("any_count", ("view", "purchase")),
    Measure("spend", ("purchase",), "amount_minor"),
)
WINDOWS = (HOUR_1, HOUR_6, LIFETIME, Window("1us", 1, False))
EVENTS = {
    "customer_id": pl.String,
    "event_type": pl.String,
    "event_time": INSTANT,
    "ingested_at": INSTANT,
    "amount_minor": pl.Int64,
}
TIMES = st.sampled_from([0, 1, 3600 * 10**6 - 1, 3600 * 10**6, 6 * 3600 * 10**6]).flatmap(
    lambda edge: st.sampled_from([0, 7200 * 10**6]).map(
        lambda base: START + timedelta(microseconds=base + edge)
    )
)
CUSTOMERS = st.sampled_from(["a", "b", "someone with a name that is long", "nobody"])


@st.composite
def frames(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    events = [
        {
            "customer_id": draw(CUSTOMERS),
            "event_type": draw(st.sampled_from(["view", "purchase", "contact"])),
            "event_time": (at := draw(TIMES)),
            "ingested_at": draw(st.sampled_from([None, at, at - timedelta(days=1), at + timedelta(hours=2)])),
            "amount_minor": draw(st.sampled_from([None, 0, 5, 2**53 + 1])),
        }
        for _ in range(draw(st.integers(0, 15)))
    ]
    rows = [
        {"customer_id": draw(CUSTOMERS), "instant": draw(TIMES) + timedelta(hours=draw(st.integers(-1, 3)))}
        for _ in range(draw(st.integers(0, 8)))
    ]
    return events, rows


def by_hand(events: list[dict[str, Any]], row: dict[str, Any], measure: Measure, window: Window) -> int:
    total = 0
    for event in events:
        known_at = max(event["event_time"], event["ingested_at"] or event["event_time"])
        age = row["instant"] - event["event_time"]
        if event["customer_id"] != row["customer_id"] or event["event_type"] not in measure.event_types:
            continue
        if known_at <= row["instant"] and (
            window.length_us is None or age < timedelta(microseconds=window.length_us)
        ):
            total += 1 if measure.column == "one" else event["amount_minor"] or 0
    return total


@settings(max_examples=200, deadline=None)
@given(drawn=frames(), is_late=st.booleans())
def test_a_sum_is_over_the_customers_events_known_and_in_the_window(
    drawn: tuple[list[dict[str, Any]], list[dict[str, Any]]], is_late: bool
) -> None:
    events, rows = drawn
    frame = pl.DataFrame(events, EVENTS)
    if not is_late:
        events = [event | {"ingested_at": None} for event in events]
        frame = frame.drop("ingested_at")
    found = window_sums(
        frame, pl.DataFrame(rows, {"customer_id": pl.String, "instant": INSTANT}), MEASURES, WINDOWS
    )
    for measure in MEASURES:
        for window in WINDOWS:
            assert found[f"{measure.name}_{window.name}"].tolist() == [
                by_hand(events, row, measure, window) for row in rows
            ]


@pytest.mark.parametrize("late_share", [0.0, 0.02, 1.0])
def test_many_rows_are_added_up_the_same_in_whatever_order_they_come(late_share: float) -> None:
    # So many that rows are merged with events instead of searched for, and taken in several parts.
    random, size = np.random.default_rng(3), 120_000
    at = random.integers(0, 30 * 24 * 3600, size) * 10**6
    late = (random.random(size) < late_share) * random.integers(0, 40 * 3600, size) * 10**6
    customer = np.minimum(random.zipf(1.3, size), 500)
    events = pl.DataFrame(
        {
            "customer_id": pl.Series(customer).cast(pl.String),
            "event_type": "purchase",
            "event_time": pl.Series(at).cast(INSTANT),
            "ingested_at": pl.Series(at + late).cast(INSTANT),
            "amount_minor": random.integers(0, 10**6, size),
        }
    )
    # Rows are events again: at the instants at which some event happened, most on a window's edge.
    rows = events.select("customer_id", instant="event_time").with_columns(
        pl.col("instant") + pl.duration(hours=pl.lit(random.integers(0, 3, size)))
    )
    found = window_sums(events, rows, MEASURES[2:], (HOUR_24, LIFETIME))
    chosen = random.permutation(size)[:300]
    lookup = {key: part for (key,), part in events.partition_by("customer_id", as_dict=True).items()}
    for place in chosen.tolist():
        name, instant = rows.row(place)
        mine = lookup[name].filter(pl.max_horizontal("event_time", "ingested_at") <= instant)
        day = mine.filter(pl.col("event_time") > instant - timedelta(days=1))
        assert found["spend_24h"][place] == day["amount_minor"].sum()
        assert found["spend_lifetime"][place] == mine["amount_minor"].sum()
    shuffled = events.sample(fraction=1, shuffle=True, seed=1)
    again = window_sums(shuffled, rows.reverse(), MEASURES[2:], (HOUR_24, LIFETIME))
    for name, sums in found.items():
        assert (again[name][::-1] == sums).all()


@pytest.mark.parametrize("column", ["customer_id", "event_time"])
def test_an_event_without_customer_or_time_is_refused(column: str) -> None:
    event = {"customer_id": "a", "event_type": "view", "event_time": START, "amount_minor": 1} | {
        column: None
    }
    rows = pl.DataFrame({"customer_id": ["a"], "instant": [START]})
    schema = {name: kind for name, kind in EVENTS.items() if name != "ingested_at"}
    with pytest.raises(WindowError, match=f"1 nulls in {column}; expected a value in every row"):
        window_sums(pl.DataFrame([event], schema), rows, MEASURES, WINDOWS)
