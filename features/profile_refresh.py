"""The daily refresh of profiles: who can have changed is computed anew, everybody else is carried forward.

Profiles of categories and brands are sums over customers: of a changed customer the former share, as the
online store has it, is taken off, and the new one added. Sums are integers, so the result is that of
computing everything, byte for byte. Where the stored profiles are no ground to build on, everything is
computed, and the reason given.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import chain
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl

from features.errors import FeatureStoreError
from features.history import History
from features.known_events import KNOWN_COLUMNS, KnownEvents, customers_in
from features.lake import Lake
from features.memory import KEY_COLUMNS
from features.packed_profile import LAYOUT, UnpackedProfiles, pack_key, unpack_keys
from features.packed_store import (
    CUSTOMER_PROFILE,
    KEY_PROFILE,
    LIFE_US,
    PackedRow,
    PackedStore,
    profile_key,
)
from features.profile import KEY_FIELDS
from features.publishing import key_rows
from features.windows import HOUR_US, NEVER, IntArray, from_us

PROFILE_STATE = "profile_state"
"""View whose only row says what the stored profiles were made of."""

STATE_KEY = "latest"

AT_ONCE = 2_000
"""Customers packed and written together; bounds memory, and how long other writers wait."""

NOTHING = np.zeros(len(KEY_FIELDS), np.int64)

How = Literal["full", "incremental", "unchanged"]


class State(msgspec.Struct, array_like=True):
    """What the stored profiles were made of; the row's instant is their boundary."""

    layout: str
    customers: int
    keys: int
    fingerprint: bytes


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes
    ----------
    boundary_us
        Day boundary the profiles are as of, µs since the epoch.
    how
        ``full``, ``incremental``, or ``unchanged`` where there was nothing to do.
    why_full
        Why everything was computed; empty otherwise.
    customers, keys
        How many have a profile; keys are categories and brands.
    computed, keys_computed
        How many of them were computed and written; the others were carried forward.
    removed
        Customers and keys of whom nothing is known any more.
    """

    boundary_us: int
    how: How
    why_full: str
    customers: int
    computed: int
    keys: int
    keys_computed: int
    removed: int


class ProfileRefresh:
    """One refresh of the stored profiles to a day boundary: what is to be done, and the doing of it.

    Parameters
    ----------
    store
        Holds the profiles.
    known
        What is known by the boundary.
    full
        Compute everything, whatever is stored.
    """

    def __init__(self, store: PackedStore, known: KnownEvents, *, full: bool = False) -> None:
        self._store = store
        self._known = known
        self._boundary_us = known.boundary_us
        self._ages = {view: store.ages(view) for view in (CUSTOMER_PROFILE, KEY_PROFILE)}
        self._state: tuple[int, State] | None = None
        self._is_older = False
        reason = self._read_state()
        self.why_full = "it was asked for" if full else reason

    @cached_property
    def changed(self) -> list[str]:
        """Customers to compute, ascending: all who are known if the refresh is a full one."""
        if self.why_full or self._state is None:
            return self._customers
        before_us, state = self._state
        was = np.frombuffer(zlib.decompress(state.fingerprint), np.int64)
        buckets = np.flatnonzero(self._known.fingerprint(before_us) != was)
        stored = pl.Series(list(self._ages[CUSTOMER_PROFILE]), dtype=pl.String)
        parts = [
            self._known.touched_since(before_us),
            customers_in(buckets, self._known.customers()),
            customers_in(buckets, stored),
        ]
        return pl.concat([part.rename("customer_id") for part in parts]).unique().sort().to_list()

    def run(self, history_of: Callable[[Sequence[str] | None], History]) -> Refreshed:
        """Bring the stored profiles to the boundary, and count them.

        Parameters
        ----------
        history_of
            Makes the history of some customers, or of everybody; it may hold more than was asked for.

        Raises
        ------
        FeatureStoreError
            If fewer rows are stored afterwards than there should be, or a stored one is damaged.
        """
        if self._known.is_empty or self._is_unchanged():
            return self._report("unchanged", 0, 0, 0)
        self.begin()
        if self.why_full:
            history = history_of(None)
            keys = self.all_keys(history)
            self._store.put_many(KEY_PROFILE, keys)
            for rows in self.all_customers(history):
                self._store.put_many(CUSTOMER_PROFILE, rows)
            return self.finish("full", len(self.changed), len(keys))
        before_us, _ = self._stored_state()
        sums = _KeySums()
        if self.changed:
            history = history_of(self.changed)
            for names in _some_at_a_time(self.changed):
                rows = self._rows_of(history, names)
                sums.add(self._store_rows(names), -1)
                sums.add(rows, 1)
                self._store.put_many(CUSTOMER_PROFILE, rows)
        self._store.advance(CUSTOMER_PROFILE, before_us, self._boundary_us, set(self.changed))
        new = [name for name in self._key_names if name not in self._ages[KEY_PROFILE]]
        keys = _changed_keys(self._store, dict.fromkeys(new, NOTHING) | sums.by_key(), self._boundary_us)
        gone = set(self._ages[KEY_PROFILE]) - set(self._key_names)
        self._store.put_many(KEY_PROFILE, keys)
        self._store.advance(KEY_PROFILE, before_us, self._boundary_us, gone | {row.key for row in keys})
        return self.finish("incremental", len(self.changed), len(keys))

    def all_customers(self, history: History) -> Iterator[list[PackedRow]]:
        """Yield every customer's profile, some at a time."""
        for names in _some_at_a_time(self.changed):
            yield self._rows_of(history, names)

    def all_keys(self, history: History) -> list[PackedRow]:
        """Return the profile of every category and brand that is known."""
        known = set(self._key_names)
        return [row for row in key_rows(history, self._boundary_us) if row.key in known]

    def begin(self) -> None:
        """Forget what the stored profiles were made of: nobody may build on them if this is cut short."""
        if not self._is_older:
            self._store.drop(PROFILE_STATE)

    def finish(self, how: How, computed: int, keys_computed: int) -> Refreshed:
        """Remove what nothing is known of any more, count what should be there, and note what it was made of.

        Raises
        ------
        FeatureStoreError
            If fewer rows are stored than there should be.
        """
        removed = 0
        for view, names in ((CUSTOMER_PROFILE, self._customers), (KEY_PROFILE, self._key_names)):
            ages = self._store.ages(view)
            known = set(names)
            gone = [key for key, age in ages.items() if key not in known and age <= self._boundary_us]
            removed += self._store.remove(view, gone)
            found = sum(ages.get(name, self._boundary_us - 1) >= self._boundary_us for name in names)
            if found < len(names):
                raise FeatureStoreError(
                    f"feature view {view!r}: expected {len(names)} rows as of "
                    f"{from_us(self._boundary_us).isoformat()}, found {found}",
                    "check the online store; the next refresh computes everything",
                )
        if not self._is_older:
            fingerprint = zlib.compress(self._known.fingerprint(self._boundary_us).tobytes(), 1)
            state = State(LAYOUT, len(self._customers), len(self._key_names), fingerprint)
            row = PackedRow(STATE_KEY, self._boundary_us, msgspec.msgpack.encode(state))
            self._store.put_many(PROFILE_STATE, [row])
        return self._report(how, computed, keys_computed, removed)

    def _report(self, how: How, computed: int, keys_computed: int, removed: int) -> Refreshed:
        customers, keys = len(self._customers), len(self._key_names)
        return Refreshed(
            self._boundary_us, how, self.why_full, customers, computed, keys, keys_computed, removed
        )

    def _read_state(self) -> str:
        """Read what the stored profiles were made of; return why they are no ground to build on, if so."""
        newest_us = max(chain.from_iterable(ages.values() for ages in self._ages.values()), default=NEVER)
        if newest_us > self._boundary_us:
            self._is_older = True
            return f"the stored profiles are of a later boundary, {from_us(newest_us).isoformat()}"
        row = self._store.get(PROFILE_STATE, STATE_KEY, now_us=self._boundary_us, ttl_us=None)
        if row is None:
            return "no earlier refresh is on record"
        try:
            state = msgspec.msgpack.decode(row.value, type=State)
        except msgspec.DecodeError:
            return "the record of the earlier refresh is damaged"
        if state.layout != LAYOUT:
            return f"the stored profiles have layout {state.layout}, not {LAYOUT}"
        if self._boundary_us - row.event_us > LIFE_US:
            return (
                f"the stored profiles are as of {from_us(row.event_us).isoformat()}, "
                f"more than {LIFE_US // HOUR_US} hours earlier"
            )
        for view, count in ((CUSTOMER_PROFILE, state.customers), (KEY_PROFILE, state.keys)):
            found = sum(age == row.event_us for age in self._ages[view].values())
            if found != count or len(self._ages[view]) != count:
                return (
                    f"expected {count} rows of {view!r} as of {from_us(row.event_us).isoformat()}, "
                    f"found {found} among {len(self._ages[view])}"
                )
        self._state = row.event_us, state
        return ""

    def _stored_state(self) -> tuple[int, State]:
        if self._state is None:
            raise AssertionError("a refresh without a stored state is a full one")
        return self._state

    def _is_unchanged(self) -> bool:
        at_boundary = self._state is not None and self._state[0] == self._boundary_us
        return not self.why_full and at_boundary and not self.changed

    @cached_property
    def _customers(self) -> list[str]:
        return self._known.customers().sort().to_list()

    @cached_property
    def _key_names(self) -> list[str]:
        return [profile_key(column, text) for column in KEY_COLUMNS for text in self._known.texts(column)]

    def _rows_of(self, history: History, names: Sequence[str]) -> list[PackedRow]:
        return [
            PackedRow(name, self._boundary_us, packed)
            for name, packed in history.packed_profiles(self._boundary_us, names)
        ]

    def _store_rows(self, names: Sequence[str]) -> list[PackedRow]:
        stored = self._store.get_many(CUSTOMER_PROFILE, names, now_us=self._boundary_us, ttl_us=None)
        return list(stored.values())


