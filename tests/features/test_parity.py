"""Bulk, online and plain-Python values of the same features are the same values."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features import affinity, customer
from features.affinity import CandidateRule
from features.history import History
from features.live import KeyProfiles, LiveCustomers
from features.packed_memory import merge_memory, pack_memories
from features.windows import DAY_90, DAY_US, HOUR_72, HOUR_US, profile_boundary, to_us
from tests.features.streams import START, frame, streams

LAG = timedelta(hours=1)
RULE = CandidateRule(HOUR_72, DAY_90)
START_US = to_us(START)


def known_us(row: dict[str, Any]) -> int:
    return max(to_us(row["event_time"]), to_us(row["ingested_at"]))


def live_customer(rows: list[dict[str, Any]], name: str, now_us: int, zone: ZoneInfo) -> LiveCustomers:
    """Replay the events one by one in the order they became known, and publish the profile of the day."""
    boundary = int(profile_boundary(np.array([now_us]), zone, LAG)[0])
    packed = None
    for row in sorted((row for row in rows if known_us(row) <= now_us), key=known_us):
        if row["customer_id"] != name:
            continue
        at = known_us(row)
        added = pack_memories(frame([row]), at)[name]
        packed = merge_memory(packed, added, at)
    history = History(frame([row for row in rows if known_us(row) <= boundary]), zone, LAG)
    profiles = dict(history.packed_profiles(boundary))
    keys = {
        column: KeyProfiles.unpack(dict(history.packed_keys(column, boundary)))
        for column in ("category", "brand")
    }
    return LiveCustomers([name], [packed], [profiles.get(name)], now_us, boundary, keys, zone)


def bulk_features(
    history: History, name: str, now_us: int
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    rows = history.customer_rows(history.numbers([name]), np.array([now_us]))
    values = {feature: column[0] for feature, column in customer.CATALOGUE.compute(rows).items()}
    pairs = {}
    for key_column in ("category", "brand"):
        row, pair = history.candidate_pairs(key_column, rows, RULE)
        columns = affinity.CATALOGUE.compute(history.pair_rows(key_column, rows, row, pair))
        for position, key in enumerate(history.key_texts(key_column, pair)):
            pairs[f"{key_column}={key}"] = {feature: column[position] for feature, column in columns.items()}
    return values, pairs


def live_features(live: LiveCustomers) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    values = {feature: column[0] for feature, column in customer.CATALOGUE.compute(live.rows).items()}
    pairs = {}
    for key_column in ("category", "brand"):
        rows, names = live.pair_rows(key_column, RULE)
        columns = affinity.CATALOGUE.compute(rows)
        for position, key in enumerate(names):
            pairs[f"{key_column}={key}"] = {feature: column[position] for feature, column in columns.items()}
    return values, pairs


def brute_force(rows: list[dict[str, Any]], name: str, now_us: int, zone: ZoneInfo) -> dict[str, float]:
    """Derive a selection of features from the definition, event by event."""
    boundary = int(profile_boundary(np.array([now_us]), zone, LAG)[0])
    known = [row for row in rows if row["customer_id"] == name and known_us(row) <= now_us]
    bought = [row for row in known if row["event_type"] == "purchase"]

    def inside(candidates: list[dict[str, Any]], window: str) -> list[dict[str, Any]]:
        if window == "lifetime":
            return candidates
        size = int(window[:-1])
        left = now_us - size * HOUR_US if window.endswith("h") else boundary - size * DAY_US
        return [row for row in candidates if to_us(row["event_time"]) > left]

    def orders(candidates: list[dict[str, Any]]) -> int:
        return len({(to_us(row["event_time"]), known_us(row)) for row in candidates})

    expected: dict[str, float] = {}
    for window in ("1h", "6h", "24h", "72h", "7d", "30d", "90d", "365d", "lifetime"):
        expected[f"order_count_{window}"] = orders(inside(bought, window))
    for window in ("72h", "7d", "30d", "90d", "365d", "lifetime"):
        expected[f"spend_{window}_minor"] = sum(row["amount_minor"] or 0 for row in inside(bought, window))
    for event_type in ("view", "contact", "refund"):
        matching = [row for row in known if row["event_type"] == event_type]
        for window in ("24h", "72h", "7d", "30d"):
            expected[f"{event_type}_count_{window}"] = len(inside(matching, window))
        latest = max((to_us(row["event_time"]) for row in matching), default=None)
        expected[f"seconds_since_last_{event_type}"] = (
            float("nan") if latest is None else (now_us - latest) / 1e6
        )
    gaps, newest = [], None
    for at, moment in sorted({(known_us(row), to_us(row["event_time"])) for row in bought}):
        del at
        if newest is not None and moment > newest:
            gaps.append((moment - newest) // 60_000_000)
        newest = moment if newest is None else max(newest, moment)
    expected["order_gap_mean_days"] = sum(gaps) / 1440 / len(gaps) if gaps else float("nan")
    first = min((to_us(row["event_time"]) for row in bought), default=None)
    expected["seconds_since_first_purchase"] = float("nan") if first is None else (now_us - first) / 1e6
    return expected


def brute_force_pair(rows: list[dict[str, Any]], name: str, key: str, now_us: int) -> dict[str, float]:
    column, _, text = key.partition("=")
    known = [row for row in rows if row["customer_id"] == name and known_us(row) <= now_us]
    bought = [row for row in known if row["event_type"] == "purchase"]
    sequence = sorted({(known_us(row), to_us(row["event_time"])) for row in bought})
    held = {(known_us(row), to_us(row["event_time"])) for row in bought if row[column] == text}
    last_10 = sequence[-10:]
    positions = [place for place, moment in enumerate(sequence) if moment in held]
    return {
        "key_order_count_lifetime": len(held),
        "key_order_count_72h": len({moment for moment in held if moment[1] > now_us - 72 * HOUR_US}),
        "key_share_of_last_10_orders": (
            sum(moment in held for moment in last_10) / len(last_10) if last_10 else float("nan")
        ),
        "orders_since_key": len(sequence) - 1 - positions[-1] if positions else float("nan"),
    }


@settings(max_examples=150, deadline=None)
@given(
    rows=streams(),
    hours=st.integers(0, 24 * 45),
    microseconds=st.sampled_from([0, 1, -1]),
    zone=st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York"]),
)
def test_bulk_online_and_brute_force_agree_in_every_cell(
    rows: list[dict[str, Any]], hours: int, microseconds: int, zone: str
) -> None:
    now_us, business = START_US + hours * HOUR_US + microseconds, ZoneInfo(zone)
    if not rows:
        return
    history = History(frame(rows), business, LAG)
    for name in history.columns.customers:
        bulk, bulk_pairs = bulk_features(history, name, now_us)
        live, live_pairs = live_features(live_customer(rows, name, now_us, business))
        np.testing.assert_equal(live, bulk)
        np.testing.assert_equal(live_pairs, bulk_pairs)
        expected = brute_force(rows, name, now_us, business)
        np.testing.assert_equal({feature: bulk[feature] for feature in expected}, expected)
        for key, values in bulk_pairs.items():
            expected_pair = brute_force_pair(rows, name, key, now_us)
            np.testing.assert_equal({feature: values[feature] for feature in expected_pair}, expected_pair)


@settings(max_examples=60, deadline=None)
@given(rows=streams(), hours=st.integers(0, 24 * 45))
def test_events_known_later_change_no_feature(rows: list[dict[str, Any]], hours: int) -> None:
    now_us = START_US + hours * HOUR_US
    past = [row for row in rows if known_us(row) <= now_us]
    if not past:
        return
    zone = ZoneInfo("UTC")
    with_future, without = History(frame(rows), zone, LAG), History(frame(past), zone, LAG)
    for name in without.columns.customers:
        np.testing.assert_equal(
            bulk_features(with_future, name, now_us), bulk_features(without, name, now_us)
        )


@settings(max_examples=60, deadline=None)
@given(rows=streams(max_events=15, customers=1), seed=st.integers(0, 2**32 - 1))
def test_a_packed_memory_does_not_depend_on_the_order_of_arrival_or_on_repeats(
    rows: list[dict[str, Any]], seed: int
) -> None:
    if not rows:
        return
    now_us = max(known_us(row) for row in rows)
    at_once = pack_memories(frame(rows), now_us).get("c1")
    shuffled = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))] + rows[:3]
    merged = None
    for row in shuffled:
        merged = merge_memory(merged, pack_memories(frame([row]), known_us(row))["c1"], now_us)
    if at_once is None:
        assert merged is not None
        assert merge_memory(None, merged, now_us) == merged
    else:
        assert merged == at_once
