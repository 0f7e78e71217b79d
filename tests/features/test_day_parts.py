from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.day_parts import DAY_PARTS, day_part
from features.windows import from_us, to_us

ZONES = (
    "UTC",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Havana",
    "Pacific/Apia",
    "America/Sao_Paulo",
)
FIRST, LAST = (to_us(datetime(year, 1, 1, tzinfo=UTC)) for year in (2008, 2026))


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.integers(FIRST, LAST), max_size=20), zone=st.sampled_from(ZONES))
def test_the_part_of_the_day_is_that_of_the_hour_on_the_clock(times, zone):
    place = ZoneInfo(zone)
    expected = [from_us(at).astimezone(place).hour // 6 for at in times]
    assert day_part(np.array(times, np.int64), place).tolist() == expected


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/New_York", datetime(2024, 3, 10, tzinfo=UTC)),
        ("America/New_York", datetime(2024, 11, 3, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2024, 4, 6, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2024, 10, 5, tzinfo=UTC)),
        # Midnight itself is missing, comes twice, and a whole day was left out.
        ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC)),
        ("America/Havana", datetime(2024, 11, 3, tzinfo=UTC)),
        ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
    ],
)
def test_on_the_day_that_clocks_change_every_ten_minutes_have_the_part_on_the_clock(zone, day):
    place = ZoneInfo(zone)
    times = to_us(day) + np.arange(0, 50 * 3600, 600) * 1_000_000 - 3600 * 10**6
    expected = [from_us(at).astimezone(place).hour // 6 for at in times.tolist()]
    assert day_part(times, place).tolist() == expected


def test_there_are_four_parts_and_no_times_have_none():
    assert DAY_PARTS == ("night", "morning", "afternoon", "evening")
    assert day_part(np.empty(0, np.int64), ZoneInfo("UTC")).tolist() == []
