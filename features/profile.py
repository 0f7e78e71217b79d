"""The long memory: what is known of customers, and of their categories and brands, at a day boundary."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np

from features.errors import FeatureStoreError
from features.events import EVENT_TYPES
from features.memory import ATTENTION_TYPES, ORDER_TYPES, Carry
from features.windows import (
    DAY_7,
    DAY_30,
    DAY_90,
    LIFETIME,
    LONG_WINDOWS,
    NEVER,
    IntArray,
    KeyedEvents,
    Measure,
    Window,
    WindowRows,
    expand,
)

ORDER_COUNT = Measure("order_count", ORDER_TYPES, "order")
LINE_COUNT = Measure("line_count", ORDER_TYPES)
SPEND = Measure("spend_minor", ORDER_TYPES, "amount_minor")
QUANTITY = Measure("quantity", ORDER_TYPES, "quantity")
DISCOUNT = Measure("discount_minor", ORDER_TYPES, "discount_minor")
COUPON = Measure("coupon_minor", ORDER_TYPES, "coupon_minor")
DISCOUNTED_LINES = Measure("discounted_line_count", ORDER_TYPES, "is_discounted")
COUPON_LINES = Measure("coupon_line_count", ORDER_TYPES, "has_coupon")
REFUND = Measure("refund_minor", ("refund",), "amount_minor")
ATTENTION = Measure("attention_count", ATTENTION_TYPES)
MOMENTS = Measure("moment_count", ATTENTION_TYPES, "moment")
GAP_COUNT = Measure("gap_count", ORDER_TYPES, "gap_count")
GAP_MINUTES = Measure("gap_minutes", ORDER_TYPES, "gap_minutes")
GAP_MINUTES_SQUARED = Measure("gap_minutes_squared", ORDER_TYPES, "gap_minutes_squared")
COUNTS = {name: Measure(f"{name}_count", (name,)) for name in EVENT_TYPES}
WEEKDAY_ORDERS = tuple(
    Measure(f"order_weekday_{day}", ORDER_TYPES, f"order_weekday_{day}") for day in range(7)
)

RECENT_ORDERS = 30
"""Of how many of the customer's latest orders a pair remembers whether the key was in them."""


def field_name(measure: Measure, window: Window) -> str:
    """Return the profile field of a measure over a window.

    >>> field_name(SPEND, DAY_30)
    'spend_minor@30d'
    """
    return f"{measure.name}@{window.name}"


CUSTOMER_SUMS: tuple[tuple[Measure, Window], ...] = (
    *((measure, window) for measure in (ORDER_COUNT, SPEND, LINE_COUNT) for window in LONG_WINDOWS),
    *((measure, window) for measure in (DISCOUNT, COUPON, REFUND) for window in (DAY_30, DAY_90, LIFETIME)),
    *((measure, window) for measure in (DISCOUNTED_LINES, COUPON_LINES) for window in (DAY_90,)),
    *(
        (COUNTS[name], window)
        for name in EVENT_TYPES
        if name != "purchase"
        for window in (DAY_7, DAY_30, DAY_90)
    ),
    *((measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED, *WEEKDAY_ORDERS)),
    *((measure, DAY_90) for measure in (GAP_COUNT, GAP_MINUTES, *WEEKDAY_ORDERS)),
)
PAIR_SUMS: tuple[tuple[Measure, Window], ...] = (
    *((ORDER_COUNT, window) for window in LONG_WINDOWS),
    *((SPEND, window) for window in (DAY_30, DAY_90)),
    *((ATTENTION, window) for window in (DAY_7, DAY_30, DAY_90)),
    (MOMENTS, DAY_90),
    *((measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED)),
    (DISCOUNTED_LINES, DAY_90),
    (LINE_COUNT, DAY_90),
)
KEY_SUMS: tuple[tuple[Measure, Window], ...] = (
    *((ORDER_COUNT, window) for window in (DAY_7, DAY_30, DAY_90)),
    *((measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES)),
)

CUSTOMER_FIELDS = (
    *(field_name(measure, window) for measure, window in CUSTOMER_SUMS),
    *(f"last_{name}" for name in EVENT_TYPES),
    "first_purchase",
    "first_event",
)
PAIR_FIELDS = (
    *(field_name(measure, window) for measure, window in PAIR_SUMS),
    "last_attention",
    "last_purchase",
    "first_purchase",
    "last_order_ordinal",
    "recent_orders",
)
KEY_FIELDS = tuple(field_name(measure, window) for measure, window in KEY_SUMS)


