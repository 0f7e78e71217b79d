"""Events as integer columns, and what is derived of them by customer and by (customer, key) pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from features.day_parts import DAY_PARTS, day_part
from features.events import EVENT_TYPES, TYPE_CODES
from features.lazy_columns import LazyColumns
from features.sequences import Carry, Orders, first_of_each, session_starts
from features.windows import HOUR_72, NEVER, IntArray, KeyedEvents, local_weekday

PROFILE_LIFE_US = HOUR_72.length_us or 0
"""A profile at least this old is stale."""

ORDER_TYPES = ("purchase",)
ATTENTION_TYPES = ("view", "add_to_cart", "purchase")
ACTIVITY_TYPES = tuple(name for name in EVENT_TYPES if name != "contact")
"""What customers do themselves."""
KEY_COLUMNS = ("category", "brand")
MONEY_COLUMNS = ("amount_minor", "discount_minor", "coupon_minor")


@dataclass(frozen=True)
class EventColumns:
    """Events as integer columns, with the texts they stand for.

    Attributes
    ----------
    customers, categories, brands
        Texts; the columns below index into them.
    customer, event_type, event_time, known_at, category, brand, item, quantity
        Shape (n,), int64; times in µs since the epoch; a null category, brand or item is -1. Of items there
        are only codes, equal where the items are.
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
    item: IntArray
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

    items = sorted(events["item_id"].drop_nulls().unique().to_list())

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
        item=codes("item_id", items),
        quantity=integers("quantity"),
        amount_minor=integers("amount_minor"),
        discount_minor=integers("discount_minor"),
        coupon_minor=integers("coupon_minor"),
    )


def customer_events(columns: EventColumns, zone: ZoneInfo, carry: Carry | None = None) -> KeyedEvents:
    """Sort events by customer and derive what windows sum: orders, their gaps, days and hours, sessions.

    An order is all purchase lines of a customer with one event time that became known together. The gap of an
    order is the time since the latest order known before it; a late order has none. ``order_ordinal`` counts
    a customer's orders from 1 in the sequence in which they became known. Each column is made when it is
    first asked for.
    """
    order = np.lexsort((columns.event_type, columns.event_time, columns.known_at, columns.customer))
    key, known_at, event_time = columns.customer[order], columns.known_at[order], columns.event_time[order]
    event_type = columns.event_type[order]

    def taken(name: str) -> Callable[[], IntArray]:
        return lambda: getattr(columns, name)[order]

    @cache
    def orders() -> Orders:
        return Orders(key, known_at, event_time, _is_of(event_type, ORDER_TYPES), carry)

    @cache
    def weekday() -> IntArray:
        return local_weekday(orders().event_time, zone)

    @cache
    def part() -> IntArray:
        return day_part(orders().event_time, zone)

    @cache
    def starts() -> IntArray:
        is_activity = _is_of(event_type, ACTIVITY_TYPES)
        return session_starts(key, known_at, event_time, is_activity, carry).astype(np.int64)

    def begun() -> IntArray:
        counts = starts() > 0
        if carry is not None:
            # The oldest events of a short memory follow on none; of those before it the profile knows.
            counts &= known_at > carry.boundary[key]
        return np.where(counts, event_time, NEVER)

    def on_weekday(day: int) -> Callable[[], IntArray]:
        return lambda: orders().on_first_lines(weekday() == day)

    def in_part(number: int) -> Callable[[], IntArray]:
        return lambda: orders().on_first_lines(part() == number)

    makers: dict[str, Callable[[], IntArray]] = {
        **{name: taken(name) for name in ("category", "brand", "item", "quantity", *MONEY_COLUMNS)},
        "is_discounted": lambda: (columns.discount_minor[order] > 0).astype(np.int64),
        "has_coupon": lambda: (columns.coupon_minor[order] > 0).astype(np.int64),
        "minus_event_time": lambda: -event_time,
        **_order_columns(orders),
        "order_ordinal": lambda: orders().ordinal_of_lines(),
        **{f"order_weekday_{day}": on_weekday(day) for day in range(7)},
        **{f"order_{name}": in_part(number) for number, name in enumerate(DAY_PARTS)},
        "session_start": starts,
        "session_start_time": begun,
    }
    return KeyedEvents(len(columns.customers), key, event_time, known_at, event_type, LazyColumns.of(makers))


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

    def taken(name: str) -> Callable[[], IntArray]:
        return lambda: customers.columns[name][order]

    @cache
    def orders() -> Orders:
        return Orders(pair, known_at, event_time, _is_of(event_type, ORDER_TYPES), carry)

    names = ("order_ordinal", "quantity", *MONEY_COLUMNS, "is_discounted", "has_coupon")
    makers = {
        **{name: taken(name) for name in names},
        "minus_event_time": lambda: -event_time,
        **_order_columns(orders),
        "moment": lambda: first_of_each(pair, known_at, event_time).astype(np.int64),
    }
    return KeyedEvents(len(pairs), pair, event_time, known_at, event_type, LazyColumns.of(makers))


def _is_of(event_type: npt.NDArray[np.integer[Any]], names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    is_meant: npt.NDArray[np.bool_] = _codes_meant(names)[event_type]
    return is_meant


@cache
def _codes_meant(names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    meant = np.zeros(len(TYPE_CODES), bool)
    meant[[TYPE_CODES[name] for name in names]] = True
    return meant


def _order_columns(orders: Callable[[], Orders]) -> dict[str, Callable[[], IntArray]]:
    return {
        "order": lambda: orders().on_first_lines(1),
        "order_before": lambda: orders().on_first_lines(orders().before, elsewhere=NEVER),
        "gap_count": lambda: orders().on_first_lines(orders().before != NEVER),
        "gap_minutes": lambda: orders().on_first_lines(orders().gap_minutes),
        "gap_minutes_squared": lambda: orders().on_first_lines(orders().gap_minutes ** 2),
        "lead_minutes": lambda: orders().on_first_lines(orders().lead_minutes),
    }


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
        # np.unique hashes integers, which takes several times as long as sorting them.
        composite = np.sort(customer[code >= 0] * size + code[code >= 0])
        distinct = composite[np.r_[True, composite[1:] != composite[:-1]][: len(composite)]]
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
