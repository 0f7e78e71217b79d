"""Many sums at once against each alone, whatever order the rows come in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events import TYPE_CODES
from features.row_sums import sums_of_rows
from features.windows import KeyedEvents, Measure, WindowRows

MEASURES = (Measure("count", ("purchase", "view")), Measure("spend", ("purchase",), "amount"))
WINDOWS_US = (10, None, 3, 10**9)
KEYS = 4

EVENTS = st.lists(
    st.tuples(st.integers(0, KEYS - 1), st.integers(-9, 40), st.sampled_from([0, 0, 0, 2, 5, 12])),
    max_size=25,
)
ROWS = st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(-9, 60)), max_size=12)


def memory_of(events: list[tuple[int, int, int]]) -> KeyedEvents:
    happened = np.array([at for _, at, _ in events], np.int64)
    known = happened + np.array([late for *_, late in events], np.int64)
    types = np.resize([TYPE_CODES["purchase"], TYPE_CODES["view"], TYPE_CODES["contact"]], len(events))
    amount = np.resize([7, 2**40, -5, 0], len(events))
    keys = np.array([key for key, *_ in events], np.int32)
    return KeyedEvents.sorting(
        KEYS, keys, happened, known, lambda: types.astype(np.uint8), {"amount": amount}
    )


@settings(deadline=None)
@given(events=EVENTS, rows=ROWS, in_order=st.booleans())
def test_every_sum_is_what_it_is_alone(
    events: list[tuple[int, int, int]], rows: list[tuple[int, int]], in_order: bool
) -> None:
    rows = sorted(rows) if in_order else rows
    keys, instants = (np.array([row[i] for row in rows], np.int64) for i in range(2))
    memory = memory_of(events)
    found = sums_of_rows(memory, keys, instants, MEASURES, WINDOWS_US)
    # Every event is looked at in every row.
    alone = WindowRows(memory, keys, instants, few_cells=10**9)
    assert list(found) == [(measure, length) for measure in MEASURES for length in WINDOWS_US]
    for (measure, length), sums in found.items():
        assert sums.tolist() == alone.sum(measure, length).tolist()


@given(events=EVENTS)
def test_events_sorted_from_any_order_are_all_there_by_key_and_time(
    events: list[tuple[int, int, int]],
) -> None:
    memory = memory_of(events)
    expected = sorted((key, at + late, at) for key, at, late in events)
    columns = memory.key, memory.known_at, memory.event_time
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert len(memory) == len(events)


@pytest.mark.parametrize("late", [0, 4, 500])
def test_rows_shared_among_cores_are_put_where_they_belong(late: int) -> None:
    random, size = np.random.default_rng(late), 60_000
    events = np.stack([random.integers(0, KEYS, 500), random.integers(0, 5_000, 500)], axis=1)
    memory = memory_of([(key, at, late * (at % 3 == 0)) for key, at in events.tolist()])
    keys, instants = random.integers(0, KEYS, size), random.integers(0, 5_500, size)
    found = sums_of_rows(memory, keys, instants, MEASURES, (300, None))
    chosen = random.choice(size, 200, replace=False)
    alone = WindowRows(memory, keys[chosen], instants[chosen], few_cells=10**9)
    for (measure, length), sums in found.items():
        assert sums[chosen].tolist() == alone.sum(measure, length).tolist()
