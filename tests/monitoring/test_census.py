from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.history import History
from features.outcomes import OutcomeJudge, judge
from features.tags import TagFamily
from features.windows import HOUR_US, to_us
from monitoring.census import CensusDay, base_rates, day_of, take_census
from tests.features.streams import START, frame, streams
from tests.features.test_outcomes import families
from tests.monitoring.shop import (
    CATEGORIES,
    FAMILIES,
    START_US,
    at_us,
    event,
    events_of,
    random_events,
    slow_outcome,
)
from training import tag_data
from training.datasets import CENSUS, FIT, DecisionRows

UTC = ZoneInfo("UTC")
SHANGHAI = ZoneInfo("Asia/Shanghai")


def test_the_census_counts_72_hours_up_to_midnight_and_no_contacts() -> None:
    events = events_of(
        [
            event("on the right edge", 0),
            event("just after", 0.001),
            event("on the left edge", -72),
            event("just inside", -71.999),
            event("written to", -1, "contact", None),
            event("looked", -1, "view"),
        ]
    )
    (day,) = take_census(events, since_us=START_US, until_us=START_US, zone=UTC)
    assert day.customers == ("just inside", "looked", "on the right edge")


def test_the_census_equals_one_counted_event_by_event() -> None:
    events = random_events(1)
    census = take_census(events, since_us=at_us(0), until_us=at_us(96), zone=SHANGHAI)
    assert [(day.midnight_us - START_US) / HOUR_US for day in census] == [16, 40, 64, 88]
    for day in census:
        expected = {
            row["customer_id"]
            for row in events.iter_rows(named=True)
            if row["event_type"] != "contact"
            and day.midnight_us - 72 * HOUR_US < to_us(row["event_time"]) <= day.midnight_us
        }
        assert set(day.customers) == expected


def test_a_census_may_look_back_further() -> None:
    events = events_of([event("quiet", -29 * 24), event("gone", -30 * 24), event("near", -1)])
    month_us = 30 * 24 * HOUR_US
    (day,) = take_census(events, since_us=START_US, until_us=START_US, zone=UTC, within_us=month_us)
    assert day.customers == ("near", "quiet")


@settings(max_examples=60, deadline=None)
@given(rows=streams(max_events=25), family=families(), days=st.lists(st.integers(-1, 40), max_size=4))
def test_training_and_monitoring_find_the_same_base_rates(
    rows: list[dict], family: TagFamily, days: list[int]
) -> None:
    events, days = frame(rows), sorted(set(days))
    history = History(events, UTC, timedelta(0))
    names = list(history.columns.customers)
    midnights = [to_us(START + timedelta(days=day)) for day in days]
    instant = np.repeat(np.array(midnights, np.int64), len(names))
    kind, part = (np.full(len(instant), what) for what in (CENSUS, FIT))
    asked = DecisionRows(np.tile(np.arange(len(names)), len(days)), instant, kind, part)
    learnt = tag_data.base_rates(history, OutcomeJudge(history.columns), family, asked)

    keys = [None] if family.key is None else list(history.columns.texts(family.key))
    tags = {family.tag_id(key): (family, key) for key in keys}
    census = [CensusDay(midnight, tuple(names)) for midnight in midnights]
    told = base_rates(events, census, tags, judge)
    # A tag nobody was observed for has no base rate; training calls it 0.
    assert {tag: told.get(tag, 0.0) for tag in tags} == dict(zip(tags, learnt.tolist(), strict=True))


def test_a_census_that_ends_before_it_begins_has_no_days() -> None:
    assert take_census(random_events(1), since_us=1, until_us=0, zone=UTC) == ()


def test_a_day_is_the_day_of_the_business_zone() -> None:
    instants = pl.Series([at_us(15.999), at_us(16)])
    assert day_of(instants, UTC).to_list() == [date(2026, 3, 2)] * 2
    assert day_of(instants, SHANGHAI).to_list() == [date(2026, 3, 2), date(2026, 3, 3)]


@pytest.mark.parametrize("seed", [1, 2])
def test_base_rates_equal_those_counted_customer_by_customer(seed: int) -> None:
    events = random_events(seed)
    census = take_census(events, since_us=at_us(0), until_us=at_us(48), zone=UTC)
    interest, intent = FAMILIES["interest"], FAMILIES["high_intent"]
    tags = {interest.tag_id(key): (interest, key) for key in CATEGORIES} | {"high_intent": (intent, None)}
    rates = base_rates(events, census, tags, judge)
    assert set(rates) == set(tags)
    for tag_id, (family, key) in tags.items():
        outcomes = [
            slow_outcome(events, customer, key, day.midnight_us, family)
            for day in census
            for customer in day.customers
        ]
        seen = [outcome for outcome in outcomes if outcome != "unobserved"]
        assert rates[tag_id] == pytest.approx(seen.count("confirmed") / len(seen))


def test_a_tag_nobody_was_observed_for_has_no_base_rate() -> None:
    events = events_of([event("c", -1)])
    census = (CensusDay(START_US, ("c",)),)
    family = FAMILIES["interest"]
    assert base_rates(events, census, {"interest:MILK": (family, "MILK")}, judge) == {}
    assert base_rates(events, (), {"interest:MILK": (family, "MILK")}, judge) == {}
