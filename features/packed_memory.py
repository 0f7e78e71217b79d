"""The packed short memory: one customer's latest events as the online store keeps them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeVar

import msgspec
import numpy as np
import polars as pl

from features.errors import FeatureStoreError
from features.events import TYPE_CODES, plain_columns
from features.memory import EventColumns
from features.windows import HOUR_US, NEVER, IntArray

SHORT_MEMORY_US = 96 * HOUR_US
"""How long the short memory keeps an event after it became known.

It must hold what the 72 h windows need, and whatever a profile up to 72 h old does not contain yet.
"""


class PackedEvents(msgspec.Struct, array_like=True):
    """One customer's short memory: a row per event, sorted by (known_at, event_time, event_key)."""

    version: int
    event_key: list[str]
    event_type: bytes
    event_time: bytes
    known_at: bytes
    quantity: bytes
    amount_minor: bytes
    discount_minor: bytes
    coupon_minor: bytes
    category: list[str | None]
    brand: list[str | None]
    item: list[str | None]


PACKED_VERSION = 2
_decoder = msgspec.msgpack.Decoder(PackedEvents)
_encoder = msgspec.msgpack.Encoder()
_INT_FIELDS = (
    "event_type",
    "event_time",
    "known_at",
    "quantity",
    "amount_minor",
    "discount_minor",
    "coupon_minor",
)
_TEXT_FIELDS = ("category", "brand", "item")
Text = TypeVar("Text", str, str | None)
_MEASURES = ("quantity", "amount_minor", "discount_minor", "coupon_minor")
_PACKED_COLUMNS = (
    *("customer_id", "event_time", "ingested_at", "source", "event_id", "event_type"),
    *_MEASURES,
    *("category", "brand", "item_id"),
)
_FEW_ROWS = 10_000
_ORDER = itemgetter(0, 1, 2)


def decode_memory(packed: bytes) -> PackedEvents:
    """Read a packed short memory.

    Raises
    ------
    FeatureStoreError
        If the bytes are damaged or of another version.
    """
    try:
        memory = _decoder.decode(packed)
    except msgspec.DecodeError as error:
        raise FeatureStoreError(f"a packed memory is damaged: {error}", "materialise again") from None
    if memory.version != PACKED_VERSION:
        raise FeatureStoreError(
            f"a packed memory has version {memory.version}; expected {PACKED_VERSION}", "materialise again"
        )
    return memory


def columns_of_packed(
    packed: Sequence[bytes | None], customers: Sequence[str], known_texts: Mapping[str, Iterable[str]]
) -> EventColumns:
    """Turn packed short memories into integer columns, one customer each; None is an empty memory.

    Parameters
    ----------
    known_texts
        Categories and brands to number besides those that occur.
    """
    memories = [None if one is None else decode_memory(one) for one in packed]
    present = [(number, memory) for number, memory in enumerate(memories) if memory is not None]

    def joined(field: str) -> IntArray:
        return np.frombuffer(b"".join([getattr(memory, field) for _, memory in present]), np.int64)

    def coded(field: str) -> tuple[list[str], IntArray]:
        texts = [text for _, memory in present for text in getattr(memory, field)]
        different = {*texts, *known_texts.get(field, ())}
        different.discard(None)
        names = sorted(different)
        number: dict[str | None, int] = dict(zip(names, range(len(names)), strict=True))
        number[None] = -1
        return names, np.array([number[text] for text in texts], np.int64)

    categories, category = coded("category")
    brands, brand = coded("brand")
    _, item = coded("item")
    sizes = [len(memory.event_key) for _, memory in present]
    return EventColumns(
        customers=customers,
        categories=categories,
        brands=brands,
        customer=np.repeat(np.array([number for number, _ in present], np.int64), sizes),
        category=category,
        brand=brand,
        item=item,
        **{field: joined(field) for field in _INT_FIELDS},
    )


def latest_known_us(packed: bytes) -> int:
    """Return when the newest event of a packed memory became known, µs; `NEVER` if it is empty."""
    known = np.frombuffer(decode_memory(packed).known_at, np.int64)
    return int(known[-1]) if len(known) else NEVER


