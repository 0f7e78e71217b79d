"""Customers as the online store knows them, ready to be looked at now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from features.affinity import CandidateRule, PairRows
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
from features.profile import (
    CUSTOMER_FIELDS,
    MOMENTS,
    PAIR_FIELDS,
    Profile,
    carry_of,
    empty_profile,
    unpack_customer,
    unpack_keys,
)
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
    def unpack(cls, packed: Mapping[str, bytes]) -> KeyProfiles:
        """Read what the profile refresh published of each key."""
        return cls({text: row for row, text in enumerate(packed)}, unpack_keys(list(packed.values())))

    def of(self, texts: Sequence[str], boundary: IntArray) -> Profile:
        """Return the profile of each text; one not known yet has nothing in it."""
        rows = np.array([self.number.get(text, -1) for text in texts], np.int64)
        return _taken(self.profile, rows, boundary)


def _taken(profile: Profile, rows: IntArray, boundary: IntArray) -> Profile:
    """Take rows of a profile; -1 takes an empty one."""
    found = rows >= 0
    nothing = empty_profile(tuple(profile.fields), boundary)
    fields = {}
    for name, values in profile.fields.items():
        fields[name] = nothing.fields[name]
        fields[name][found] = values[rows[found]]
    return Profile(boundary, fields)


class LiveCustomers:
    """Some customers now, from their packed memories and profiles.

    Parameters
    ----------
    customers
        Their ids.
    memories, profiles
        One each, as read from the online store; None where there is none.
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
        profiles: Sequence[bytes | None],
        now_us: int,
        boundary_us: int,
        keys: Mapping[str, KeyProfiles],
        zone: ZoneInfo,
    ) -> None:
        self.customers = customers
        self._keys = keys
        self._unpacked = [None if one is None else unpack_customer(one) for one in profiles]
        texts = {
            key_column: {
                text for one in self._unpacked if one is not None for text in one.pairs[key_column][0]
            }
            for key_column in KEY_COLUMNS
        }
        self._columns = columns_of_packed(memories, customers, texts)
        boundary = np.array(
            [boundary_us if one is None else one.customer.boundary[0] for one in self._unpacked], np.int64
        )
        self.is_stale = now_us - boundary >= PROFILE_LIFE_US
        self.is_known = np.array(
            [
                memory is not None or profile is not None
                for memory, profile in zip(memories, profiles, strict=True)
            ]
        )
        self._events = customer_events(self._columns, zone, carry_of(profile := self._profile(boundary)))
        count = len(customers)
        self.rows = CustomerRows(
            self._events, np.arange(count), np.full(count, now_us, np.int64), profile, zone
        )

    def _profile(self, boundary: IntArray) -> Profile:
        profile = empty_profile(CUSTOMER_FIELDS, boundary)
        for row, one in enumerate(self._unpacked):
            if one is not None:
                for name, values in one.customer.fields.items():
                    profile.fields[name][row] = values[0]
        return profile

    def pair_rows(self, key_column: str, rule: CandidateRule) -> tuple[PairRows, list[str]]:
        """Return the customers' pairs worth a claim, ready for their features, and each pair's key."""
        texts = self._columns.texts(key_column)
        index, profile = self._pairs(key_column)
        events = pair_events(self._events, key_column, index, carry_of(profile))
        everyone = np.arange(len(index))
        recent = WindowRows(events, everyone, self.rows.instants[index.customer], profile.boundary)
        chosen = np.flatnonzero(rule.holds(recent, profile.total(MOMENTS, rule.repeat_within)))
        names = [texts[code] for code in index.code[chosen].tolist()]
        mine, row = profile.take(chosen), index.customer[chosen]
        keys = self._keys[key_column].of(names, mine.boundary)
        return PairRows(events, chosen, self.rows.instants[row], mine, self.rows, row, keys), names

    def _pairs(self, key_column: str) -> tuple[PairIndex, Profile]:
        """Number the pairs of profiles and memories together, with a profile row for each."""
        texts = self._columns.texts(key_column)
        number = {text: code for code, text in enumerate(texts)}
        stored = [(row, *one.pairs[key_column]) for row, one in enumerate(self._unpacked) if one is not None]
        customer = np.repeat(
            np.array([row for row, _, _ in stored], np.int64), [len(names) for _, names, _ in stored]
        )
        code = np.array([number[text] for _, names, _ in stored for text in names], np.int64)
        fresh = attention_pairs(self._events, key_column, len(texts))
        index = PairIndex.of(np.r_[customer, fresh.customer], np.r_[code, fresh.code], len(texts))
        profile = empty_profile(PAIR_FIELDS, self.rows.profile.boundary[index.customer])
        position = index.find(customer, code)
        for name in PAIR_FIELDS:
            parts = [one.fields[name] for _, _, one in stored]
            if parts:
                profile.fields[name][position] = np.concatenate(parts)
        return index, profile
