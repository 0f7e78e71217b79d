"""The parts of a business day: night, morning, afternoon, evening by the wall clock."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np

from features.windows import DAY_US, HOUR_US, IntArray, day_boundaries, from_us

DAY_PARTS = ("night", "morning", "afternoon", "evening")
HOURS_OF_PART = 24 // len(DAY_PARTS)


def day_part(times: IntArray, zone: ZoneInfo) -> IntArray:
    """Return which of `DAY_PARTS` each time lies in: from 00:00, 06:00, 12:00 and 18:00 in ``zone`` on.

    >>> day_part(np.array([0, 12 * HOUR_US - 1, 23 * HOUR_US]), ZoneInfo("UTC"))
    array([0, 1, 3])
    """
    if len(times) == 0:
        return np.empty(0, np.int64)
    boundaries = day_boundaries(int(times.min()), int(times.max()), zone)
    day = np.searchsorted(boundaries, times, side="right") - 1
    hours = (times - boundaries[day]) // HOUR_US
    # On a day that is not 24 hours long the wall clock was changed: hours since midnight are not its hours.
    for place in np.flatnonzero(np.diff(boundaries)[day] != DAY_US).tolist():
        hours[place] = from_us(int(times[place])).astimezone(zone).hour
    return hours // HOURS_OF_PART
