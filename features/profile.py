"""The long memory: what is known of customers, and of their categories and brands, at a day boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from features.boundary_rows import BoundaryRows
from features.day_parts import DAY_PARTS
from features.events import EVENT_TYPES
from features.lazy_columns import LazyColumns
from features.memory import ACTIVITY_TYPES, ATTENTION_TYPES, ORDER_TYPES
from features.sequences import Carry
from features.windows import (
    DAY_7,
    DAY_30,
    DAY_90,
    DAY_365,
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
REDUCED_ORDERS = Measure("reduced_order_count", ORDER_TYPES, "reduced_order")
REFUND = Measure("refund_minor", ("refund",), "amount_minor")
ATTENTION = Measure("attention_count", ATTENTION_TYPES)
ACTIVITY = Measure("activity_count", ACTIVITY_TYPES)
SESSIONS = Measure("session_count", ACTIVITY_TYPES, "session_start")
MOMENTS = Measure("moment_count", ATTENTION_TYPES, "moment")
GAP_COUNT = Measure("gap_count", ORDER_TYPES, "gap_count")
GAP_MINUTES = Measure("gap_minutes", ORDER_TYPES, "gap_minutes")
GAP_MINUTES_SQUARED = Measure("gap_minutes_squared", ORDER_TYPES, "gap_minutes_squared")
LEAD_MINUTES = Measure("lead_minutes", ORDER_TYPES, "lead_minutes")
"""Time at which the next order was at most 72 h away: of how much of it a claim would have been observed."""
COUNTS = {name: Measure(f"{name}_count", (name,)) for name in EVENT_TYPES}
WEEKDAY_ORDERS = tuple(
    Measure(f"order_weekday_{day}", ORDER_TYPES, f"order_weekday_{day}") for day in range(7)
)
DAY_PART_ORDERS = tuple(Measure(f"order_{part}", ORDER_TYPES, f"order_{part}") for part in DAY_PARTS)

DISTINCT_TYPES = (
    *("view", "add_to_cart", "remove_from_cart", "purchase"),
    *("refund", "interaction", "coupon"),
)
DISTINCT_COLUMNS = ("item", "category", "brand")
"""Of events of which types, and of which of their columns, the different values are counted."""

RECENT_ORDERS = 30
"""Of how many of the customer's latest orders a pair remembers whether the key was in them."""


def field_name(measure: Measure, window: Window) -> str:
    """Return the profile field of a measure over a window.

    >>> field_name(SPEND, DAY_30)
    'spend_minor@30d'
    """
    return f"{measure.name}@{window.name}"


def distinct_name(event_type: str, column: str, window: Window) -> str:
    """Return the profile field of how many different values a column has over a window.

    >>> distinct_name("view", "item", DAY_30)
    'view_distinct_item_count@30d'
    """
    return f"{event_type}_distinct_{column}_count@{window.name}"


DAY_WINDOWS = (DAY_7, DAY_30, DAY_90, DAY_365)
CUSTOMER_SUMS: tuple[tuple[Measure, Window], ...] = (
    *((measure, window) for measure in (ORDER_COUNT, SPEND, LINE_COUNT, REFUND) for window in LONG_WINDOWS),
    *((measure, window) for measure in (DISCOUNT, COUPON) for window in (DAY_30, DAY_90, DAY_365)),
    *((measure, window) for measure in (DISCOUNTED_LINES, COUPON_LINES) for window in (DAY_90,)),
    *((REDUCED_ORDERS, window) for window in (DAY_30, DAY_90, LIFETIME)),
    *((COUNTS[name], window) for name in EVENT_TYPES if name != "purchase" for window in DAY_WINDOWS),
    *((COUNTS[name], LIFETIME) for name in ("interaction", "referral")),
    *((measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED, *WEEKDAY_ORDERS)),
    *((measure, DAY_90) for measure in (GAP_COUNT, GAP_MINUTES, *WEEKDAY_ORDERS, *DAY_PART_ORDERS)),
    *((LEAD_MINUTES, window) for window in (DAY_30, DAY_90, LIFETIME)),
    *((SESSIONS, window) for window in (DAY_7, DAY_30, DAY_90)),
    (ACTIVITY, DAY_30),
)
PAIR_SUMS: tuple[tuple[Measure, Window], ...] = (
    *((ORDER_COUNT, window) for window in LONG_WINDOWS),
    *((SPEND, window) for window in DAY_WINDOWS),
    *(
        (measure, window)
        for measure in (ATTENTION, COUNTS["view"], COUNTS["add_to_cart"])
        for window in (DAY_7, DAY_30, DAY_90)
    ),
    (MOMENTS, DAY_90),
    *((measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES, GAP_MINUTES_SQUARED)),
    *((LEAD_MINUTES, window) for window in (DAY_30, DAY_90, LIFETIME)),
    (DISCOUNTED_LINES, DAY_90),
    (LINE_COUNT, DAY_90),
)
KEY_SUMS: tuple[tuple[Measure, Window], ...] = (
    *((ORDER_COUNT, window) for window in (DAY_7, DAY_30, DAY_90)),
    *((measure, LIFETIME) for measure in (GAP_COUNT, GAP_MINUTES)),
)