def pack_memories(events: pl.DataFrame, now_us: int) -> dict[str, bytes]:
    """Pack each customer's short memory as of an instant.

    Parameters
    ----------
    events
        Rows of the event schema; only those known by ``now_us`` and not older than the memory count.
    now_us
        The instant, µs since the epoch.

    Returns
    -------
    Per customer with at least one remembered event, the packed bytes. They do not depend on the rows' order.
    """
    if events.height > _FEW_ROWS:
        known = pl.max_horizontal("event_time", "ingested_at").dt.epoch("us")
        events = events.filter((known <= now_us) & (known > now_us - SHORT_MEMORY_US))
    of_customer: dict[str, list[tuple[Any, ...]]] = {}
    # Row by row: a customer has a handful of events, for which any set-up would cost more than the work.
    values = plain_columns(events, _PACKED_COLUMNS)
    for customer, event_time, ingested_at, source, event_id, event_type, *others in zip(*values, strict=True):
        known_at = max(event_time, ingested_at)
        if now_us - SHORT_MEMORY_US < known_at <= now_us:
            row = (known_at, event_time, f"{source}\x1f{event_id}", TYPE_CODES[event_type], *others)
            of_customer.setdefault(customer, []).append(row)
    return {customer: _pack_rows(of_customer[customer]) for customer in sorted(of_customer)}


def _pack_rows(rows: list[tuple[Any, ...]]) -> bytes:
    rows.sort(key=_ORDER)
    first_known: dict[str, tuple[Any, ...]] = {}
    for row in rows:
        first_known.setdefault(row[2], row)
    known_at, event_time, event_key, event_type, *others = zip(*first_known.values(), strict=True)
    measures, texts = others[: len(_MEASURES)], others[len(_MEASURES) :]
    values: dict[str, Any] = dict(zip(_MEASURES, map(_int64, measures), strict=True))
    values |= zip(_TEXT_FIELDS, map(list, texts), strict=True)
    return _encoder.encode(
        PackedEvents(
            version=PACKED_VERSION,
            event_key=list(event_key),
            event_type=_int64(event_type),
            event_time=_int64(event_time),
            known_at=_int64(known_at),
            **values,
        )
    )


def _int64(values: Iterable[int | None]) -> bytes:
    return array("q", [value or 0 for value in values]).tobytes()


def merge_memory(packed: bytes | None, added: bytes, now_us: int) -> bytes:
    """Merge two packed short memories of one customer and forget what is too old.

    The result is the same whatever the order of merging; an event present in both is kept once, as it was
    known first.

    Parameters
    ----------
    packed
        The memory so far, or None.
    added
        New events, packed by `pack_memories`.
    now_us
        The instant, µs since the epoch.
    """
    parts = [decode_memory(one) for one in (packed, added) if one is not None]
    known = b"".join([part.known_at for part in parts])
    if all(_follows(before, after) for before, after in pairwise(parts)):
        kept: list[int] | slice = slice(
            int(np.searchsorted(np.frombuffer(known, np.int64), now_us - SHORT_MEMORY_US, "right")), None
        )
    else:
        kept = _in_order(parts, np.frombuffer(known, np.int64).tolist(), now_us)
    numbers: dict[str, Any] = {
        name: np.frombuffer(b"".join([getattr(part, name) for part in parts]), np.int64)[kept].tobytes()
        for name in _INT_FIELDS
    }
    texts: dict[str, Any] = {
        name: _taken([text for part in parts for text in getattr(part, name)], kept) for name in _TEXT_FIELDS
    }
    keys = _taken([key for part in parts for key in part.event_key], kept)
    return _encoder.encode(PackedEvents(version=PACKED_VERSION, event_key=keys, **texts, **numbers))


def _follows(before: PackedEvents, after: PackedEvents) -> bool:
    """Tell whether every event of one memory became known before those of the other, and none is in both."""
    if not before.known_at or not after.known_at:
        return True
    last, first = np.frombuffer(before.known_at[-8:], np.int64), np.frombuffer(after.known_at[:8], np.int64)
    return bool(first[0] > last[0]) and set(after.event_key).isdisjoint(before.event_key)


def _in_order(parts: Sequence[PackedEvents], known: Sequence[int], now_us: int) -> list[int]:
    times = np.frombuffer(b"".join([part.event_time for part in parts]), np.int64).tolist()
    keys = [key for part in parts for key in part.event_key]
    first_known: dict[str, int] = {}
    for position in sorted(range(len(keys)), key=lambda place: (known[place], times[place], keys[place])):
        first_known.setdefault(keys[position], position)
    return [position for position in first_known.values() if known[position] > now_us - SHORT_MEMORY_US]


def _taken(values: list[Text], kept: list[int] | slice) -> list[Text]:
    return values[kept] if isinstance(kept, slice) else [values[position] for position in kept]
