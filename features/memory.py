"""Events as integer columns, and what is derived of them by customer and by (customer, key) pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
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
REDUCED_SHARE = 0.1
"""Of what was paid for an order, from which on what it saved makes it a reduced one."""


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
    events = _CustomerEvents(columns, order, zone, carry)
    made = LazyColumns(CUSTOMER_COLUMNS, lambda name: CUSTOMER_COLUMNS[name](events))
    count = len(columns.customers)
    return KeyedEvents(count, events.key, events.event_time, events.known_at, events.event_type, made)


class _CustomerEvents:
    """Events in order, to make the columns of a customer memory of."""

    def __init__(self, columns: EventColumns, order: IntArray, zone: ZoneInfo, carry: Carry | None) -> None:
        self.columns = columns
        self.order = order
        self.key = columns.customer[order]
        self.known_at = columns.known_at[order]
        self.event_time = columns.event_time[order]
        self.event_type = columns.event_type[order]
        self._zone = zone
        self._carry = carry

    @cached_property
    def orders(self) -> Orders:
        is_order = _is_of(self.event_type, ORDER_TYPES)
        return Orders(self.key, self.known_at, self.event_time, is_order, self._carry)

    @cached_property
    def weekday(self) -> IntArray:
        """Shape (n_orders,), Monday is 0."""
        return local_weekday(self.orders.event_time, self._zone)

    @cached_property
    def part(self) -> IntArray:
        """Shape (n_orders,): the part of the day."""
        return day_part(self.orders.event_time, self._zone)

    @property
    def is_reduced(self) -> npt.NDArray[np.bool_]:
        """Shape (n_orders,): had a coupon, or saved at least a tenth of what was paid."""
        taken = (_taken(name)(self) for name in MONEY_COLUMNS)
        amount, discount, coupon = self.orders.totals_of_lines(*taken)
        return np.asarray((coupon > 0) | (discount >= REDUCED_SHARE * amount))

    @cached_property
    def starts(self) -> IntArray:
        """Shape (n,): 1 where a session starts."""
        is_activity = _is_of(self.event_type, ACTIVITY_TYPES)
        starts = session_starts(self.key, self.known_at, self.event_time, is_activity, self._carry)
        return starts.astype(np.int64)

    @property
    def begun(self) -> IntArray:
        """Shape (n,): when a session started, or `NEVER`."""
        counts = self.starts > 0
        if self._carry is not None:
            # The oldest events of a short memory follow on none; of those before it the profile knows.
            counts &= self.known_at > self._carry.boundary[self.key]
        return np.where(counts, self.event_time, NEVER)


CustomerColumn = Callable[[_CustomerEvents], IntArray]


def _taken(name: str) -> CustomerColumn:
    return lambda events: getattr(events.columns, name)[events.order]


def _on_weekday(day: int) -> CustomerColumn:
    return lambda events: events.orders.on_first_lines(events.weekday == day)


def _in_part(number: int) -> CustomerColumn:
    return lambda events: events.orders.on_first_lines(events.part == number)


def _of_orders(column: Callable[[Orders], IntArray]) -> CustomerColumn:
    return lambda events: column(events.orders)


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

    def of_orders(column: Callable[[Orders], IntArray]) -> Callable[[], IntArray]:
        return lambda: column(orders())

    names = ("order_ordinal", "quantity", *MONEY_COLUMNS, "is_discounted", "has_coupon")
    makers = {
        **{name: taken(name) for name in names},
        "minus_event_time": lambda: -event_time,
        **{name: of_orders(column) for name, column in ORDER_COLUMNS.items()},
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


ORDER_COLUMNS: Mapping[str, Callable[[Orders], IntArray]] = {
    "order": lambda orders: orders.on_first_lines(1),
    "order_before": lambda orders: orders.on_first_lines(orders.before, elsewhere=NEVER),
    "gap_count": lambda orders: orders.on_first_lines(orders.before != NEVER),
    "gap_minutes": lambda orders: orders.on_first_lines(orders.gap_minutes),
    "gap_minutes_squared": lambda orders: orders.on_first_lines(orders.gap_minutes**2),
    "lead_minutes": lambda orders: orders.on_first_lines(orders.lead_minutes),
}
CUSTOMER_COLUMNS: Mapping[str, CustomerColumn] = {
    **{name: _taken(name) for name in ("category", "brand", "item", "quantity", *MONEY_COLUMNS)},
    "is_discounted": lambda events: (events.columns.discount_minor[events.order] > 0).astype(np.int64),
    "has_coupon": lambda events: (events.columns.coupon_minor[events.order] > 0).astype(np.int64),
    "minus_event_time": lambda events: -events.event_time,
    **{name: _of_orders(column) for name, column in ORDER_COLUMNS.items()},
    "order_ordinal": lambda events: events.orders.ordinal_of_lines(),
    "reduced_order": lambda events: events.orders.on_first_lines(events.is_reduced),
    **{f"order_weekday_{day}": _on_weekday(day) for day in range(7)},
    **{f"order_{name}": _in_part(number) for number, name in enumerate(DAY_PARTS)},
    "session_start": lambda events: events.starts,
    "session_start_time": lambda events: events.begun,
}
"""How each column of a customer memory is made when it is first asked for."""


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
