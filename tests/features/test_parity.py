"""Bulk, online and plain-Python values of the same features are the same values."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import affinity, customer
from features.few_events import FEW_CELLS
from features.history import History
from features.packed_memory import merge_memory, pack_memories
from features.windows import HOUR_US, to_us
from tests.features import oracle, oracle_pairs
from tests.features.oracle import Instant
from tests.features.paths import Oracle, bulk_answers, differences, live_answers, live_replay
from tests.features.streams import START, Scene, event, frame, scenes, streams

LAG = timedelta(hours=1)
START_US = to_us(START)


def known_us(row: dict[str, Any]) -> int:
    return max(to_us(row["event_time"]), to_us(row["ingested_at"]))


def compared(scene: Scene) -> list[str]:
    """Compute every customer of a scene on every path; return the cells that differ."""
    names, at = scene.customers, scene.at
    brute = Oracle(oracle.by_customer(frame(scene.rows)))
    history = History(frame(scene.rows), at.zone, at.lag)
    instants = [at.us] * len(names)
    paths = {
        "bulk": bulk_answers(history, names, instants),
        "bulk, many rows": bulk_answers(history, names, instants, least_rows=FEW_CELLS + 1),
        "online": [live_answers(live_replay(scene.deliveries, [name], at))[0] for name in names],
    }
    wrong = []
    for place, name in enumerate(names):
        expected = brute.answer(name, at)
        for path, answers in paths.items():
            wrong += [f"{path}, {name}: {cell}" for cell in differences(answers[place], expected)]
    return wrong


def test_every_feature_of_the_catalogue_is_derived_a_second_time() -> None:
    nobody = oracle.CustomerAt([], Instant(0, ZoneInfo("UTC"), LAG))
    of_pair = oracle_pairs.pair_features(nobody, [], oracle_pairs.KeyFacts(0, 0, 0, 0))
    types = {int: "int", float: "float"}
    for derived, catalogue in ((nobody.features(), customer.CATALOGUE), (of_pair, affinity.CATALOGUE)):
        declared = {one.name: one.dtype for one in catalogue.definitions()}
        assert {name: types[type(value)] for name, value in derived.items()} == declared


@settings(max_examples=60, deadline=None)
@given(scene=scenes())
def test_bulk_online_and_brute_force_agree_in_every_cell(scene: Scene) -> None:
    if scene.rows:
        assert compared(scene) == []


@pytest.mark.slow  # two thousand longer streams: minutes
@settings(max_examples=2000, deadline=None)
@given(scene=scenes(max_events=60, customers=3))
def test_bulk_online_and_brute_force_agree_on_longer_streams(scene: Scene) -> None:
    if scene.rows:
        assert compared(scene) == []


@settings(max_examples=40, deadline=None)
@given(rows=streams(), hours=st.integers(0, 24 * 45))
def test_events_known_later_change_no_feature(rows: list[dict[str, Any]], hours: int) -> None:
    now_us = START_US + hours * HOUR_US
    past = [row for row in rows if known_us(row) <= now_us]
    if not past:
        return
    zone = ZoneInfo("UTC")
    with_future, without = History(frame(rows), zone, LAG), History(frame(past), zone, LAG)
    names = list(without.columns.customers)
    instants = [now_us] * len(names)
    known = Oracle(oracle.by_customer(frame(past)))
    for name, ours, theirs in zip(
        names, bulk_answers(with_future, names, instants), bulk_answers(without, names, instants), strict=True
    ):
        keys = known.answer(name, Instant(now_us, zone, LAG)).pairs.keys()
        assert differences(ours, theirs, known_keys=keys) == []


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


def test_a_session_longer_than_the_short_memory_keeps_its_start() -> None:
    views = [
        event(number, "c1", "view", START + number * timedelta(minutes=29), timedelta(0))
        for number in range(300)
    ]
    for days in (3, 5, 6):
        at = Instant.of(START + timedelta(days=days, hours=2), ZoneInfo("UTC"), LAG)
        expected = Oracle(oracle.by_customer(frame(views))).answer("c1", at)
        assert expected.customer["seconds_since_last_session_start"] == (days * 24 + 2) * 3600
        assert compared(Scene(views, views, at)) == []
