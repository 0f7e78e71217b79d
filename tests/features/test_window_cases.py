"""The cases every path must agree on, each asked of the bulk and of the online path."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from configs.home import open_home
from features.event_log import EventLog, open_engine
from features.events import EVENT_SCHEMA, TYPE_CODES, admit
from features.history import History
from features.lake import Lake
from features.memory import columns_of
from features.packed_memory import merge_memory, pack_memories
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
from tests.features import made_sources
from tests.features.streams import event, frame
from tests.features.test_parity import LAG, bulk_features, live_customer, live_features

UTC_ZONE = ZoneInfo("UTC")
NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)
NONE, TICK, DAY, HOUR = timedelta(0), timedelta(microseconds=1), timedelta(days=1), timedelta(hours=1)
Row = dict[str, Any]


def features_of(rows: list[Row], now: datetime, zone: ZoneInfo = UTC_ZONE) -> dict[str, float]:
    """Compute customer a's features on both paths, which must agree in every cell; b is there for company."""
    now_us = to_us(now)
    company = event(999, "b", "view", datetime(2024, 1, 1, tzinfo=UTC), NONE)
    bulk, bulk_pairs = bulk_features(History(frame([*rows, company]), zone, LAG), "a", now_us)
    live, live_pairs = live_features(live_customer([*rows, company], "a", now_us, zone))
    np.testing.assert_equal(live, bulk)
    np.testing.assert_equal(live_pairs, bulk_pairs)
    return {name: value.item() for name, value in bulk.items()} | {
        f"{pair}.{name}": value.item()
        for pair, values in bulk_pairs.items()
        for name, value in values.items()
    }


def view(at: datetime, number: int = 0, lateness: timedelta = NONE, **columns: Any) -> Row:
    return event(number, "a", "view", at, lateness, **columns)


def purchase(at: datetime, number: int = 0, lateness: timedelta = NONE, **columns: Any) -> Row:
    return event(number, "a", "purchase", at, lateness, **columns)


@pytest.mark.parametrize("hours", [1, 6, 24, 72])
def test_case_1_an_event_on_the_left_edge_is_out_and_a_microsecond_later_in(hours: int) -> None:
    edge = NOW - hours * HOUR
    for at, count in ((edge - TICK, 0), (edge, 0), (edge + TICK, 1)):
        assert features_of([purchase(at)], NOW)[f"order_count_{hours}h"] == count


def test_case_2_an_event_at_the_instant_is_in_and_a_microsecond_later_out() -> None:
    for at, count in ((NOW - TICK, 1), (NOW, 1), (NOW + TICK, 0)):
        found = features_of([view(at)], NOW)
        assert found["view_count_24h"] == found["view_count_30d"] == count


def test_case_3_the_event_that_caused_the_request_counts_once() -> None:
    found = features_of([purchase(NOW, amount_minor=700, category="tea")], NOW)
    assert found["order_count_1h"] == found["order_count_90d"] == found["order_count_lifetime"] == 1
    assert found["spend_72h_minor"] == found["spend_lifetime_minor"] == 700
    assert found["category=tea.key_order_count_24h"] == found["category=tea.key_order_count_90d"] == 1
    assert found["seconds_since_last_purchase"] == 0


def test_case_4_events_at_one_instant_enter_and_leave_together() -> None:
    at = NOW - 24 * HOUR
    rows = [view(at, number) for number in range(5)]
    for now, count in ((at - TICK, 0), (at, 5), (NOW - TICK, 5), (NOW, 0)):
        assert features_of(rows, now)["view_count_24h"] == count


def test_case_5_any_order_of_arrival_gives_the_same_bytes() -> None:
    rows = [
        purchase(NOW - 3 * HOUR, 0, category="tea", amount_minor=5),
        purchase(NOW - 3 * HOUR, 1, category="milk"),
        view(NOW - 2 * HOUR, 2, brand="9"),
        view(NOW - 2 * HOUR, 3, 1 * HOUR),
    ]
    boundary = to_us(NOW) + DAY_US // 2
    seen = set()
    for order in permutations(rows):
        merged = None
        for row in order:
            merged = merge_memory(merged, pack_memories(frame([row]), to_us(NOW))["a"], to_us(NOW))
        profile = dict(History(frame(list(order)), UTC_ZONE, LAG).packed_profiles(boundary))["a"]
        seen.add((merged, pack_memories(frame(list(order)), to_us(NOW))["a"], profile))
    ((merged, at_once, _),) = seen
    assert merged == at_once