def refresh_from_lake(
    store: PackedStore,
    lake: Lake,
    boundary_us: int,
    zone: ZoneInfo,
    publication_lag: timedelta,
    *,
    full: bool = False,
) -> Refreshed:
    """Bring the stored profiles to a day boundary, reading from the lake only whose profile is computed.

    Parameters
    ----------
    boundary_us
        Day boundary, µs since the epoch.
    zone, publication_lag
        See `features.history.History`.
    full
        Compute everything, whatever is stored.

    Raises
    ------
    FeatureStoreError
        If fewer rows are stored afterwards than there should be, or a stored one is damaged.
    """
    known_by = from_us(boundary_us)

    def history_of(customers: Sequence[str] | None) -> History:
        return History(lake.read(known_by=known_by, customers=customers), zone, publication_lag)

    known = KnownEvents(lake.read(known_by=known_by, columns=KNOWN_COLUMNS), boundary_us)
    return ProfileRefresh(store, known, full=full).run(history_of)


def take_off(store: PackedStore, customers: Collection[str]) -> int:
    """Remove customers' profiles, and what they contributed to categories and brands.

    What is left stays ground for the next refresh to build on. Their events are to be removed too.

    Returns
    -------
    Number of profiles removed.
    """
    rows = store.get_many(CUSTOMER_PROFILE, list(customers), now_us=0, ttl_us=None)
    row = store.get(PROFILE_STATE, STATE_KEY, now_us=0, ttl_us=None)
    if not rows:
        return 0
    # Where it is cut short from here on, or profiles cannot be read, the next refresh computes everything.
    store.drop(PROFILE_STATE)
    with contextlib.suppress(FeatureStoreError, msgspec.DecodeError):
        if row is not None and {one.event_us for one in rows.values()} == {row.event_us}:
            state = msgspec.msgpack.decode(row.value, type=State)
            sums = _KeySums()
            sums.add(list(rows.values()), -1)
            store.put_many(KEY_PROFILE, _changed_keys(store, sums.by_key(), row.event_us))
            state = msgspec.structs.replace(state, customers=state.customers - len(rows))
            store.put_many(PROFILE_STATE, [row._replace(value=msgspec.msgpack.encode(state))])
    return store.remove(CUSTOMER_PROFILE, list(rows))


