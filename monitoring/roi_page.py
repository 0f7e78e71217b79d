"""The ROI report as one HTML page that loads nothing, in the form of the monitoring report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from monitoring.charts import Tick
from monitoring.page import page_environment
from monitoring.roi import Assumptions, CampaignReturn, Estimate
from monitoring.targeting import RANDOM, TargetingCurve

DASH = "–"
STEPS = (0.25, 0.5, 1.0, 2.0, 2.5, 5.0)
ROWS_MAX = 6


@dataclass(frozen=True)
class RoiFigures:
    """Everything the ROI report says.

    Attributes
    ----------
    as_of
        The instant everything is told from.
    returns
        Of every campaign, and of all together.
    held_out
        Names of the campaigns that rankings were judged by, and as of when models were trained for each.
    curves
        Of the rankings; empty without a held-out campaign.
    notes
        Further things a reader should know: rankings that could not be made, for instance.
    """

    as_of: datetime
    time_zone: str
    source: str
    currency: str | None
    assumptions: Assumptions
    returns: tuple[CampaignReturn, ...]
    held_out: tuple[tuple[str, datetime], ...]
    curves: tuple[TargetingCurve, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RoiLine:
    """One ranking's line in a chart; ``band`` is its interval, empty for random."""

    name: str
    path: str
    band: str


@dataclass(frozen=True)
class RoiChart:
    """Targeting curves of one outcome, laid out on a square of 100 × 100 that the page stretches."""

    outcome: str
    summary: str
    lines: tuple[RoiLine, ...]
    rows: tuple[Tick, ...]
    zero_top: float | None


def render_roi(figures: RoiFigures, *, version: str) -> str:
    """Return the page.

    Parameters
    ----------
    version
        Of Tagtide, for the foot of the page.
    """
    environment = page_environment()
    zone = ZoneInfo(figures.time_zone)
    environment.filters.update(
        count=lambda value: f"{value:,}",
        share=lambda value: f"{value:.0%}",
        money=lambda value: money(value, figures.currency),
        times=times,
        money_span=lambda value: money_span(value, figures.currency),
        span=span,
        day=lambda value: f"{value.astimezone(zone):%d %b %Y}",
    )
    return environment.get_template("roi.html").render(
        figures=figures,
        version=version,
        charts=[
            roi_chart([curve for curve in figures.curves if curve.outcome == outcome])
            for outcome in dict.fromkeys(curve.outcome for curve in figures.curves)
        ],
        samples=[
            (curve, [point for point in curve.points if point.share in {0.1, 0.2, 0.5}])
            for curve in figures.curves
        ],
    )


def roi_chart(curves: Sequence[TargetingCurve]) -> RoiChart:
    """Lay out the curves of one outcome, random among them."""
    known = [
        value
        for curve in curves
        for point in curve.points
        for value in (point.roi.value, point.roi.low, point.roi.high)
        if value is not None
    ]
    low, high = min([0.0, *known]), max([0.0, *known])
    step = _step(high - low)
    floor, ceiling = step * math.floor(low / step), step * math.ceil(high / step)
    ceiling = max(ceiling, floor + step)

    def top(value: float) -> float:
        return round(100 * (1 - (value - floor) / (ceiling - floor)), 2)

    lines = []
    for curve in curves:
        points = [(100 * one.share, one.roi) for one in curve.points if one.roi.value is not None]
        path = _path([(left, top(roi.value or 0.0)) for left, roi in points])
        band = ""
        if curve.ranking != RANDOM and points:
            upper = [(left, top(roi.high or 0.0)) for left, roi in points]
            lower = [(left, top(roi.low or 0.0)) for left, roi in points]
            band = _path([*upper, *reversed(lower)]) + "Z"
        lines.append(RoiLine(curve.ranking, path, band))
    count = round((ceiling - floor) / step)
    ticks = [floor + step * number for number in range(count + 1)]
    return RoiChart(
        curves[0].outcome,
        _summary(curves),
        tuple(lines),
        tuple(Tick(top(value), f"{value:g}") for value in ticks),
        top(0.0),
    )


def money(minor: float | None, currency: str | None) -> str:
    """Show minor units as money; without a currency as they are.

    >>> money(123456, "USD"), money(123456, None), money(None, "USD")
    ('1,234.56 USD', '123,456', '–')
    """
    if minor is None:
        return DASH
    if currency is None:
        return f"{minor:,.0f}"
    from training.segment_words import shown

    return shown(minor, "money", currency)


def times(value: float | None) -> str:
    """Show a return on investment.

    >>> times(1.234), times(-0.5), times(23.45), times(None)
    ('1.23', '-0.50', '23.4', '–')
    """
    if value is None:
        return DASH
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def span(estimate: Estimate) -> str:
    """Show a return with its interval.

    >>> span(Estimate(1.234, 0.5, 2.0)), span(Estimate(None))
    ('1.23 (0.50 to 2.00)', '–')
    """
    if estimate.value is None or estimate.low is None:
        return times(estimate.value)
    return f"{times(estimate.value)} ({times(estimate.low)} to {times(estimate.high)})"


def money_span(estimate: Estimate, currency: str | None) -> str:
    """Show an amount with its interval.

    >>> money_span(Estimate(123456, 100000, 150000), "USD"), money_span(Estimate(None), "USD")
    ('1,234.56 USD (1,000.00 to 1,500.00)', '–')
    """
    shown = money(estimate.value, currency)
    if estimate.value is None or estimate.low is None:
        return shown
    low, high = (
        money(value, currency).removesuffix(f" {currency}") for value in (estimate.low, estimate.high)
    )
    return f"{shown} ({low} to {high})"


def _step(spread: float) -> float:
    """Return a round step that cuts an axis into at most six rows."""
    scale = 10.0 ** math.floor(math.log10(max(spread, 1e-9) / ROWS_MAX))
    return next(
        scale * factor * tens
        for tens in (1.0, 10.0, 100.0)
        for factor in STEPS
        if spread / (scale * factor * tens) <= ROWS_MAX
    )


def _summary(curves: Sequence[TargetingCurve]) -> str:
    """Say in words what the chart shows, for those who cannot see it."""
    told = []
    for curve in curves:
        at = next((point for point in curve.points if point.share == 0.2), None)
        if at is not None:
            told.append(f"{curve.ranking} {times(at.roi.value)}")
    return f"return on investment of the best fifth by ranking ({curves[0].outcome}): {', '.join(told)}"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""
