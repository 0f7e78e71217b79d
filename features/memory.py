"""What is remembered of each customer's events: columns, and the packed short memory kept online."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from features.errors import FeatureStoreError
from features.events import EVENT_TYPES, TYPE_CODES
from features.windows import HOUR_72, HOUR_US, NEVER, IntArray, KeyedEvents, local_weekday, running_max

SHORT_MEMORY_US = 96 * HOUR_US
"""How long the short memory keeps an event after it became known.

It must hold what the 72 h windows need, and whatever a profile up to 72 h old does not contain yet.
"""

PROFILE_LIFE_US = HOUR_72.length_us or 0
"""A profile at least this old is stale."""

ORDER_TYPES = ("purchase",)
ATTENTION_TYPES = ("view", "add_to_cart", "purchase")
KEY_COLUMNS = ("category", "brand")
MONEY_COLUMNS = ("amount_minor", "discount_minor", "coupon_minor")
MINUTE_US = 60_000_000


@dataclass(frozen=True)
class EventColumns:
    """Events as integer columns, with the texts they stand for.

    Attributes
    ----------
    customers, categories, brands
        Texts; the columns below index into them.
    customer, event_type, event_time, known_at, category, brand, quantity
        Shape (n,), int64; times in µs since the epoch; a null category or brand is -1.
    amount_minor, discount_minor, coupon_minor
        Shape (n,), int64; null is 0 and so adds to counts only.
    """

    customers: Sequence[str]
    categories: Sequence[str]
    brands: Sequence[str]
    customer: IntArray
    event_type: IntArray
    event_time: IntArray
    known_at: IntArray
    category: IntArray
    brand: IntArray
    quantity: IntArray
    amount_minor: IntArray
    discount_minor: IntArray
    coupon_minor: IntArray

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.customer)

    def texts(self, key_column: str) -> Sequence[str]:
        """Return the texts of ``category`` or ``brand``."""
        return self.categories if key_column == "category" else self.brands


def columns_of(events: pl.DataFrame, customers: Sequence[str] | None = None) -> EventColumns:
    """Turn rows of the event schema into integer columns.

    Parameters
    ----------
    events
        Rows of `features.events.EVENT_SCHEMA`.
    customers
        The customers to number, in ascending order; by default those that occur. Events of others are an error.
    """
    names = sorted(events["customer_id"].unique().to_list()) if customers is None else list(customers)
    categories = sorted(events["category"].drop_nulls().unique().to_list())
    brands = sorted(events["brand"].drop_nulls().unique().to_list())

    def codes(column: str, texts: Sequence[str]) -> IntArray:
        if not texts:
            return np.full(events.height, -1, np.int64)
        physical = events[column].cast(pl.Enum(texts)).to_physical().cast(pl.Int64).fill_null(-1)
        return physical.to_numpy().astype(np.int64)

    def integers(column: str) -> IntArray:
        return events[column].cast(pl.Int64).fill_null(0).to_numpy().astype(np.int64)

    event_time = integers("event_time")
    return EventColumns(
        customers=names,
        categories=categories,
        brands=brands,
        customer=codes("customer_id", names),
        event_type=codes("event_type", EVENT_TYPES),
        event_time=event_time,
        known_at=np.maximum(event_time, integers("ingested_at")),
        category=codes("category", categories),
        brand=codes("brand", brands),
        quantity=integers("quantity"),
        amount_minor=integers("amount_minor"),
        discount_minor=integers("discount_minor"),
        coupon_minor=integers("coupon_minor"),
    )


@dataclass(frozen=True)
class Carry:
    """What a memory that begins at a profile's boundary needs to know of the time before.

    Attributes
    ----------
    boundary
        Shape (key_count,), µs: the profile's boundary.
    last_order_time
        Shape (key_count,), µs; `NEVER` where there was none.
    order_count
        Shape (key_count,): orders up to the boundary.
    """

    boundary: IntArray
    last_order_time: IntArray
    order_count: IntArray


def customer_events(columns: EventColumns, zone: ZoneInfo, carry: Carry | None = None) -> KeyedEvents:
    """Sort events by customer and derive what windows sum: orders, gaps between them, weekdays.

    An order is all purchase lines of a customer with one event time that became known together. The gap of an
    order is the time since the latest order known before it; a late order has none. ``order_ordinal`` counts a
    customer's orders from 1 in the sequence in which they became known.
    """
    order = np.lexsort((columns.event_type, columns.event_time, columns.known_at, columns.customer))
    key, known_at, event_time = columns.customer[order], columns.known_at[order], columns.event_time[order]
    event_type = columns.event_type[order]
    extra = {
        "category": columns.category[order],
        "brand": columns.brand[order],
        "quantity": columns.quantity[order],
        **{name: getattr(columns, name)[order] for name in MONEY_COLUMNS},
        "weekday": local_weekday(event_time, zone),
        "is_discounted": (columns.discount_minor[order] > 0).astype(np.int64),
        "has_coupon": (columns.coupon_minor[order] > 0).astype(np.int64),
    }
    extra |= _order_columns(key, known_at, event_time, event_type, carry)
    extra |= {f"order_weekday_{day}": extra["order"] * (extra["weekday"] == day) for day in range(7)}
    return KeyedEvents(len(columns.customers), key, event_time, known_at, event_type, extra)


def pair_events(
    customers: KeyedEvents, key_column: str, pairs: PairIndex, carry: Carry | None = None
) -> KeyedEvents:
    """Regroup a customer memory by (customer, category) or (customer, brand): attention events only.

    ``order_ordinal`` stays the customer's; orders and gaps are those of the pair.
    """
    code = customers.columns[key_column]
    chosen = np.flatnonzero(customers.of_types(ATTENTION_TYPES) & (code >= 0))
    pair = pairs.find(customers.key[chosen], code[chosen])
    order = chosen[np.argsort(pair, kind="stable")]
    pair = np.sort(pair, kind="stable")
    known_at, event_time = customers.known_at[order], customers.event_time[order]
    event_type = customers.event_type[order]
    extra = {
        name: customers.columns[name][order]
        for name in ("order_ordinal", "quantity", *MONEY_COLUMNS, "is_discounted", "has_coupon")
    }
    extra |= _order_columns(pair, known_at, event_time, event_type, carry, with_ordinal=False)
    extra["moment"] = _first_of_each(pair, known_at, event_time).astype(np.int64)
    return KeyedEvents(len(pairs), pair, event_time, known_at, event_type, extra)


@dataclass(frozen=True)
class PairIndex:
    """The distinct (customer, key) pairs of a memory, sorted, so that a pair has a number.

    Attributes
    ----------
    customer, code
        Shape (n_pairs,): the pair's customer number and category or brand number.
    code_count
        How many categories or brands there are.
    """

    customer: IntArray
    code: IntArray
    code_count: int

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.customer)

    @classmethod
    def of(cls, customer: IntArray, code: IntArray, code_count: int) -> PairIndex:
        """Number the distinct pairs of two columns; negative codes are left out."""
        size = max(code_count, 1)
        distinct = np.unique(customer[code >= 0] * size + code[code >= 0])
        return cls(distinct // size, distinct % size, size)

    def find(self, customer: IntArray, code: IntArray) -> IntArray:
        """Return the numbers of pairs that are known to occur."""
        composite = self.customer * self.code_count + self.code
        return np.searchsorted(composite, customer * self.code_count + code).astype(np.int64)

    def ranges(self, customers: IntArray) -> tuple[IntArray, IntArray]:
        """Return the half-open range of each customer's pairs."""
        return (
            np.searchsorted(self.customer, customers, side="left").astype(np.int64),
            np.searchsorted(self.customer, customers, side="right").astype(np.int64),
        )


