"""The lake: every event as Parquet, one folder per UTC day."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Protocol

import polars as pl

from features.errors import EventLogError
from features.events import EVENT_SCHEMA
from features.file_lock import exclusive

DAY_PREFIX = "day="
MERGED_PREFIX = "merged-"
REPLACES_SUFFIX = ".replaces"
MANY_PARTS = 8
READ_ATTEMPTS = 3
LOCK_NAME = ".lock"
WRITE_HINT = "check the disk and the permissions"


@dataclass(frozen=True)
class LakeErasure:
    """How many events were removed, and the latest ``event_time`` among them."""

    rows: int
    latest: datetime | None


class CustomerResolver(Protocol):
    """Tells which customer an id speaks of; see `features.identities`."""

    def resolve(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return the same rows, each under the customer who now carries its history."""

    def spellings(self, customers: Collection[str]) -> Collection[str]:
        """Return every id under which events of these customers may be stored."""


class Lake:
    """Append-only events under ``root/day=YYYY-MM-DD/PART.parquet``, the day being ``event_time``'s in UTC.

    A part is written beside its place and renamed into it, so that a reader never meets half of one. The
    lake does not look for duplicates by itself: ask `existing` first. Parts keep the customer id each event
    came with; whoever reads gets the one it resolves to now.

    Parameters
    ----------
    root
        The folder. Nothing is created before the first `append`.
    customers
        Resolves ids at reading; None: they are read as they were stored.
    """

    def __init__(self, root: Path, customers: CustomerResolver | None = None) -> None:
        self.root = root
        self._customers = customers

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lake's write lock, of all processes on this machine: between `existing` and `append`.

        Raises
        ------
        EventLogError
            If the folder cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / LOCK_NAME).touch()
        except OSError as error:
            raise EventLogError(f"cannot write {self.root}: {error}", WRITE_HINT) from None
        with exclusive(self.root / LOCK_NAME):
            try:
                yield
            finally:
                # Another text than before tells `features.stored_ids` that there may be more.
                with suppress(OSError):
                    (self.root / LOCK_NAME).write_text(uuid.uuid4().hex, encoding="ascii")

    def append(self, events: pl.DataFrame) -> int:
        """Write events, one part for each of their days.

        Parameters
        ----------
        events
            The columns of `EVENT_SCHEMA`; others are ignored.

        Returns
        -------
        The number of rows written.

        Raises
        ------
        EventLogError
            If a part cannot be written. Days written before that stay; repeating the append after asking
            `existing` completes it.
        """
        if events.is_empty():
            return 0
        ordered = events.select(list(EVENT_SCHEMA)).sort("event_time")
        days = ordered["event_time"].dt.date()
        starts = [0, *(days != days.shift(1)).fill_null(value=False).arg_true().to_list()]
        ends = [*starts[1:], ordered.height]
        name = uuid.uuid4().hex
        for start, end in zip(starts, ends, strict=True):
            self._write(self._folder(days[start]) / f"{name}.parquet", ordered[start:end])
        return ordered.height

    def read(
        self,
        *,
        known_by: datetime | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        columns: Sequence[str] | None = None,
        customers: Collection[str] | None = None,
    ) -> pl.DataFrame:
        """Read events, opening only the day folders that can hold them.

        Parameters
        ----------
        known_by
            Keep what was known then: ``ingested_at <= known_by`` and ``event_time <= known_by``.
        since, until
            Keep ``since < event_time <= until``.
        columns
            Columns of `EVENT_SCHEMA`, in the order wanted; all by default.
        customers
            Only events of these customers, whatever ids they were stored under; None for everybody's.

        Returns
        -------
        Rows ordered by ``event_time``, under the ids that customers have now.
        """
        wanted = list(EVENT_SCHEMA) if columns is None else list(columns)
        bounds = [bound for bound in (known_by, until) if bound is not None]
        last = min(bounds) if bounds else None
        conditions: list[pl.Expr] = []
        if since is not None:
            conditions.append(pl.col("event_time") > since)
        if last is not None:
            conditions.append(pl.col("event_time") <= last)
        if known_by is not None:
            conditions.append(pl.col("ingested_at") <= known_by)
        if customers is not None:
            conditions.append(_is_one_of(self._spellings(customers)))
        days = [day for day in self.days() if _may_hold(day, since, last)]
        found = self._collect(days, conditions, wanted)
        if self._customers is None or "customer_id" not in wanted:
            return found
        return self._customers.resolve(found)

    def existing(self, source: str, event_ids: pl.Series) -> pl.DataFrame:
        """Return the stored events of a source that bear one of the given ids.

        Parameters
        ----------
        source
            The events' ``source``.
        event_ids
            Strings; need not be unique.

        Returns
        -------
        Rows of `EVENT_SCHEMA`, ordered by ``event_time``, as they were stored.
        """
        given = event_ids.unique().implode()
        days = self.days()
        of_source = pl.col("source") == source
        ids = self._collect(days, [of_source], ["event_id"])
        if ids.is_empty() or not ids["event_id"].is_in(given).any():
            return pl.DataFrame(schema=EVENT_SCHEMA)
        return self._collect(days, [of_source, pl.col("event_id").is_in(given)], list(EVENT_SCHEMA))

    def days(self) -> list[date]:
        """Return the UTC days that have a folder, ascending."""
        if not self.root.is_dir():
            return []
        names = (entry.name for entry in os.scandir(self.root) if entry.name.startswith(DAY_PREFIX))
        return sorted(date.fromisoformat(name.removeprefix(DAY_PREFIX)) for name in names)

    def is_empty(self) -> bool:
        """Return whether no event is stored."""
        return not any(self._parts(day) for day in self.days())

    def span(self) -> tuple[datetime, datetime] | None:
        """Return the earliest and the latest ``event_time``, or None of an empty lake."""
        days = [day for day in self.days() if self._parts(day)]
        if not days:
            return None
        times = self._collect([days[0], days[-1]], [], ["event_time"])["event_time"]
        return _instant(times.min()), _instant(times.max())

    def row_count(self) -> int:
        """Return how many events are stored."""
        parts = [part for day in self.days() for part in self._parts(day)]
        if not parts:
            return 0
        return int(pl.scan_parquet(parts, hive_partitioning=False).select(pl.len()).collect().item())

    def tidy(self, *, many_parts: int = MANY_PARTS) -> int:
        """Merge the parts of each day that has many, and finish merges that a crash cut short.

        The merged part takes the place of the old ones by a single rename, so that at any moment a reader
        sees each event once.

        Parameters
        ----------
        many_parts
            A day with more parts than this is merged.

        Returns
        -------
        The number of days merged.
        """
        merged = 0
        if not self.root.is_dir():
            return merged
        with self.writing():
            for day in self.days():
                merged += self._tidy_day(day, many_parts)
        return merged

    def forget(self, customers: Collection[str]) -> LakeErasure:
        """Remove every event of some customers; parts that hold one are written anew, one after the other.

        Parameters
        ----------
        customers
            Ids as they were stored; nothing is resolved here.

        Raises
        ------
        EventLogError
            If a part cannot be written. Removing again completes it.
        """
        erased, latest = 0, None
        if not self.root.is_dir():
            return LakeErasure(erased, latest)
        is_theirs = _is_one_of(customers)
        with self.writing():
            for day in self.days():
                folder = self._folder(day)
                self._finish(folder)
                # Nobody writes now: what has not reached its place is of a writer that is no more.
                for unfinished in folder.glob(".*.parquet"):
                    unfinished.unlink()
                for part in self._parts(day):
                    theirs = self._forget_in(part, is_theirs)
                    if not theirs.is_empty():
                        erased += theirs.len()
                        last = _instant(theirs.max())
                        latest = last if latest is None else max(latest, last)
        return LakeErasure(erased, latest)

    def _forget_in(self, part: Path, is_theirs: pl.Expr) -> pl.Series:
        """Write a part anew without some events; return when these happened."""
        try:
            theirs = pl.scan_parquet(part, glob=False).filter(is_theirs).select("event_time").collect()
            if theirs.is_empty():
                return theirs["event_time"]
            kept = pl.read_parquet(part, hive_partitioning=False).filter(~is_theirs)
        except (pl.exceptions.ComputeError, OSError) as error:
            raise self._unreadable(error) from None
        if kept.is_empty():
            part.unlink()
        else:
            self._write(part, kept)
        return theirs["event_time"]

    def _unreadable(self, error: Exception) -> EventLogError:
        return EventLogError(
            f"the lake {self.root} cannot be read: {str(error).splitlines()[0]}",
            "restore the damaged file, or import again into another --home",
        )

    def _spellings(self, customers: Collection[str]) -> Collection[str]:
        return customers if self._customers is None else self._customers.spellings(customers)

    def _tidy_day(self, day: date, many_parts: int) -> bool:
        folder = self._folder(day)
        self._finish(folder)
        parts = self._parts(day)
        if len(parts) <= many_parts:
            return False
        events = pl.read_parquet(parts, hive_partitioning=False).sort("event_time")
        target = folder / f"{MERGED_PREFIX}{uuid.uuid4().hex}.parquet"
        note = target.with_suffix(REPLACES_SUFFIX)
        note.write_text("\n".join(part.name for part in parts), encoding="utf-8")
        self._write(target, events)
        self._finish(folder)
        return True

    def _folder(self, day: date) -> Path:
        return self.root / f"{DAY_PREFIX}{day.isoformat()}"

    def _parts(self, day: date) -> list[Path]:
        folder = self._folder(day)
        names = {entry.name for entry in os.scandir(folder)}
        replaced: set[str] = set()
        for name in names:
            if name.endswith(REPLACES_SUFFIX) and name.replace(REPLACES_SUFFIX, ".parquet") in names:
                replaced |= _replaced_names(folder / name)
        return sorted(
            folder / name
            for name in names - replaced
            if name.endswith(".parquet") and not name.startswith(".")
        )

    def _finish(self, folder: Path) -> None:
        for note in folder.glob(f"*{REPLACES_SUFFIX}"):
            if note.with_suffix(".parquet").exists():
                for name in _replaced_names(note):
                    (folder / name).unlink(missing_ok=True)
            note.unlink(missing_ok=True)

    def _write(self, path: Path, events: pl.DataFrame) -> None:
        temporary = path.with_name(f".{path.name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            events.write_parquet(temporary, compression="zstd", compression_level=1, statistics=True)
            temporary.replace(path)
        except OSError as error:
            raise EventLogError(f"cannot write {path}: {error}", WRITE_HINT) from None

    def _collect(
        self, days: Iterable[date], conditions: Sequence[pl.Expr], columns: list[str]
    ) -> pl.DataFrame:
        days = list(days)
        for attempt in range(READ_ATTEMPTS):
            parts_by_day = [self._parts(day) for day in days]
            parts = [part for of_day in parts_by_day for part in of_day]
            if not parts:
                return pl.DataFrame(schema={name: EVENT_SCHEMA[name] for name in columns})
            frame = pl.scan_parquet(parts, hive_partitioning=False, glob=False)
            if conditions:
                frame = frame.filter(*conditions)
            is_ordered = all(len(of_day) <= 1 for of_day in parts_by_day)
            if not is_ordered:
                frame = frame.sort("event_time", maintain_order=True)
            try:
                return frame.select(columns).collect()
            except FileNotFoundError:
                # A merge replaced the parts between listing and reading: list again.
                if attempt + 1 == READ_ATTEMPTS:
                    raise
            except (pl.exceptions.ComputeError, OSError) as error:
                raise self._unreadable(error) from None
        raise AssertionError("unreachable")


def _is_one_of(customers: Collection[str]) -> pl.Expr:
    wanted = pl.Series(list(customers), dtype=pl.String).implode()
    return pl.col("customer_id").is_in(wanted).fill_null(value=False)


def _replaced_names(note: Path) -> set[str]:
    try:
        return set(note.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return set()


def _may_hold(day: date, since: datetime | None, last: datetime | None) -> bool:
    """Return whether a UTC day meets ``(since, last]``.

    >>> _may_hold(date(2017, 1, 1), datetime(2017, 1, 1, 23, 59, tzinfo=UTC), None)
    True
    >>> _may_hold(date(2017, 1, 1), datetime(2017, 1, 2, tzinfo=UTC), None)
    False
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (since is None or start + timedelta(days=1) > since) and (last is None or start <= last)


def _instant(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise EventLogError(f"the lake holds {value!r} where an instant was expected")
    return value
