"""Customers at instants, as every customer feature looks at them, and the catalogue those features are in."""

from __future__ import annotations

from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from features.definitions import CUSTOMER_SERVICES, PAIR_SERVICES, VALUE_SERVICES, Catalogue
from features.events import EVENT_TYPES, TYPE_CODES
from features.profile import (
    COUNTS,
    CUSTOMER_FIELDS,
    CUSTOMER_SUMS,
    DAY_WINDOWS,
    DISTINCT_COLUMNS,
    DISTINCT_TYPES,
    LINE_COUNT,
    ORDER_COUNT,
    REFUND,
    SESSIONS,
    SPEND,
    MatrixFields,
    Profile,
    distinct_name,
    field_name,
)
from features.windows import (
    LONG_WINDOWS,
    NEVER,
    SHORT_WINDOWS,
    IntArray,
    KeyedEvents,
    Measure,
    SumPlan,
    Window,
    WindowRows,
    local_weekday,
)

WINDOWS = (*SHORT_WINDOWS, *DAY_WINDOWS)
"""From an hour to a year."""

SUMMED = tuple(dict.fromkeys(measure for measure, _ in CUSTOMER_SUMS))
SHORT_SUMMED = (
    *(ORDER_COUNT, SPEND, LINE_COUNT, REFUND, SESSIONS),
    *(count for event_type, count in COUNTS.items() if event_type != "purchase"),
)
"""What features sum over short windows; anything else is summed when it is asked for."""
SHORT_PLAN = SumPlan(SHORT_SUMMED, [window.length_us for window in SHORT_WINDOWS])
SHORT_FIELDS = [field_name(measure, window) for measure in SHORT_SUMMED for window in SHORT_WINDOWS]
SHORT_LENGTHS_US = SHORT_PLAN.far_us
DISTINCT_CODES = [TYPE_CODES[event_type] for event_type in DISTINCT_TYPES]
SHORT_DISTINCT_FIELDS = [
    distinct_name(event_type, column, window)
    for column in DISTINCT_COLUMNS
    for event_type in DISTINCT_TYPES
    for window in SHORT_WINDOWS
]
LONG_PLAN = SumPlan(SUMMED, [window.length_us for window in LONG_WINDOWS])
LONG_FIELDS = [field_name(measure, window) for measure, window in CUSTOMER_SUMS]
LONG_PLACES = tuple(
    np.array([(SUMMED.index(measure), LONG_WINDOWS.index(window)) for measure, window in CUSTOMER_SUMS]).T
)
"""Where the sums of profiles stand in those of the plan."""
LAST_PLACES = [CUSTOMER_FIELDS.index(f"last_{event_type}") for event_type in EVENT_TYPES]
"""Where profiles say when the latest event of each type was."""


