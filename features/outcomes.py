"""What became of a tag: the one judgement that training and monitoring share.

A claim made at ``t`` is *confirmed* if the family's ``confirmed_by`` holds after it, *refuted* if
``observed_if`` holds and ``confirmed_by`` does not, *unobserved* otherwise. Events count by the time they
happened. Where the next event decides, it is all events of its type at the first instant at which there is
one: the lines of an order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from features.events import TYPE_CODES
from features.memory import EventColumns, columns_of
from features.sorted_axis import SortedAxis
from features.tags import Condition, TagFamily
from features.where import Where
from features.windows import HOUR_US, IntArray

CONFIRMED, REFUTED, UNOBSERVED = 1, 0, -1
OUTCOME_NAMES = {CONFIRMED: "confirmed", REFUTED: "refuted", UNOBSERVED: "unobserved"}
MINUTE_US = HOUR_US // 60


class OutcomeJudge:
    """Events in the order they happened, ready to judge claims by.

    Parameters
    ----------
    columns
        Events.
    known_by_us
        Judge by those known at this instant, µs since the epoch; None for all of them.
    """

    def __init__(self, columns: EventColumns, known_by_us: int | None = None) -> None:
        self._columns = columns
        self._known_by_us = known_by_us
        self._axes: dict[tuple[tuple[str, ...], str | None, str | None], _Axis] = {}

    def judge(
        self, family: TagFamily, customers: IntArray, codes: IntArray, instants: IntArray
    ) -> npt.NDArray[np.int8]:
        """Judge claims.

        Parameters
        ----------
        customers, codes, instants
            Shape (n_claims,): customer number, category or brand number (ignored where the family has no
            key; the number of texts stands for one that never occurred), and µs since the epoch.

        Returns
        -------
        Shape (n_claims,): `CONFIRMED`, `REFUTED` or `UNOBSERVED`.
        """
        confirmed = self.holds(family.confirmed_by, family.key, customers, codes, instants)
        if family.observed_if == "always":
            observed = np.ones(len(instants), bool)
        else:
            observed = self.holds(family.observed_if, family.key, customers, codes, instants)
        return np.where(confirmed, CONFIRMED, np.where(observed, REFUTED, UNOBSERVED)).astype(np.int8)

    def observed(self, family: TagFamily, customers: IntArray, instants: IntArray) -> npt.NDArray[np.bool_]:
        """Return at which instants a claim of the family about any key would be observed."""
        if family.observed_if == "always":
            return np.ones(len(instants), bool)
        return self.holds(family.observed_if, None, customers, np.zeros(len(instants), np.int64), instants)

    def holds(
        self, condition: Condition, key: str | None, customers: IntArray, codes: IntArray, instants: IntArray
    ) -> npt.NDArray[np.bool_]:
        """Return at which instants a condition holds of what follows, shape (n,)."""
        after = instants + condition.not_before_minutes * MINUTE_US
        until = instants + condition.within_hours * HOUR_US
        key = key if condition.same_key else None

        def between(axis: _Axis) -> tuple[IntArray, IntArray]:
            group = customers if key is None else customers * axis.size + codes
            return axis.sorted.positions(group, after), axis.sorted.positions(group, until)

        if condition.next is not None:
            return self._next_fulfils(condition, self._axis((condition.next,), key, None), between)
        holds = np.ones(len(instants), bool)
        if condition.any_of:
            begin, end = between(self._axis(condition.any_of, key, condition.comparison))
            holds &= end > begin
        if condition.none_of:
            begin, end = between(self._axis(condition.none_of, key, condition.comparison))
            holds &= end == begin
        return holds

    def _next_fulfils(
        self,
        condition: Condition,
        axis: _Axis,
        between: Callable[[_Axis], tuple[IntArray, IntArray]],
    ) -> npt.NDArray[np.bool_]:
        begin, end = between(axis)
        fulfils = np.zeros(len(begin), bool)
        if condition.comparison is None or len(axis.order) == 0:
            return fulfils
        there = end > begin
        columns, order = self._columns, axis.order
        at = np.stack([axis.group, columns.event_time[order]])
        is_first = np.r_[True, (at[:, 1:] != at[:, :-1]).any(axis=0)]
        decided = condition.comparison.of_groups(columns, np.flatnonzero(is_first), order)
        fulfils[there] = decided[(np.cumsum(is_first) - 1)[begin[there]]]
        return fulfils

    def _axis(self, event_types: tuple[str, ...], key: str | None, where: Where | None) -> _Axis:
        name = event_types, key, None if where is None else where.said
        if name not in self._axes:
            columns = self._columns
            chosen = np.isin(columns.event_type, [TYPE_CODES[one] for one in event_types])
            if self._known_by_us is not None:
                chosen &= columns.known_at <= self._known_by_us
            if where is not None:
                chosen &= where.of_events(columns)
            group, size, groups = columns.customer, 1, len(columns.customers)
            if key is not None:
                code = columns.category if key == "category" else columns.brand
                chosen &= code >= 0
                size = len(columns.texts(key)) + 1
                group, groups = columns.customer * size + code, groups * size
            order = np.flatnonzero(chosen)
            order = order[np.lexsort((columns.event_time[order], group[order]))]
            axis = SortedAxis.by_key(group[order], columns.event_time[order], groups)
            self._axes[name] = _Axis(axis, order, group[order], size)
        return self._axes[name]


@dataclass(frozen=True)
class _Axis:
    """Some events sorted by customer (and key) and by when they happened.

    Attributes
    ----------
    order, group
        Shape (n,): their positions among all events, and their customer or pair.
    size
        How many keys a customer may have.
    """

    sorted: SortedAxis
    order: IntArray
    group: IntArray
    size: int


def judge(events: pl.DataFrame, claims: pl.DataFrame, family: TagFamily) -> pl.Series:
    """Judge claims about named customers and keys.

    Parameters
    ----------
    events
        Rows of the event schema known at the time of judging.
    claims
        Columns ``customer_id``, ``key`` (null where the family has none) and ``assigned_at``.

    Returns
    -------
    ``confirmed``, ``refuted`` or ``unobserved`` per claim.
    """
    customers = sorted({*events["customer_id"].unique(), *claims["customer_id"].unique()})
    columns = columns_of(events, customers)
    codes = np.zeros(claims.height, np.int64)
    if family.key is not None:
        codes = _codes(claims["key"].to_list(), columns.texts(family.key))
    names = _codes(claims["customer_id"].to_list(), customers)
    instants = claims["assigned_at"].dt.epoch("us").to_numpy().astype(np.int64)
    outcomes = OutcomeJudge(columns).judge(family, names, codes, instants)
    return pl.Series("outcome", [OUTCOME_NAMES[code] for code in outcomes.tolist()], pl.String)


def _codes(names: Sequence[str], texts: Sequence[str]) -> IntArray:
    number = {text: code for code, text in enumerate(texts)}
    return np.array([number.get(name, len(texts)) for name in names], np.int64)
