"""The window algebra against its definition, event by event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import WindowError
from features.events import TYPE_CODES
from features.sorted_axis import EXPANSION_ROWS, expand
from features.windows import (
    DAY_US,
    NEVER,
    KeyedEvents,
    Measure,
    Window,
    WindowRows,
    day_boundaries,
    from_us,
    local_weekday,
    profile_boundary,
    to_us,
)

COUNT = Measure("count", ("purchase", "view"))
SPEND = Measure("spend", ("purchase",), "amount")
KEYS = 3
ZONES = (
    "UTC",
    "Asia/Shanghai",
    "Asia/Kathmandu",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)

Event = tuple[int, int, int, str, int]
"""Key, known_at, event_time, type, amount."""

AMOUNTS = st.sampled_from([0, 1, 250, 2**53, 2**53 + 1, 2**60])


@st.composite
def event_lists(draw: st.DrawFn, *, max_lateness: int = 30) -> list[Event]:
    """Draw events about the epoch, so close together that they often meet a window's edge."""
    events = []
    for _ in range(draw(st.integers(0, 25))):
        at, late = (
            draw(st.integers(-20, 40)),
            draw(st.sampled_from([0, 0, 0, draw(st.integers(0, max_lateness))])),
        )
        late = min(late, max_lateness)
        event_type = draw(st.sampled_from(["purchase", "view", "contact"]))
        events.append((draw(st.integers(0, KEYS - 1)), at + late, at, event_type, draw(AMOUNTS) % 2**58))
    return sorted(events)


def memory_of(events: list[Event], key_count: int = KEYS) -> KeyedEvents:
    key, known_at, event_time, _, amount = (
        (np.array(column, np.int64) for column in zip(*((*e[:3], 0, e[4]) for e in events), strict=True))
        if events
        else (np.empty(0, np.int64),) * 5
    )
    types = np.array([TYPE_CODES[event[3]] for event in events], np.int64)
    columns = {"amount": amount, "minus_event_time": -event_time}
    return KeyedEvents(key_count, key, event_time, known_at, types, columns)


WAYS = st.sampled_from([0, 10**9])
"""Up to how many pairs of row and event every event is looked at: searching always, or never."""

ROWS = st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(-30, 80)), max_size=12)


def columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([key for key, _ in rows], np.int64), np.array([at for _, at in rows], np.int64)


def value(measure: Measure, event: Event) -> int:
    if event[3] not in measure.event_types:
        return 0
    return 1 if measure.column == "one" else event[4]


@settings(max_examples=300, deadline=None)
@given(events=event_lists(), rows=ROWS, window=st.one_of(st.none(), st.integers(1, 40)), few=WAYS)
def test_a_sum_is_over_the_events_known_by_the_instant_and_younger_than_the_window(
    events: list[Event], rows: list[tuple[int, int]], window: int | None, few: int
) -> None:
    found = WindowRows(memory_of(events), *columns(rows), few_cells=few)
    for measure in (COUNT, SPEND):
        assert found.sum(measure, window).tolist() == [
            sum(
                value(measure, event)
                for event in events
                if event[0] == key and event[1] <= at and (window is None or event[2] > at - window)
            )
            for key, at in rows
        ]


@settings(max_examples=150, deadline=None)
@given(
    events=event_lists(),
    instants=st.lists(st.integers(-30, 80), max_size=12),
    window=st.integers(1, 40),
    is_late=st.booleans(),
    few=WAYS,
)
def test_a_memory_of_one_key_alone_obeys_the_same_inequality(
    events: list[Event], instants: list[int], window: int, is_late: bool, few: int
) -> None:
    alone = sorted((0, known if is_late else at, at, kind, amount) for _, known, at, kind, amount in events)
    found = WindowRows(
        memory_of(alone, 1), np.zeros(len(instants), np.int64), np.array(instants, np.int64), few_cells=few
    )
    assert found.sum(SPEND, window).tolist() == [
        sum(value(SPEND, event) for event in alone if event[1] <= at and event[2] > at - window)
        for at in instants
    ]


@settings(max_examples=100, deadline=None)
@given(events=event_lists(max_lateness=0), rows=ROWS, window=st.integers(1, 40), few=WAYS)
def test_a_late_event_of_one_key_changes_nothing_of_the_others(
    events: list[Event], rows: list[tuple[int, int]], window: int, few: int
) -> None:
    on_time = WindowRows(memory_of(events, KEYS + 1), *columns(rows), few_cells=few)
    with_late = WindowRows(
        memory_of([*events, (KEYS, 500, 0, "purchase", 1)], KEYS + 1), *columns(rows), few_cells=few
    )
    assert on_time.sum(SPEND, window).tolist() == with_late.sum(SPEND, window).tolist()


