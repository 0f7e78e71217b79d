"""Window algebra: which events count at an instant, and sums over them.

An event becomes usable when it is known: ``known_at = max(event_time, ingested_at)``. At an instant ``t`` a
window of length ``W`` holds the events with ``known_at <= t`` and ``event_time > t - W``. Such an event
enters at ``known_at`` and leaves at ``max(known_at, event_time + W)``, so the sum over the window is what has
entered minus what has left: two look-ups in sorted arrays and a subtraction of prefix sums, late events
included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from features.errors import WindowError
from features.events import TYPE_CODES

IntArray = npt.NDArray[np.int64]

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US

NEVER = np.iinfo(np.int64).min
"""Stands for a time that has not happened; becomes NaN in features."""

EXPANSION_ROWS = 4_000_000
"""Most (row, event) pairs held at once where events have to be looked at one by one."""


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
    day = (from_us(first_us) - timedelta(days=1)).astimezone(zone).date()
    end = (from_us(last_us) + timedelta(days=2)).astimezone(zone).date()
    midnights = []
    while day <= end:
        midnights.append(
            to_us(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(ZoneInfo("UTC")))
        )
        day += timedelta(days=1)
    return np.unique(np.asarray(midnights, dtype=np.int64))


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
    boundaries = day_boundaries(int(times.min()), int(times.max()), zone)
    weekdays = np.array([from_us(at).astimezone(zone).weekday() for at in boundaries.tolist()], np.int64)
    return weekdays[np.searchsorted(boundaries, times, side="right") - 1]


@dataclass(frozen=True)
class Measure:
    """What is summed: a column over the events of some types.

    Attributes
    ----------
    name
        As it appears in profiles.
    event_types
        Names of the types that count.
    column
        ``one`` counts events; otherwise a column of the memory.
    """

    name: str
    event_types: tuple[str, ...]
    column: str = "one"


class SortedAxis:
    """Values sorted within keys, searchable for many (key, value) queries at once."""

    def __init__(self, keys: IntArray, values: IntArray, key_count: int) -> None:
        self._one_key = key_count == 1
        self._values = values
        if self._one_key or len(values) == 0:
            return
        self._low, self._high = int(values.min()), int(values.max())
        self._span = self._high - self._low + 2
        self._ranks: IntArray | None = None
        if key_count * self._span >= 2**63:
            self._ranks, ranked = np.unique(values, return_inverse=True)
            self._low, self._high, self._span = 0, len(self._ranks) - 1, len(self._ranks) + 1
            values = ranked.astype(np.int64)
        self._composite = keys * self._span + (values - self._low)

    def positions(self, keys: IntArray, at_most: IntArray) -> IntArray:
        """Return for each query the end of its key's entries with a value ``<= at_most``.

        Returns
        -------
        Shape (n_rows,): positions in the sorted arrays, from the first entry of the key (nothing found) on.
        """
        if len(self._values) == 0:
            return np.zeros(len(keys), np.int64)
        if self._one_key:
            return np.searchsorted(self._values, at_most, side="right").astype(np.int64)
        if self._ranks is not None:
            at_most = np.searchsorted(self._ranks, at_most, side="right") - 1
        query = np.clip(at_most, self._low - 1, self._high) - self._low
        return np.searchsorted(self._composite, keys * self._span + query, side="right").astype(np.int64)


def running_max(keys: IntArray, values: IntArray, counts: npt.NDArray[np.bool_]) -> IntArray:
    """Return the largest value so far within each key, over the entries that count; `NEVER` before the first.

    Parameters
    ----------
    keys, values, counts
        Shape (n,); ``keys`` ascending.

    >>> running_max(np.array([0, 0, 0, 1]), np.array([5, 3, 9, 1]), np.array([True, True, False, True]))
    array([5, 5, 5, 1])
    """
    if len(keys) == 0:
        return np.empty(0, np.int64)
    distinct, rank = np.unique(values, return_inverse=True)
    base = keys * (len(distinct) + 1)
    best = np.maximum.accumulate(base + np.where(counts, rank + 1, 0)) - base
    return np.where(best > 0, distinct[np.maximum(best - 1, 0)], NEVER)


def expand(
    starts: IntArray, ends: IntArray, at_once: int = EXPANSION_ROWS
) -> Iterator[tuple[slice, IntArray, IntArray]]:
    """Enumerate the positions of many ranges, about ``at_once`` at a time; a range is never divided.

    Yields
    ------
    rows
        The slice of ranges covered.
    row
        Shape (n_pairs,): for each position the range it belongs to, counted from the slice's start.
    position
        Shape (n_pairs,).

    >>> [(row.tolist(), position.tolist()) for _, row, position in expand(np.array([3, 8]), np.array([5, 9]))]
    [([0, 0, 1], [3, 4, 8])]
    """
    lengths = np.maximum(ends - starts, 0)
    totals = np.cumsum(lengths)
    first, done = 0, 0
    while first < len(lengths):
        last = max(int(np.searchsorted(totals, done + at_once, side="right")), first + 1)
        size = lengths[first:last]
        row = np.repeat(np.arange(last - first), size)
        offset = np.cumsum(size) - size
        yield slice(first, last), row, np.arange(int(size.sum())) - offset[row] + starts[first:last][row]
        first, done = last, int(totals[last - 1])


class KeyedEvents:
    """Events sorted by (key, known_at, event_time), with prefix sums made when first asked for.

    Parameters
    ----------
    key
        Shape (n,), ascending from 0 to ``key_count - 1``.
    event_time, known_at
        Shape (n,), µs since the epoch; ``known_at >= event_time``, ascending within a key.
    event_type
        Shape (n,), codes of `features.events.EVENT_TYPES`.
    columns
        Further int64 columns, shape (n,) each, that measures may sum.
    """

    def __init__(
        self,
        key_count: int,
        key: IntArray,
        event_time: IntArray,
        known_at: IntArray,
        event_type: IntArray,
        columns: dict[str, IntArray],
    ) -> None:
        self.key_count = key_count
        self.key = key
        self.event_time = event_time
        self.known_at = known_at
        self.event_type = event_type
        self.columns = columns
        self._prefix: dict[Measure, IntArray] = {}
        self._latest: dict[tuple[tuple[str, ...], str], IntArray] = {}
        self._exit: dict[int, tuple[IntArray, SortedAxis]] = {}

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.key)

    @cached_property
    def axis(self) -> SortedAxis:
        """Search by (key, known_at)."""
        return SortedAxis(self.key, self.known_at, self.key_count)

    @cached_property
    def offsets(self) -> IntArray:
        """Shape (key_count + 1,): where each key's events begin."""
        return np.searchsorted(self.key, np.arange(self.key_count + 1)).astype(np.int64)

    @cached_property
    def largest_lateness_us(self) -> int:
        """Longest time between an event and its becoming known."""
        return int((self.known_at - self.event_time).max()) if len(self) else 0

    def of_types(self, event_types: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """Return which events have one of the types, shape (n,)."""
        return np.isin(self.event_type, [TYPE_CODES[name] for name in event_types])

    def values(self, measure: Measure) -> IntArray:
        """Return what each event adds to a measure, shape (n,)."""
        chosen = self.of_types(measure.event_types)
        if measure.column == "one":
            return chosen.astype(np.int64)
        return np.where(chosen, self.columns[measure.column], 0)

    def prefix(self, measure: Measure) -> IntArray:
        """Return prefix sums over the known order, shape (n + 1,)."""
        if measure not in self._prefix:
            self._prefix[measure] = _prefix_sum(self.values(measure))
        return self._prefix[measure]

    def exits(self, window_us: int) -> tuple[IntArray, SortedAxis]:
        """Return the order in which events leave a window, and the search by (key, leaving time)."""
        if window_us not in self._exit:
            leaves = np.maximum(self.known_at, self.event_time + window_us)
            order = np.lexsort((leaves, self.key)).astype(np.int64)
            self._exit[window_us] = order, SortedAxis(self.key, leaves[order], self.key_count)
        return self._exit[window_us]

    def running_latest(self, event_types: tuple[str, ...], column: str) -> IntArray:
        """Return per event the largest value of a column so far, over its key's events of some types."""
        name = (event_types, column)
        if name not in self._latest:
            values = self.event_time if column == "event_time" else self.columns[column]
            self._latest[name] = running_max(self.key, values, self.of_types(event_types))
        return self._latest[name]


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
    """

    def __init__(
        self, memory: KeyedEvents, keys: IntArray, instants: IntArray, boundary: IntArray | None = None
    ) -> None:
        self.memory = memory
        self.keys = keys
        self.instants = instants
        self.boundary = instants if boundary is None else boundary
        self._starts: dict[int, IntArray] = {}

    @cached_property
    def begin(self) -> IntArray:
        """Where each row's key begins."""
        return self.memory.offsets[self.keys]

    @cached_property
    def until(self) -> IntArray:
        """Where what each row knows ends."""
        return self.memory.axis.positions(self.keys, self.instants)

    @cached_property
    def since(self) -> IntArray:
        """Where what each row's profile does not contain begins."""
        return self.memory.axis.positions(self.keys, self.boundary)

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
        if window_us is not None and window_us <= 0:
            raise WindowError(f"window of {window_us} µs; expected more than 0")
        memory = self.memory
        prefix = memory.prefix(measure)
        entered = prefix[self.until]
        if window_us is None:
            return entered - prefix[self.begin]
        if memory.largest_lateness_us == 0:
            if window_us not in self._starts:
                self._starts[window_us] = memory.axis.positions(self.keys, self.instants - window_us)
            return entered - prefix[self._starts[window_us]]
        order, axis = memory.exits(window_us)
        if window_us not in self._starts:
            self._starts[window_us] = axis.positions(self.keys, self.instants)
        return entered - _prefix_sum(memory.values(measure)[order])[self._starts[window_us]]

    def newly_known_sum(self, measure: Measure, window_us: int | None) -> IntArray:
        """Sum a measure over the events known in ``(boundary, instant]`` that lie past ``boundary - window``.

        This is what a long window adds to a profile made at the boundary.
        """
        memory = self.memory
        prefix = memory.prefix(measure)
        total = prefix[self.until] - prefix[self.since]
        if window_us is None or memory.largest_lateness_us < window_us:
            return total
        values = memory.values(measure)
        for rows, row, position in expand(self.since, self.until):
            too_old = memory.event_time[position] <= (self.boundary[rows] - window_us)[row]
            np.subtract.at(total[rows], row[too_old], values[position[too_old]])
        return total

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
        if len(self.memory) == 0:
            return np.full(len(self.keys), NEVER)
        running = self.memory.running_latest(event_types, column)
        return np.where(self.until > self.begin, running[np.maximum(self.until - 1, 0)], NEVER)

    def earliest(self, event_types: tuple[str, ...]) -> IntArray:
        """Return the time of the first event of some types known at each instant, or `NEVER`."""
        latest = self.latest(event_types, "minus_event_time")
        return np.where(latest == NEVER, NEVER, -latest)


def _prefix_sum(values: IntArray) -> IntArray:
    prefix = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=prefix[1:])
    return prefix
