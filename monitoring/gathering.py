"""From ledger and events to the figures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from features.outcomes import judge as judge_outcomes
from features.tags import TagFamily
from features.windows import day_boundaries, from_us, to_us
from monitoring.census import CensusDay, Judge, base_rates, take_census
from monitoring.closing import closed_by
from monitoring.drift import DriftInputs, input_drift
from monitoring.figures import Figures, SuspendedTag
from monitoring.key_numbers import CLV_MEASUREMENT, LATENCY_MEASUREMENT, four_numbers
from monitoring.ledger import CLAIM_WINDOW_US, Ledger
from monitoring.precision import (
    assigned,
    daily_precision,
    family_precision,
    overall_precision,
    provisional_precision,
    tag_precision,
    useful_tags_per_customer_day,
)
from monitoring.served_propensity import served_propensity

EVENTS_BEFORE = timedelta(days=31)


@dataclass(frozen=True)
class Occasion:
    """What a report is about.

    Attributes
    ----------
    as_of
        Aware; the instant it is told from.
    since
        Aware; claims assigned at or before it are left out. Null: from the first on.
    zone
        Business zone.
    lateness_allowance
        How long after a window's end late events are waited for.
    headline_family
        Whose precision is the first of the four numbers; null: every family under contract, pooled.
    """

    title: str
    source: str
    as_of: datetime
    since: datetime | None
    zone: ZoneInfo
    lateness_allowance: timedelta
    headline_family: str | None = None


@dataclass(frozen=True)
class Gathered:
    """Figures, and the claims they were told from (as `assigned` gives them)."""

    figures: Figures
    claims: pl.DataFrame


def events_needed_since(ledger: Ledger, since: datetime | None) -> datetime | None:
    """Return how far back events must reach to close windows and report on them, or None without entries.

    That is 31 days before the first of them: propensities are judged for customers active in 30 days, and
    the census looks back as far from the midnight a day began with. Claims at or before ``since`` count only
    while they are open.
    """
    first = ledger.first_needed_us(None if since is None else to_us(since))
    return None if first is None else from_us(first) - EVENTS_BEFORE


def gather_figures(
    ledger: Ledger,
    events: pl.DataFrame,
    families: Mapping[str, TagFamily],
    occasion: Occasion,
    *,
    inputs: DriftInputs | None = None,
    suspended: Sequence[SuspendedTag] = (),
    notes: Sequence[str] = (),
    judge: Judge = judge_outcomes,
) -> Gathered:
    """Work out everything a report says. Windows should have been closed before, see `closing`.

    Parameters
    ----------
    events
        Rows of `EVENT_SCHEMA` known at ``as_of``, at least those since `events_needed_since`.
    families
        The catalogue by name.
    inputs
        Input rows then and now, for drift.
    suspended, notes
        Passed on.
    """
    as_of_us = to_us(occasion.as_of)
    since_us = None if occasion.since is None else to_us(occasion.since)
    window_end = closed_by(as_of_us, occasion.lateness_allowance)
    told = _as_of(ledger.read(since_us=since_us, until_us=as_of_us), window_end)
    claims = assigned(told, occasion.zone)
    controls = told.filter(pl.col("is_control"))
    census = _census(events, claims, window_end, occasion.zone)
    rates = _base_rates(events, claims, families, window_end, occasion.zone, judge)
    families_pooled = family_precision(claims, families, rates)
    headline = (
        overall_precision(claims, families, rates)
        if occasion.headline_family is None
        else next((row for row in families_pooled if row.family == occasion.headline_family), None)
    )
    propensity = served_propensity(
        ledger.read_predictions(since_us=since_us, until_us=as_of_us), events, window_end
    )
    figures = Figures(
        title=occasion.title,
        source=occasion.source,
        as_of=occasion.as_of,
        since=_instant(claims["assigned_at_us"].min()),
        until=_instant(claims["assigned_at_us"].max()),
        time_zone=occasion.zone.key,
        numbers=four_numbers(
            headline,
            ledger.latest_measurement(LATENCY_MEASUREMENT, until_us=as_of_us),
            propensity,
            ledger.latest_measurement(CLV_MEASUREMENT, until_us=as_of_us),
        ),
        families=families_pooled,
        tags=tag_precision(claims, families, rates),
        days=daily_precision(claims),
        provisional=provisional_precision(claims),
        controls=family_precision(controls, families, {}),
        useful_tags_per_customer_day=useful_tags_per_customer_day(claims, families, census, occasion.zone),
        customer_days=sum(len(day.customers) for day in census),
        propensity=propensity,
        drift=() if inputs is None or inputs.is_empty else input_drift(inputs),
        drift_reference="" if inputs is None else inputs.reference_described,
        drift_current="" if inputs is None else inputs.current_described,
        suspended=tuple(suspended),
        notes=tuple(notes),
    )
    return Gathered(figures, claims)


def _as_of(claims: pl.DataFrame, window_end_us: int) -> pl.DataFrame:
    """Hide outcomes of windows that were still open at the instant."""
    is_open = pl.col("assigned_at_us") > window_end_us - CLAIM_WINDOW_US
    return claims.with_columns(
        outcome=pl.when(is_open).then(None).otherwise(pl.col("outcome")),
        judged_at_us=pl.when(is_open).then(None).otherwise(pl.col("judged_at_us")),
    )


def _base_rates(
    events: pl.DataFrame,
    claims: pl.DataFrame,
    families: Mapping[str, TagFamily],
    window_end_us: int,
    zone: ZoneInfo,
    judge: Judge,
) -> dict[str, float]:
    """Return each tag's base rate among the customers that its family looks at."""
    rates: dict[str, float] = {}
    tags = _tags(claims, families)
    for within in {family.candidate.seen_within for family, _ in tags.values()}:
        mine = {tag: found for tag, found in tags.items() if found[0].candidate.seen_within == within}
        census = _census(events, claims, window_end_us, zone, within.length_us or 0)
        rates |= base_rates(events, census, mine, judge)
    return rates


def _census(
    events: pl.DataFrame,
    claims: pl.DataFrame,
    window_end_us: int,
    zone: ZoneInfo,
    within_us: int = CLAIM_WINDOW_US,
) -> tuple[CensusDay, ...]:
    """Count the customers of every day with claims whose own outcome window has ended."""
    if claims.is_empty():
        return ()
    instants = claims["assigned_at_us"].to_numpy()
    first, last = int(instants.min()), int(instants.max())
    midnights = day_boundaries(first, first, zone)
    day_began = int(midnights[midnights <= first].max())
    return take_census(
        events,
        since_us=day_began,
        until_us=min(last, window_end_us - CLAIM_WINDOW_US),
        zone=zone,
        within_us=within_us,
    )


def _tags(claims: pl.DataFrame, families: Mapping[str, TagFamily]) -> dict[str, tuple[TagFamily, str | None]]:
    judged = claims.filter(pl.col("outcome").is_not_null()).select("family", "tag_id", "key").unique()
    return {
        row["tag_id"]: (families[row["family"]], row["key"])
        for row in judged.iter_rows(named=True)
        if row["family"] in families
    }


def _instant(value: object) -> datetime | None:
    return from_us(value) if isinstance(value, int) else None
