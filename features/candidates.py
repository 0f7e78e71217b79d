"""Who is worth a claim: rules about a customer, or about a customer and a category or brand.

Training asks them of many customers at past instants, the service of a few now; both hand in the same kind of
rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.customer import CustomerRows
from features.customer_orders import order_overdue_ratio
from features.definitions import ratio
from features.profile import (
    ACTIVITY,
    GAP_COUNT,
    GAP_MINUTES,
    MOMENTS,
    ORDER_COUNT,
    Profile,
)
from features.windows import LIFETIME, NEVER, SECOND_US, IntArray, Measure, Window, WindowRows

BoolArray = npt.NDArray[np.bool_]

MINUTE_US = 60 * SECOND_US


def seen_within(rows: CustomerRows, window: Window) -> BoolArray:
    """Return which customers did anything themselves in the window, shape (n_rows,)."""
    return rows.total(ACTIVITY, window) > 0


@dataclass(frozen=True)
class CustomerRule:
    """Which customers are worth a claim; whatever is given has to hold.

    Attributes
    ----------
    any_of, within
        An event of these types in this short window,
    none_since
        and none of these at or after the latest of them.
    orders_at_least, overdue_ratio
        Orders so far, and time since the latest over the usual gap (`order_overdue_ratio`), at least.
    """

    any_of: tuple[str, ...] = ()
    within: Window | None = None
    none_since: tuple[str, ...] = ()
    orders_at_least: int | None = None
    overdue_ratio: float | None = None

    def holds(self, rows: CustomerRows) -> BoolArray:
        """Return which rows qualify, shape (n_rows,)."""
        wanted = np.ones(len(rows), bool)
        if self.any_of and self.within is not None:
            latest = _latest(rows, self.any_of)
            wanted &= latest > rows.instants - (self.within.length_us or 0)
            if self.none_since:
                wanted &= latest > _latest(rows, self.none_since)
        if self.orders_at_least is not None and self.overdue_ratio is not None:
            wanted &= rows.total(ORDER_COUNT, LIFETIME) >= self.orders_at_least
            wanted &= order_overdue_ratio(rows) >= self.overdue_ratio
        return wanted


def _latest(rows: CustomerRows, event_types: tuple[str, ...]) -> IntArray:
    return np.asarray(np.maximum.reduce([rows.last(name) for name in event_types]))


@dataclass(frozen=True)
class PairRule:
    """Which pairs of customer and key are worth a claim: attention lately or repeatedly, or a purchase due.

    Attributes
    ----------
    within, repeat_within
        A short window that must hold some attention to the key, or a long one that must hold two moments of
        it.
    orders_at_least, overdue_ratio
        Instead of both: orders with the key so far, and time since the latest over their mean gap, at least
    ahead_us
        so many microseconds from now.
    """

    within: Window | None = None
    repeat_within: Window | None = None
    orders_at_least: int | None = None
    overdue_ratio: float | None = None
    ahead_us: int = 0

    def holds(self, recent: WindowRows, profile: Profile) -> BoolArray:
        """Return which rows qualify.

        Parameters
        ----------
        recent
            Pairs at instants, with the boundary that their profile ends at.
        profile
            Long memory of the pairs at that boundary, one row each.
        """
        if self.within is not None and self.repeat_within is not None:
            lately = recent.sum(MOMENTS, self.within.length_us) >= 1
            return lately | (_total(recent, profile, MOMENTS, self.repeat_within) >= 2)
        orders = _total(recent, profile, ORDER_COUNT, LIFETIME)
        gap_us = ratio(
            _total(recent, profile, GAP_MINUTES, LIFETIME) * MINUTE_US,
            _total(recent, profile, GAP_COUNT, LIFETIME),
        )
        latest = np.maximum(profile.fields["last_purchase"], recent.latest(("purchase",)))
        since_us = (recent.instants + self.ahead_us - latest).astype(np.float64)
        is_due = (latest != NEVER) & (ratio(since_us, gap_us) >= (self.overdue_ratio or 0.0))
        return np.asarray(is_due & (orders >= (self.orders_at_least or 0)))


def _total(recent: WindowRows, profile: Profile, measure: Measure, window: Window) -> IntArray:
    return profile.total(measure, window) + recent.newly_known_sum(measure, window.length_us)
