"""Which events the lake already holds, asked by every event that is posted."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.errors import EventLogError
from features.events import EVENT_SCHEMA
from features.lake import DAY_PREFIX, LOCK_NAME, Lake

SEPARATOR = "\x1f"
"""No id holds it: the door refuses control characters."""

READ_ATTEMPTS = 3
GROWTH = 4

Hashes = npt.NDArray[np.uint64]


class StoredIds:
    """The (source, event_id) of the lake's events as sorted 64-bit hashes: 8 bytes an event.

    They follow the lake: whoever writes to it leaves another text in its lock file, and the parts that are
    new then are read. What a merge or an erasure took away may linger, and two ids may share a hash: a hit is
    confirmed in the lake itself. Safe to share between threads.

    Parameters
    ----------
    lake
        The lake.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._lock = threading.Lock()
        self._seen: str | None = None
        self._parts: set[str] = set()
        # Sorted, each at least `GROWTH` times as long as the next, so that adding a few sorts few.
        self._runs: list[Hashes] = []

    def refresh(self) -> None:
        """Read what was added to the lake since."""
        with self._lock:
            self._refresh()

    def may_hold(self, events: pl.DataFrame) -> list[int]:
        """Return the numbers of the rows that the lake may hold; it holds none of the others.

        Parameters
        ----------
        events
            With ``source`` and ``event_id``.
        """
        with self._lock:
            self._refresh()
            runs = list(self._runs)
        if not runs or events.is_empty():
            return []
        wanted = _hashes_of(events)
        found = np.zeros(len(wanted), np.bool_)
        for hashes in runs:
            places = np.searchsorted(hashes, wanted)
            found |= hashes[np.minimum(places, len(hashes) - 1)] == wanted
        return [int(row) for row in np.flatnonzero(found)]

    def find(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return the lake's events that bear the (source, event_id) of one of the given.

        Parameters
        ----------
        events
            With ``source`` and ``event_id``.

        Returns
        -------
        Rows of `EVENT_SCHEMA`.
        """
        found = [
            self._lake.existing(str(source), of_source["event_id"])
            for (source,), of_source in events.group_by("source", maintain_order=True)
        ]
        return pl.concat(found) if found else pl.DataFrame(schema=EVENT_SCHEMA)

    def _refresh(self) -> None:
        version = _version(self._lake.root)
        # Empty while somebody writes: more may have come since we looked.
        if version and version == self._seen:
            return
        for attempt in range(READ_ATTEMPTS):
            added = sorted(_parts(self._lake.root) - self._parts)
            try:
                hashes = _read(added)
            except FileNotFoundError:
                # A merge replaced parts between listing and reading: list again.
                if attempt + 1 == READ_ATTEMPTS:
                    raise
                continue
            self._add(hashes)
            self._parts.update(added)
            self._seen = version
            return

    def _add(self, hashes: Hashes) -> None:
        if not len(hashes):
            return
        runs = [*self._runs, np.unique(hashes)]
        while len(runs) > 1 and len(runs[-2]) < GROWTH * len(runs[-1]):
            runs[-2:] = [np.unique(np.concatenate(runs[-2:]))]
        self._runs = runs


def _version(root: Path) -> str:
    try:
        return (root / LOCK_NAME).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _parts(root: Path) -> set[str]:
    if not root.is_dir():
        return set()
    return {
        part.path
        for day in os.scandir(root)
        if day.name.startswith(DAY_PREFIX)
        for part in os.scandir(day)
        if part.name.endswith(".parquet") and not part.name.startswith(".")
    }


def _read(parts: list[str]) -> Hashes:
    if not parts:
        return np.empty(0, np.uint64)
    frame = pl.scan_parquet(parts, hive_partitioning=False, glob=False).select("source", "event_id")
    try:
        return _hashes_of(frame.collect())
    except pl.exceptions.ComputeError as error:
        raise EventLogError(
            f"the lake cannot be read: {str(error).splitlines()[0]}",
            "restore the damaged file, or import again into another --home",
        ) from None


def _hashes_of(events: pl.DataFrame) -> Hashes:
    keys = events.select(pl.concat_str("source", "event_id", separator=SEPARATOR).hash()).to_series()
    hashes: Hashes = keys.to_numpy()
    return hashes
