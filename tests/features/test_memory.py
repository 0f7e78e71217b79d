from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.day_parts import DAY_PARTS
from features.memory import PairIndex, attention_pairs, columns_of, customer_events, pair_events
from features.sequences import Carry
from features.windows import NEVER, to_us
from tests.features.streams import START, event, frame, streams

UTC_ZONE = ZoneInfo("UTC")
NONE = timedelta(0)
Row = dict[str, Any]


def moment(row: Row) -> tuple[int, int]:
    return max(to_us(row["event_time"]), to_us(row["ingested_at"])), to_us(row["event_time"])


def test_texts_are_numbered_in_order_and_null_is_no_text() -> None:
    rows = [
        event(0, "b", "view", START, NONE, category="tea", brand=""),
        event(1, "a", "view", START, NONE, category=None, brand=None),
        event(2, "b", "view", START, NONE, category="milk"),
    ]
    columns = columns_of(frame(rows))
    assert (columns.customers, columns.categories, columns.brands) == (["a", "b"], ["milk", "tea"], [""])
    assert columns.customer.tolist() == [1, 0, 1]
    assert columns.category.tolist() == [1, -1, 0]
    assert columns.brand.tolist() == [0, -1, -1]
    assert (columns.texts("category"), columns.texts("brand")) == (columns.categories, columns.brands)
    assert len(columns) == 3


def test_items_have_the_same_code_where_they_are_the_same_and_none_where_there_is_none() -> None:
    items = ["i9", None, "i1", "i9", ""]
    rows = [event(number, "a", "view", START, NONE, item_id=item) for number, item in enumerate(items)]
    assert columns_of(frame(rows)).item.tolist() == [2, -1, 1, 2, 0]
    assert columns_of(frame(rows[1:2])).item.tolist() == [-1]


def test_sessions_and_parts_of_the_day_are_columns_to_sum() -> None:
    hours = [timedelta(hours=hour) for hour in (5, 6, 6.25, 18)]
    rows = [event(number, "a", "purchase", START + at, NONE) for number, at in enumerate(hours)]
    memory = customer_events(columns_of(frame(rows)), UTC_ZONE)
    assert memory.columns["session_start"].tolist() == [1, 1, 0, 1]
    starts = [to_us(START + at) for at in hours]
    assert memory.columns["session_start_time"].tolist() == [starts[0], starts[1], NEVER, starts[3]]
    parts = [memory.columns[f"order_{part}"].tolist() for part in DAY_PARTS]
    assert parts == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert memory.columns["order_before"].tolist() == [NEVER, *starts[:3]]


def test_an_amount_that_is_null_adds_nothing() -> None:
    columns = columns_of(
        frame([event(0, "a", "purchase", START, NONE), event(1, "a", "purchase", START, NONE)])
    )
    assert columns.amount_minor.tolist() == [0, 0]
    assert columns.quantity.tolist() == [1, 1]


def test_an_event_is_known_when_it_has_happened_and_has_come_in() -> None:
    late, early = timedelta(hours=2), timedelta(minutes=-5)
    columns = columns_of(frame([event(0, "a", "view", START, late), event(1, "a", "view", START, early)]))
    assert columns.known_at.tolist() == [to_us(START + late), to_us(START)]
    assert columns.event_time.tolist() == [to_us(START)] * 2


def test_customers_may_be_numbered_beforehand_and_an_event_of_another_is_an_error() -> None:
    events = frame([event(0, "b", "view", START, NONE)])
    assert columns_of(events, ["a", "b", "c"]).customer.tolist() == [1]
    with pytest.raises(pl.exceptions.InvalidOperationError):
        columns_of(events, ["a"])


