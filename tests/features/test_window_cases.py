"""The cases every path must agree on, asked of every path."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from configs.home import open_home
from configs.settings import load_settings
from features import affinity, customer
from features.database import open_engine
from features.event_log import EventLog
from features.events import EVENT_SCHEMA, TYPE_CODES, admit
from features.history import History
from features.lake import Lake
from features.memory import KEY_COLUMNS, columns_of
from features.packed_memory import merge_memory, pack_memories
from features.publishing import profile_rows
from features.store import apply, training_frame, write_snapshot
from features.tags import load_catalogue
from features.windows import (
    DAY_30,
    DAY_US,
    HOUR_US,
    KeyedEvents,
    Measure,
    WindowRows,
    profile_boundary,
    to_us,
)
from tests.features import made_sources, oracle
from tests.features.oracle import Instant, Value, microseconds
from tests.features.paths import Answer, Oracle, bulk_answers, differences, live_answers, live_replay, unequal
from tests.features.streams import event, frame
from tests.features.window_looks import (
    CASES,
    HOUR,
    LAG,
    NONE,
    NOW,
    UTC_ZONE,
    Look,
    permuted,
    purchase,
    view,
)
from training.datasets import (
    CENSUS,
    TEST,
    DecisionRows,
    customer_snapshot,
    key_frame,
    pair_decisions,
    pair_snapshot,
)

COMPANY = event(999, "b", "view", datetime(2024, 1, 1, tzinfo=UTC), NONE, category="tea")
"""Somebody else's event, so that no customer is alone."""


def stored(look: Look) -> list[dict]:
    """Return a look's events as the log keeps them: each once, as it was delivered first."""
    return [*{row["event_id"]: row for row in reversed(look.rows)}.values()][::-1]


def instant(look: Look) -> Instant:
    return Instant.of(look.now, look.zone, LAG)


def in_bulk(look: Look) -> Answer:
    history = History(frame([*stored(look), COMPANY]), look.zone, LAG)
    return bulk_answers(history, ["a"], [to_us(look.now)])[0]


def online(look: Look) -> Answer:
    deliveries = sorted([*look.rows, COMPANY], key=lambda row: row["ingested_at"])
    return live_answers(live_replay(deliveries, ["a"], instant(look)))[0]


def brute_force(look: Look) -> Answer:
    return Oracle(oracle.by_customer(frame([*stored(look), COMPANY]))).answer("a", instant(look))


PATHS: dict[str, Callable[[Look], Answer]] = {
    "in bulk": in_bulk,
    "online": online,
    "by brute force": brute_force,
}


def of_feature(answer: Answer, name: str) -> dict[str, Value]:
    """Return the cell of a feature as a look names it, if the path has it."""
    key, _, feature = name.rpartition(".")
    column, _, text = key.partition("=")
    cells = answer.pairs.get((column, text), {}) if key else answer.customer
    return {name: cells[feature]} if feature in cells else {}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES)
def test_case(case: str, path: str) -> None:
    for look in CASES[case]():
        answer = PATHS[path](look)
        found = {}
        for name in look.expected:
            found |= of_feature(answer, name)
        assert found.keys() == look.expected.keys()
        assert unequal(found, look.expected) == [], look
        assert differences(answer, brute_force(look)) == [], look


