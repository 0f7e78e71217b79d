from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.events import TYPE_CODES
from features.history import History
from features.profile import (
    CUSTOMER_FIELDS,
    KEY_FIELDS,
    ORDER_COUNT,
    PAIR_FIELDS,
    RECENT_ORDERS,
    SPEND,
    carry_of,
    customer_profile,
    empty_profile,
    order_bits,
)
from features.windows import DAY_30, DAY_US, LIFETIME, NEVER, KeyedEvents, to_us
from tests.features.streams import START, event, frame, streams

NONE = timedelta(0)
LAG = timedelta(hours=1)
ZONE = ZoneInfo("UTC")
START_US = to_us(START)
Row = dict[str, Any]


@pytest.mark.parametrize("fields", [CUSTOMER_FIELDS, PAIR_FIELDS, KEY_FIELDS])
def test_no_field_is_there_twice(fields: tuple[str, ...]) -> None:
    assert len(set(fields)) == len(fields)


@settings(max_examples=60, deadline=None)
@given(rows=streams(), day=st.integers(-1, 50))
def test_a_profile_sums_what_was_known_at_its_boundary(rows: list[Row], day: int) -> None:
    if not rows:
        return
    boundary = START_US + day * DAY_US
    history = History(frame(rows), ZONE, LAG)
    everyone = np.arange(len(history.columns.customers))
    profile = customer_profile(history.customers, everyone, np.full(len(everyone), boundary))
    assert set(profile.fields) == set(CUSTOMER_FIELDS)
    for number, name in enumerate(history.columns.customers):
        known = [
            (to_us(row["event_time"]), row)
            for row in rows
            if row["customer_id"] == name and to_us(max(row["event_time"], row["ingested_at"])) <= boundary
        ]
        bought = [(at, row["amount_minor"] or 0) for at, row in known if row["event_type"] == "purchase"]
        assert profile.total(SPEND, LIFETIME)[number] == sum(amount for _, amount in bought)
        assert profile.total(SPEND, DAY_30)[number] == sum(
            amount for at, amount in bought if at > boundary - 30 * DAY_US
        )
        assert profile.fields["first_purchase"][number] == min((at for at, _ in bought), default=NEVER)
        assert profile.fields["last_purchase"][number] == max((at for at, _ in bought), default=NEVER)
        assert profile.fields["first_event"][number] == min((at for at, _ in known), default=NEVER)


@example(orders=[(place, True) for place in range(1, 61)], order_count=60)
@given(
    orders=st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=12),
    order_count=st.integers(0, 60),
)
def test_bits_say_which_of_the_latest_orders_held_the_key(
    orders: list[tuple[int, bool]], order_count: int
) -> None:
    ordinal = np.array([place for place, _ in orders], np.int64)
    size = len(orders)
    memory = KeyedEvents(
        1,
        np.zeros(size, np.int64),
        np.arange(size),
        np.arange(size),
        np.full(size, TYPE_CODES["purchase"]),
        {"order": np.array([int(is_first) for _, is_first in orders], np.int64), "order_ordinal": ordinal},
    )
    found = int(order_bits(memory, np.array([0]), np.array([size]), np.array([order_count]))[0])
    held = {place for place, is_first in orders if is_first}
    assert [found >> back & 1 for back in range(RECENT_ORDERS)] == [
        int(order_count - back in held) for back in range(RECENT_ORDERS)
    ]
    assert found < 1 << RECENT_ORDERS


def test_of_whom_nothing_was_known_a_profile_is_zeros_and_nevers() -> None:
    profile = empty_profile(CUSTOMER_FIELDS, np.array([5, 6]))
    assert profile.boundary.tolist() == [5, 6]
    for name, values in profile.fields.items():
        assert values.tolist() == [NEVER if name.startswith(("first_", "last_")) else 0] * 2
    history = History(frame([event(0, "a", "purchase", START, NONE)]), ZONE, LAG)
    made = customer_profile(history.customers, np.array([0]), np.array([START_US - 1]))
    assert {k: v.tolist() for k, v in made.fields.items()} == {
        k: v[:1].tolist() for k, v in profile.fields.items()
    }


def test_rows_are_taken_with_their_boundary_and_a_carry_holds_what_comes_after_needs() -> None:
    profile = empty_profile(CUSTOMER_FIELDS, np.array([5, 6, 7]))
    profile.fields["last_purchase"][:] = [1, 2, 3]
    profile.fields["order_count@lifetime"][:] = [10, 20, 30]
    taken = profile.take(np.array([2, 0, 2]))
    assert taken.boundary.tolist() == [7, 5, 7]
    assert taken.total(ORDER_COUNT, LIFETIME).tolist() == [30, 10, 30]
    carry = carry_of(taken)
    assert (carry.boundary.tolist(), carry.last_order_time.tolist()) == ([7, 5, 7], [3, 1, 3])
    assert carry.order_count.tolist() == [30, 10, 30]