@dataclass(frozen=True)
class Profile:
    """Long memory as of day boundaries: one row per row asked for.

    Attributes
    ----------
    boundary
        Shape (n_rows,), µs since the epoch.
    fields
        Per field an int64 array of shape (n_rows,); times are `NEVER` where nothing happened.
    """

    boundary: IntArray
    fields: dict[str, IntArray]

    def total(self, measure: Measure, window: Window) -> IntArray:
        """Return a stored sum, shape (n_rows,)."""
        return self.fields[field_name(measure, window)]

    def take(self, rows: IntArray) -> Profile:
        """Return the profile of chosen rows."""
        return Profile(self.boundary[rows], {name: values[rows] for name, values in self.fields.items()})


def _sums(rows: WindowRows, sums: Sequence[tuple[Measure, Window]]) -> dict[str, IntArray]:
    return {field_name(measure, window): rows.sum(measure, window.length_us) for measure, window in sums}


def customer_profile(memory: KeyedEvents, keys: IntArray, boundary: IntArray) -> Profile:
    """Make the profiles of customers at day boundaries from events known by then.

    Parameters
    ----------
    memory
        All events, from `features.memory.customer_events`.
    keys, boundary
        Shape (n_rows,): customer numbers, and boundaries in µs since the epoch.
    """
    rows = WindowRows(memory, keys, boundary)
    fields = _sums(rows, CUSTOMER_SUMS)
    for name in EVENT_TYPES:
        fields[f"last_{name}"] = rows.latest((name,))
    fields["first_purchase"] = rows.earliest(ORDER_TYPES)
    fields["first_event"] = rows.earliest(EVENT_TYPES)
    return Profile(boundary, fields)


def pair_profile(memory: KeyedEvents, keys: IntArray, boundary: IntArray, order_count: IntArray) -> Profile:
    """Make the profiles of (customer, key) pairs at day boundaries.

    Parameters
    ----------
    memory
        From `features.memory.pair_events`.
    keys, boundary
        Shape (n_rows,): pair numbers, and boundaries in µs since the epoch.
    order_count
        Shape (n_rows,): the customer's orders up to the boundary.
    """
    rows = WindowRows(memory, keys, boundary)
    fields = _sums(rows, PAIR_SUMS)
    fields["last_attention"] = rows.latest(ATTENTION_TYPES)
    fields["last_purchase"] = rows.latest(ORDER_TYPES)
    fields["first_purchase"] = rows.earliest(ORDER_TYPES)
    fields["last_order_ordinal"] = rows.latest(ORDER_TYPES, "order_ordinal")
    fields["recent_orders"] = order_bits(memory, rows.begin, rows.until, order_count)
    return Profile(boundary, fields)


def key_profile(memory: KeyedEvents, keys: IntArray, boundary: IntArray) -> Profile:
    """Make the profiles of categories or brands over all customers at day boundaries."""
    return Profile(boundary, _sums(WindowRows(memory, keys, boundary), KEY_SUMS))


def order_bits(memory: KeyedEvents, start: IntArray, end: IntArray, order_count: IntArray) -> IntArray:
    """Return which of the customer's latest orders held the key, as bits: bit 0 is the latest order.

    Parameters
    ----------
    start, end
        Shape (n_rows,): ranges of positions in the pair memory.
    order_count
        Shape (n_rows,): the ordinal of the customer's latest order.
    """
    bits = np.zeros(len(start), np.int64)
    is_order, ordinal = memory.columns["order"], memory.columns["order_ordinal"]
    for rows, row, position in expand(start, end):
        back = order_count[rows][row] - ordinal[position]
        counted = (is_order[position] > 0) & (back >= 0) & (back < RECENT_ORDERS) & (ordinal[position] > 0)
        np.bitwise_or.at(bits[rows], row[counted], np.int64(1) << back[counted])
    return bits


def carry_of(profile: Profile) -> Carry:
    """Return what a memory that begins at the profile's boundary needs: of customers, or of pairs."""
    return Carry(profile.boundary, profile.fields["last_purchase"], profile.total(ORDER_COUNT, LIFETIME))


def empty_profile(fields: Sequence[str], boundary: IntArray) -> Profile:
    """Return the profile of those of whom nothing was known at their boundary."""
    nothing = {
        name: np.full(len(boundary), NEVER if name.startswith(("last_", "first_")) else 0, np.int64)
        for name in fields
    }
    return Profile(boundary, nothing)