@settings(max_examples=100, deadline=None)
@given(rows=streams())
def test_orders_their_gaps_and_ordinals_follow_from_the_sequence_in_which_they_became_known(
    rows: list[Row],
) -> None:
    columns = columns_of(frame(rows))
    memory = customer_events(columns, UTC_ZONE)
    for number, name in enumerate(columns.customers):
        here = np.flatnonzero(memory.key == number)
        bought = [row for row in rows if row["customer_id"] == name and row["event_type"] == "purchase"]
        sequence = sorted({moment(row) for row in bought})
        found = [
            (int(memory.known_at[at]), int(memory.event_time[at]))
            for at in here
            if memory.columns["order"][at]
        ]
        assert found == sequence
        newest, gaps, leads = NEVER, [], []
        for _, time in sequence:
            leads.append(min(max(time - newest, 0) // 60_000_000, 72 * 60) if time > newest else 0)
            gaps.append((time - newest) // 60_000_000 if NEVER < newest < time else None)
            newest = max(newest, time)
        is_order = memory.columns["order"][here] == 1
        for name_of, expected in (
            ("gap_count", [gap is not None for gap in gaps]),
            ("gap_minutes", [gap or 0 for gap in gaps]),
            ("gap_minutes_squared", [(gap or 0) ** 2 for gap in gaps]),
            ("lead_minutes", leads),
        ):
            values = memory.columns[name_of][here]
            assert values[is_order].tolist() == expected
            assert not values[~is_order].any()
        purchases = here[memory.of_types(("purchase",))[here]]
        ordinals = memory.columns["order_ordinal"][purchases].tolist()
        moments = zip(memory.known_at[purchases].tolist(), memory.event_time[purchases].tolist(), strict=True)
        assert ordinals == [sequence.index(each) + 1 for each in moments]
        weekdays = [memory.columns[f"order_weekday_{day}"][here].sum() for day in range(7)]
        assert sum(weekdays) == len(sequence)


def test_lines_of_one_moment_that_came_in_apart_are_two_orders_and_make_no_gap() -> None:
    rows = [
        event(0, "a", "purchase", START, NONE, category="tea"),
        event(1, "a", "purchase", START, NONE, category="tea"),
        event(2, "a", "purchase", START, timedelta(hours=1), category="tea"),
    ]
    memory = customer_events(columns_of(frame(rows)), UTC_ZONE)
    assert memory.columns["order"].sum() == 2
    assert memory.columns["order_ordinal"].tolist() == [1, 1, 2]
    assert memory.columns["gap_count"].tolist() == [0, 0, 0]
    pairs = pair_events(memory, "category", attention_pairs(memory, "category", 1))
    assert pairs.columns["moment"].sum() == 2


@settings(max_examples=100, deadline=None)
@given(rows=streams(), key_column=st.sampled_from(["category", "brand"]))
def test_a_pair_is_each_key_a_customer_paid_attention_to_with_its_moments(
    rows: list[Row], key_column: str
) -> None:
    columns = columns_of(frame(rows))
    memory = customer_events(columns, UTC_ZONE)
    texts = columns.texts(key_column)
    index = attention_pairs(memory, key_column, len(texts))
    pairs = pair_events(memory, key_column, index)
    attention = [
        row
        for row in rows
        if row["event_type"] in {"view", "add_to_cart", "purchase"} and row[key_column] is not None
    ]
    expected = sorted({(row["customer_id"], row[key_column]) for row in attention})
    named = [
        (columns.customers[customer], texts[code])
        for customer, code in zip(index.customer.tolist(), index.code.tolist(), strict=True)
    ]
    assert named == expected
    assert len(pairs) == len(attention)
    for number, (customer, key) in enumerate(expected):
        mine = [row for row in attention if (row["customer_id"], row[key_column]) == (customer, key)]
        here = pairs.key == number
        orders = {moment(row) for row in mine if row["event_type"] == "purchase"}
        assert pairs.columns["moment"][here].sum() == len({moment(row) for row in mine})
        assert pairs.columns["order"][here].sum() == len(orders)
        assert pairs.columns["amount_minor"][here].sum() == sum(row["amount_minor"] or 0 for row in mine)


def test_a_pair_is_found_by_its_number_and_a_customers_pairs_lie_together() -> None:
    customer, code = np.array([2, 0, 2, 2, 1]), np.array([1, 3, 0, 1, -1])
    index = PairIndex.of(customer, code, 4)
    assert list(zip(index.customer.tolist(), index.code.tolist(), strict=True)) == [(0, 3), (2, 0), (2, 1)]
    assert index.find(customer[code >= 0], code[code >= 0]).tolist() == [2, 0, 1, 2]
    starts, ends = index.ranges(np.array([0, 1, 2]))
    assert (starts.tolist(), ends.tolist()) == ([0, 1, 1], [1, 1, 3])
    assert len(PairIndex.of(np.empty(0, int), np.empty(0, int), 0)) == 0


def test_a_memory_that_begins_at_a_boundary_goes_on_counting_from_its_profile() -> None:
    hours = [timedelta(hours=hour) for hour in (0, 1, 5)]
    rows = [event(number, "a", "purchase", START + at, NONE) for number, at in enumerate(hours)]
    columns = columns_of(frame(rows))
    whole = customer_events(columns, UTC_ZONE)
    carry = Carry(*(np.array([value]) for value in (to_us(START + hours[1]), to_us(START + hours[1]), 2)))
    resumed = customer_events(columns, UTC_ZONE, carry)
    assert whole.columns["order_ordinal"].tolist() == [1, 2, 3]
    assert resumed.columns["order_ordinal"].tolist() == [0, 0, 3]
    assert resumed.columns["gap_minutes"].tolist() == [0, 0, 240]
    assert whole.columns["gap_minutes"].tolist() == [0, 60, 240]
