"""The customer features of everyone in a census, then and now, by the very kernel that feeds the models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from features import customer
from features.feast_objects import SERVICES
from features.history import History
from features.windows import DAY_US, from_us
from monitoring.census import CensusDay, take_census
from monitoring.drift import DriftInputs

REFERENCE_DAYS = 28
"""Whole weeks, so that weekdays are as frequent on both sides as they can be."""


def census_inputs(
    events: pl.DataFrame,
    *,
    reference_until_us: int,
    current_since_us: int,
    current_until_us: int,
    zone: ZoneInfo,
    publication_lag: timedelta,
) -> DriftInputs:
    """Compute every customer feature that a model reads at the business midnights of two spans.

    Parameters
    ----------
    events
        Everything known at the end of the current span, from the first event on.
    reference_until_us
        End of the reference span of `REFERENCE_DAYS` days: usually when the champion was trained.
    current_since_us, current_until_us
        The current span, both included.

    Returns
    -------
    One row per customer and midnight; a side without customers is empty.
    """
    history = History(events, zone, publication_lag)
    reference = take_census(
        events,
        since_us=reference_until_us - REFERENCE_DAYS * DAY_US + 1,
        until_us=reference_until_us,
        zone=zone,
    )
    current = take_census(events, since_us=current_since_us, until_us=current_until_us, zone=zone)
    return DriftInputs(
        reference=_features(history, reference),
        current=_features(history, current),
        features=tuple(model_inputs()),
        reference_described=_described(reference, zone),
        current_described=_described(current, zone),
    )


def model_inputs() -> list[str]:
    """Return the customer features that any model reads."""
    return customer.CATALOGUE.names(*SERVICES)


def _features(history: History, census: Sequence[CensusDay]) -> pl.DataFrame:
    customers = [name for day in census for name in day.customers]
    if not customers:
        return pl.DataFrame()
    instants = np.repeat([day.midnight_us for day in census], [len(day.customers) for day in census])
    rows = history.customer_rows(history.numbers(customers), instants.astype(np.int64))
    return pl.DataFrame(customer.CATALOGUE.compute(rows, model_inputs()))


def _described(census: Sequence[CensusDay], zone: ZoneInfo) -> str:
    rows = sum(len(day.customers) for day in census)
    if not rows:
        return "no customers"
    first, last = (f"{from_us(day.midnight_us).astimezone(zone):%d %b %Y}" for day in (census[0], census[-1]))
    return f"{rows:,} customers seen before the midnights of {first} to {last}"