class PackedProfile(msgspec.Struct, array_like=True):
    """One customer's long memory, with the profiles of the categories and brands they paid attention to."""

    layout: str
    boundary: int
    customer: bytes
    category: list[str]
    category_rows: bytes
    brand: list[str]
    brand_rows: bytes


class PackedKey(msgspec.Struct, array_like=True):
    """The profile of one category or brand over all customers."""

    layout: str
    boundary: int
    row: bytes


LAYOUT = hashlib.sha256(repr((CUSTOMER_FIELDS, PAIR_FIELDS, KEY_FIELDS)).encode()).hexdigest()[:12]
"""Changes whenever a field is added, renamed or moved, so that old bytes are refused rather than misread."""

Packed = TypeVar("Packed")

_encoder = msgspec.msgpack.Encoder()
_profile_decoder = msgspec.msgpack.Decoder(PackedProfile)
_key_decoder = msgspec.msgpack.Decoder(PackedKey)


def _rows_bytes(profile: Profile, fields: Sequence[str], rows: slice) -> bytes:
    return zlib.compress(np.stack([profile.fields[name][rows] for name in fields]).tobytes(), 1)


def _rows_of(packed: bytes, fields: Sequence[str], boundary: int) -> Profile:
    try:
        matrix = np.frombuffer(zlib.decompress(packed), np.int64).reshape(len(fields), -1)
    except (zlib.error, ValueError) as error:
        raise FeatureStoreError(f"a packed profile is damaged: {error}", "refresh the profiles") from None
    return Profile(np.full(matrix.shape[1], boundary), dict(zip(fields, matrix, strict=True)))


def pack_customer(
    customer: Profile, row: int, pairs: Mapping[str, tuple[Sequence[str], Profile, slice]]
) -> bytes:
    """Pack one customer's profile.

    Parameters
    ----------
    customer, row
        Customer profiles, and which of them.
    pairs
        For ``category`` and ``brand``: the texts of the customer's keys, all pair profiles, and the slice of
        them that is this customer's.
    """
    here = slice(row, row + 1)
    return _encoder.encode(
        PackedProfile(
            LAYOUT,
            int(customer.boundary[row]),
            _rows_bytes(customer, CUSTOMER_FIELDS, here),
            list(pairs["category"][0]),
            _rows_bytes(pairs["category"][1], PAIR_FIELDS, pairs["category"][2]),
            list(pairs["brand"][0]),
            _rows_bytes(pairs["brand"][1], PAIR_FIELDS, pairs["brand"][2]),
        )
    )


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


def unpack_customer(packed: bytes) -> UnpackedProfile:
    """Read a packed profile.

    Raises
    ------
    FeatureStoreError
        If the bytes are damaged or of another layout.
    """
    read = _decoded(_profile_decoder.decode, packed)
    _check_layout(read.layout)
    return UnpackedProfile(
        _rows_of(read.customer, CUSTOMER_FIELDS, read.boundary),
        {
            "category": (read.category, _rows_of(read.category_rows, PAIR_FIELDS, read.boundary)),
            "brand": (read.brand, _rows_of(read.brand_rows, PAIR_FIELDS, read.boundary)),
        },
    )


def pack_key(profile: Profile, row: int) -> bytes:
    """Pack the profile of one category or brand."""
    here = slice(row, row + 1)
    return _encoder.encode(
        PackedKey(LAYOUT, int(profile.boundary[row]), _rows_bytes(profile, KEY_FIELDS, here))
    )


def unpack_keys(packed: Sequence[bytes]) -> Profile:
    """Read what `pack_key` wrote, one row a key.

    Raises
    ------
    FeatureStoreError
        If the bytes are damaged or of another layout.
    """
    rows = []
    for one in packed:
        read = _decoded(_key_decoder.decode, one)
        _check_layout(read.layout)
        rows.append(_rows_of(read.row, KEY_FIELDS, read.boundary))
    if not rows:
        return empty_profile(KEY_FIELDS, np.empty(0, np.int64))
    return Profile(
        np.concatenate([row.boundary for row in rows]),
        {name: np.concatenate([row.fields[name] for row in rows]) for name in KEY_FIELDS},
    )


def _decoded(decode: Callable[[bytes], Packed], packed: bytes) -> Packed:
    try:
        return decode(packed)
    except msgspec.DecodeError as error:
        raise FeatureStoreError(f"a packed profile is damaged: {error}", "refresh the profiles") from None


def _check_layout(layout: str) -> None:
    if layout != LAYOUT:
        raise FeatureStoreError(
            f"a packed profile has layout {layout}; this version reads {LAYOUT}", "refresh the profiles"
        )
