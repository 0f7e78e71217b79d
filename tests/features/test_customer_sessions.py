from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.features.customer_looks import look, seen

UTC = ZoneInfo("UTC")
NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
NAMES = [
    *(f"session_count_{window}" for window in ("24h", "72h", "7d", "30d", "90d")),
    "seconds_since_last_session_start",
    "activity_per_session_30d",
]


def sessions(*rows, now=NOW):
    return look(rows, now, NAMES)


def test_activity_exactly_30_minutes_after_the_last_goes_on_with_the_session():
    began = NOW - 5 * HOUR
    going_on = sessions(seen(began, "view"), seen(began + 30 * MINUTE, "view"))
    assert going_on["session_count_24h"] == 1
    assert going_on["seconds_since_last_session_start"] == 5 * 3600
    assert going_on["activity_per_session_30d"] == 2
    anew = sessions(seen(began, "view"), seen(began + 30 * MINUTE + MICROSECOND, "view"))
    assert anew["session_count_24h"] == 2
    assert anew["seconds_since_last_session_start"] == 4.5 * 3600 - 1e-6
    assert anew["activity_per_session_30d"] == 1


def test_a_session_lasts_as_long_as_its_pauses_are_short():
    rows = [seen(NOW - 10 * HOUR + 20 * number * MINUTE, "view") for number in range(25)]
    found = sessions(*rows)
    assert found["session_count_24h"] == 1
    assert found["seconds_since_last_session_start"] == 10 * 3600
    assert found["activity_per_session_30d"] == 25


def test_several_events_of_one_moment_start_one_session():
    at = NOW - 2 * HOUR
    found = sessions(seen(at, "view"), seen(at, "search"), seen(at, "purchase"))
    assert found["session_count_24h"] == 1
    assert found["activity_per_session_30d"] == 3


def test_a_contact_neither_starts_a_session_nor_keeps_it_going():
    at = NOW - 3 * HOUR
    found = sessions(seen(at, "view"), seen(at + 20 * MINUTE, "contact"), seen(at + 40 * MINUTE, "view"))
    assert found["session_count_24h"] == 2
    alone = sessions(seen(at, "contact"))
    assert alone["session_count_90d"] == 0
    assert np.isnan(alone["seconds_since_last_session_start"])
    assert np.isnan(alone["activity_per_session_30d"])


def test_of_a_contact_and_a_view_of_one_moment_the_view_starts_the_session():
    at = NOW - 3 * HOUR
    assert sessions(seen(at, "contact"), seen(at, "coupon"), seen(at, "view"))["session_count_24h"] == 1


def test_a_late_event_starts_no_session_and_moves_none():
    rows = [
        seen(NOW - 5 * HOUR, "view"),
        # It happened between, but became known last.
        seen(NOW - 9 * HOUR, "view", late=8 * HOUR),
        seen(NOW - 3 * HOUR, "view"),
    ]
    found = sessions(*rows)
    assert found["session_count_24h"] == 2
    assert found["seconds_since_last_session_start"] == 3 * 3600
    assert found["activity_per_session_30d"] == 1.5


def test_a_late_event_ahead_of_all_that_is_known_starts_one():
    rows = [seen(NOW - 9 * HOUR, "view"), seen(NOW - 5 * HOUR, "view", late=4 * HOUR)]
    assert sessions(*rows)["session_count_24h"] == 2


def test_sessions_over_a_day_boundary_go_on():
    midnight = datetime(2024, 3, 15, tzinfo=UTC)
    rows = [seen(midnight - 10 * MINUTE, "view"), seen(midnight + 10 * MINUTE, "view")]
    found = sessions(*rows)
    assert found["session_count_24h"] == found["session_count_7d"] == 1
    assert found["seconds_since_last_session_start"] == 12 * 3600 + 600
    assert found["activity_per_session_30d"] == 2


@pytest.mark.parametrize(
    ("window", "edge"), [("24h", NOW - DAY), ("72h", NOW - 3 * DAY), ("30d", NOW - 12 * HOUR - 30 * DAY)]
)
def test_a_session_is_in_a_window_by_when_it_began(window, edge):
    for at, count in ((edge, 0), (edge + MICROSECOND, 1)):
        assert sessions(seen(at, "view"), seen(at + MINUTE, "view"))[f"session_count_{window}"] == count


def test_sessions_of_months_are_those_of_a_walk_through_the_events():
    draw = np.random.default_rng(3)
    times = [NOW - 120 * DAY + timedelta(minutes=int(at)) for at in np.sort(draw.integers(0, 172_000, 900))]
    found = sessions(*(seen(at, "view") for at in times))
    starts = [times[0], *(later for before, later in pairwise(times) if later - before > 30 * MINUTE)]
    midnight = datetime(2024, 3, 15, tzinfo=UTC)
    assert found["session_count_72h"] == sum(at > NOW - 3 * DAY for at in starts)
    for days in (7, 30, 90):
        assert found[f"session_count_{days}d"] == sum(at > midnight - days * DAY for at in starts)
    assert found["seconds_since_last_session_start"] == (NOW - starts[-1]).total_seconds()
