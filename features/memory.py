"""Events as integer columns, and what is derived of them by customer and by (customer, key) pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from features.events import EVENT_TYPES, TYPE_CODES
from features.windows import HOUR_72, NEVER, IntArray, KeyedEvents, local_weekday, running_max

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
        The customers to number, in ascending order; by default those that occur. Events of others are an
        error.
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
    order is the time since the latest order known before it; a late order has none. ``order_ordinal`` counts
    a customer's orders from 1 in the sequence in which they became known.
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
