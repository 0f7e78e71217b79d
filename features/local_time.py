"""Local wall-clock times and dates turned into instants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from features.events import INSTANT

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class LocalInstants:
    """Instants of local times, and which of them had to be decided by rule.

    Attributes
    ----------
    instants
        Series of `INSTANT`, null where the time given was null.
    is_ambiguous, is_missing
        Booleans, never null: the wall clock showed the time twice (the earlier instant was taken), or never
        (it was shifted forward by the length of the gap).
    """

    instants: pl.Series
    is_ambiguous: pl.Series
    is_missing: pl.Series


def from_local_times(times: pl.Series, zone: str) -> LocalInstants:
    """Turn naive local times into instants.

    An ambiguous time (clocks go back) is the earlier of its two instants; a missing one (clocks go forward)
    is shifted forward by the gap: 02:30 on a day that jumps from 02:00 to 03:00 becomes 03:30.

    Parameters
    ----------
    times
        Naive ``Datetime("us")``; null stays null.
    zone
        IANA name.

    >>> found = from_local_times(pl.Series([datetime(2011, 3, 27, 1, 30)]), "Europe/London")
    >>> found.instants[0].isoformat(), found.is_missing[0]
    ('2011-03-27T01:30:00+00:00', True)
    """
    earliest = times.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    latest = times.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    is_ambiguous = (earliest != latest).fill_null(value=False)
    is_missing = earliest.is_null() & times.is_not_null()
    instants = earliest.dt.convert_time_zone("UTC").cast(INSTANT)
    if is_missing.any():
        place = ZoneInfo(zone)
        wanted = times.filter(is_missing).unique()
        shifted = [moment.replace(tzinfo=place, fold=0).astimezone(UTC) for moment in wanted]
        moved = times.replace_strict(
            wanted, pl.Series(shifted, dtype=INSTANT), default=None, return_dtype=INSTANT
        )
        instants = pl.select(pl.coalesce(instants, moved)).to_series()
    return LocalInstants(instants.rename(times.name), is_ambiguous, is_missing)


def end_of_local_days(days: pl.Series, zone: str) -> pl.Series:
    """Return the last microsecond of each local day, as a series of `INSTANT`; null stays null.

    >>> str(end_of_local_days(pl.Series([date(2011, 6, 9)]), "Europe/London")[0])
    '2011-06-09 22:59:59.999999+00:00'
    """
    wanted = days.drop_nulls().unique()
    place = ZoneInfo(zone)
    ends = pl.Series([_end_of_local_day(day, place) for day in wanted], dtype=INSTANT)
    return days.replace_strict(wanted, ends, default=None, return_dtype=INSTANT)


def _end_of_local_day(day: date, place: ZoneInfo) -> datetime:
    midnight = datetime.combine(day + timedelta(days=1), time(), place)
    # Where clocks change about midnight there are two readings; the day ends with the later one still in it.
    readings = [midnight.replace(fold=fold).astimezone(UTC) - MICROSECOND for fold in (0, 1)]
    inside = [reading for reading in readings if reading.astimezone(place).date() == day]
    return max(inside, default=readings[0])
