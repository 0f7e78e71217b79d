"""Charts as inline markup: shapes in stretching SVG, words in HTML, so that they fit any width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.precision import DayPrecision

AXIS_STEP = 0.2
DAY_LABELS = 7
"""At most so many dates are written under a chart."""


@dataclass(frozen=True)
class Dot:
    """One day's figure. ``left`` and ``top`` are percentages of the plot."""

    left: float
    top: float
    words: str


@dataclass(frozen=True)
class Tick:
    """A word beside an axis; ``at`` is a percentage along it."""

    at: float
    words: str


@dataclass(frozen=True)
class PrecisionChart:
    """A family's precision by day, laid out on a square of 100 × 100 that the page stretches.

    Attributes
    ----------
    line, band
        SVG paths of the observed precision and its interval; days without observed claims break them.
    contract_top
        Where the contract's line lies, percent from the top; null without a contract.
    """

    family: str
    summary: str
    line: str
    band: str
    dots: tuple[Dot, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    contract: float | None
    contract_top: float | None


def axis_floor(days: Sequence[DayPrecision], contracts: Sequence[float]) -> float:
    """Return where the axis of several charts begins, so that they compare: a whole step, at most 0.8."""
    lows = [day.wilson_low for day in days if day.wilson_low is not None]
    lowest = min([*lows, *contracts], default=0.0)
    return min(1 - AXIS_STEP, AXIS_STEP * (lowest // AXIS_STEP))


def precision_chart(days: Sequence[DayPrecision], contract: float | None, floor: float) -> PrecisionChart:
    """Lay out one family's daily precision.

    Parameters
    ----------
    days
        Of one family, oldest first, at least one.
    contract
        Demanded precision, 0 to 1, or None.
    floor
        Where the axis begins, 0 to 1, see `axis_floor`.
    """
    family = days[0].family
    first = days[0].day.toordinal()
    length = days[-1].day.toordinal() - first

    def left(day: DayPrecision) -> float:
        return _rounded(3 + 94 * (day.day.toordinal() - first) / length) if length else 50.0

    def top(value: float) -> float:
        return _rounded(100 * (1 - value) / (1 - floor))

    runs: list[list[DayPrecision]] = [[]]
    for day in days:
        if day.precision_observed is None:
            runs.append([])
        else:
            runs[-1].append(day)
    runs = [run for run in runs if run]

    line = " ".join(path_through([(left(d), top(d.precision_observed or 0.0)) for d in run]) for run in runs)
    band = " ".join(
        _band(
            [(left(d), top(max(floor, d.wilson_high or 0.0))) for d in run],
            [(left(d), top(max(floor, d.wilson_low or 0.0))) for d in run],
        )
        for run in runs
    )
    dots = tuple(
        Dot(
            left(d),
            top(d.precision_observed or 0.0),
            f"{d.day:%d %b %Y}: {d.precision_observed:.1%} of {d.confirmed + d.refuted:,} observed claims "
            f"(90% interval {d.wilson_low:.1%} to {d.wilson_high:.1%}), strict {d.precision_strict:.1%}",
        )
        for run in runs
        for d in run
    )
    steps = round((1 - floor) / AXIS_STEP)
    values = [floor + AXIS_STEP * step for step in range(steps + 1)]
    every = -(-len(days) // DAY_LABELS)
    return PrecisionChart(
        family=family,
        summary=_summary(family, runs, contract),
        line=line,
        band=band,
        dots=dots,
        rows=tuple(Tick(top(value), f"{value:.0%}") for value in values),
        columns=tuple(Tick(left(d), f"{d.day.day} {d.day:%b}") for d in days[::every]),
        contract=contract,
        contract_top=None if contract is None else top(contract),
    )


def _summary(family: str, runs: Sequence[Sequence[DayPrecision]], contract: float | None) -> str:
    """Say in words what the chart shows, for those who cannot see it."""
    days = [day for run in runs for day in run]
    if not days:
        return f"{family}: no observed claims yet"
    shares = [day.precision_observed or 0.0 for day in days]
    words = (
        f"{family}: observed precision by day, {days[0].day:%d %b %Y} to {days[-1].day:%d %b %Y}, "
        f"between {min(shares):.1%} and {max(shares):.1%}, last {shares[-1]:.1%}"
    )
    return words if contract is None else f"{words}; the contract demands {contract:.0%}"


def _band(
    high: Sequence[tuple[float, float]], low: Sequence[tuple[float, float]], least_width: float = 2.0
) -> str:
    """Outline an interval; a lone day gets a width, or there would be nothing to see."""
    if len(high) == 1:
        (x, top), (_, bottom) = high[0], low[0]
        high = [(x - least_width / 2, top), (x + least_width / 2, top)]
        low = [(x - least_width / 2, bottom), (x + least_width / 2, bottom)]
    return path_through([*high, *reversed(low)]) + "Z"


def path_through(points: Sequence[tuple[float, float]]) -> str:
    """Return the SVG path through some points.

    >>> path_through([(0, 10), (50, 2.5)])
    'M0 10L50 2.5'
    """
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _rounded(value: float) -> float:
    return round(value, 2)
