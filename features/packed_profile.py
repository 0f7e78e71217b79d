"""The packed long memory: profiles of customers, categories and brands, as the online store keeps them.

The bytes do not say which boundary they are as of. That is their row's instant, so that a profile which stays
the same from one day to the next is advanced without being written anew.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TypeVar

import msgspec
import numpy as np

from features.errors import FeatureStoreError
from features.memory import KEY_COLUMNS
from features.profile import CUSTOMER_FIELDS, KEY_FIELDS, PAIR_FIELDS, Profile, empty_profile
from features.windows import IntArray


class PackedProfile(msgspec.Struct, array_like=True):
    """One customer's long memory, with the profiles of the categories and brands they paid attention to."""

    layout: str
    customer: bytes
    category: list[str]
    category_rows: bytes
    brand: list[str]
    brand_rows: bytes


class PackedKey(msgspec.Struct, array_like=True):
    """The profile of one category or brand over all customers."""

    layout: str
    row: bytes


LAYOUT = hashlib.sha256(repr((2, CUSTOMER_FIELDS, PAIR_FIELDS, KEY_FIELDS)).encode()).hexdigest()[:12]
"""Changes whenever a field is added, renamed or moved, so that old bytes are refused rather than misread."""

Packed = TypeVar("Packed", PackedProfile, PackedKey)

_encoder = msgspec.msgpack.Encoder()
_profile_decoder = msgspec.msgpack.Decoder(PackedProfile)
_key_decoder = msgspec.msgpack.Decoder(PackedKey)


def pack_customer(customer: IntArray, pairs: Mapping[str, tuple[Sequence[str], IntArray]]) -> bytes:
    """Pack one customer's profile.

    Parameters
    ----------
    customer
        Shape (len(CUSTOMER_FIELDS),).
    pairs
        For ``category`` and ``brand``: the texts of the customer's keys, and shape
        (len(PAIR_FIELDS), n_keys).
    """
    of_column = {column: (list(texts), _compressed(fields)) for column, (texts, fields) in pairs.items()}
    return _encoder.encode(
        PackedProfile(LAYOUT, _compressed(customer), *of_column["category"], *of_column["brand"])
    )


def pack_key(key: IntArray) -> bytes:
    """Pack the profile of one category or brand, shape (len(KEY_FIELDS),)."""
    return _encoder.encode(PackedKey(LAYOUT, _compressed(key)))


class UnpackedProfiles:
    """The long memories of some customers, read back: what is not asked for is not decompressed.

    Parameters
    ----------
    packed
        What `pack_customer` made, one each; None where there is none.
    boundary
        Shape (n_customers,), µs: what each is as of.

    Raises
    ------
    FeatureStoreError
        If bytes are damaged or of another layout; also when pairs are asked for.
    """

    def __init__(self, packed: Sequence[bytes | None], boundary: IntArray) -> None:
        self._boundary = boundary
        self._read = {
            row: _decoded(_profile_decoder.decode, one) for row, one in enumerate(packed) if one is not None
        }

    @cached_property
    def customers(self) -> Profile:
        """One row each; empty where there is none."""
        rows = np.fromiter(self._read, np.int64, len(self._read))
        stored = _matrix((one.customer for one in self._read.values()), [1] * len(rows), len(CUSTOMER_FIELDS))
        if len(rows) == len(self._boundary):
            return Profile.of_matrix(self._boundary, CUSTOMER_FIELDS, stored)
        profile = empty_profile(CUSTOMER_FIELDS, self._boundary)
        profile.matrix(CUSTOMER_FIELDS)[:, rows] = stored
        return profile

    def texts(self, key_column: str) -> list[str]:
        """Return the categories, or brands, of all customers one after the other."""
        return list(chain.from_iterable(getattr(one, key_column) for one in self._read.values()))

    def owners(self, key_column: str) -> IntArray:
        """Return which customer each of the `texts` is of, shape (n_pairs,)."""
        sizes = [len(getattr(one, key_column)) for one in self._read.values()]
        return np.repeat(np.fromiter(self._read, np.int64, len(self._read)), sizes)

    def pairs(self, key_column: str) -> Profile:
        """Return the profiles of the pairs: a row for each of the `texts`."""
        read = self._read.values()
        sizes = [len(getattr(one, key_column)) for one in read]
        matrix = _matrix((getattr(one, f"{key_column}_rows") for one in read), sizes, len(PAIR_FIELDS))
        return Profile.of_matrix(self._boundary[self.owners(key_column)], PAIR_FIELDS, matrix)


@dataclass(frozen=True)
class UnpackedProfile:
    """One customer's long memory, read back.

    Attributes
    ----------
    customer
        One row.
    pairs
        For ``category`` and ``brand``: texts, and a profile with a row for each.
    """

    customer: Profile
    pairs: dict[str, tuple[list[str], Profile]]


def unpack_customer(packed: bytes, boundary_us: int) -> UnpackedProfile:
    """Read the packed profile of one customer.

    Parameters
    ----------
    boundary_us
        What it is as of, µs since the epoch.

    Raises
    ------
    FeatureStoreError
        If the bytes are damaged or of another layout.
    """
    read = UnpackedProfiles([packed], np.array([boundary_us], np.int64))
    return UnpackedProfile(
        read.customers, {column: (read.texts(column), read.pairs(column)) for column in KEY_COLUMNS}
    )


def unpack_keys(packed: Sequence[bytes], boundary: IntArray) -> Profile:
    """Read what `pack_key` wrote, one row a key.

    Parameters
    ----------
    boundary
        Shape (n_keys,), µs: what each is as of.

    Raises
    ------
    FeatureStoreError
        If the bytes are damaged or of another layout.
    """
    rows = [_decoded(_key_decoder.decode, one).row for one in packed]
    return Profile.of_matrix(boundary, KEY_FIELDS, _matrix(rows, [1] * len(rows), len(KEY_FIELDS)))


def _compressed(fields: IntArray) -> bytes:
    return zlib.compress(np.ascontiguousarray(fields, np.int64).tobytes(), 1)


def _matrix(packed: Iterable[bytes], sizes: Sequence[int], fields: int) -> IntArray:
    """Decompress matrices of one number of fields and so many rows each, and join their rows."""
    parts = [np.empty((fields, 0), np.int64)]
    for one, size in zip(packed, sizes, strict=True):
        try:
            parts.append(np.frombuffer(zlib.decompress(one), np.int64).reshape(fields, size))
        except (zlib.error, ValueError) as error:
            raise FeatureStoreError(f"a packed profile is damaged: {error}", "refresh the profiles") from None
    return np.concatenate(parts, axis=1)


def _decoded(decode: Callable[[bytes], Packed], packed: bytes) -> Packed:
    try:
        read = decode(packed)
    except msgspec.DecodeError as error:
        raise FeatureStoreError(f"a packed profile is damaged: {error}", "refresh the profiles") from None
    if read.layout != LAYOUT:
        raise FeatureStoreError(
            f"a packed profile has layout {read.layout}; this version reads {LAYOUT}", "refresh the profiles"
        )
    return read
