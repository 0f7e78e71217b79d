from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.sequences import MINUTE_US, SESSION_BREAK_US, Carry, Orders, first_of_each, session_starts
from features.windows import NEVER

EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 40), st.sampled_from([0, 0, 0, 5, 30]), st.booleans()),
    max_size=25,
)
"""Key, when it happened, how much later it became known (in steps of ten minutes), whether it counts."""
STEP_US = 10 * MINUTE_US


def columns(events):
    rows = sorted((key, at + late, at, counts) for key, at, late, counts in events)
    key, known, time = (np.array([row[place] for row in rows], np.int64) for place in range(3))
    return key, known * STEP_US, time * STEP_US, np.array([row[3] for row in rows], bool)


@settings(max_examples=100, deadline=None)
@given(events=EVENTS)
def test_sessions_are_those_of_a_walk_through_the_moments(events):
    key, known, time, active = columns(events)
    starts = session_starts(key, known, time, active, None)
    expected = []
    for customer in range(3):
        latest = None
        mine = np.flatnonzero((key == customer) & active).tolist()
        for before, place in pairwise([None, *mine]):
            is_new = before is None or (known[before], time[before]) != (known[place], time[place])
            if is_new and (latest is None or time[place] - latest > 30 * MINUTE_US):
                expected.append(place)
            latest = int(time[place]) if latest is None else max(latest, int(time[place]))
    assert np.flatnonzero(starts).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(events=EVENTS, boundary=st.integers(0, 70))
def test_sessions_begun_after_a_boundary_are_known_from_the_latest_activity_before_it(events, boundary):
    key, known, time, active = columns(events)
    at = np.full(3, boundary * STEP_US)
    later = known > boundary * STEP_US
    last = np.full(3, NEVER)
    for place in np.flatnonzero(active & ~later):
        last[key[place]] = max(last[key[place]], time[place])
    carry = Carry(at, np.full(3, NEVER), np.zeros(3, np.int64), last)
    whole = session_starts(key, known, time, active, None)
    resumed = session_starts(key[later], known[later], time[later], active[later], carry)
    assert resumed.tolist() == whole[later].tolist()
    # What is known by the boundary is judged by the events alone.
    assert session_starts(key, known, time, active, carry).tolist() == whole.tolist()


def test_a_memory_of_pairs_has_no_sessions_before_it():
    nothing = np.zeros(1, np.int64)
    carry = Carry(nothing, np.full(1, NEVER), nothing)
    starts = session_starts(nothing, nothing + 5, nothing + 5, np.ones(1, bool), carry)
    assert starts.tolist() == [True]


@settings(max_examples=100, deadline=None)
@given(events=EVENTS)
def test_the_order_before_is_the_latest_known_then_of_orders_that_move_it_on(events):
    key, known, time, bought = columns(events)
    orders = Orders(key, known, time, bought, None)
    before = orders.on_first_lines(orders.before, elsewhere=NEVER)
    minutes = orders.on_first_lines(orders.gap_minutes)
    ordinal = orders.ordinal_of_lines()
    for customer in range(3):
        mine = np.flatnonzero((key == customer) & bought)
        latest, number, moment = NEVER, 0, None
        for place in mine.tolist():
            expected = NEVER
            if moment != (known[place], time[place]):
                moment, number = (known[place], time[place]), number + 1
                if time[place] > latest != NEVER:
                    expected = latest
                latest = max(latest, int(time[place]))
            assert before[place] == expected
            assert minutes[place] == (0 if expected == NEVER else (time[place] - expected) // MINUTE_US)
            assert ordinal[place] == number
    assert not ordinal[~bought].any()
    assert (before[~bought] == NEVER).all()


@settings(max_examples=60, deadline=None)
@given(events=EVENTS)
def test_what_an_order_comes_to_is_summed_over_its_lines_alone(events):
    key, known, time, bought = columns(events)
    orders = Orders(key, known, time, bought, None)
    amount = np.arange(1, len(key) + 1)
    found = orders.on_first_lines(orders.totals_of_lines(-amount, amount)[1])
    expected = dict.fromkeys(range(len(key)), 0)
    moments = {}
    for place in np.flatnonzero(bought).tolist():
        first = moments.setdefault((key[place], known[place], time[place]), place)
        expected[first] += int(amount[place])
    assert found.tolist() == list(expected.values())


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, boundary=st.integers(0, 70))
def test_orders_after_a_boundary_go_on_from_those_before_it(events, boundary):
    key, known, time, bought = columns(events)
    later = known > boundary * STEP_US
    whole = Orders(key, known, time, bought, None)
    last, count = np.full(3, NEVER), np.zeros(3, np.int64)
    ordinal = whole.ordinal_of_lines()
    for place in np.flatnonzero(bought & ~later):
        last[key[place]] = max(last[key[place]], time[place])
        count[key[place]] = max(count[key[place]], ordinal[place])
    carry = Carry(np.full(3, boundary * STEP_US), last, count)
    resumed = Orders(key, known, time, bought, carry)
    before = resumed.on_first_lines(resumed.before, elsewhere=NEVER)
    assert before[later].tolist() == whole.on_first_lines(whole.before, elsewhere=NEVER)[later].tolist()
    assert resumed.ordinal_of_lines()[later].tolist() == ordinal[later].tolist()
    assert (before[~later] == NEVER).all()
    assert not resumed.ordinal_of_lines()[~later].any()


@pytest.mark.parametrize(("pause_us", "starts"), [(SESSION_BREAK_US, 1), (SESSION_BREAK_US + 1, 2)])
def test_a_pause_of_exactly_30_minutes_does_not_end_a_session(pause_us, starts):
    times = np.array([0, pause_us])
    found = session_starts(np.zeros(2, np.int64), times, times, np.ones(2, bool), None)
    assert found.sum() == starts


def test_a_moment_is_a_key_a_time_known_and_a_time():
    columns = (np.array([0, 0, 0, 0, 1]), np.array([3, 3, 3, 4, 4]), np.array([1, 1, 2, 2, 2]))
    assert first_of_each(*columns).tolist() == [True, False, True, True, True]
    nothing = np.empty(0, np.int64)
    assert first_of_each(nothing, nothing, nothing).tolist() == []
