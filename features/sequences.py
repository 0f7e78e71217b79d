"""What follows from the sequence in which events became known: orders, the gaps between them, sessions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.sorted_axis import running_max
from features.windows import HOUR_US, NEVER, SECOND_US, IntArray

MINUTE_US = 60 * SECOND_US
SESSION_BREAK_US = 30 * MINUTE_US
"""A longer time than this without activity ends a session."""
LEAD_US = 72 * HOUR_US
"""How long before an order it lay ahead, as far as claims of 72 h are concerned."""


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
    last_activity_time
        Shape (key_count,), µs, `NEVER` where there was none; None of pairs, which have no sessions.
    """

    boundary: IntArray
    last_order_time: IntArray
    order_count: IntArray
    last_activity_time: IntArray | None = None


class Orders:
    """The orders among events: all purchase lines of a key with one event time that became known together.

    Parameters
    ----------
    key, known_at, event_time
        Shape (n,): ascending by all three.
    is_purchase
        Shape (n,), boolean.
    carry
        If the events are known completely from a boundary on only. Earlier orders then have no gap and no
        ordinal: the profile of the boundary holds what they add.
    """

    def __init__(
        self,
        key: IntArray,
        known_at: IntArray,
        event_time: IntArray,
        is_purchase: npt.NDArray[np.bool_],
        carry: Carry | None,
    ) -> None:
        self._size = len(key)
        self._carry = carry
        self._lines = np.flatnonzero(is_purchase)
        self._starts = first_of_each(key[self._lines], known_at[self._lines], event_time[self._lines])
        self._first_line = self._lines[self._starts]
        self._key = key[self._first_line]
        self.event_time = event_time[self._first_line]
        """Shape (n_orders,), µs."""
        self._counts = np.ones(len(self._key), bool)
        if carry is not None:
            self._counts = known_at[self._first_line] > carry.boundary[self._key]

    @cached_property
    def _latest_so_far(self) -> IntArray:
        so_far = _up_to_the_one_before(self._key, self.event_time, self._counts)
        if self._carry is not None:
            so_far = np.maximum(so_far, self._carry.last_order_time[self._key])
        return so_far

    @cached_property
    def before(self) -> IntArray:
        """Of each order that moved its key's latest order on, where it had been; `NEVER` of others, µs."""
        so_far = self._latest_so_far
        return np.where(self._counts & (self.event_time > so_far), so_far, NEVER)

    @cached_property
    def lead_minutes(self) -> IntArray:
        """For how much of the 72 h before it each order was the next one, shape (n_orders,).

        An order behind the latest one known has no such time.
        """
        begun = np.maximum(self._latest_so_far, self.event_time - LEAD_US)
        return np.where(self._counts, np.maximum(self.event_time - begun, 0), 0) // MINUTE_US

    @cached_property
    def gap_minutes(self) -> IntArray:
        """Time since the order before, shape (n_orders,); 0 where there is none."""
        has_gap = self.before != NEVER
        return np.where(has_gap, self.event_time - np.where(has_gap, self.before, 0), 0) // MINUTE_US

    @cached_property
    def _ordinal(self) -> IntArray:
        running = np.cumsum(self._counts)
        first = np.searchsorted(self._key, self._key)
        ordinal = running - (running - self._counts)[first]
        if self._carry is not None:
            ordinal = ordinal + self._carry.order_count[self._key]
        return np.where(self._counts, ordinal, 0)

    def ordinal_of_lines(self) -> IntArray:
        """Return of each event, shape (n,), which of its key's orders it belongs to, from 1; 0 if to none."""
        ordinal = np.zeros(self._size, np.int64)
        ordinal[self._lines] = self._ordinal[np.cumsum(self._starts) - 1]
        return ordinal

    def totals_of_lines(self, *columns: IntArray) -> IntArray:
        """Return the sums of columns of events, shape (n,) each, over each order's lines.

        Returns
        -------
        Shape (n_columns, n_orders).
        """
        if len(self._key) == 0:
            return np.zeros((len(columns), 0), np.int64)
        of_lines = np.stack([column[self._lines] for column in columns])
        totals: IntArray = np.add.reduceat(of_lines, np.flatnonzero(self._starts), axis=1)
        return totals

    def on_first_lines(self, values: IntArray | npt.NDArray[np.bool_] | int, elsewhere: int = 0) -> IntArray:
        """Return a column of events, shape (n,), with a value of each order at the first of its lines."""
        column = np.full(self._size, elsewhere, np.int64)
        column[self._first_line] = values
        return column


def session_starts(
    key: IntArray,
    known_at: IntArray,
    event_time: IntArray,
    is_activity: npt.NDArray[np.bool_],
    carry: Carry | None,
) -> npt.NDArray[np.bool_]:
    """Return which events start a session: activity after more than 30 minutes without any.

    Of several events of one moment the first starts it. One that is late, behind the latest activity known,
    starts none.

    Parameters
    ----------
    key, known_at, event_time
        Shape (n,): ascending by all three.
    is_activity
        Shape (n,): which events are the customer's own doing.
    carry
        Of the time before the events: what is known by its boundary is judged by the events alone.
    """
    active = np.flatnonzero(is_activity)
    moment = active[first_of_each(key[active], known_at[active], event_time[active])]
    owner, at = key[moment], event_time[moment]
    before = _up_to_the_one_before(owner, at, np.ones(len(at), bool))
    if carry is not None and carry.last_activity_time is not None:
        later = known_at[moment] > carry.boundary[owner]
        before = np.where(later, np.maximum(before, carry.last_activity_time[owner]), before)
    starts = np.zeros(len(key), bool)
    starts[moment] = (before == NEVER) | (at - np.maximum(before, -(2**62)) > SESSION_BREAK_US)
    return starts


def first_of_each(key: IntArray, known_at: IntArray, event_time: IntArray) -> npt.NDArray[np.bool_]:
    """Return which events are the first of their moment: of those of a key that happened and came together.

    Parameters
    ----------
    key, known_at, event_time
        Shape (n,): ascending by all three.
    """
    first = np.ones(len(key), bool)
    first[1:] = (key[1:] != key[:-1]) | (known_at[1:] != known_at[:-1]) | (event_time[1:] != event_time[:-1])
    return first


def _up_to_the_one_before(key: IntArray, values: IntArray, counts: npt.NDArray[np.bool_]) -> IntArray:
    """Return the largest value before each entry within its key, over those that count, or `NEVER`."""
    before = np.full(len(key), NEVER)
    so_far = running_max(key, values, counts)
    before[1:] = np.where(key[1:] == key[:-1], so_far[:-1], NEVER)
    return before
