from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.errors import FeatureStoreError
from features.events import TYPE_CODES
from features.history import History
from features.profile import (
    CUSTOMER_FIELDS,
    KEY_FIELDS,
    LAYOUT,
    ORDER_COUNT,
    PAIR_FIELDS,
    RECENT_ORDERS,
    SPEND,
    PackedProfile,
    Profile,
    carry_of,
    customer_profile,
    empty_profile,
    order_bits,
    pack_key,
    unpack_customer,
    unpack_keys,
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


@settings(max_examples=40, deadline=None)
@given(rows=streams(), day=st.integers(-1, 50))
def test_packed_profiles_read_back_as_they_were_made(rows: list[Row], day: int) -> None:
    boundary = START_US + day * DAY_US
    history = History(frame(rows), ZONE, LAG)
    packed = dict(history.packed_profiles(boundary))
    for name, one in packed.items():
        read = unpack_customer(one)
        number = history.numbers([name])
        made = customer_profile(history.customers, number, np.array([boundary]))
        assert read.customer.boundary.tolist() == [boundary]
        assert {k: v.tolist() for k, v in read.customer.fields.items()} == {
            k: v.tolist() for k, v in made.fields.items()
        }
        for key_column in ("category", "brand"):
            texts, profile = read.pairs[key_column]
            attention = [
                row
                for row in rows
                if row["customer_id"] == name
                and row[key_column] is not None
                and row["event_type"] in {"view", "add_to_cart", "purchase"}
                and to_us(max(row["event_time"], row["ingested_at"])) <= boundary
            ]
            assert texts == sorted({row[key_column] for row in attention})
            assert profile.fields["last_attention"].tolist() == [
                max(to_us(row["event_time"]) for row in attention if row[key_column] == text)
                for text in texts
            ]
    known = {
        row["customer_id"] for row in rows if to_us(max(row["event_time"], row["ingested_at"])) <= boundary
    }
    assert set(packed) == known


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


def test_profiles_of_keys_are_read_one_row_a_key_and_may_be_none() -> None:
    made = Profile(
        np.array([7, 8]), {name: np.array([place, -place]) for place, name in enumerate(KEY_FIELDS)}
    )
    read = unpack_keys([pack_key(made, 1), pack_key(made, 0)])
    assert read.boundary.tolist() == [8, 7]
    assert {k: v.tolist() for k, v in read.fields.items()} == {
        k: v[::-1].tolist() for k, v in made.fields.items()
    }
    assert unpack_keys([]).boundary.tolist() == []


def packed_customer() -> bytes:
    history = History(frame([event(0, "a", "purchase", START, NONE, category="tea")]), ZONE, LAG)
    return dict(history.packed_profiles(START_US + DAY_US))["a"]


def test_bytes_of_another_layout_are_refused() -> None:
    read = msgspec.msgpack.decode(packed_customer(), type=PackedProfile)
    read.layout = "0123456789ab"
    with pytest.raises(
        FeatureStoreError, match=f"has layout 0123456789ab; this version reads {LAYOUT}"
    ) as caught:
        unpack_customer(msgspec.msgpack.encode(read))
    assert caught.value.next_step == "refresh the profiles"


@pytest.mark.parametrize("damage", ["cut", "not compressed", "too few fields"])
def test_damaged_bytes_are_refused(damage: str) -> None:
    packed = packed_customer()
    if damage == "cut":
        packed = packed[:-9]
    else:
        read = msgspec.msgpack.decode(packed, type=PackedProfile)
        short = zlib.compress(np.zeros(len(CUSTOMER_FIELDS) - 1, np.int64).tobytes())
        read.customer = b"nothing" if damage == "not compressed" else short
        packed = msgspec.msgpack.encode(read)
    with pytest.raises(FeatureStoreError, match="a packed profile is damaged"):
        unpack_customer(packed)
