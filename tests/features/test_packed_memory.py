from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import permutations
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import FeatureStoreError
from features.memory import columns_of, customer_events
from features.packed_memory import (
    SHORT_MEMORY_US,
    columns_of_packed,
    decode_memory,
    latest_known_us,
    merge_memory,
    pack_memories,
)
from features.windows import NEVER, to_us
from tests.features.streams import START, event, frame, streams

NONE = timedelta(0)
START_US = to_us(START)
Row = dict[str, Any]


def known_us(row: Row) -> int:
    return max(to_us(row["event_time"]), to_us(row["ingested_at"]))


def ids(packed: bytes) -> list[str]:
    return [key.split("\x1f")[1] for key in decode_memory(packed).event_key]


@settings(max_examples=60, deadline=None)
@given(rows=streams(), hours=st.integers(0, 24 * 45))
def test_what_is_packed_reads_back_as_the_columns_of_what_is_remembered(rows: list[Row], hours: int) -> None:
    now_us = START_US + hours * 3_600_000_000
    remembered = [row for row in rows if now_us - SHORT_MEMORY_US < known_us(row) <= now_us]
    packed = pack_memories(frame(rows), now_us)
    assert sorted(packed) == sorted({row["customer_id"] for row in remembered})
    names = sorted(packed)
    read = columns_of_packed([packed[name] for name in names], names, {})
    expected = columns_of(frame(remembered))
    assert (read.customers, read.categories, read.brands) == (names, expected.categories, expected.brands)
    # Of items there are only codes: as many different ones, equal and missing in the same places.
    assert sorted(Counter(read.item).values()) == sorted(Counter(expected.item).values())
    assert (read.item == -1).sum() == (expected.item == -1).sum()
    zone = ZoneInfo("Asia/Shanghai")
    found, wanted = customer_events(read, zone), customer_events(expected, zone)
    assert (found.key.tolist(), found.known_at.tolist()) == (wanted.key.tolist(), wanted.known_at.tolist())
    for name in ("amount_minor", "discount_minor", "coupon_minor", "quantity", "order", "gap_minutes"):
        assert found.columns[name].sum() == wanted.columns[name].sum(), name


def test_an_event_is_remembered_for_96_hours_after_it_became_known() -> None:
    late = event(0, "a", "view", START - timedelta(days=30), timedelta(days=30))
    assert ids(pack_memories(frame([late]), START_US)["a"]) == ["e0"]
    assert ids(pack_memories(frame([late]), START_US + SHORT_MEMORY_US - 1)["a"]) == ["e0"]
    assert pack_memories(frame([late]), START_US + SHORT_MEMORY_US) == {}
    assert pack_memories(frame([late]), START_US - 1) == {}


def test_merging_forgets_what_has_become_too_old_and_nothing_else() -> None:
    old = event(0, "a", "view", START, NONE)
    new = event(1, "a", "view", START + timedelta(hours=96), NONE)
    now_us = known_us(new)
    packed = pack_memories(frame([old]), START_US)["a"]
    added = pack_memories(frame([new]), now_us)["a"]
    assert ids(merge_memory(packed, added, now_us - 1)) == ["e0", "e1"]
    assert ids(merge_memory(packed, added, now_us)) == ["e1"]


def test_an_event_delivered_again_later_stays_known_from_the_first_time_whatever_the_order() -> None:
    first = event(0, "a", "view", START, NONE)
    again = first | {"ingested_at": START + timedelta(hours=3)}
    other = event(1, "a", "view", START + timedelta(hours=1), NONE)
    now_us = START_US + 4 * 3_600_000_000
    expected = pack_memories(frame([first, other]), now_us)["a"]
    for order in permutations([first, again, other]):
        assert pack_memories(frame(list(order)), now_us)["a"] == expected
        merged = None
        for row in order:
            merged = merge_memory(merged, pack_memories(frame([row]), now_us)["a"], now_us)
        assert merged == expected


def test_the_same_id_of_two_sources_is_two_events() -> None:
    rows = [event(0, "a", "view", START, NONE, source=source) for source in ("shop", "till")]
    assert ids(pack_memories(frame(rows), START_US)["a"]) == ["e0", "e0"]


def test_the_newest_event_of_a_memory_is_the_one_known_last() -> None:
    rows = [event(0, "a", "view", START, timedelta(hours=2)), event(1, "a", "view", START, NONE)]
    packed = pack_memories(frame(rows), START_US + 3 * 3_600_000_000)["a"]
    assert latest_known_us(packed) == START_US + 2 * 3_600_000_000
    emptied = merge_memory(None, packed, START_US + 2 * SHORT_MEMORY_US)
    assert ids(emptied) == []
    assert latest_known_us(emptied) == NEVER


def test_memories_of_several_customers_are_read_together_and_one_may_be_missing() -> None:
    rows = [event(0, "a", "view", START, NONE, category="tea"), event(1, "c", "view", START, NONE, brand="9")]
    packed = pack_memories(frame(rows), START_US)
    read = columns_of_packed([packed["a"], None, packed["c"]], ["a", "b", "c"], {"category": {"milk"}})
    assert read.customer.tolist() == [0, 2]
    assert (read.categories, read.category.tolist()) == (["milk", "tea"], [1, -1])
    assert (read.brands, read.brand.tolist()) == (["9"], [-1, 0])
    nobody = columns_of_packed([None], ["a"], {})
    assert len(nobody) == 0
    assert nobody.event_time.dtype == np.int64


def test_damaged_bytes_are_refused_rather_than_misread() -> None:
    packed = pack_memories(frame([event(0, "a", "view", START, NONE)]), START_US)["a"]
    with pytest.raises(FeatureStoreError, match="a packed memory is damaged"):
        decode_memory(packed[:-5])
    memory = decode_memory(packed)
    memory.version = 99
    with pytest.raises(FeatureStoreError, match="a packed memory has version 99; expected 2"):
        decode_memory(msgspec.msgpack.encode(memory))