@dataclass(frozen=True)
class Contents:
    """What the profiles of one kind hold, and how each field is found among events.

    Attributes
    ----------
    sums
        Per field what is summed, and over which window.
    latest
        Per field the largest value of a column over events of some types.
    earliest
        Per field the first time of events of some types.
    distinct
        Per field of which type's events which column's different values are counted, and over which window.
    """

    sums: Mapping[str, tuple[Measure, Window]]
    latest: Mapping[str, tuple[tuple[str, ...], str]]
    earliest: Mapping[str, tuple[str, ...]]
    distinct: Mapping[str, tuple[str, str, Window]]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, in their order."""
        return (*self.sums, *self.latest, *self.earliest, *self.distinct)

    def look_up(self, rows: WindowRows | BoundaryRows, name: str) -> IntArray:
        """Return a field as of the rows' instants, shape (n_rows,)."""
        if name in self.latest:
            return rows.latest(*self.latest[name])
        if name in self.earliest:
            return rows.earliest(self.earliest[name])
        if name in self.distinct:
            event_type, column, window = self.distinct[name]
            return rows.distinct((event_type,), column, window.length_us)
        measure, window = self.sums[name]
        return rows.sum(measure, window.length_us)


def _named(sums: Sequence[tuple[Measure, Window]]) -> Mapping[str, tuple[Measure, Window]]:
    return {field_name(measure, window): (measure, window) for measure, window in sums}


CUSTOMER_CONTENTS = Contents(
    sums=_named(CUSTOMER_SUMS),
    latest={
        **{f"last_{name}": ((name,), "event_time") for name in EVENT_TYPES},
        "last_order_before": (ORDER_TYPES, "order_before"),
        "last_session_start": (ACTIVITY_TYPES, "session_start_time"),
    },
    earliest={"first_purchase": ORDER_TYPES, "first_event": EVENT_TYPES},
    distinct={
        distinct_name(event_type, column, window): (event_type, column, window)
        for event_type in DISTINCT_TYPES
        for column in DISTINCT_COLUMNS
        for window in DAY_WINDOWS
    },
)
PAIR_CONTENTS = Contents(
    sums=_named(PAIR_SUMS),
    latest={
        "last_attention": (ATTENTION_TYPES, "event_time"),
        "last_add_to_cart": (("add_to_cart",), "event_time"),
        "last_purchase": (ORDER_TYPES, "event_time"),
        "last_order_before": (ORDER_TYPES, "order_before"),
        "last_order_ordinal": (ORDER_TYPES, "order_ordinal"),
    },
    earliest={"first_purchase": ORDER_TYPES},
    distinct={},
)
KEY_CONTENTS = Contents(_named(KEY_SUMS), {}, {}, {})

CUSTOMER_FIELDS = CUSTOMER_CONTENTS.names
PAIR_FIELDS = (*PAIR_CONTENTS.names, "recent_orders")
KEY_FIELDS = KEY_CONTENTS.names


