"""Sums over moving windows of a frame of events, as of the instants of a frame of rows."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import polars as pl

from features.errors import WindowError
from features.events import TYPE_CODES
from features.key_order import IntArray
from features.parallel import each_part, parts_of
from features.text_codes import text_codes
from features.windows import KeyedEvents, Measure, Window, WindowRows

NO_TYPE = 255
"""Stands for every event type that no measure counts."""

TYPES_AT_ONCE = 100_000
"""Events whose types are compared together: few enough that memory is used again instead of asked for."""


def window_sums(
    events: pl.DataFrame, rows: pl.DataFrame, measures: Sequence[Measure], windows: Sequence[Window]
) -> dict[str, IntArray]:
    """Sum measures over each customer's events in ``(instant - window, instant]`` that were known by then.

    Parameters
    ----------
    events
        Columns ``customer_id``, ``event_type``, ``event_time``, those that measures sum, and ``ingested_at``
        if events may have become known later than they happened.
    rows
        Columns ``customer_id`` and ``instant``; a customer may be without events.
    measures, windows
        Every measure is summed over every window.

    Returns
    -------
    ``{measure}_{window}``: shape (n_rows,), int64. A null amount adds nothing.

    Raises
    ------
    WindowError
        If an instant, a customer or an event's time is missing.

    >>> from datetime import UTC, datetime
    >>> from features.windows import HOUR_1, HOUR_24
    >>> at = [datetime(2024, 5, 1, hour, tzinfo=UTC) for hour in (9, 10, 11)]
    >>> events = pl.DataFrame({"customer_id": "7", "event_type": "view", "event_time": at})
    >>> rows = pl.DataFrame({"customer_id": ["7", "8"], "instant": [at[2], at[2]]})
    >>> window_sums(events, rows, [Measure("view_count", ("view",))], [HOUR_1, HOUR_24])
    {'view_count_1h': array([1, 0]), 'view_count_24h': array([3, 0])}
    """
    _complete(events, ("customer_id", "event_time"))
    _complete(rows, ("customer_id", "instant"))
    names = pl.concat([events["customer_id"], rows["customer_id"]], rechunk=False)
    summed = sorted({measure.column for measure in measures} - {"one"})
    found = text_codes(names)
    key = found.codes[: events.height]
    event_time = known_at = _instants(events["event_time"])
    if "ingested_at" in events.columns:
        ingested_at = _instants(events["ingested_at"].fill_null(events["event_time"]))
        known_at = np.maximum(event_time, ingested_at)
    columns = {name: events[name].fill_null(0).cast(pl.Int64).to_numpy() for name in summed}
    with ThreadPoolExecutor(1) as other:
        types = other.submit(_types, events["event_type"], measures)
        memory = KeyedEvents.sorting(found.count, key, event_time, known_at, types.result, columns)
    looked = WindowRows(memory, found.codes[events.height :], _instants(rows["instant"]))
    sums = looked.sums(measures, [window.length_us for window in windows])
    return {
        f"{measure.name}_{window.name}": sums[measure, window.length_us]
        for measure in measures
        for window in windows
    }


def _complete(frame: pl.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if frame[name].null_count():
            raise WindowError(f"{frame[name].null_count()} nulls in {name}; expected a value in every row")


def _instants(times: pl.Series) -> IntArray:
    return times.cast(pl.Datetime("us", "UTC")).to_physical().to_numpy()


def _types(event_types: pl.Series, measures: Sequence[Measure]) -> npt.NDArray[np.uint8]:
    """Return the code of each event's type, or `NO_TYPE` where no measure counts it."""
    meant = sorted({name for measure in measures for name in measure.event_types})
    codes = np.full(len(event_types), NO_TYPE, np.uint8)

    def put(part: slice) -> None:
        for name in meant:
            is_it = (event_types[part] == name).fill_null(value=False).to_numpy()
            # Nothing else is added to the 255 of these: it runs over to the type's code.
            codes[part] += is_it.view(np.uint8) * np.uint8(TYPE_CODES[name] + 1)

    each_part(put, parts_of(len(event_types), at_most=TYPES_AT_ONCE), work=len(event_types))
    return codes
