from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events import INSTANT
from features.local_time import end_of_local_days, from_local_times

ZONES = [
    "UTC",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "Asia/Shanghai",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Cairo",
]
YEARS = {"min_value": datetime(1990, 1, 2), "max_value": datetime(2035, 12, 30)}  # noqa: DTZ001 - local times are naive

near_a_change = st.sampled_from(
    [
        datetime.fromisoformat(text)
        for text in (
            "2011-03-27T01:00",
            "2011-10-30T01:00",
            "2017-03-12T02:00",
            "2017-11-05T01:00",
            "2006-10-29T00:00",
            "2011-12-30T00:00",
            "2017-10-15T00:00",
            "2017-02-18T23:00",
            "2018-04-01T01:30",
        )
    ]
)
local_times = st.one_of(
    st.datetimes(**YEARS),
    st.builds(
        lambda change, seconds: change + timedelta(seconds=seconds), near_a_change, st.integers(-7200, 7200)
    ),
)


@given(st.lists(st.none() | local_times, max_size=20), st.sampled_from(ZONES))
def test_local_times_become_the_instants_that_zoneinfo_gives_for_the_first_reading(
    times: list[datetime | None], zone: str
) -> None:
    place = ZoneInfo(zone)
    found = from_local_times(pl.Series("t", times, pl.Datetime("us")), zone)
    for number, moment in enumerate(times):
        if moment is None:
            assert found.instants[number] is None
            assert not found.is_ambiguous[number]
            assert not found.is_missing[number]
            continue
        # PEP 495: fold=0 is the earlier of two readings, and shifts a missing time forward by the gap.
        expected = moment.replace(tzinfo=place, fold=0).astimezone(UTC)
        other = moment.replace(tzinfo=place, fold=1).astimezone(UTC)
        assert found.instants[number] == expected
        shown = expected.astimezone(place).replace(tzinfo=None)
        assert found.is_missing[number] == (shown != moment)
        assert found.is_ambiguous[number] == (other != expected and shown == moment)


@given(
    st.lists(st.none() | st.dates(date(1990, 1, 2), date(2035, 12, 30)), max_size=20), st.sampled_from(ZONES)
)
def test_a_day_ends_at_its_last_microsecond(days: list[date | None], zone: str) -> None:
    place = ZoneInfo(zone)
    ends = end_of_local_days(pl.Series("d", days, pl.Date), zone)
    assert ends.dtype == INSTANT
    for day, end in zip(days, ends, strict=True):
        if day is None:
            assert end is None
            continue
        assert end.astimezone(place).date() == day
        # An hour and a half on, no clock of the list shows that day any more.
        for later in (timedelta(microseconds=1), timedelta(minutes=61), timedelta(minutes=90)):
            assert (end + later).astimezone(place).date() > day


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("UTC", "2017-12-31", "2017-12-31T23:59:59.999999+00:00"),
        ("Europe/London", "2011-06-09", "2011-06-09T22:59:59.999999+00:00"),
        ("Asia/Shanghai", "2017-05-01", "2017-05-01T15:59:59.999999+00:00"),
        # Clocks went back at 00:01 to 23:01 of the day before: the day ended twice, the second time counts.
        ("America/St_Johns", "2006-10-28", "2006-10-29T03:29:59.999999+00:00"),
        # Midnight did not exist: clocks jumped from 24:00 to 01:00.
        ("America/Sao_Paulo", "2017-10-14", "2017-10-15T02:59:59.999999+00:00"),
        # The date line moved over Samoa, which had no 30th: its end is the 29th's.
        ("Pacific/Apia", "2011-12-30", "2011-12-30T09:59:59.999999+00:00"),
    ],
)
def test_the_end_of_a_day_where_clocks_change_at_midnight(zone: str, day: str, expected: str) -> None:
    ends = end_of_local_days(pl.Series([date.fromisoformat(day)]), zone)
    assert ends[0].isoformat() == expected


def test_no_times_give_no_instants() -> None:
    empty = from_local_times(pl.Series("t", [], pl.Datetime("us")), "Europe/London")
    assert empty.instants.dtype == INSTANT
    assert empty.instants.len() == 0
    assert end_of_local_days(pl.Series("d", [], pl.Date), "Europe/London").len() == 0
