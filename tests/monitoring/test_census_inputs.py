from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import polars as pl

from features import customer
from features.feast_objects import SERVICES
from features.windows import DAY_US, HOUR_US
from monitoring.census import take_census
from monitoring.census_inputs import REFERENCE_DAYS, census_inputs
from monitoring.drift import input_drift
from tests.monitoring.shop import START_US, at_us, random_events

UTC = ZoneInfo("UTC")


def test_each_customer_and_midnight_is_a_row_with_the_kernels_features() -> None:
    events = random_events(7)
    inputs = census_inputs(
        events,
        reference_until_us=at_us(24),
        current_since_us=at_us(24) + 1,
        current_until_us=at_us(100),
        zone=UTC,
        publication_lag=timedelta(hours=1),
    )
    before = take_census(events, since_us=START_US - REFERENCE_DAYS * DAY_US, until_us=at_us(24), zone=UTC)
    after = take_census(events, since_us=at_us(48), until_us=at_us(96), zone=UTC)
    assert inputs.reference.height == sum(len(day.customers) for day in before)
    assert inputs.current.height == sum(len(day.customers) for day in after)
    assert inputs.features == tuple(customer.CATALOGUE.names(*SERVICES))
    assert inputs.current_described == (
        f"{inputs.current.height:,} customers seen before the midnights of 04 Mar 2026 to 06 Mar 2026"
    )
    purchases = events.filter(pl.col("event_type") == "purchase").with_columns(
        at=pl.col("event_time").dt.epoch("us")
    )
    expected = [
        purchases.filter(
            (pl.col("customer_id") == who)
            & (pl.col("at") > day.midnight_us - 72 * HOUR_US)
            & (pl.col("at") <= day.midnight_us)
        ).height
        for day in after
        for who in day.customers
    ]
    assert inputs.current["line_count_72h"].to_list() == expected
    assert {row.feature for row in input_drift(inputs)} == set(inputs.features)


def test_a_span_without_customers_is_an_empty_side() -> None:
    inputs = census_inputs(
        random_events(7),
        reference_until_us=at_us(24),
        current_since_us=at_us(2_000),
        current_until_us=at_us(2_100),
        zone=UTC,
        publication_lag=timedelta(0),
    )
    assert inputs.is_empty
    assert inputs.current_described == "no customers"
