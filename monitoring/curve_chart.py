"""A backtest's curve as inline markup: the same picture as its PNG, for any width and for the dark."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.charts import Dot, Tick, path_through
from training.backtest_curves import Curve, Series, written

BARS_SHARE = 0.8
"""Of the room between two marks that their bars fill."""


@dataclass(frozen=True)
class Line:
    """A line of the plot. ``role`` is ``trend``, ``strict``, ``contract`` or ``guide``."""

    role: str
    path: str


@dataclass(frozen=True)
class Bar:
    """A bar; percentages of the plot. ``role`` is ``first`` or ``second``."""

    role: str
    left: float
    top: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class CurveChart:
    """A curve laid out on a square of 100 × 100 that the page stretches.

    Attributes
    ----------
    legend
        (role, name) of what has a name.
    columns, rows
        Words under and beside the plot.
    """

    curve: Curve
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...]
    dots: tuple[Dot, ...]
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    legend: tuple[tuple[str, str], ...]


def curve_chart(curve: Curve) -> CurveChart:
    """Lay a curve out."""
    first, last = curve.x_range
    floor, ceiling = curve.y_ticks[0], curve.y_ticks[-1]

    def left(value: float) -> float:
        return round(100 * (value - first) / (last - first), 2)

    def top(value: float) -> float:
        return round(100 * (ceiling - value) / (ceiling - floor), 2)

    def points(x: tuple[float, ...], y: tuple[float, ...]) -> list[tuple[float, float]]:
        return [(left(a), top(b)) for a, b in zip(x, y, strict=True)]

    def bars_of(series: Series, number: int, count: int) -> list[Bar]:
        width = BARS_SHARE / count
        ground = top(max(floor, 0.0))
        return [
            Bar(
                _role(series, number),
                left(x - BARS_SHARE / 2 + number * width),
                min(top(y), ground),
                round(100 * width / (last - first), 2),
                round(abs(ground - top(y)), 2),
                words,
            )
            for x, y, words in zip(series.x, series.y, series.words, strict=True)
        ]

    barred = [one for one in curve.series if one.style == "bars"]
    lined = [one for one in curve.series if one.style in {"line", "dashed"}]
    guides = [Line(_guide_role(one.name), path_through(points(one.x, one.y))) for one in curve.guides]
    return CurveChart(
        curve,
        (*guides, *(Line(_role(one), path_through(points(one.x, one.y))) for one in lined)),
        tuple(bar for number, one in enumerate(barred) for bar in bars_of(one, number, len(barred))),
        tuple(
            Dot(left(x), top(y), words)
            for one in curve.series
            if one.style == "dots"
            for x, y, words in zip(one.x, one.y, one.words, strict=True)
        ),
        tuple(Tick(left(mark), written(mark, curve.x_form)) for mark in curve.x_ticks),
        tuple(Tick(top(mark), written(mark, curve.y_form)) for mark in curve.y_ticks),
        (
            *((_role(one, barred.index(one) if one in barred else 0), one.name) for one in curve.series),
            *((_guide_role(one.name), one.name) for one in curve.guides),
        ),
    )


def _role(series: Series, number: int = 0) -> str:
    if series.style == "bars":
        return ("first", "second")[number % 2]
    return {"line": "trend", "dashed": "strict", "dots": "dots"}[series.style]


def _guide_role(name: str) -> str:
    return "contract" if name.startswith("contract") else "guide"
