from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from features.windows import HOUR_US, from_us
from monitoring.census import take_census
from monitoring.claims import Measurement, Prediction
from monitoring.closing import close_windows
from monitoring.drift import DriftInputs
from monitoring.figures import SuspendedTag
from monitoring.gathering import Gathered, Occasion, events_needed_since, gather_figures
from monitoring.ledger import Ledger
from tests.monitoring.shop import (
    FAMILIES,
    at,
    at_us,
    claim,
    filled_ledger,
    open_ledger,
    random_claims,
    random_events,
    slow_outcome,
)

UTC = ZoneInfo("UTC")
EVENTS = random_events(11)
NOW = at(7 * 24)
OCCASION = Occasion("Report", "shop", NOW, None, UTC, timedelta(0))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = filled_ledger(tmp_path, random_claims(11))
    ledger.record_predictions(
        [Prediction(f"c{n}", "72h", n / 50, at_us(24 * day), "1") for n in range(40) for day in range(3)]
    )
    ledger.record_measurement(Measurement("event_to_tag_p99_ms", 12.0, at_us(1), "a replay"))
    ledger.record_measurement(Measurement("clv_bias", 0.04, at_us(1_000), "a backtest of the future"))
    close_windows(ledger, EVENTS, FAMILIES, at_us(7 * 24), timedelta(0))
    return ledger


def gathered(ledger: Ledger, occasion: Occasion = OCCASION) -> Gathered:
    return gather_figures(ledger, EVENTS, FAMILIES, occasion)


def test_every_figure_is_there_and_the_counts_agree_with_outcomes_found_by_hand(ledger: Ledger) -> None:
    figures = gathered(ledger).figures
    assert [row.family for row in figures.families] == ["high_intent", "interest"]
    first: dict[tuple[str, str, object], str] = {}
    for each in sorted(random_claims(11), key=lambda each: each.assigned_at_us):
        if each.is_control or each.assigned_at_us > at_us(4 * 24):
            continue
        outcome = slow_outcome(EVENTS, each.customer_id, each.key, each.assigned_at_us, FAMILIES[each.family])
        first.setdefault((each.customer_id, each.tag_id, from_us(each.assigned_at_us).date()), outcome)
    confirmed = sum(outcome == "confirmed" for outcome in first.values())
    assert sum(row.n for row in figures.families) == len(first)
    assert sum(row.confirmed for row in figures.families) == confirmed
    refuted = sum(outcome == "refuted" for outcome in first.values())
    assert figures.numbers[0].value == pytest.approx(confirmed / (confirmed + refuted))
    assert [number.verdict for number in figures.numbers][1::2] == ["met", "not measured"]
    active = EVENTS.filter(pl.col("event_type") != "contact").select("customer_id", pl.col("event_time"))
    assert figures.propensity[0].n == sum(
        active.filter(pl.col("event_time") <= at(24 * day))["customer_id"].n_unique() for day in range(3)
    )
    assert all(row.base_rate is not None and row.lift is not None for row in figures.tags if row.observed)


def test_the_census_has_the_days_whose_own_window_is_over(ledger: Ledger) -> None:
    figures = gathered(ledger).figures
    census = take_census(EVENTS, since_us=at_us(0), until_us=at_us(4 * 24), zone=UTC)
    assert len(census) == 5
    assert figures.customer_days == sum(len(day.customers) for day in census)


def test_an_earlier_instant_knows_nothing_of_what_came_later(ledger: Ledger) -> None:
    early = dataclasses.replace(OCCASION, as_of=at(80))
    found = gathered(ledger, early)
    assert found.claims["assigned_at_us"].max() <= at_us(80)
    judged = found.claims.filter(pl.col("outcome").is_not_null())
    assert judged["assigned_at_us"].max() <= at_us(8)
    assert judged.height == sum(row.n for row in found.figures.tags)
    assert sum(row.n_open for row in found.figures.provisional) == found.claims.height - judged.height


def test_since_leaves_earlier_claims_out(ledger: Ledger) -> None:
    late = dataclasses.replace(OCCASION, since=at(48))
    assert gathered(ledger, late).claims["assigned_at_us"].min() > at_us(48)


def test_one_family_may_be_the_headline(ledger: Ledger) -> None:
    figures = gathered(ledger, dataclasses.replace(OCCASION, headline_family="interest")).figures
    interest = next(row for row in figures.families if row.family == "interest")
    assert figures.numbers[0].value == interest.precision_observed


def test_gathering_twice_tells_the_same(ledger: Ledger) -> None:
    assert gathered(ledger).figures == gathered(ledger).figures


def test_drift_suspensions_and_notes_are_passed_on(ledger: Ledger) -> None:
    rows = pl.DataFrame({"x": [1.0, 2.0] * 300})
    figures = gather_figures(
        ledger,
        EVENTS,
        FAMILIES,
        OCCASION,
        inputs=DriftInputs(rows, rows, ("x",), "then", "now"),
        suspended=[SuspendedTag("interest", "interest:MILK", "lift 1.2 below 2.0")],
        notes=["mind the gap"],
    ).figures
    assert [row.verdict for row in figures.drift] == ["stable"]
    assert (figures.drift_reference, figures.drift_current) == ("then", "now")
    assert figures.suspended[0].reason == "lift 1.2 below 2.0"
    assert figures.notes == ("mind the gap",)


def test_an_empty_ledger_gives_an_empty_report(tmp_path: Path) -> None:
    figures = gathered(open_ledger(tmp_path)).figures
    assert (figures.since, figures.until, figures.families, figures.customer_days) == (None, None, (), 0)
    assert [number.value for number in figures.numbers] == [None] * 4


def test_events_are_needed_from_thirty_days_before_the_first_entry(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert events_needed_since(ledger, None) is None
    ledger.record([claim("7", 10)])
    assert events_needed_since(ledger, None) == from_us(at_us(10) - 31 * 24 * HOUR_US)
