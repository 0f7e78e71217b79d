from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from features.events import INSTANT
from features.history import History
from features.packed_memory import decode_memory
from features.packed_profile import unpack_customer
from features.packed_store import KEY_PROFILE, PackedRow, open_packed_store, packed_key, profile_key
from features.profile import CUSTOMER_FIELDS, customer_profile
from features.publishing import customer_frame, key_frame, key_rows, memory_rows, profile_rows
from features.windows import DAY_US, HOUR_US, from_us, to_us
from tests.features.made_events import MONDAY, event, frame

ZONE = ZoneInfo("Europe/London")
NOW_US = to_us(MONDAY) + 10 * DAY_US


def at(hours_ago: float, number: int, **given):
    moment = from_us(NOW_US) - timedelta(hours=hours_ago)
    return event(number, event_time=moment, **({"ingested_at": moment} | given))


def test_a_memory_is_timed_by_its_newest_event_and_holds_96_hours():
    late = {"ingested_at": from_us(NOW_US - HOUR_US)}
    rows = [
        at(2, 0, customer_id="ann"),
        at(95, 1, customer_id="ann"),
        at(97, 2, customer_id="ann"),
        at(97, 3, customer_id="bob"),
        at(500, 4, customer_id="cid", **late),
        at(-1, 5, customer_id="dan"),
    ]
    memories = {row.key: row for row in memory_rows(frame(rows), NOW_US)}
    assert {name: row.event_us for name, row in memories.items()} == {
        "ann": NOW_US - 2 * HOUR_US,
        "cid": NOW_US - HOUR_US,
    }
    assert decode_memory(memories["ann"].value).event_key == ["shop\x1fe1", "shop\x1fe0"]


def test_profiles_carry_their_boundary_and_leave_out_who_was_unknown_then():
    rows = [at(48, 0, customer_id="ann"), at(1, 1, customer_id="bob")]
    history = History(frame(rows), ZONE, timedelta(hours=1))
    boundary = NOW_US - DAY_US
    (only,) = profile_rows(history, boundary)
    assert (only.key, only.event_us) == ("ann", boundary)
    number = history.numbers(["ann"])
    direct = customer_profile(history.customers, number, np.array([boundary]))
    unpacked = unpack_customer(only.value, only.event_us).customer
    assert {name: unpacked.fields[name][0] for name in CUSTOMER_FIELDS} == {
        name: direct.fields[name][0] for name in CUSTOMER_FIELDS
    }


def test_every_category_and_brand_has_a_row_of_its_own():
    rows = [
        at(48, 0, category="TEA/GREEN, LOOSE", brand="7"),
        at(47, 1, category="牛奶", brand="TEA/GREEN, LOOSE"),
        at(46, 2, category=None, brand=None),
    ]
    history = History(frame(rows), ZONE, timedelta(hours=1))
    found = key_rows(history, NOW_US)
    assert {row.key for row in found} == {
        profile_key("category", "TEA/GREEN, LOOSE"),
        profile_key("category", "牛奶"),
        profile_key("brand", "7"),
        profile_key("brand", "TEA/GREEN, LOOSE"),
    }
    keys = key_frame(found)
    assert sorted(keys.columns) == ["event_timestamp", "key_column", "key_value", "packed"]
    join_keys = keys.select("key_column", "key_value").to_dicts()
    assert [packed_key(one) for one in join_keys] == [row.key for row in found]


def test_frames_are_as_the_feature_store_has_them():
    rows = [PackedRow("ann", NOW_US, b"\x00\xff"), PackedRow("bob", NOW_US - 1, b"")]
    made = customer_frame(iter(rows))
    assert made.schema == {"customer_id": pl.String, "event_timestamp": INSTANT, "packed": pl.Binary}
    assert made["event_timestamp"].dt.epoch("us").to_list() == [NOW_US, NOW_US - 1]
    assert made["packed"].to_list() == [b"\x00\xff", b""]


def test_of_nobody_there_are_empty_frames():
    assert customer_frame([]).schema == customer_frame([PackedRow("a", 0, b"")]).schema
    assert key_frame([]).height == 0
    assert set(key_frame([]).columns) == {"key_column", "key_value", "event_timestamp", "packed"}


def test_what_was_materialised_is_what_was_packed(small_shop):
    settings = small_shop.settings
    history = History(small_shop.known, settings.zone, settings.publication_lag)
    boundary = int(history.boundary(np.array([to_us(small_shop.as_of)]))[0])
    store = open_packed_store(small_shop.home, settings)
    wanted = {
        "customer_profile": profile_rows(history, boundary),
        KEY_PROFILE: key_rows(history, boundary),
        "customer_memory": [
            row
            for row in memory_rows(small_shop.known, to_us(small_shop.as_of))
            if row.event_us > to_us(small_shop.as_of) - 3 * DAY_US
        ],
    }
    for view, rows in wanted.items():
        assert rows
        stored = store.get_many(view, [row.key for row in rows], now_us=0, ttl_us=None)
        assert stored == {row.key: row for row in rows}
        assert store.count(view) == len(rows)
    store.close()