class MatrixFields(dict[str, IntArray]):
    """Fields that lie in one matrix: views, shape (n_rows,), that may be written to.

    Parameters
    ----------
    names
        The fields, in the order of the matrix's rows.
    matrix
        Shape (n_fields, n_rows), int64.
    """

    def __init__(self, names: tuple[str, ...], matrix: IntArray) -> None:
        super().__init__(zip(names, matrix, strict=True))
        self.names = names
        self.matrix = matrix


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
    fields: Mapping[str, IntArray]

    @classmethod
    def of_matrix(cls, boundary: IntArray, names: tuple[str, ...], matrix: IntArray) -> Profile:
        """Return the profile whose fields are the rows of a matrix, shape (n_fields, n_rows)."""
        return cls(boundary, MatrixFields(names, matrix))

    def matrix(self, names: tuple[str, ...]) -> IntArray:
        """Return fields as a matrix, shape (n_fields, n_rows)."""
        if isinstance(self.fields, MatrixFields) and self.fields.names == names:
            return self.fields.matrix
        return np.stack([self.fields[name] for name in names])

    def total(self, measure: Measure, window: Window) -> IntArray:
        """Return a stored sum, shape (n_rows,)."""
        return self.fields[field_name(measure, window)]

    def distinct(self, event_type: str, column: str, window: Window) -> IntArray:
        """Return a stored count of different values, shape (n_rows,)."""
        return self.fields[distinct_name(event_type, column, window)]

    def take(self, rows: IntArray) -> Profile:
        """Return the profile of chosen rows."""
        boundary, fields = self.boundary[rows], self.fields
        if isinstance(fields, MatrixFields):
            return Profile.of_matrix(boundary, fields.names, fields.matrix[:, rows])
        return Profile(boundary, LazyColumns(tuple(fields), lambda name: fields[name][rows]))


def _rows(
    memory: KeyedEvents, keys: IntArray, boundary: IntArray | int
) -> tuple[WindowRows | BoundaryRows, IntArray]:
    if isinstance(boundary, int):
        return BoundaryRows(memory, keys, boundary), np.full(len(keys), boundary, np.int64)
    return WindowRows(memory, keys, boundary), boundary


def customer_profile(memory: KeyedEvents, keys: IntArray, boundary: IntArray | int) -> Profile:
    """Make the profiles of customers at day boundaries from events known by then, each field when asked for.

    Parameters
    ----------
    memory
        All events, from `features.memory.customer_events`.
    keys
        Shape (n_rows,): customer numbers.
    boundary
        Shape (n_rows,), µs since the epoch; or one for all rows, whose keys then ascend.
    """
    rows, boundaries = _rows(memory, keys, boundary)
    look_up = CUSTOMER_CONTENTS.look_up
    return Profile(boundaries, LazyColumns(CUSTOMER_FIELDS, lambda name: look_up(rows, name)))


def pair_profile(
    memory: KeyedEvents, keys: IntArray, boundary: IntArray | int, order_count: IntArray
) -> Profile:
    """Make the profiles of (customer, key) pairs at day boundaries, each field when asked for.

    Parameters
    ----------
    memory
        From `features.memory.pair_events`.
    keys, boundary
        Pair numbers, and boundaries, as of `customer_profile`.
    order_count
        Shape (n_rows,): the customer's orders up to the boundary.
    """
    rows, boundaries = _rows(memory, keys, boundary)

    def made(name: str) -> IntArray:
        if name == "recent_orders":
            return order_bits(memory, rows.begin, rows.until, order_count)
        return PAIR_CONTENTS.look_up(rows, name)

    return Profile(boundaries, LazyColumns(PAIR_FIELDS, made))


def key_profile(memory: KeyedEvents, keys: IntArray, boundary: IntArray | int) -> Profile:
    """Make the profiles of categories or brands over all customers, as of `customer_profile`."""
    rows, boundaries = _rows(memory, keys, boundary)
    return Profile(boundaries, LazyColumns(KEY_FIELDS, lambda name: KEY_CONTENTS.look_up(rows, name)))


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
    last_activity = None
    if "last_session_start" in profile.fields:
        last_activity = np.maximum.reduce([profile.fields[f"last_{name}"] for name in ACTIVITY_TYPES])
    orders = profile.total(ORDER_COUNT, LIFETIME)
    return Carry(profile.boundary, profile.fields["last_purchase"], orders, last_activity)


def empty_profile(names: tuple[str, ...], boundary: IntArray) -> Profile:
    """Return the profile of those of whom nothing was known at their boundary."""
    return Profile.of_matrix(boundary, names, np.repeat(_nothing(names), len(boundary), axis=1))


@lru_cache(maxsize=16)
def _nothing(names: tuple[str, ...]) -> IntArray:
    is_time = np.array([name.startswith(("last_", "first_")) for name in names])
    return np.where(is_time, NEVER, 0).astype(np.int64)[:, None]