@settings(max_examples=300, deadline=None)
@given(
    events=event_lists(),
    rows=st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(-30, 60), st.integers(0, 30)), max_size=12),
    window=st.one_of(st.none(), st.integers(1, 40)),
    few=WAYS,
)
def test_a_profile_and_what_became_known_since_hold_each_event_once(
    events: list[Event], rows: list[tuple[int, int, int]], window: int | None, few: int
) -> None:
    keys = np.array([key for key, _, _ in rows], np.int64)
    boundary = np.array([at for _, at, _ in rows], np.int64)
    instants = boundary + np.array([since for _, _, since in rows], np.int64)
    memory = memory_of(events)
    new = WindowRows(memory, keys, instants, boundary, few_cells=few).newly_known_sum(SPEND, window)
    whole = new + WindowRows(memory, keys, boundary, few_cells=few).sum(SPEND, window)
    younger = [
        [
            event
            for event in events
            if event[0] == key and event[1] <= at + since and (window is None or event[2] > at - window)
        ]
        for key, at, since in rows
    ]
    assert whole.tolist() == [sum(value(SPEND, event) for event in chosen) for chosen in younger]
    assert new.tolist() == [
        sum(value(SPEND, event) for event in chosen if event[1] > at)
        for chosen, (_, at, _) in zip(younger, rows, strict=True)
    ]


Sighting = tuple[int, int, int, str, int]
"""Key, known_at, event_time, type, item; item -1 is none."""


@st.composite
def sighting_lists(draw: st.DrawFn, keys: int = KEYS) -> list[Sighting]:
    """Draw events of few items, so that an item often comes into a window again before it has gone."""
    sightings = []
    for _ in range(draw(st.integers(0, 25))):
        at, late = draw(st.integers(-20, 40)), draw(st.sampled_from([0, 0, 1, 5, 12, 60]))
        event_type = draw(st.sampled_from(["purchase", "view", "contact"]))
        sightings.append(
            (draw(st.integers(0, keys - 1)), at + late, at, event_type, draw(st.integers(-1, 3)))
        )
    return sorted(sightings)


def distinct_by_hand(
    sightings: list[Sighting], rows: list[tuple[int, int]], types: tuple[str, ...], window: int | None
) -> list[int]:
    return [
        len(
            {
                item
                for owner, known, event_time, event_type, item in sightings
                if owner == key and event_type in types and item >= 0
                if known <= at and (window is None or event_time > at - window)
            }
        )
        for key, at in rows
    ]


WINDOWS = st.one_of(st.none(), st.sampled_from([1, 2, 5, 12, 13, 40, 100]))


@settings(max_examples=400, deadline=None)
@given(sightings=sighting_lists(), rows=ROWS, window=WINDOWS, few=WAYS)
def test_distinct_values_are_those_of_the_events_known_by_the_instant_and_younger_than_the_window(
    sightings: list[Sighting], rows: list[tuple[int, int]], window: int | None, few: int
) -> None:
    # Instants at which an event enters or leaves, and their neighbours, are looked at besides those drawn.
    rows += [(key, known + step) for key, known, _, _, _ in sightings[:4] for step in (-1, 0)]
    rows += [(key, at + (window or 0) + step) for key, _, at, _, _ in sightings[:4] for step in (-1, 0)]
    found = WindowRows(memory_of(sightings), *columns(rows), few_cells=few)
    for types in (("view",), ("purchase", "view"), ("contact", "view", "purchase"), ("refund",)):
        assert found.distinct(types, "amount", window).tolist() == distinct_by_hand(
            sightings, rows, types, window
        )


@settings(max_examples=150, deadline=None)
@given(
    sightings=sighting_lists(keys=1),
    instants=st.lists(st.integers(-30, 80), max_size=12),
    window=WINDOWS,
    few=WAYS,
)
def test_distinct_values_of_one_customers_memory_obey_the_same_inequality(
    sightings: list[Sighting], instants: list[int], window: int | None, few: int
) -> None:
    rows = [(0, at) for at in instants]
    found = WindowRows(memory_of(sightings, 1), *columns(rows), few_cells=few)
    assert found.distinct(("view",), "amount", window).tolist() == distinct_by_hand(
        sightings, rows, ("view",), window
    )


