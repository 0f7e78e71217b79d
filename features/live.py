"""Customers as the online store knows them, ready to be looked at now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from features.affinity import PairRows
from features.candidates import PairRule
from features.customer import CustomerRows
from features.memory import (
    KEY_COLUMNS,
    PROFILE_LIFE_US,
    PairIndex,
    attention_pairs,
    customer_events,
    pair_events,
)
from features.packed_memory import columns_of_packed
from features.packed_profile import UnpackedProfiles, unpack_keys
from features.packed_store import PackedRow
from features.profile import KEY_FIELDS, PAIR_FIELDS, Profile, carry_of, empty_profile
from features.windows import IntArray, WindowRows


@dataclass(frozen=True)
class KeyProfiles:
    """The profiles of all categories, or all brands, found by text.

    Attributes
    ----------
    number
        Per text its row.
    profile
        One row a key.
    """

    number: Mapping[str, int]
    profile: Profile

    @classmethod
    def unpack(cls, rows: Mapping[str, PackedRow]) -> KeyProfiles:
        """Read what the profile refresh published of each key, by the key's text."""
        boundary = np.array([row.event_us for row in rows.values()], np.int64)
        profile = unpack_keys([row.value for row in rows.values()], boundary)
        return cls({text: number for number, text in enumerate(rows)}, profile)

    def of(self, texts: Sequence[str], boundary: IntArray) -> Profile:
        """Return the profile of each text; one not known yet has nothing in it."""
        rows = np.array([self.number.get(text, -1) for text in texts], np.int64)
        found = rows >= 0
        profile = empty_profile(KEY_FIELDS, boundary)
        profile.matrix(KEY_FIELDS)[:, found] = self.profile.matrix(KEY_FIELDS)[:, rows[found]]
        return profile


class LiveCustomers:
    """Some customers now, from their packed memories and profiles.

    Parameters
    ----------
    customers
        Their ids.
    memories
        Packed memories, one each; None where there is none.
    profiles
        Rows of packed profiles, one each, as of their own instants; None where there is none.
    now_us
        The instant, µs since the epoch.
    boundary_us
        The boundary of the profiles published last; a customer without a profile has been unknown then.
    keys
        Profiles of ``category`` and ``brand``.
    zone
        Business time zone.
    """

    def __init__(
        self,
        customers: Sequence[str],
        memories: Sequence[bytes | None],
        profiles: Sequence[PackedRow | None],
        now_us: int,
        boundary_us: int,
        keys: Mapping[str, KeyProfiles],
        zone: ZoneInfo,
    ) -> None:
        self.customers = customers
        self._keys = keys
        boundary = np.array([boundary_us if one is None else one.event_us for one in profiles], np.int64)
        self._unpacked = UnpackedProfiles([None if one is None else one.value for one in profiles], boundary)
        texts = {key_column: self._unpacked.texts(key_column) for key_column in KEY_COLUMNS}
        self._columns = columns_of_packed(memories, customers, texts)
        self.is_stale = now_us - boundary >= PROFILE_LIFE_US
        self.is_known = np.array(
            [
                memory is not None or profile is not None
                for memory, profile in zip(memories, profiles, strict=True)
            ]
        )
        profile = self._unpacked.customers
        self._events = customer_events(self._columns, zone, carry_of(profile))
        count = len(customers)
        self.rows = CustomerRows(
            self._events, np.arange(count), np.full(count, now_us, np.int64), profile, zone
        )

    def pair_rows(self, key_column: str, rule: PairRule) -> tuple[PairRows, list[str]]:
        """Return the customers' pairs worth a claim, ready for their features, and each pair's key."""
        texts = self._columns.texts(key_column)
        index, profile = self._pairs(key_column)
        events = pair_events(self._events, key_column, index, carry_of(profile))
        everyone = np.arange(len(index))
        recent = WindowRows(events, everyone, self.rows.instants[index.customer], profile.boundary)
        chosen = np.flatnonzero(rule.holds(recent, profile))
        names = [texts[code] for code in index.code[chosen].tolist()]
        mine, row = profile.take(chosen), index.customer[chosen]
        keys = self._keys[key_column].of(names, mine.boundary)
        return PairRows(events, chosen, self.rows.instants[row], mine, self.rows, row, keys), names

    def _pairs(self, key_column: str) -> tuple[PairIndex, Profile]:
        """Number the pairs of profiles and memories together, with a profile row for each."""
        texts = self._columns.texts(key_column)
        number = {text: code for code, text in enumerate(texts)}
        customer = self._unpacked.owners(key_column)
        code = np.array([number[text] for text in self._unpacked.texts(key_column)], np.int64)
        fresh = attention_pairs(self._events, key_column, len(texts))
        index = PairIndex.of(np.r_[customer, fresh.customer], np.r_[code, fresh.code], len(texts))
        profile = empty_profile(PAIR_FIELDS, self.rows.profile.boundary[index.customer])
        stored = self._unpacked.pairs(key_column).matrix(PAIR_FIELDS)
        profile.matrix(PAIR_FIELDS)[:, index.find(customer, code)] = stored
        return index, profile
