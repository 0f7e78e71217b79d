from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features import affinity, customer
from features.candidates import PairRule
from features.history import History
from features.live import KeyProfiles, LiveCustomers
from features.packed_memory import pack_memories
from features.packed_store import PackedRow
from features.profile import KEY_FIELDS, Profile, empty_profile
from features.publishing import profile_rows
from features.windows import DAY_90, DAY_US, HOUR_72, HOUR_US, profile_boundary, to_us
from tests.features.streams import START, event, frame, streams

ZONE = ZoneInfo("Asia/Shanghai")
LAG = timedelta(hours=1)
NONE = timedelta(0)
START_US = to_us(START)
RULE = PairRule(HOUR_72, DAY_90)
NO_KEYS = KeyProfiles({}, empty_profile(KEY_FIELDS, np.empty(0, np.int64)))
Row = dict[str, Any]


def boundary_at(now_us: int) -> int:
    return int(profile_boundary(np.array([now_us]), ZONE, LAG)[0])


def live(rows: list[Row], names: list[str], now_us: int) -> LiveCustomers:
    boundary = boundary_at(now_us)
    history = History(frame(rows), ZONE, LAG)
    profiles = {row.key: row for row in profile_rows(history, boundary)}
    memories = pack_memories(frame(rows), now_us)
    keys = {
        column: KeyProfiles.unpack(
            {text: PackedRow(text, boundary, one) for text, one in history.packed_keys(column, boundary)}
        )
        for column in ("category", "brand")
    }
    return LiveCustomers(
        names,
        [memories.get(name) for name in names],
        [profiles.get(name) for name in names],
        now_us,
        boundary,
        keys,
        ZONE,
    )


def values_of(customers: LiveCustomers) -> tuple[list[dict[str, Any]], dict[tuple[str, str], dict[str, Any]]]:
    columns = customer.CATALOGUE.compute(customers.rows)
    each = [
        {name: column[row] for name, column in columns.items()} for row in range(len(customers.customers))
    ]
    pairs = {}
    for key_column in ("category", "brand"):
        rows, names = customers.pair_rows(key_column, RULE)
        features = affinity.CATALOGUE.compute(rows)
        for place, (row, key) in enumerate(zip(rows.customer_row.tolist(), names, strict=True)):
            pairs[customers.customers[row], f"{key_column}={key}"] = {
                name: column[place] for name, column in features.items()
            }
    return each, pairs


@settings(max_examples=40, deadline=None)
@given(rows=streams(), hours=st.integers(0, 24 * 45))
def test_customers_read_together_have_the_features_of_each_read_alone(rows: list[Row], hours: int) -> None:
    now_us = START_US + hours * HOUR_US
    names = ["c1", "nobody", "c2", "c3"]
    together, pairs = values_of(live(rows, names, now_us))
    for place, name in enumerate(names):
        alone, pairs_alone = values_of(live(rows, [name], now_us))
        np.testing.assert_equal(together[place], alone[0])
        np.testing.assert_equal(
            {pair: values for pair, values in pairs.items() if pair[0] == name}, pairs_alone
        )


def test_a_customer_nobody_knows_is_like_one_whose_events_are_all_to_come() -> None:
    now_us = START_US + HOUR_US
    rows = [event(0, "a", "purchase", START + timedelta(days=9), NONE, category="tea")]
    stranger = live(rows, ["nobody"], now_us)
    assert stranger.is_known.tolist() == [False]
    history = History(frame(rows), ZONE, LAG)
    expected = customer.CATALOGUE.compute(history.customer_rows(np.array([0]), np.array([now_us])))
    np.testing.assert_equal(customer.CATALOGUE.compute(stranger.rows), expected)
    assert stranger.pair_rows("category", RULE)[1] == []


def test_a_customer_is_known_by_a_memory_or_by_a_profile() -> None:
    rows = [
        event(0, "old", "view", START - timedelta(days=30), NONE),
        event(1, "new", "view", START + timedelta(hours=30), NONE),
    ]
    found = live(rows, ["old", "new", "nobody"], START_US + 31 * HOUR_US)
    assert found.is_known.tolist() == [True, True, False]


def test_a_profile_is_stale_at_72_hours() -> None:
    rows = [event(0, "a", "view", START - timedelta(days=1), NONE)]
    history = History(frame(rows), ZONE, LAG)
    (profile,) = profile_rows(history, START_US)
    for age_us, stale in ((72 * HOUR_US - 1, False), (72 * HOUR_US, True)):
        keys = {"category": NO_KEYS, "brand": NO_KEYS}
        now_us = START_US + age_us
        found = LiveCustomers(["a", "b"], [None, None], [profile, None], now_us, now_us, keys, ZONE)
        assert found.is_stale.tolist() == [stale, False]


def test_an_older_profile_gives_the_same_newest_values_as_long_as_the_memory_reaches_back_to_it() -> None:
    rows = [
        event(day, "a", "purchase", START + timedelta(days=day, hours=5), NONE, amount_minor=10**day)
        for day in range(6)
    ]
    now_us = START_US + 5 * DAY_US + 6 * HOUR_US
    history = History(frame(rows), ZONE, LAG)
    memory = pack_memories(frame(rows), now_us)["a"]
    keys = {"category": NO_KEYS, "brand": NO_KEYS}
    found = []
    for age in (1, 2):
        boundary = boundary_at(now_us) - (age - 1) * DAY_US
        (profile,) = profile_rows(history, boundary)
        customers = LiveCustomers(["a"], [memory], [profile], now_us, boundary, keys, ZONE)
        found.append(customer.CATALOGUE.compute(customers.rows))
    np.testing.assert_equal(found[0], found[1])
    assert found[0]["spend_lifetime_minor"].tolist() == [111_111]
    assert found[0]["order_count_lifetime"].tolist() == [6]


def test_a_key_that_is_new_since_the_profiles_has_an_empty_one() -> None:
    made = Profile(np.array([7]), {name: np.array([3]) for name in KEY_FIELDS})
    keys = KeyProfiles({"tea": 0}, made)
    found = keys.of(["milk", "tea", "tea"], np.array([9, 9, 9]))
    assert found.boundary.tolist() == [9, 9, 9]
    assert {tuple(values.tolist()) for values in found.fields.values()} == {(0, 3, 3)}


def test_a_key_first_met_in_the_memory_is_a_pair_beside_those_of_the_profile() -> None:
    rows = [
        *(event(n, "a", "view", START - timedelta(days=2, hours=n), NONE, category="tea") for n in range(2)),
        event(9, "a", "view", START + timedelta(hours=30), NONE, category="milk"),
    ]
    found, names = live(rows, ["a"], START_US + 31 * HOUR_US).pair_rows("category", RULE)
    assert names == ["milk", "tea"]
    values = affinity.CATALOGUE.compute(found, ["key_moment_count_90d", "seconds_since_last_key_attention"])
    assert values["key_moment_count_90d"].tolist() == [1, 2]
    assert values["seconds_since_last_key_attention"].tolist() == [3600, (48 + 31) * 3600]
