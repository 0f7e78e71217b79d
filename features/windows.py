"""Window algebra: which events count at an instant, and sums over them.

An event becomes usable when it is known: ``known_at = max(event_time, ingested_at)``. At an instant ``t`` a
window of length ``W`` holds the events with ``known_at <= t`` and ``event_time > t - W``. Such an event
enters at ``known_at`` and leaves at ``max(known_at, event_time + W)``, so the sum over the window is what has
entered minus what has left: two look-ups in sorted arrays and a subtraction of prefix sums, late events
included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from features import key_order, keyed_events, sorted_axis
from features.errors import WindowError
from features.few_events import FEW_CELLS, FewEvents
from features.row_sums import Sums, sums_of_rows
from features.sorted_rows import SortedRows

# What goes with windows but needs to know nothing of them.
EXPANSION_ROWS = sorted_axis.EXPANSION_ROWS
NEVER = sorted_axis.NEVER
IntArray = key_order.IntArray
Keys = key_order.Keys
KeyedEvents = keyed_events.KeyedEvents
Measure = keyed_events.Measure
SumPlan = keyed_events.SumPlan
expand = sorted_axis.expand

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US


@dataclass(frozen=True)
class Window:
    """A named length of time.

    Attributes
    ----------
    name
        As it appears in feature names: ``72h``, ``30d``, ``lifetime``.
    length_us
        Microseconds; None is unbounded.
    is_long
        Long windows begin at a business-day boundary minus their length and take their older part from a
        profile; short ones are exact on both sides.
    """

    name: str
    length_us: int | None
    is_long: bool

    def __post_init__(self) -> None:
        if self.length_us is not None and self.length_us <= 0:
            raise WindowError(f"window {self.name!r} has length {self.length_us} µs; expected more than 0")


HOUR_1, HOUR_6, HOUR_24, HOUR_72 = (Window(f"{h}h", h * HOUR_US, False) for h in (1, 6, 24, 72))
DAY_7, DAY_30, DAY_90, DAY_365 = (Window(f"{d}d", d * DAY_US, True) for d in (7, 30, 90, 365))
LIFETIME = Window("lifetime", None, True)
SHORT_WINDOWS = (HOUR_1, HOUR_6, HOUR_24, HOUR_72)
LONG_WINDOWS = (DAY_7, DAY_30, DAY_90, DAY_365, LIFETIME)


def to_us(instant: datetime) -> int:
    """Return microseconds since the epoch, exactly.

    >>> from datetime import UTC
    >>> to_us(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005
    """
    if instant.tzinfo is None:
        raise WindowError(f"instant {instant} has no time zone; expected an aware datetime")
    return (instant - datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))) // timedelta(microseconds=1)


def from_us(instant_us: int) -> datetime:
    """Return the aware UTC datetime of microseconds since the epoch.

    >>> from_us(1000005).isoformat()
    '1970-01-01T00:00:01.000005+00:00'
    """
    return datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(microseconds=instant_us)


def day_boundaries(first_us: int, last_us: int, zone: ZoneInfo) -> IntArray:
    """Return every local midnight of ``zone`` from a day before ``first_us`` to a day after ``last_us``.

    >>> boundaries = day_boundaries(0, 0, ZoneInfo("Asia/Shanghai"))
    >>> [from_us(int(b)).isoformat() for b in boundaries][1]
    '1969-12-31T16:00:00+00:00'
    """
    return _days(first_us, last_us, zone)[0]


def _days(first_us: int, last_us: int, zone: ZoneInfo) -> tuple[IntArray, IntArray]:
    first = (from_us(first_us) - timedelta(days=1)).astimezone(zone).date()
    return _midnights(first, (from_us(last_us) + timedelta(days=2)).astimezone(zone).date(), zone)


@lru_cache(maxsize=64)
def _midnights(day: date, end: date, zone: ZoneInfo) -> tuple[IntArray, IntArray]:
    """Return the midnights of some days, and their weekdays; a service asks for the same all day long."""
    found = []
    while day <= end:
        found.append(to_us(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(ZoneInfo("UTC"))))
        day += timedelta(days=1)
    midnights = np.unique(np.asarray(found, dtype=np.int64))
    weekdays = np.array([from_us(at).astimezone(zone).weekday() for at in midnights.tolist()], np.int64)
    midnights.setflags(write=False)
    return midnights, weekdays


def profile_boundary(instants: IntArray, zone: ZoneInfo, publication_lag: timedelta) -> IntArray:
    """Return for each instant the latest day boundary at least ``publication_lag`` before it.

    Parameters
    ----------
    instants
        Shape (n_rows,), µs since the epoch.

    Returns
    -------
    Shape (n_rows,), µs since the epoch.
    """
    if len(instants) == 0:
        return np.empty(0, np.int64)
    published = instants - publication_lag // timedelta(microseconds=1)
    boundaries = day_boundaries(int(published.min()), int(published.max()), zone)
    return boundaries[np.searchsorted(boundaries, published, side="right") - 1]


def local_weekday(times: IntArray, zone: ZoneInfo) -> IntArray:
    """Return the weekday of each time in ``zone``: Monday is 0.

    >>> local_weekday(np.array([0]), ZoneInfo("UTC"))  # 1970-01-01 was a Thursday
    array([3])
    """
    if len(times) == 0:
        return np.empty(0, np.int64)
    boundaries, weekdays = _days(int(times.min()), int(times.max()), zone)
    return weekdays[np.searchsorted(boundaries, times, side="right") - 1]


class WindowRows:
    """Rows (key, instant) to look into a memory at; look-ups are made once and shared by all sums.

    Parameters
    ----------
    memory
        The events.
    keys, instants
        Shape (n_rows,); instants in µs since the epoch.
    boundary
        Shape (n_rows,): where each row's profile ends, if there is one.
    few_cells
        Up to this many pairs of row and event every event is looked at in every row; above it is searched.
        The results are the same.
    """

    def __init__(
        self,
        memory: KeyedEvents,
        keys: Keys,
        instants: IntArray,
        boundary: IntArray | None = None,
        *,
        few_cells: int = FEW_CELLS,
    ) -> None:
        self.memory = memory
        self.keys = keys
        self.instants = instants
        self.boundary = instants if boundary is None else boundary
        self.few: FewEvents | None = None
        """The rows over a handful of events, where all sums are made at once; None where there are more."""
        if len(keys) * len(memory) <= few_cells:
            self.few = FewEvents(memory, keys, instants, self.boundary)

    @cached_property
    def _search(self) -> SortedRows:
        return SortedRows.of(self.memory, self.keys, self.instants, self.boundary)

    @cached_property
    def begin(self) -> IntArray:
        """Where each row's key begins."""
        return self._search.placed(self._search.known.begin)

    @cached_property
    def until(self) -> IntArray:
        """Where what each row knows ends."""
        return self._search.placed(self._search.until)

    @cached_property
    def since(self) -> IntArray:
        """Where what each row's profile does not contain begins."""
        return self._search.placed(self._search.since)

    def sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over the events known at each instant and younger than the window.

        Parameters
        ----------
        window_us
            Length in µs, > 0; None for all events known so far.

        Returns
        -------
        Shape (n_rows,), int64; a key without events sums to 0.

        Raises
        ------
        WindowError
            If ``window_us`` is not positive.
        """
        if window_us is not None:
            check_length(window_us)
        if self.few is not None:
            return self.few.sum(measure, window_us)
        return self._search.placed(self._search.sum(measure, window_us))

    def sums(self, measures: Sequence[Measure], windows_us: Sequence[int | None]) -> Sums:
        """Sum many measures over many windows, as `sum` does each, on all cores.

        Returns
        -------
        By measure and window shape (n_rows,), int64.

        Raises
        ------
        WindowError
            If a length is not positive.
        """
        for window_us in windows_us:
            check_length(window_us)
        if self.few is None:
            return sums_of_rows(self.memory, self.keys, self.instants, measures, windows_us)
        return {(one, length): self.sum(one, length) for one in measures for length in windows_us}

    def newly_known_sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over the events known in ``(boundary, instant]`` that lie past ``boundary - window``.

        This is what a long window adds to a profile made at the boundary.
        """
        if self.few is not None:
            return self.few.newly_known_sum(measure, window_us)
        return self._search.placed(self._search.newly_known_sum(measure, window_us))

    def distinct(self, event_types: tuple[str, ...], column: str, window_us: int | None) -> IntArray:
        """Count the different values of a column among events of some types in the window at each instant.

        Parameters
        ----------
        column
            Of codes; a negative one is null and does not count.
        window_us
            Length in µs, > 0; None for all events known so far.

        Returns
        -------
        Shape (n_rows,), int64.

        Raises
        ------
        WindowError
            If ``window_us`` is not positive.
        """
        check_length(window_us)
        if self.few is not None:
            return self.few.distinct(event_types, column, window_us)
        return self._search.placed(self._search.distinct(event_types, column, window_us))

    def latest(self, event_types: tuple[str, ...], column: str = "event_time") -> IntArray:
        """Return the largest value of a column over the events of some types known at each instant.

        Parameters
        ----------
        column
            ``event_time`` (the time of the latest event) or another column.

        Returns
        -------
        Shape (n_rows,), int64; `NEVER` where there is none.
        """
        if self.few is not None:
            return self.few.latest(event_types, column)
        return self._search.placed(self._search.latest(event_types, column))

    def earliest(self, event_types: tuple[str, ...]) -> IntArray:
        """Return the time of the first event of some types known at each instant, or `NEVER`."""
        latest = self.latest(event_types, "minus_event_time")
        return np.where(latest == NEVER, NEVER, -latest)


def check_length(window_us: int | None) -> None:
    """Raise unless a window's length is positive or unbounded."""
    if window_us is not None and window_us <= 0:
        raise WindowError(f"window of {window_us} µs; expected more than 0")


def compile_searches() -> None:
    """Compile what look-ups of many rows run: takes a second or more the first time, which no request should.

    >>> compile_searches()
    """
    at, late = np.arange(2) * DAY_US, Measure("late", ("view",), "one_more")
    events = KeyedEvents(1, np.zeros(2, np.int64), at, at + DAY_US, np.zeros(2, np.int64), {"one_more": at})
    rows = WindowRows(events, np.zeros(1, np.int64), at[1:], at[:1], few_cells=0)
    for measure in (Measure("count", ("view",)), late):
        rows.sum(measure, HOUR_US)
        rows.newly_known_sum(measure, HOUR_US)
    rows.distinct(("view",), "one_more", HOUR_US)