class TrainingFrames:
    """Every look of every case in one training set: each of its own customer, joined by the feature store."""

    def __init__(self, folder: Path) -> None:
        self.looks = [(case, look) for case, make in CASES.items() for look in make()]
        self.home = open_home(folder / "home", create=True)
        self.settings = load_settings(self.home.root, {}).settings
        named = load_catalogue()
        self.families = {named[name].key: named[name] for name in ("interest", "brand_preference")}
        zones = dict.fromkeys(look.zone for _, look in self.looks)
        parts = [self._snapshots(zone) for zone in zones]
        apply(self.home, self.settings, customer.catalogue(), affinity.catalogue())
        for view_name in ("customer_snapshot", "category_snapshot", "brand_snapshot"):
            write_snapshot(self.home, view_name, pl.concat([part[view_name] for part in parts]))
        keys = ["customer_id", "event_timestamp"]
        self.customers = self._joined("propensity_v1", parts, "customer_snapshot", keys)
        self.pairs = {
            "category": self._joined("interest_v1", parts, "category_snapshot", [*keys, "category"]),
            "brand": self._joined("brand_preference_v1", parts, "brand_snapshot", [*keys, "brand"]),
        }
        self.brute = {zone: Oracle(oracle.by_customer(frame(self._events(zone)))) for zone in zones}

    def _events(self, zone: ZoneInfo) -> list[dict]:
        return [
            {**row, "customer_id": str(number), "event_id": f"{number}-{row['event_id']}"}
            for number, (_, look) in enumerate(self.looks)
            if look.zone == zone
            for row in stored(look)
        ]

    def _snapshots(self, zone: ZoneInfo) -> dict[str, pl.DataFrame]:
        numbers = [number for number, (_, look) in enumerate(self.looks) if look.zone == zone]
        history = History(frame(self._events(zone)), zone, LAG)
        instants = np.array([to_us(self.looks[number][1].now) for number in numbers])
        of = history.numbers([str(number) for number in numbers])
        rows = DecisionRows(of, instants, np.full(len(of), CENSUS), np.full(len(of), TEST))
        snapshots = {"customer_snapshot": customer_snapshot(history, rows)}
        assert key_frame(history, rows).height == len(numbers)
        for column in KEY_COLUMNS:
            decisions = pair_decisions(history, column, rows, self.families[column])
            snapshots[f"{column}_snapshot"] = pair_snapshot(history, column, rows, decisions)
        return snapshots

    def _joined(self, service: str, parts: list[dict], view_name: str, keys: list[str]) -> dict[tuple, dict]:
        request = pl.concat([part[view_name].select(keys) for part in parts])
        joined = training_frame(self.home, self.settings, service, request)
        floats = [name for name, kind in joined.schema.items() if kind == pl.Float64]
        return {
            tuple(row[name] for name in keys if name != "event_timestamp"): {
                name: value for name, value in row.items() if name not in keys
            }
            for row in joined.with_columns(pl.col(floats).fill_null(float("nan"))).iter_rows(named=True)
        }

    def answer(self, number: int) -> Answer:
        answer = Answer(self.customers[str(number),])
        for column, pairs in self.pairs.items():
            for (name, key), cells in pairs.items():
                if name == str(number):
                    answer.pairs[column, key] = cells
                    answer.candidates.add((column, key))
        return answer


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> TrainingFrames:
    return TrainingFrames(tmp_path_factory.mktemp("frames"))


@pytest.mark.parametrize("case", CASES)
def test_case_in_a_training_frame(case: str, frames: TrainingFrames) -> None:
    for number, (mine, look) in enumerate(frames.looks):
        if mine != case:
            continue
        answer, found = frames.answer(number), {}
        for name in look.expected:
            found |= of_feature(answer, name)
        assert found
        assert unequal(found, look.expected) == [], look
        brute = frames.brute[look.zone].answer(str(number), instant(look))
        customer_context = [cells for key, cells in answer.pairs.items() if unequal(cells, brute.customer)]
        assert customer_context == []
        assert differences(answer, brute, known_keys=answer.candidates) == [], look


def test_case_5_any_order_of_arrival_gives_the_same_bytes() -> None:
    boundary = to_us(NOW) + DAY_US // 2
    seen = set()
    for order in permutations(permuted()[0].rows):
        merged = None
        for row in order:
            merged = merge_memory(merged, pack_memories(frame([row]), to_us(NOW))["a"], to_us(NOW))
        (profile,) = profile_rows(History(frame(list(order)), UTC_ZONE, LAG), boundary)
        seen.add((merged, pack_memories(frame(list(order)), to_us(NOW))["a"], profile))
    ((merged, at_once, _),) = seen
    assert merged == at_once


def test_case_7_the_door_admits_an_event_stamped_as_far_ahead_as_is_allowed_and_no_further() -> None:
    rows = [view(NOW + timedelta(minutes=5), 0, -timedelta(minutes=5)), view(NOW + HOUR, 1, -HOUR)]
    door = admit(frame(rows).with_row_index("row"), future_skew=timedelta(minutes=5))
    assert door.admitted["event_id"].to_list() == ["e0"]