def test_case_6_a_late_event_is_absent_before_it_arrives_and_counted_afterwards() -> None:
    late = purchase(NOW - 5 * HOUR, 0, 3 * HOUR, amount_minor=9)
    arrival = NOW - 2 * HOUR
    for now, count in ((arrival - TICK, 0), (arrival, 1), (NOW, 1)):
        found = features_of([late], now)
        assert found["order_count_24h"] == found["order_count_lifetime"] == count
    very_late = purchase(NOW - 20 * DAY, 0, 19 * DAY, amount_minor=9)
    for now, count in ((NOW - DAY - TICK, 0), (NOW - DAY, 1), (NOW, 1), (NOW + DAY, 1)):
        found = features_of([very_late], now)
        assert found["order_count_72h"] == 0
        assert found["order_count_30d"] == found["order_count_lifetime"] == count
    whole = [late, very_late]
    now = arrival - TICK
    cut = [row for row in whole if row["ingested_at"] <= now]
    np.testing.assert_equal(features_of(whole, now), features_of(cut, now))


def test_case_7_an_event_stamped_ahead_counts_from_its_time_on() -> None:
    ahead = view(NOW + timedelta(minutes=5), 0, -timedelta(minutes=5))
    door = admit(frame([ahead]).with_row_index("row"), future_skew=timedelta(minutes=5))
    assert door.admitted.height == 1
    for now, count in ((NOW, 0), (ahead["event_time"] - TICK, 0), (ahead["event_time"], 1)):
        found = features_of([ahead], now)
        assert found["view_count_24h"] == found["view_count_7d"] == count


