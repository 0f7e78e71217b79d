from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import affinity, customer
from features.candidates import PairRule
from features.history import History
from features.packed_profile import unpack_keys
from features.windows import (
    DAY_90,
    DAY_US,
    EXPANSION_ROWS,
    HOUR_72,
    HOUR_US,
    profile_boundary,
    to_us,
)
from tests.features.streams import START, event, frame, streams

ZONE = ZoneInfo("America/New_York")
LAG = timedelta(hours=2)
NONE = timedelta(0)
START_US = to_us(START)
RULE = PairRule(HOUR_72, DAY_90)
Row = dict[str, Any]


def table(history: History, customers: list[str], instants: list[int], key_column: str) -> pl.DataFrame:
    """Every customer and pair feature, by customer, instant and key."""
    numbers = history.numbers(customers)
    rows = history.customer_rows(numbers, np.array(instants, np.int64))
    of_customers = pl.DataFrame(customer.CATALOGUE.compute(rows)).with_columns(
        name=pl.Series(customers, dtype=pl.String), at=pl.Series(instants, dtype=pl.Int64), key=pl.lit("")
    )
    row, pair = history.candidate_pairs(key_column, rows, RULE)
    of_pairs = pl.DataFrame(
        affinity.CATALOGUE.compute(history.pair_rows(key_column, rows, row, pair))
    ).with_columns(
        name=pl.Series([customers[number] for number in row], dtype=pl.String),
        at=pl.Series(np.array(instants, np.int64)[row]),
        key=pl.Series(history.key_texts(key_column, pair), dtype=pl.String),
    )
    return pl.concat([of_customers, of_pairs], how="diagonal").sort("name", "at", "key")


@settings(max_examples=25, deadline=None)
@given(
    rows=streams(),
    asked=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 24 * 45)), min_size=1, max_size=6, unique=True
    ),
    key_column=st.sampled_from(["category", "brand"]),
)
def test_many_rows_at_once_have_the_features_of_each_row_alone(
    rows: list[Row], asked: list[tuple[int, int]], key_column: str
) -> None:
    history = History(frame(rows), ZONE, LAG)
    wanted = [
        (f"c{number}", START_US + hours * HOUR_US)
        for number, hours in asked
        if f"c{number}" in history.columns.customers
    ]
    if not wanted:
        return
    at_once = table(history, [name for name, _ in wanted], [at for _, at in wanted], key_column)
    alone = pl.concat([table(history, [name], [at], key_column) for name, at in wanted])
    assert at_once.equals(alone.sort("name", "at", "key"))


@settings(max_examples=25, deadline=None)
@given(rows=streams(), seed=st.integers(0, 2**32 - 1), hours=st.integers(0, 24 * 45))
def test_the_order_in_which_rows_are_given_changes_no_feature(rows: list[Row], seed: int, hours: int) -> None:
    shuffled = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))]
    one, other = History(frame(rows), ZONE, LAG), History(frame(shuffled), ZONE, LAG)
    names = list(one.columns.customers)
    instants = [START_US + hours * HOUR_US] * len(names)
    assert table(one, names, instants, "category").equals(table(other, names, instants, "category"))


@settings(max_examples=40, deadline=None)
@given(rows=streams(), day=st.integers(0, 45))
def test_the_profile_of_a_key_counts_the_orders_of_everybody(rows: list[Row], day: int) -> None:
    boundary = START_US + day * DAY_US
    history = History(frame(rows), ZONE, LAG)
    packed = dict(history.packed_keys("category", boundary))
    assert list(packed) == list(history.columns.categories)
    profile = unpack_keys(list(packed.values()), np.full(len(packed), boundary))
    for place, key in enumerate(packed):
        orders = {
            (row["customer_id"], row["event_time"], max(row["event_time"], row["ingested_at"]))
            for row in rows
            if row["event_type"] == "purchase" and row["category"] == key
        }
        assert profile.fields["order_count@30d"][place] == sum(
            to_us(known) <= boundary and to_us(at) > boundary - 30 * DAY_US for _, at, known in orders
        )


def test_a_profile_ends_at_the_latest_midnight_that_is_published() -> None:
    history = History(frame([event(0, "a", "view", START, NONE)]), ZONE, LAG)
    instants = np.array([START_US + hours * HOUR_US for hours in range(30)])
    boundaries = history.boundary(instants)
    assert boundaries.tolist() == profile_boundary(instants, ZONE, LAG).tolist()
    assert history.customer_rows(np.zeros(30, int), instants).profile.boundary.tolist() == boundaries.tolist()


def test_more_pairs_than_are_held_at_once_are_found_in_their_own_rows() -> None:
    keys, instants = 2_000, 2_100
    rows = [event(number, "a", "view", START, NONE, category=f"k{number}") for number in range(keys)]
    history = History(frame(rows), ZONE, LAG)
    # Nothing is known yet in any row but the last and one before the portion that the last is in.
    at = np.full(instants, START_US - HOUR_US)
    at[[7, -1]] = START_US
    assert keys * instants > EXPANSION_ROWS
    row, pair = history.candidate_pairs("category", history.customer_rows(np.zeros(instants, int), at), RULE)
    assert row.tolist() == [7] * keys + [instants - 1] * keys
    assert pair.tolist() == [*range(keys), *range(keys)]


def test_a_customer_without_events_is_not_numbered() -> None:
    history = History(frame([event(0, "a", "view", START, NONE)]), ZONE, LAG)
    assert history.numbers(["a", "a"]).tolist() == [0, 0]
    with pytest.raises(KeyError):
        history.numbers(["b"])


def test_a_history_of_nothing_has_no_rows_and_no_profiles() -> None:
    history = History(frame([]), ZONE, LAG)
    assert table(history, [], [], "category").height == 0
    assert list(history.packed_profiles(START_US)) == []
    assert list(history.packed_keys("brand", START_US)) == []


def test_events_without_keys_make_no_pairs() -> None:
    history = History(frame([event(0, "a", "view", START, NONE)]), ZONE, LAG)
    assert table(history, ["a"], [START_US], "brand")["key"].to_list() == [""]
    assert len(dict(history.packed_profiles(START_US + DAY_US))) == 1