class _KeySums:
    """What customers add to the profiles of their categories and brands, summed up by key."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []

    def add(self, rows: Sequence[PackedRow], sign: int) -> None:
        """Add the shares of customers' packed profiles, or take them off where ``sign`` is -1."""
        boundary = np.array([row.event_us for row in rows], np.int64)
        read = UnpackedProfiles([row.value for row in rows], boundary)
        for column in KEY_COLUMNS:
            pairs = read.pairs(column)
            shares = {name: sign * pairs.fields[name] for name in KEY_FIELDS}
            texts = pl.Series(read.texts(column), dtype=pl.String)
            frame = pl.DataFrame({"text": texts} | shares).with_columns(column=pl.lit(column))
            self._parts.append(_summed(frame))

    def by_key(self) -> dict[str, IntArray]:
        """Return per key of `KEY_PROFILE` that has not the same sums as before, by how much they differ."""
        if not self._parts:
            return {}
        sums = _summed(pl.concat(self._parts)).filter(pl.any_horizontal(pl.col(KEY_FIELDS) != 0))
        keys = [profile_key(*key) for key in sums.select("column", "text").iter_rows()]
        return dict(zip(keys, sums.select(KEY_FIELDS).to_numpy(), strict=True))


def _changed_keys(store: PackedStore, differences: Mapping[str, IntArray], event_us: int) -> list[PackedRow]:
    """Return the rows of keys whose sums differ by so much from those stored; not stored is all zero."""
    rows = store.get_many(KEY_PROFILE, list(differences), now_us=event_us, ttl_us=None)
    read = unpack_keys([row.value for row in rows.values()], np.full(len(rows), event_us))
    before = dict(zip(rows, read.matrix(KEY_FIELDS).T, strict=True))
    return [
        PackedRow(name, event_us, pack_key(before.get(name, NOTHING) + difference))
        for name, difference in differences.items()
    ]


def _summed(shares: pl.DataFrame) -> pl.DataFrame:
    return shares.group_by("column", "text").agg(pl.col(KEY_FIELDS).sum())


def _some_at_a_time(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]