def test_case_8_an_event_delivered_three_times_across_a_compaction_counts_once(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", create=True)
    lake, log = Lake(home.lake), EventLog(open_engine(None, home))
    row = purchase(NOW - HOUR, amount_minor=4)
    assert log.append(frame([row])).stored.height == 1
    assert log.append(frame([row])).stored.height == 0
    log.compact(lake)
    assert log.append(frame([row])).stored.height == 0
    log.compact(lake)
    stored = lake.read()
    assert stored.height == 1
    found, _ = bulk_features(History(stored, UTC_ZONE, LAG), "a", to_us(NOW))
    one = pack_memories(frame([row]), to_us(NOW))["a"]
    merged = merge_memory(merge_memory(one, one, to_us(NOW)), one, to_us(NOW))
    assert merged == one
    assert found["order_count_24h"] == features_of([row], NOW)["order_count_24h"] == 1


def test_case_9_a_long_window_begins_at_the_days_boundary_and_ends_at_the_instant() -> None:
    boundary = NOW.replace(hour=0)
    edge = boundary - 30 * DAY
    for at, count in ((edge - TICK, 0), (edge, 0), (edge + TICK, 1), (boundary, 1), (boundary + TICK, 1)):
        assert features_of([purchase(at)], NOW)["order_count_30d"] == count
    for at, count in ((NOW - HOUR, 1), (NOW, 1), (NOW + TICK, 0)):
        assert features_of([purchase(at)], NOW)["order_count_30d"] == count


def test_case_10_one_instant_written_in_three_ways_has_one_value(tmp_path: Path) -> None:
    written = ["2019-03-14T20:00:00+08:00", "2019-03-14T07:00:00-05:00", "2019-03-14T12:00:00Z"]
    lines = [{"id": str(number), "happened": text} for number, text in enumerate(written)]
    found = []
    for zone in ("UTC", "Asia/Shanghai", "America/New_York"):
        instants = made_sources.read(tmp_path, lines, made_sources.mapping(time_zone=zone)).good["event_time"]
        assert len(instants) == 3
        found += [features_of([view(instant)], NOW.replace(year=2019)) for instant in instants]
    for each in found:
        np.testing.assert_equal(each, found[0])
        assert (each["view_count_24h"], each["view_count_72h"]) == (0, 1)


def test_case_11_24_hours_are_24_hours_on_a_day_on_which_clocks_change() -> None:
    zone = ZoneInfo("America/New_York")
    noon = datetime(2024, 3, 10, 12, tzinfo=zone).astimezone(UTC)  # the clock jumped at two in the morning
    same_wall_time_yesterday = datetime(2024, 3, 9, 12, tzinfo=zone).astimezone(UTC)
    assert noon - same_wall_time_yesterday == 23 * HOUR
    for at, count in ((same_wall_time_yesterday, 1), (noon - 24 * HOUR + TICK, 1), (noon - 24 * HOUR, 0)):
        assert features_of([view(at)], noon, zone)["view_count_24h"] == count
    boundary = int(profile_boundary(np.array([to_us(noon)]), zone, LAG)[0])
    assert boundary == to_us(datetime(2024, 3, 10, 5, tzinfo=UTC))
    edge = datetime(2024, 3, 10, 5, tzinfo=UTC) - 30 * DAY
    for at, count in ((edge, 0), (edge + TICK, 1)):
        assert features_of([view(at)], noon, zone)["view_count_30d"] == count


def test_case_12_the_day_before_march_in_a_leap_year_is_the_29th() -> None:
    march = datetime(2028, 3, 1, tzinfo=UTC)
    leap_day = datetime(2028, 2, 29, tzinfo=UTC)
    for at, count in ((leap_day, 0), (leap_day + timedelta(seconds=1), 1)):
        assert features_of([view(at)], march)["view_count_24h"] == count


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


@pytest.mark.parametrize("amount", [2**31 - 1, 2**31, 2**53 + 1])
def test_case_13_sums_are_exact_on_both_paths(amount: int) -> None:
    rows = [purchase(NOW - number * HOUR, number, amount_minor=amount) for number in range(3)]
    rows.append(purchase(NOW - 20 * DAY, 9, amount_minor=amount))
    found = features_of(rows, NOW)
    assert found["spend_72h_minor"] == 3 * amount
    assert found["spend_lifetime_minor"] == 4 * amount


def test_case_14_nulls_count_but_do_not_add_and_an_empty_window_averages_null() -> None:
    found = features_of([purchase(NOW - HOUR), purchase(NOW - 2 * HOUR, 1, amount_minor=8)], NOW)
    assert (found["order_count_24h"], found["spend_72h_minor"]) == (2, 8)
    assert found["order_value_mean_90d_minor"] == 4
    empty = features_of([view(NOW - 300 * DAY)], NOW)
    assert (empty["order_count_90d"], empty["spend_90d_minor"]) == (0, 0)
    assert np.isnan(empty["order_value_mean_90d_minor"])


def test_case_14_a_null_key_is_not_the_empty_one_and_the_door_takes_neither_that_nor_a_null_time() -> None:
    found = features_of([view(NOW, 0, category=None), view(NOW, 1, category="")], NOW)
    assert found["view_count_24h"] == 2
    assert found["category=.key_attention_count_24h"] == 1
    assert not any(name.startswith("brand=") for name in found)
    assert columns_of(frame([view(NOW, 0, category=None), view(NOW, 1, category="")])).category.tolist() == [
        -1,
        0,
    ]
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


def test_case_15_expiry_removes_nothing_that_a_window_still_holds() -> None:
    first, last = purchase(NOW, 0, category="tea"), view(NOW + 72 * HOUR - TICK, 1)
    found = features_of([first, last], NOW + 72 * HOUR - TICK)
    assert found["order_count_72h"] == found["category=tea.key_order_count_72h"] == 1
    assert features_of([first, last], NOW + 72 * HOUR)["order_count_72h"] == 0
    # What came in a month late leaves the 72 h windows at once, and is not lost to the long ones.
    month_late = purchase(NOW - 40 * DAY, 2, 40 * DAY)
    for days in range(5):
        found = features_of([month_late], NOW + days * DAY)
        assert (found["order_count_72h"], found["order_count_90d"]) == (0, 1)


def test_case_15_a_customer_idle_for_longer_than_the_window_reads_empty() -> None:
    found = features_of([view(NOW - 40 * DAY, category="tea"), purchase(NOW - 40 * DAY, 1)], NOW)
    for name in ("view_count_24h", "view_count_72h", "view_count_7d", "view_count_30d", "order_count_72h"):
        assert found[name] == 0
    assert found["view_count_90d"] == 1
    assert found["seconds_since_last_view"] == 40 * 86400


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
