from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import FeatureStoreError
from features.history import History
from features.packed_profile import (
    LAYOUT,
    PackedKey,
    PackedProfile,
    UnpackedProfiles,
    pack_key,
    unpack_customer,
    unpack_keys,
)
from features.profile import CUSTOMER_FIELDS, KEY_FIELDS, PAIR_FIELDS, customer_profile, empty_profile
from features.windows import DAY_US, to_us
from tests.features.streams import START, event, frame, streams

NONE = timedelta(0)
LAG = timedelta(hours=1)
ZONE = ZoneInfo("UTC")
START_US = to_us(START)
Row = dict[str, Any]


@settings(max_examples=40, deadline=None)
@given(rows=streams(), day=st.integers(-1, 50))
def test_packed_profiles_read_back_as_they_were_made(rows: list[Row], day: int) -> None:
    boundary = START_US + day * DAY_US
    history = History(frame(rows), ZONE, LAG)
    packed = dict(history.packed_profiles(boundary))
    for name, one in packed.items():
        read = unpack_customer(one, boundary)
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


@settings(max_examples=40, deadline=None)
@given(rows=streams(), day=st.integers(0, 45))
def test_customers_read_together_are_what_each_is_alone(rows: list[Row], day: int) -> None:
    boundary = START_US + day * DAY_US
    packed = dict(History(frame(rows), ZONE, LAG).packed_profiles(boundary))
    names = ["c3", "nobody", "c1", "c2"]
    boundaries = np.array([boundary, 7, boundary, boundary])
    together = UnpackedProfiles([packed.get(name) for name in names], boundaries)
    everybody = together.customers
    assert everybody.boundary.tolist() == boundaries.tolist()
    for row, name in enumerate(names):
        alone = empty_profile(CUSTOMER_FIELDS, np.array([7]))
        if name in packed:
            alone = unpack_customer(packed[name], boundary).customer
        np.testing.assert_array_equal(
            everybody.matrix(CUSTOMER_FIELDS)[:, [row]], alone.matrix(CUSTOMER_FIELDS)
        )
    for column in ("category", "brand"):
        owners, texts, pairs = together.owners(column), together.texts(column), together.pairs(column)
        assert len(owners) == len(texts) == len(pairs.boundary)
        for row, name in enumerate(names):
            mine = np.flatnonzero(owners == row)
            expected = unpack_customer(packed[name], boundary).pairs[column] if name in packed else ([], None)
            assert [texts[place] for place in mine] == expected[0]
            if expected[1] is not None:
                np.testing.assert_array_equal(
                    pairs.take(mine).matrix(PAIR_FIELDS), expected[1].matrix(PAIR_FIELDS)
                )


@settings(max_examples=40, deadline=None)
@given(rows=streams(), day=st.integers(0, 45), asked=st.lists(st.sampled_from(["c1", "c2", "c3", "nobody"])))
def test_the_profiles_of_some_customers_are_those_among_everybodys(
    rows: list[Row], day: int, asked: list[str]
) -> None:
    boundary = START_US + day * DAY_US
    history = History(frame(rows), ZONE, LAG)
    everybodys = dict(history.packed_profiles(boundary))
    some = list(history.packed_profiles(boundary, asked))
    assert [name for name, _ in some] == sorted({name for name in asked if name in everybodys})
    assert all(everybodys[name] == packed for name, packed in some)


def test_a_profile_that_stays_the_same_has_the_same_bytes_at_another_boundary() -> None:
    history = History(frame([event(0, "a", "purchase", START, NONE, category="tea")]), ZONE, LAG)
    one, other = (dict(history.packed_profiles(START_US + day * DAY_US)) for day in (1, 2))
    assert one == other
    assert dict(history.packed_keys("category", START_US + DAY_US)) == dict(
        history.packed_keys("category", START_US + 2 * DAY_US)
    )


def test_profiles_of_keys_are_read_one_row_a_key_and_may_be_none() -> None:
    made = np.arange(2 * len(KEY_FIELDS)).reshape(-1, 2)
    read = unpack_keys([pack_key(made[:, 1]), pack_key(made[:, 0])], np.array([8, 7]))
    assert read.boundary.tolist() == [8, 7]
    assert read.matrix(KEY_FIELDS).tolist() == made[:, ::-1].tolist()
    assert read.fields[KEY_FIELDS[1]].tolist() == [3, 2]
    nothing = unpack_keys([], np.empty(0, np.int64))
    assert {len(values) for values in nothing.fields.values()} == {0}


def packed_customer() -> bytes:
    history = History(frame([event(0, "a", "purchase", START, NONE, category="tea")]), ZONE, LAG)
    return dict(history.packed_profiles(START_US + DAY_US))["a"]


def test_bytes_of_another_layout_are_refused() -> None:
    read = msgspec.msgpack.decode(packed_customer(), type=PackedProfile)
    read.layout = "0123456789ab"
    with pytest.raises(
        FeatureStoreError, match=f"has layout 0123456789ab; this version reads {LAYOUT}"
    ) as caught:
        unpack_customer(msgspec.msgpack.encode(read), START_US)
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
        unpack_customer(packed, START_US)


def test_keys_of_another_layout_are_refused() -> None:
    read = msgspec.msgpack.decode(pack_key(np.zeros(len(KEY_FIELDS), np.int64)), type=PackedKey)
    read.layout = "0123456789ab"
    with pytest.raises(FeatureStoreError, match="has layout 0123456789ab"):
        unpack_keys([msgspec.msgpack.encode(read)], np.array([START_US]))