@pytest.mark.parametrize("few", [0, 10**9])
def test_a_value_seen_twice_stays_until_its_last_event_leaves_and_counts_once(few: int) -> None:
    seen = [(0, 0, 0, "view", 7), (0, 5, 5, "view", 7), (0, 30, 6, "view", 7), (0, 31, 1, "view", 8)]
    rows = [(0, at) for at in (-1, 0, 9, 10, 14, 15, 29, 30, 31, 100)]
    memory = memory_of(seen)
    assert WindowRows(memory, *columns(rows), few_cells=few).distinct(("view",), "amount", 10).tolist() == [
        0, 1, 1, 1, 1, 0, 0, 0, 0, 0,
    ]  # fmt: skip
    # A window of 30 holds the view of time 6 when it becomes known at 30, and that of time 1 at 31 no more.
    assert WindowRows(memory, *columns(rows), few_cells=few).distinct(("view",), "amount", 30).tolist() == [
        0, 1, 1, 1, 1, 1, 1, 1, 1, 0,
    ]  # fmt: skip
    assert WindowRows(memory, *columns(rows), few_cells=few).distinct(("view",), "amount", None).tolist() == [
        0, 1, 1, 1, 1, 1, 1, 1, 2, 2,
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(events=event_lists(), rows=ROWS, few=WAYS)
def test_latest_and_earliest_are_those_known_at_the_instant(
    events: list[Event], rows: list[tuple[int, int]], few: int
) -> None:
    found = WindowRows(memory_of(events), *columns(rows), few_cells=few)
    bought = [
        [event for event in events if event[0] == key and event[1] <= at and event[3] == "purchase"]
        for key, at in rows
    ]
    assert found.latest(("purchase",)).tolist() == [
        max((event[2] for event in known), default=NEVER) for known in bought
    ]
    assert found.latest(("purchase",), "amount").tolist() == [
        max((event[4] for event in known), default=NEVER) for known in bought
    ]
    assert found.earliest(("purchase",)).tolist() == [
        min((event[2] for event in known), default=NEVER) for known in bought
    ]


@given(
    ranges=st.lists(st.tuples(st.integers(0, 50), st.integers(-3, 9)), max_size=20),
    at_once=st.integers(1, 12),
)
def test_ranges_are_enumerated_the_same_in_however_small_portions(
    ranges: list[tuple[int, int]], at_once: int
) -> None:
    starts = np.array([start for start, _ in ranges], np.int64)
    ends = starts + np.array([size for _, size in ranges], np.int64)
    found, covered = [], []
    for rows, row, position in expand(starts, ends, at_once):
        covered += range(len(ranges))[rows]
        found += zip((row + rows.start).tolist(), position.tolist(), strict=True)
        assert len(row) <= max(at_once, int((ends - starts)[rows].max()))
    assert covered == list(range(len(ranges)))
    assert found == [(n, p) for n, (start, size) in enumerate(ranges) for p in range(start, start + size)]


def test_more_pairs_than_are_held_at_once_are_subtracted_all_the_same() -> None:
    count, window = 3_000, 1_000
    order = np.arange(count)
    purchases = np.full(count, TYPE_CODES["purchase"])
    memory = KeyedEvents(1, np.zeros(count, int), order - 10_000, order, purchases, {"amount": order})
    boundary = np.full(count, -10_000 + window + 1_499)
    rows = WindowRows(memory, np.zeros(count, int), np.full(count, count), boundary)
    assert count * count > 2 * EXPANSION_ROWS
    # Of the amounts 0 to 2999 the first 1500 are of events at least `window` older than the boundary.
    assert set(rows.newly_known_sum(SPEND, window).tolist()) == {sum(range(1_500, count))}


@pytest.mark.parametrize("few", [-1, 0])
def test_nothing_is_found_where_there_is_nothing(few: int) -> None:
    nothing = np.empty(0, np.int64)
    rows = WindowRows(memory_of([]), np.array([0, 2]), np.array([5, 5]), few_cells=few)
    assert rows.sum(SPEND, 10).tolist() == [0, 0]
    assert rows.newly_known_sum(SPEND, 10).tolist() == [0, 0]
    assert rows.distinct(("purchase",), "amount", 10).tolist() == [0, 0]
    assert rows.distinct(("purchase",), "amount", None).tolist() == [0, 0]
    assert rows.latest(("purchase",)).tolist() == [NEVER, NEVER]
    assert rows.earliest(("purchase",)).tolist() == [NEVER, NEVER]
    assert list(expand(nothing, nothing)) == []


def test_sums_are_exact_though_the_total_over_all_keys_exceeds_an_integer() -> None:
    # 20 keys of 1000 events of nearly 10^15 each: 2 * 10^19 altogether, more than 2^63.
    key = np.repeat(np.arange(20), 1_000)
    at = np.tile(np.arange(1_000), 20)
    amount = 10**15 - key * 7 - at
    memory = KeyedEvents(20, key, at, at, np.full(len(key), TYPE_CODES["purchase"]), {"amount": amount})
    rows = WindowRows(memory, np.arange(20), np.full(20, 999))
    assert rows.sum(SPEND, None).tolist() == [1_000 * (10**15 - k * 7) - 499_500 for k in range(20)]
    assert rows.sum(SPEND, 2).tolist() == [2 * (10**15 - k * 7) - 998 - 999 for k in range(20)]


@pytest.mark.parametrize("length", [0, -1])
def test_a_window_that_is_none_is_refused(length: int) -> None:
    with pytest.raises(WindowError, match=f"window 'none' has length {length} µs; expected more than 0"):
        Window("none", length, is_long=False)
    rows = WindowRows(memory_of([]), *columns([(0, 0)]))
    with pytest.raises(WindowError, match=f"window of {length} µs; expected more than 0"):
        rows.sum(SPEND, length)
    with pytest.raises(WindowError, match=f"window of {length} µs; expected more than 0"):
        rows.distinct(("purchase",), "amount", length)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001 (bounds of naive datetimes are naive)
def test_an_instant_survives_the_way_to_microseconds_and_back(instant: datetime) -> None:
    assert from_us(to_us(instant)) == instant


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(WindowError, match="has no time zone; expected an aware datetime"):
        to_us(datetime(2024, 1, 1))  # noqa: DTZ001 (that is what is refused)


INSTANTS = st.lists(
    st.integers(to_us(datetime(1990, 1, 1, tzinfo=UTC)), to_us(datetime(2035, 1, 1, tzinfo=UTC))),
    min_size=1,
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(instants=INSTANTS, lag=st.integers(0, 24), zone=st.sampled_from(ZONES).map(ZoneInfo))
def test_a_profile_ends_where_the_local_day_began_that_was_running_a_lag_ago(
    instants: list[int], lag: int, zone: ZoneInfo
) -> None:
    found = profile_boundary(np.array(instants), zone, timedelta(hours=lag))
    for instant, boundary in zip(instants, found.tolist(), strict=True):
        published = from_us(instant) - timedelta(hours=lag)
        assert from_us(boundary) <= published
        assert from_us(boundary).astimezone(zone).date() == published.astimezone(zone).date()
        assert from_us(boundary - 1).astimezone(zone).date() < published.astimezone(zone).date()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", datetime(2024, 3, 10, 12, tzinfo=UTC), 23),
        ("America/New_York", datetime(2024, 11, 3, 12, tzinfo=UTC), 25),
        ("Australia/Lord_Howe", datetime(2024, 4, 7, 0, tzinfo=UTC), 24.5),
        ("America/Sao_Paulo", datetime(2018, 11, 4, 12, tzinfo=UTC), 23),
        ("Asia/Shanghai", datetime(2024, 3, 10, 12, tzinfo=UTC), 24),
    ],
)
def test_a_day_on_which_clocks_change_is_as_long_as_it_is(zone: str, day: datetime, hours: float) -> None:
    boundaries = day_boundaries(to_us(day), to_us(day), ZoneInfo(zone))
    place = int(np.searchsorted(boundaries, to_us(day), side="right"))
    assert int(boundaries[place] - boundaries[place - 1]) == hours / 24 * DAY_US