def attention_pairs(customers: KeyedEvents, key_column: str, code_count: int) -> PairIndex:
    """Return the pairs of customer and category (or brand) with a view, cart or purchase."""
    code = np.where(customers.of_types(ATTENTION_TYPES), customers.columns[key_column], -1)
    return PairIndex.of(customers.key, code, code_count)


def _first_of_each(key: IntArray, known_at: IntArray, event_time: IntArray) -> npt.NDArray[np.bool_]:
    first = np.ones(len(key), bool)
    first[1:] = (key[1:] != key[:-1]) | (known_at[1:] != known_at[:-1]) | (event_time[1:] != event_time[:-1])
    return first


def _order_columns(
    key: IntArray,
    known_at: IntArray,
    event_time: IntArray,
    event_type: IntArray,
    carry: Carry | None,
    *,
    with_ordinal: bool = True,
) -> dict[str, IntArray]:
    purchase = event_type == TYPE_CODES["purchase"]
    lines = np.flatnonzero(purchase)
    starts = _first_of_each(key[lines], known_at[lines], event_time[lines])
    firsts = lines[starts]
    if carry is not None:
        counted = known_at[firsts] > carry.boundary[key[firsts]]
    else:
        counted = np.ones(len(firsts), bool)
    order_key, order_time = key[firsts], event_time[firsts]

    so_far = running_max(order_key, order_time, counted)
    before = np.full(len(firsts), NEVER)
    before[1:] = np.where(order_key[1:] == order_key[:-1], so_far[:-1], NEVER)
    if carry is not None and len(firsts):
        before = np.maximum(before, carry.last_order_time[order_key])
    gap_us = np.where((before != NEVER) & counted, order_time - np.where(before == NEVER, 0, before), 0)
    gap_minutes = np.maximum(gap_us, 0) // MINUTE_US

    n = len(key)
    is_order, gap_count, gap, gap_squared = (np.zeros(n, np.int64) for _ in range(4))
    is_order[firsts] = 1
    gap_count[firsts] = gap_us > 0
    gap[firsts] = gap_minutes
    gap_squared[firsts] = gap_minutes**2
    derived = {
        "order": is_order,
        "gap_count": gap_count,
        "gap_minutes": gap,
        "gap_minutes_squared": gap_squared,
        "minus_event_time": -event_time,
    }
    if with_ordinal:
        running = np.cumsum(counted)
        base = np.zeros(len(firsts), np.int64)
        if len(firsts):
            new_key = np.flatnonzero(np.r_[True, order_key[1:] != order_key[:-1]])
            sizes = np.diff(np.r_[new_key, len(firsts)])
            base = np.repeat(np.r_[0, running[new_key[1:] - 1]], sizes)
        ordinal_of_order = running - base
        if carry is not None and len(firsts):
            ordinal_of_order = ordinal_of_order + carry.order_count[order_key]
        ordinal = np.zeros(n, np.int64)
        ordinal[lines] = np.where(counted, ordinal_of_order, 0)[np.cumsum(starts) - 1]
        derived["order_ordinal"] = ordinal
    return derived


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
        .unique("event_key", maintain_order=False)
        .sort("customer_id", "known_us", "time_us", "event_key")
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

    The result is the same whatever the order of merging; an event present in both is kept once.

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
    first_seen: dict[str, int] = {}
    for position, key in enumerate(keys):
        first_seen.setdefault(key, position)
    kept = [position for position in first_seen.values() if known[position] > now_us - SHORT_MEMORY_US]
    kept.sort(key=lambda position: (known[position], times[position], keys[position]))
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
