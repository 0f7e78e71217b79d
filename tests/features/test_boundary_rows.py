from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.boundary_rows import BoundaryRows
from features.memory import ACTIVITY_TYPES, ATTENTION_TYPES, ORDER_TYPES, columns_of, customer_events
from features.windows import DAY_US, HOUR_US, Measure, WindowRows, to_us
from tests.features.streams import START, frame, streams

WINDOWS_US = (HOUR_US, DAY_US, 7 * DAY_US, 30 * DAY_US, None)
MEASURES = (
    Measure("views", ("view",)),
    Measure("spend", ORDER_TYPES, "amount_minor"),
    Measure("orders", ORDER_TYPES, "order"),
    Measure("attention", ATTENTION_TYPES),
)


@settings(max_examples=60, deadline=None)
@given(
    rows=streams(),
    hours=st.integers(-24, 24 * 45),
    chosen=st.sets(st.integers(0, 2)),
)
def test_many_keys_at_one_boundary_see_what_each_sees_at_that_instant(
    rows: list[dict[str, Any]], hours: int, chosen: set[int]
) -> None:
    memory = customer_events(columns_of(frame(rows)), ZoneInfo("UTC"))
    keys = np.array(sorted(key for key in chosen if key < memory.key_count), np.int64)
    boundary_us = to_us(START) + hours * HOUR_US
    found = BoundaryRows(memory, keys, boundary_us)
    expected = WindowRows(memory, keys, np.full(len(keys), boundary_us))
    np.testing.assert_array_equal(found.begin, expected.begin)
    np.testing.assert_array_equal(found.until, expected.until)
    for window_us in WINDOWS_US:
        for measure in MEASURES:
            np.testing.assert_array_equal(found.sum(measure, window_us), expected.sum(measure, window_us))
        for column in ("item", "category", "brand"):
            for types in (("view",), ATTENTION_TYPES):
                np.testing.assert_array_equal(
                    found.distinct(types, column, window_us), expected.distinct(types, column, window_us)
                )
    for types in (("purchase",), ACTIVITY_TYPES):
        np.testing.assert_array_equal(found.latest(types), expected.latest(types))
        np.testing.assert_array_equal(found.earliest(types), expected.earliest(types))
        np.testing.assert_array_equal(
            found.latest(types, "order_ordinal"), expected.latest(types, "order_ordinal")
        )