def test_case_8_an_event_delivered_three_times_across_a_compaction_is_stored_once(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", create=True)
    engine = open_engine(None, home)
    lake, log = Lake(home.lake), EventLog(engine)
    row = purchase(NOW - HOUR, amount_minor=4)
    assert log.append(frame([row])).stored.height == 1
    assert log.append(frame([row])).stored.height == 0
    log.compact(lake)
    assert log.append(frame([row])).stored.height == 0
    log.compact(lake)
    kept = lake.read()
    engine.dispose()
    assert kept.height == 1
    (found,) = bulk_answers(History(kept, UTC_ZONE, LAG), ["a"], [to_us(NOW)])
    assert found.customer["order_count_24h"] == 1
    one = pack_memories(frame([row]), to_us(NOW))["a"]
    assert merge_memory(merge_memory(one, one, to_us(NOW)), one, to_us(NOW)) == one


@pytest.mark.parametrize("path", PATHS)
def test_case_10_one_instant_written_in_three_ways_has_one_value(path: str, tmp_path: Path) -> None:
    written = ["2019-03-14T20:00:00+08:00", "2019-03-14T07:00:00-05:00", "2019-03-14T12:00:00Z"]
    lines = [{"id": str(number), "happened": text} for number, text in enumerate(written)]
    found = []
    for zone in ("UTC", "Asia/Shanghai", "America/New_York"):
        instants = made_sources.read(tmp_path, lines, made_sources.mapping(time_zone=zone)).good["event_time"]
        assert len(instants) == 3
        now = NOW.replace(year=2019)
        found += [PATHS[path](Look([view(instant)], now, {})) for instant in instants]
    for each in found:
        assert differences(each, found[0]) == []
        assert (each.customer["view_count_24h"], each.customer["view_count_72h"]) == (0, 1)


def test_case_11_a_days_boundary_is_the_local_midnight_before_the_clocks_change() -> None:
    zone = ZoneInfo("America/New_York")
    noon = datetime(2024, 3, 10, 12, tzinfo=zone).astimezone(UTC)
    boundary = int(profile_boundary(np.array([to_us(noon)]), zone, LAG)[0])
    assert (
        boundary == microseconds(datetime(2024, 3, 10, 5, tzinfo=UTC)) == Instant.of(noon, zone, LAG).boundary
    )


def test_case_13_ten_million_events_of_one_key_and_sums_past_what_a_float_holds_are_exact() -> None:
    count = 10_000_000
    order = np.arange(count)
    amount = 2**33 + order
    types = np.broadcast_to(np.int64(TYPE_CODES["purchase"]), count)
    memory = KeyedEvents(1, np.zeros(count, np.int64), order, order, types, {"amount_minor": amount})
    spend = Measure("spend", ("purchase",), "amount_minor")
    instants = np.random.default_rng(1).integers(0, count, 500)
    rows = WindowRows(memory, np.zeros(500, np.int64), instants)

    def first(n: int) -> int:
        return n * 2**33 + n * (n - 1) // 2

    for window in (1, 1_000, 5_000_001, None):
        expected = [
            first(at + 1) - (0 if window is None else first(max(at + 1 - window, 0)))
            for at in instants.tolist()
        ]
        assert rows.sum(spend, window).tolist() == expected
    assert int(rows.sum(spend, None).max()) > 2**53


@pytest.mark.parametrize("path", PATHS)
def test_case_14_a_null_key_is_not_the_empty_one(path: str) -> None:
    rows = [view(NOW, 0, category=None), view(NOW, 1, category="")]
    answer = PATHS[path](Look(rows, NOW, {}))
    assert answer.pairs.keys() == answer.candidates == {("category", "")}
    assert columns_of(frame(rows)).category.tolist() == [-1, 0]


def test_case_14_the_door_takes_neither_an_empty_key_nor_a_null_time() -> None:
    rows = pl.DataFrame(
        [
            {"row": 0, **view(NOW)},
            {"row": 1, **view(NOW), "category": ""},
            {"row": 2, **view(NOW), "event_time": None},
        ],
        schema={"row": pl.Int64(), **EVENT_SCHEMA},
    )
    door = admit(rows, future_skew=NONE)
    assert door.refused.select("row", "field").rows() == [(1, "category"), (2, "event_time")]
    assert door.admitted.height == 1


def test_case_15_the_epoch_and_instants_before_it_obey_the_same_inequality() -> None:
    for origin_us in (0, -5 * DAY_US, 12_345 - 40 * DAY_US):
        times = origin_us + np.array([-30 * DAY_US, -30 * DAY_US + 1, -HOUR_US, -1, 0, 1])
        one = np.ones(6, np.int64)
        memory = KeyedEvents(1, 0 * one, times, times, TYPE_CODES["view"] * one, {})
        rows = WindowRows(memory, np.array([0]), np.array([origin_us]))
        views = Measure("view_count", ("view",))
        assert rows.sum(views, DAY_30.length_us).tolist() == [4]
        assert rows.sum(views, HOUR_US).tolist() == [2]
        assert rows.sum(views, 1).tolist() == [1]
        assert rows.sum(views, None).tolist() == [5]
        assert rows.latest(("view",)).tolist() == [origin_us]
    before = np.array([-1, 0, 1])
    assert profile_boundary(before, UTC_ZONE, NONE).tolist() == [-DAY_US, 0, 0]