def test_a_boundary_belongs_to_its_own_day_and_the_lag_is_kept_to_the_microsecond() -> None:
    zone, midnight = ZoneInfo("Asia/Shanghai"), to_us(datetime(2024, 5, 1, 16, tzinfo=UTC))
    lag = timedelta(hours=1)
    ready = midnight + 3_600_000_000
    found = profile_boundary(np.array([ready - 1, ready, ready + 1]), zone, lag)
    assert found.tolist() == [midnight - DAY_US, midnight, midnight]
    assert profile_boundary(np.empty(0, np.int64), zone, lag).tolist() == []


@settings(max_examples=150, deadline=None)
@given(instants=INSTANTS, zone=st.sampled_from(ZONES).map(ZoneInfo))
def test_a_weekday_is_that_of_the_local_calendar(instants: list[int], zone: ZoneInfo) -> None:
    expected = [from_us(instant).astimezone(zone).weekday() for instant in instants]
    assert local_weekday(np.array(instants), zone).tolist() == expected


def test_a_day_that_was_left_out_of_the_calendar_shifts_no_weekday() -> None:
    # Samoa went from Thursday 29 to Saturday 31 December 2011.
    zone = ZoneInfo("Pacific/Apia")
    around = [datetime(2011, 12, 30, 9, tzinfo=UTC), datetime(2011, 12, 30, 11, tzinfo=UTC)]
    assert local_weekday(np.array([to_us(at) for at in around]), zone).tolist() == [3, 5]
    assert local_weekday(np.empty(0, np.int64), zone).tolist() == []