class CustomerRows:
    """Customers at instants, to compute features of. What several features need is looked up once.

    Parameters
    ----------
    memory
        Events by customer: all of them, or the short memory of one customer; the features are the same.
    keys, instants
        Shape (n_rows,): customer numbers in the memory, and µs since the epoch.
    profile
        Long memory at each row's boundary, one row each.
    zone
        Business time zone.
    """

    def __init__(
        self, memory: KeyedEvents, keys: IntArray, instants: IntArray, profile: Profile, zone: ZoneInfo
    ) -> None:
        self.instants = instants
        self.profile = profile
        self.zone = zone
        self.recent = WindowRows(memory, keys, instants, profile.boundary)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.instants)

    @cached_property
    def _totals(self) -> dict[str, IntArray]:
        """What was summed, by field: of few events everything at once, of many what is asked for."""
        few = self.recent.few
        if few is None or not isinstance(self.profile.fields, MatrixFields):
            return {}
        short = few.sums(SHORT_PLAN).reshape(len(SHORT_FIELDS), -1)
        totals = dict(zip(SHORT_FIELDS, short, strict=True))
        news = few.newly_known_sums(LONG_PLAN)
        stored = self.profile.matrix(CUSTOMER_FIELDS)[: len(LONG_FIELDS)]
        long = stored if news is None else stored + news[LONG_PLACES]
        totals.update(zip(LONG_FIELDS, long, strict=True))
        return totals

    def total(self, measure: Measure, window: Window) -> IntArray:
        """Sum a measure over a window; a long one is its profile plus what became known since."""
        name = field_name(measure, window)
        total = self._totals.get(name)
        if total is None:
            total = self._totals[name] = self._total(measure, window)
        return total

    def _total(self, measure: Measure, window: Window) -> IntArray:
        if not window.is_long:
            return self.recent.sum(measure, window.length_us)
        return self.profile.total(measure, window) + self.recent.newly_known_sum(measure, window.length_us)

    def distinct(self, event_type: str, column: str, window: Window) -> IntArray:
        """Count the different values of a column among events of a type.

        A short window is exact at the instant. Different values of two times do not add up, so a long window
        is as of the profile's boundary.
        """
        name = distinct_name(event_type, column, window)
        if window.is_long:
            return self.profile.fields[name]
        found = self._distincts.get(name)
        return self.recent.distinct((event_type,), column, window.length_us) if found is None else found

    @cached_property
    def _distincts(self) -> dict[str, IntArray]:
        """What was counted over short windows, by field: of few events everything at once."""
        few = self.recent.few
        if few is None:
            return {}
        counted = few.distincts(DISTINCT_COLUMNS, SHORT_LENGTHS_US)[:, DISTINCT_CODES]
        return dict(zip(SHORT_DISTINCT_FIELDS, counted.reshape(len(SHORT_DISTINCT_FIELDS), -1), strict=True))

    def last(self, event_type: str) -> IntArray:
        """Return the time of the latest event of a type, `NEVER` where there was none."""
        if event_type not in self._latest:
            self._latest[event_type] = self.largest(f"last_{event_type}", (event_type,))
        return self._latest[event_type]

    @cached_property
    def _latest(self) -> dict[str, IntArray]:
        """When the latest event was, by type: of few events everything at once, as sums are."""
        few = self.recent.few
        if few is None or not isinstance(self.profile.fields, MatrixFields):
            return {}
        stored = self.profile.matrix(CUSTOMER_FIELDS)[LAST_PLACES]
        return dict(zip(EVENT_TYPES, np.maximum(stored, few.latests("event_time")), strict=True))

    def largest(self, field: str, event_types: tuple[str, ...], column: str = "event_time") -> IntArray:
        """Return the largest value of a column over events of some types; the profile has it in a field."""
        return np.maximum(self.profile.fields[field], self.recent.latest(event_types, column))

    def first(self, field: str, event_types: tuple[str, ...]) -> IntArray:
        """Return the time of the first event of some types, `NEVER` where there was none."""
        known, recent = self.profile.fields[field], self.recent.earliest(event_types)
        return np.where(known == NEVER, recent, np.where(recent == NEVER, known, np.minimum(known, recent)))

    @cached_property
    def first_purchase(self) -> IntArray:
        """Time of the first purchase, `NEVER` where there was none."""
        return self.first("first_purchase", ("purchase",))

    @cached_property
    def weekday(self) -> IntArray:
        """Weekday of the instants in the business time zone: Monday is 0."""
        return local_weekday(self.instants, self.zone)


CONTEXT_SERVICES = (*CUSTOMER_SERVICES, *PAIR_SERVICES)
"""Of features that judge a customer and also set a pair's in their context,"""
WORTH_SERVICES = (*CUSTOMER_SERVICES, *VALUE_SERVICES)
"""and of those that also tell what a customer is worth."""

AGEING_SERVICES = ("high_intent_v1", *VALUE_SERVICES)
"""Of features that grow with the age of the records, so that later days hold values no earlier one did: they
made propensities of later days worse and their level wrong on rolling earlier slices."""

PROPENSITY_SERVICES = ("propensity_v1",)
"""Of features that made propensities better on rolling earlier slices, and tags of high intent no better."""

CATALOGUE: Catalogue[CustomerRows] = Catalogue(CUSTOMER_SERVICES)
