"""Decision rows: the right customers at the right instants, once each."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import affinity, customer
from features.events import EVENT_SCHEMA, INSTANT
from features.feast_objects import SERVICES
from features.history import History
from features.tags import load_catalogue
from features.windows import DAY_US, HOUR_US, to_us
from tests.features.streams import START, event, frame, streams
from training.datasets import (
    AFTER_EVENT,
    CALIBRATE,
    CENSUS,
    CERTIFY,
    FIT,
    RANDOM_HOUR,
    DecisionRows,
    PairDecisions,
    SamplingBudget,
    active_at,
    customer_snapshot,
    fingerprint,
    key_frame,
    pair_decisions,
    pair_snapshot,
    slice_rows,
    tag_decisions,
)
from training.splits import Slice, TagSlices

LONDON = ZoneInfo("Europe/London")
LAG = timedelta(hours=6)
HOURS_72 = 72 * HOUR_US
FEW_STREAMS = settings(max_examples=25)


def history_of(rows: list[dict[str, Any]]) -> History:
    return History(frame(rows), LONDON, LAG)


def known_us(row: dict[str, Any]) -> int:
    return to_us(max(row["event_time"], row["ingested_at"]))


def active_by_hand(
    rows: list[dict[str, Any]], instants: list[datetime], within_us: int
) -> set[tuple[str, int]]:
    """Ask of every customer, instant and event whether the one makes the other active."""
    return {
        (row["customer_id"], to_us(at))
        for row, at in itertools.product(rows, instants)
        if row["event_type"] != "contact"
        and known_us(row) <= to_us(at)
        and to_us(row["event_time"]) > to_us(at) - within_us
    }


def named(history: History, rows: DecisionRows) -> list[tuple[str, int]]:
    names = [history.columns.customers[number] for number in rows.customer.tolist()]
    return list(zip(names, rows.instant.tolist(), strict=True))


def busy_stream(customers: int = 40, days: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(customers * days):
        at = START + timedelta(microseconds=int(rng.integers(0, days * DAY_US)))
        rows.append(
            event(
                number,
                f"c{rng.integers(customers)}",
                str(rng.choice(["view", "purchase", "search", "contact"])),
                at,
                timedelta(hours=int(rng.choice([0, 0, 0, 5, 100]))),
                category=str(rng.choice(["tea", "milk", "rice"])),
                brand="b",
                amount_minor=100,
            )
        )
    return rows


BUSY = busy_stream()
BUSY_HISTORY = history_of(BUSY)
SLICES = TagSlices(
    Slice(datetime(2024, 3, 14, tzinfo=LONDON), datetime(2024, 4, 4, tzinfo=LONDON)),
    Slice(datetime(2024, 4, 10, tzinfo=LONDON), datetime(2024, 4, 17, tzinfo=LONDON)),
    Slice(datetime(2024, 4, 21, tzinfo=LONDON), datetime(2024, 5, 1, tzinfo=LONDON)),
)
PARTS = {FIT: SLICES.fit, CALIBRATE: SLICES.calibrate, CERTIFY: SLICES.certify}
PLENTY = SamplingBudget(1_000_000, 1_000_000, 1_000_000)


@given(streams(max_events=25), st.integers(1, 44), st.sampled_from([HOUR_US, HOURS_72, 30 * DAY_US]))
@FEW_STREAMS
def test_active_customers_are_those_that_looking_at_every_event_finds(
    rows: list[dict[str, Any]], last_day: int, within_us: int
) -> None:
    days = Slice(
        datetime(2024, 3, 8, tzinfo=LONDON), datetime(2024, 3, 8, tzinfo=LONDON) + timedelta(days=last_day)
    ).days()
    history = history_of(rows)
    number, instant = active_at(history, days, within_us)
    found = named(history, DecisionRows(number, instant, number, number))
    assert len(found) == len(set(found))
    assert set(found) == active_by_hand(rows, days, within_us)


@pytest.mark.parametrize(
    ("event_type", "lateness_us", "edge_us", "active"),
    [
        ("view", 0, 0, False),
        ("view", 0, -1, True),
        ("view", HOURS_72 - 1, -1, True),
        ("view", HOURS_72, -1, False),
        ("contact", 0, -1, False),
    ],
    ids=["on the left edge", "inside", "known just in time", "known too late", "only a contact"],
)
def test_an_event_of_72_hours_ago_is_the_first_that_does_not_count(
    event_type: str, lateness_us: int, edge_us: int, active: bool
) -> None:
    late = timedelta(microseconds=lateness_us)
    history = history_of([event(1, "a", event_type, START, late), event(2, "b", "view", START, timedelta(0))])
    at = START + timedelta(microseconds=HOURS_72 + edge_us)
    number, _ = active_at(history, [at], HOURS_72)
    assert (0 in number.tolist()) == active


def test_with_enough_budget_a_slice_holds_its_whole_census_and_every_moment_once() -> None:
    rows = slice_rows(BUSY_HISTORY, CALIBRATE, SLICES.calibrate, 10**6, np.random.default_rng(0))
    found = dict(zip(named(BUSY_HISTORY, rows), rows.kind.tolist(), strict=True))
    assert len(found) == len(rows)
    census = active_by_hand(BUSY, SLICES.calibrate.days(), HOURS_72)
    assert {pair for pair, kind in found.items() if kind == CENSUS} == census
    first, last = to_us(SLICES.calibrate.first), to_us(SLICES.calibrate.last)
    moments = {
        (row["customer_id"], known_us(row))
        for row in BUSY
        if row["event_type"] != "contact" and first <= known_us(row) <= last
    }
    assert {pair for pair, kind in found.items() if kind == AFTER_EVENT} == moments - census
    between = [pair for pair, kind in found.items() if kind == RANDOM_HOUR]
    assert len(between) > len(moments) / 2
    for name, at in between:
        assert any(one == name and 0 < at - moment < HOURS_72 for one, moment in moments)


def test_every_row_lies_in_its_slice_and_each_customer_and_instant_occurs_once() -> None:
    rows = tag_decisions(BUSY_HISTORY, SLICES, PLENTY, seed=3)
    for part, days in PARTS.items():
        inside = rows.instant[rows.part == part]
        assert len(inside)
        assert inside.min() >= to_us(days.first)
        assert inside.max() <= to_us(days.last)
        midnights = {to_us(day) for day in days.days()}
        assert set(rows.instant[(rows.part == part) & (rows.kind == CENSUS)].tolist()) <= midnights
    pairs = list(zip(rows.customer.tolist(), rows.instant.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    assert set(rows.kind.tolist()) == {CENSUS, AFTER_EVENT, RANDOM_HOUR}


def test_a_sample_keeps_its_budget_half_of_it_at_censuses() -> None:
    budget = SamplingBudget(fit=400, calibrate=200, certify=300)
    rows = tag_decisions(BUSY_HISTORY, SLICES, budget, seed=0)
    for part, size in ((FIT, 400), (CALIBRATE, 200), (CERTIFY, 300)):
        kinds = np.bincount(rows.kind[rows.part == part], minlength=3)
        # an instant that is of two kinds counts as the first, so the others may fall short by a row or two
        assert kinds[CENSUS] == size // 2
        assert size // 4 - 3 <= kinds[AFTER_EVENT] <= size // 4
        assert size // 4 - 3 <= kinds[RANDOM_HOUR] <= size // 4


def test_a_sample_is_drawn_from_the_whole_slice() -> None:
    whole = set(named(BUSY_HISTORY, tag_decisions(BUSY_HISTORY, SLICES, PLENTY, seed=0)))
    budget = SamplingBudget(fit=600, calibrate=200, certify=300)
    rows = tag_decisions(BUSY_HISTORY, SLICES, budget, seed=0)
    fixed = rows.take(rows.kind != RANDOM_HOUR)
    assert set(named(BUSY_HISTORY, fixed)) <= whole
    days = {at // DAY_US for at in rows.instant[rows.part == FIT].tolist()}
    assert len(days) >= len(SLICES.fit.days()) - 1


def test_the_same_seed_draws_the_same_rows_and_another_seed_others() -> None:
    budget = SamplingBudget(fit=300, calibrate=100, certify=100)
    first, again, other = (tag_decisions(BUSY_HISTORY, SLICES, budget, seed) for seed in (7, 7, 8))
    for name in ("customer", "instant", "kind", "part"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert named(BUSY_HISTORY, first) != named(BUSY_HISTORY, other)


def test_what_is_drawn_of_a_slice_does_not_hang_on_how_much_is_drawn_of_another() -> None:
    little, much = (SamplingBudget(fit=fit, calibrate=100, certify=120) for fit in (200, 600))
    found = [tag_decisions(BUSY_HISTORY, SLICES, budget, seed=7) for budget in (little, much)]
    later = [named(BUSY_HISTORY, rows.take(rows.part != FIT)) for rows in found]
    assert later[0] == later[1]
    assert len(found[1]) > len(found[0]) + 300


def test_the_order_of_the_events_does_not_change_the_rows_drawn() -> None:
    budget = SamplingBudget(fit=300, calibrate=100, certify=100)
    turned = history_of(BUSY[::-1])
    assert named(turned, tag_decisions(turned, SLICES, budget, 1)) == named(
        BUSY_HISTORY, tag_decisions(BUSY_HISTORY, SLICES, budget, 1)
    )


def test_a_slice_in_which_nothing_happened_has_no_rows() -> None:
    later = Slice(datetime(2030, 1, 1, tzinfo=LONDON), datetime(2030, 1, 9, tzinfo=LONDON))
    assert len(slice_rows(BUSY_HISTORY, FIT, later, 100, np.random.default_rng(0))) == 0


def test_joining_keeps_the_first_of_repeated_rows_and_the_order() -> None:
    one = DecisionRows(np.array([2, 1]), np.array([10, 10]), np.array([0, 0]), np.array([0, 0]))
    two = DecisionRows(np.array([1, 2, 3]), np.array([10, 11, 10]), np.array([1, 1, 1]), np.array([2, 2, 2]))
    rows = DecisionRows.joined([one, two])
    assert rows.customer.tolist() == [2, 1, 2, 3]
    assert rows.instant.tolist() == [10, 10, 11, 10]
    assert rows.kind.tolist() == [0, 0, 1, 1]
    assert rows.part.tolist() == [0, 0, 2, 2]


def test_entity_columns_carry_names_and_exact_instants() -> None:
    at = np.array([to_us(START) + 1, -1, 2**52 + 1])
    rows = DecisionRows(np.array([1, 0, 1]), at, np.zeros(3, int), np.zeros(3, int))
    keys = key_frame(BUSY_HISTORY, rows)
    names = BUSY_HISTORY.columns.customers
    assert keys.schema == {"customer_id": pl.String(), "event_timestamp": INSTANT}
    assert keys["customer_id"].to_list() == [names[1], names[0], names[1]]
    assert keys["event_timestamp"].dt.epoch("us").to_list() == at.tolist()


def test_a_customer_snapshot_has_a_row_for_each_decision_and_every_feature_of_a_model() -> None:
    rows = tag_decisions(BUSY_HISTORY, SLICES, SamplingBudget(80, 40, 40), seed=0)
    snapshot = customer_snapshot(BUSY_HISTORY, rows)
    assert snapshot.columns == [
        "customer_id",
        "event_timestamp",
        *customer.CATALOGUE.names(*SERVICES),
    ]
    assert snapshot["event_timestamp"].dt.epoch("us").to_list() == rows.instant.tolist()
    lines = [
        sum(
            row["event_type"] == "purchase"
            and row["customer_id"] == name
            and known_us(row) <= at
            and to_us(row["event_time"]) > at - HOURS_72
            for row in BUSY
        )
        for name, at in named(BUSY_HISTORY, rows)
    ]
    assert snapshot["line_count_72h"].to_list() == lines


@given(streams(max_events=30))
@FEW_STREAMS
def test_candidate_pairs_are_those_that_looking_at_every_event_finds(rows: list[dict[str, Any]]) -> None:
    history = history_of(rows)
    family = load_catalogue()["interest"]
    days = [datetime(2024, 3, 12, tzinfo=LONDON) + timedelta(days=9 * step, hours=7) for step in range(5)]
    number, instant = active_at(history, days, HOURS_72)
    decisions = DecisionRows(number, instant, np.zeros_like(number), np.zeros_like(number))
    snapshot = pair_snapshot(
        history, "category", decisions, pair_decisions(history, "category", decisions, family)
    )

    attention = [
        row
        for row in rows
        if row["event_type"] in {"view", "add_to_cart", "purchase"} and row["category"] is not None
    ]
    expected = set()
    for (name, at), boundary in zip(
        named(history, decisions), history.boundary(instant).tolist(), strict=True
    ):
        for category in {row["category"] for row in attention}:
            mine = [
                (to_us(row["event_time"]), known_us(row))
                for row in attention
                if (row["customer_id"], row["category"]) == (name, category) and known_us(row) <= at
            ]
            lately = any(time > at - HOURS_72 for time, _ in mine)
            repeatedly = len({one for one in mine if one[0] > boundary - 90 * DAY_US}) >= 2
            if lately or repeatedly:
                expected.add((name, at, category))
    found = list(
        zip(
            snapshot["customer_id"].to_list(),
            snapshot["event_timestamp"].dt.epoch("us").to_list(),
            snapshot["category"].to_list(),
            strict=True,
        )
    )
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_a_pair_snapshot_carries_the_instants_of_its_rows_the_key_and_every_feature_of_a_model() -> None:
    rows = tag_decisions(BUSY_HISTORY, SLICES, SamplingBudget(80, 40, 40), seed=0)
    pairs = pair_decisions(BUSY_HISTORY, "category", rows, load_catalogue()["interest"])
    snapshot = pair_snapshot(BUSY_HISTORY, "category", rows, pairs)
    assert snapshot.columns == [
        "customer_id",
        "event_timestamp",
        "category",
        *affinity.CATALOGUE.names(*SERVICES),
    ]
    assert snapshot.select(pairs.frame.columns).equals(pairs.frame)
    assert snapshot["event_timestamp"].dt.epoch("us").to_list() == rows.instant[pairs.row].tolist()
    texts = BUSY_HISTORY.columns.categories
    assert snapshot["category"].to_list() == [texts[code] for code in pairs.code.tolist()]
    # every third of these customers' instants is not a midnight: the microseconds must survive
    assert (snapshot["event_timestamp"].dt.epoch("us") % 1_000_000 != 0).any()


def test_a_pair_has_the_same_features_in_whatever_company_they_are_computed() -> None:
    rows = tag_decisions(BUSY_HISTORY, SLICES, SamplingBudget(60, 20, 20), seed=1)
    pairs = pair_decisions(BUSY_HISTORY, "category", rows, load_catalogue()["interest"])
    whole = pair_snapshot(BUSY_HISTORY, "category", rows, pairs)
    chosen = np.random.default_rng(0).permutation(len(pairs.row))[:40]
    some = PairDecisions(pairs.row[chosen], pairs.code[chosen], pairs.frame[chosen])
    assert pair_snapshot(BUSY_HISTORY, "category", rows, some).equals(whole[chosen])
    none = PairDecisions(pairs.row[:0], pairs.code[:0], pairs.frame[:0])
    assert pair_snapshot(BUSY_HISTORY, "category", rows, none).equals(whole[:0])


EVENTS = frame(BUSY[:50])


@pytest.mark.parametrize("column", list(EVENT_SCHEMA))
def test_a_change_in_any_column_of_any_row_changes_the_fingerprint(column: str) -> None:
    dtype = EVENT_SCHEMA[column]
    if dtype == pl.String():
        changed = pl.lit("view" if column == "event_type" else "other")
    elif dtype == INSTANT:
        changed = pl.col(column) + pl.duration(microseconds=1)
    else:
        changed = pl.col(column).fill_null(0) + 1
    row = EVENTS["event_type"].to_list().index("purchase")
    here = pl.int_range(pl.len()) == row
    altered = EVENTS.with_columns(
        pl.when(here).then(changed).otherwise(pl.col(column)).cast(dtype).alias(column)
    )
    assert altered[column].to_list() != EVENTS[column].to_list()
    assert fingerprint(altered)["sha256"] != fingerprint(EVENTS)["sha256"]


def test_a_row_more_or_less_or_twice_changes_the_fingerprint() -> None:
    prints = {fingerprint(part)["sha256"] for part in (EVENTS, EVENTS[1:], EVENTS[:-1], frame(BUSY[:51]))}
    assert len(prints) == 4
    assert fingerprint(pl.concat([EVENTS, EVENTS[:1]]))["sha256"] not in prints


def test_the_order_of_rows_columns_and_chunks_leaves_the_fingerprint_as_it_is() -> None:
    expected = fingerprint(EVENTS)
    assert fingerprint(EVENTS.reverse()) == expected
    assert fingerprint(EVENTS.select(EVENTS.columns[::-1])) == expected
    assert fingerprint(pl.concat([EVENTS[30:], EVENTS[:30]], rechunk=False)) == expected


def test_a_fingerprint_names_rows_customers_and_span() -> None:
    told = fingerprint(EVENTS)
    times = [row["event_time"] for row in BUSY[:50]]
    assert told["rows"] == 50
    assert told["customers"] == len({row["customer_id"] for row in BUSY[:50]})
    assert datetime.fromisoformat(told["first_event"]) == min(times)
    assert datetime.fromisoformat(told["last_event"]) == max(times)
    assert min(times).tzinfo == UTC
