"""What is summed all at once of a handful of events is what is summed one by one of many."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.events import TYPE_CODES
from features.windows import KeyedEvents, Measure, SumPlan, WindowRows

TYPES = ("view", "purchase", "refund")
MEASURES = (
    Measure("count", ("view",)),
    Measure("attention", ("view", "purchase")),
    Measure("spend", ("purchase",), "amount"),
    Measure("refund", ("refund",), "amount"),
)
LENGTHS = (1, 7, 30, None)

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(-20, 40),
        st.sampled_from([0, 0, 3, 35]),
        st.sampled_from(TYPES),
        st.sampled_from([0, 5, 2**53 + 1, -7]),
    ),
    max_size=20,
)


def memory_of(events: list[tuple[int, int, int, str, int]]) -> KeyedEvents:
    rows = sorted((key, at + late, at, TYPE_CODES[name], amount) for key, at, late, name, amount in events)
    key, known_at, event_time, event_type, amount = (
        np.array([row[field] for row in rows], np.int64) for field in range(5)
    )
    columns = {"amount": amount, "value": np.abs(amount) % 3 - 1, "other": np.abs(amount) % 2 - 1}
    return KeyedEvents(3, key, event_time, known_at, event_type, columns)


@given(events=EVENTS, instants=st.lists(st.integers(-25, 60), min_size=3, max_size=3))
def test_a_plan_holds_every_sum_and_count_that_a_search_finds(
    events: list[tuple[int, int, int, str, int]], instants: list[int]
) -> None:
    memory = memory_of(events)
    keys, at = np.arange(3), np.array(instants)
    boundary = at - 9
    few = WindowRows(memory, keys, at, boundary).few
    searched = WindowRows(memory, keys, at, boundary, few_cells=-1)
    assert few is not None
    assert searched.few is None
    plan = SumPlan(MEASURES, LENGTHS)
    sums, news = few.sums(plan), few.newly_known_sums(plan)
    for number, measure in enumerate(MEASURES):
        for place, length in enumerate(LENGTHS):
            assert sums[number, place].tolist() == searched.sum(measure, length).tolist()
            new = searched.newly_known_sum(measure, length)
            assert (np.zeros(3, int) if news is None else news[number, place]).tolist() == new.tolist()
    columns = ("value", "other")
    counted = few.distincts(columns, plan.far_us)
    latest = few.latests("amount")
    for name in TYPES:
        for number, column in enumerate(columns):
            for place, length in enumerate(LENGTHS):
                expected = searched.distinct((name,), column, length).tolist()
                assert counted[number, TYPE_CODES[name], place].tolist() == expected
        assert latest[TYPE_CODES[name]].tolist() == searched.latest((name,), "amount").tolist()
