"""The packed short memory: one customer's latest events as the online store keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import polars as pl

from features.errors import FeatureStoreError
from features.events import EVENT_TYPES
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


PACKED_VERSION = 1
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
        parts = [np.frombuffer(getattr(memory, field), np.int64) for _, memory in present]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def coded(field: str) -> tuple[list[str], IntArray]:
        texts = [text for _, memory in present for text in getattr(memory, field)]
        names = sorted({text for text in texts if text is not None} | set(known_texts.get(field, ())))
        number = {text: code for code, text in enumerate(names)}
        return names, np.array([-1 if text is None else number[text] for text in texts], np.int64)

    categories, category = coded("category")
    brands, brand = coded("brand")
    sizes = [len(memory.event_key) for _, memory in present]
    return EventColumns(
        customers=customers,
        categories=categories,
        brands=brands,
        customer=np.repeat(np.array([number for number, _ in present], np.int64), sizes),
        category=category,
        brand=brand,
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
    known = pl.max_horizontal("event_time", "ingested_at").dt.epoch("us")
    rows = (
        events.with_columns(known_us=known)
        .filter((pl.col("known_us") <= now_us) & (pl.col("known_us") > now_us - SHORT_MEMORY_US))
        .with_columns(
            event_key=pl.concat_str("source", "event_id", separator="\x1f"),
            time_us=pl.col("event_time").dt.epoch("us"),
            type_code=pl.col("event_type").cast(pl.Enum(EVENT_TYPES)).to_physical().cast(pl.Int64),
        )
        .sort("customer_id", "known_us", "time_us", "event_key")
        .unique("event_key", keep="first", maintain_order=True)
    )
    packed = {}
    for frame in rows.partition_by("customer_id", maintain_order=True):
        packed[str(frame["customer_id"][0])] = _pack_frame(frame)
    return packed


def _pack_frame(frame: pl.DataFrame) -> bytes:
    def integers(column: str) -> bytes:
        return frame[column].cast(pl.Int64).fill_null(0).to_numpy().tobytes()

    return _encoder.encode(
        PackedEvents(
            version=PACKED_VERSION,
            event_key=frame["event_key"].to_list(),
            event_type=integers("type_code"),
            event_time=integers("time_us"),
            known_at=integers("known_us"),
            quantity=integers("quantity"),
            amount_minor=integers("amount_minor"),
            discount_minor=integers("discount_minor"),
            coupon_minor=integers("coupon_minor"),
            category=frame["category"].to_list(),
            brand=frame["brand"].to_list(),
        )
    )


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
    numbers = {
        name: np.concatenate([np.frombuffer(getattr(part, name), np.int64) for part in parts])
        for name in _INT_FIELDS
    }
    keys = [key for part in parts for key in part.event_key]
    categories = [text for part in parts for text in part.category]
    brands = [text for part in parts for text in part.brand]
    known, times = numbers["known_at"].tolist(), numbers["event_time"].tolist()
    first_known: dict[str, int] = {}
    for position in sorted(range(len(keys)), key=lambda place: (known[place], times[place], keys[place])):
        first_known.setdefault(keys[position], position)
    kept = [position for position in first_known.values() if known[position] > now_us - SHORT_MEMORY_US]
    chosen = np.array(kept, np.int64)
    return _encoder.encode(
        PackedEvents(
            version=PACKED_VERSION,
            event_key=[keys[position] for position in kept],
            category=[categories[position] for position in kept],
            brand=[brands[position] for position in kept],
            **{name: numbers[name][chosen].tobytes() for name in _INT_FIELDS},
        )
    )
