"""What a backtest's JSON has to show as pictures: each curve once, whoever draws it.

A curve is read from the JSON alone, so that a report can be drawn anew from the file, without the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from training.backtest_figures import is_figure, label_of, parts_of, shown

Style = Literal["line", "dashed", "dots", "bars"]
Form = Literal["share", "times", "number"]

WHOLE_MINOR = frozenset({"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND"})
THOUSANDTHS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
"""Currencies whose minor unit is no hundredth [ISO 4217]."""


DOTS_MOST = 25


@dataclass(frozen=True)
class Series:
    """Points of one line, or bars of one colour.

    Attributes
    ----------
    name
        For the legend.
    style
        How they are drawn.
    x, y
        Shape (n,) each, finite.
    words
        Shape (n,): what each point says.
    """

    name: str
    style: Style
    x: tuple[float, ...]
    y: tuple[float, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Guide:
    """A straight line to compare with, from one corner to another of the plot."""

    name: str
    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One picture.

    Attributes
    ----------
    kind
        One of `KINDS`.
    part
        Family, horizon or run it is about.
    x_range
        Ends of the horizontal axis; the vertical one ends with its marks.
    x_ticks, y_ticks
        Where the axes are marked.
    x_form, y_form
        How the marks are written.
    summary
        The picture in one sentence.
    """

    kind: str
    part: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    guides: tuple[Guide, ...]
    x_range: tuple[float, float]
    x_ticks: tuple[float, ...]
    y_ticks: tuple[float, ...]
    x_form: Form
    y_form: Form
    summary: str

    @property
    def file_stem(self) -> str:
        """Name for files.

        >>> from training.backtest_curves import curves_of
        >>> curves_of({"72h": {"lift_curve": [{"share": 0.5, "lift": 1.5}]}}).curves[0].file_stem
        'lift-72h'
        """
        part = "".join(letter if letter.isalnum() else "-" for letter in self.part).strip("-")
        return f"{self.kind}-{part}" if part else self.kind


@dataclass(frozen=True)
class Absent:
    """A picture that a part's JSON does not hold, and the key that is missing or empty."""

    kind: str
    part: str
    key: str

    def __str__(self) -> str:
        """Say so in words."""
        return f"no {KINDS[self.kind]} of {self.part}: the JSON has no {self.key!r}"


@dataclass(frozen=True)
class Curves:
    """The pictures of a backtest, and those that could not be drawn."""

    curves: tuple[Curve, ...]
    absent: tuple[Absent, ...]


KINDS: Mapping[str, str] = {
    "precision-coverage": "precision–coverage curve",
    "reliability": "reliability diagram",
    "lift": "lift curve",
    "deciles": "decile chart",
}


def curves_of(found: Mapping[str, Any]) -> Curves:
    """Return every picture that a backtest's JSON holds.

    Parameters
    ----------
    found
        As `tagtide backtest` writes it.
    """
    curves: list[Curve] = []
    absent: list[Absent] = []
    for name, part in parts_of(found).items():
        if "skipped" in part:
            continue
        for kind, key, make in _kinds_of(part):
            points = _finite(part.get(key) or (), _KEYS_OF[kind])
            if points:
                curves.append(make(name, part, points, found))
            else:
                absent.append(Absent(kind, name, key))
    return Curves(tuple(curves), tuple(absent))


Point = Mapping[str, Any]

_KEYS_OF: Mapping[str, tuple[str, ...]] = {
    "precision-coverage": ("useful_tags_per_customer_day", "precision_observed"),
    "reliability": ("predicted", "observed"),
    "lift": ("share", "lift"),
    "deciles": ("predicted_mean_minor", "actual_mean_minor"),
}


def _kinds_of(part: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    if "precision_observed" in part or "coverage_curve" in part:
        yield "precision-coverage", "coverage_curve", _precision_coverage
        return
    if "bias" in part or "deciles" in part:
        yield "deciles", "deciles", _deciles
        return
    yield "reliability", "reliability", _reliability
    yield "lift", "lift_curve", _lift


def _finite(points: Iterable[Point], keys: Iterable[str]) -> list[Point]:
    wanted = tuple(keys)
    return [
        point
        for point in points
        if all(is_figure(point.get(key)) and math.isfinite(point[key]) for key in wanted)
    ]


def _precision_coverage(name: str, part: Point, points: list[Point], _: Point) -> Curve:
    x_key, y_key = _KEYS_OF["precision-coverage"]
    ordered = sorted(points, key=lambda point: (point[x_key], -point[y_key]))
    strict = _finite(ordered, ("precision_strict",))
    series = [_series("of observed claims", "line", ordered, x_key, y_key, _coverage_words)]
    if any(point["precision_strict"] != point[y_key] for point in strict):
        series.append(
            _series("strict: of all claims", "dashed", strict, x_key, "precision_strict", _coverage_words)
        )
    chosen = _finite([part], (x_key, y_key))
    if chosen:
        series.append(_series("as given out", "dots", chosen, x_key, y_key, _coverage_words))
    contract = part.get("contract") or {}
    demanded = contract.get("precision") if isinstance(contract, Mapping) else None
    ys = [value for one in series for value in one.y] + ([demanded] if demanded is not None else [])
    x_ticks = _ticks(0.0, max(value for one in series for value in one.x))
    y_ticks = _ticks(min(ys), min(max(ys), 1.0), most=1.0)
    guides = (
        () if demanded is None else (Guide(f"contract {demanded:.0%}", _ends(x_ticks), (demanded, demanded)),)
    )
    where = (
        f"; as given out {shown(y_key, part.get(y_key))} at {shown(x_key, part.get(x_key))}" if chosen else ""
    )
    return Curve(
        "precision-coverage",
        name,
        f"{name}: what coverage costs precision",
        label_of(x_key),
        "share that came true",
        tuple(series),
        guides,
        _ends(x_ticks),
        x_ticks,
        y_ticks,
        "number",
        "share",
        f"{name}: precision from {min(p[y_key] for p in ordered):.1%} to "
        f"{max(p[y_key] for p in ordered):.1%} over {len(ordered)} thresholds{where}",
    )


def _coverage_words(point: Point) -> str:
    words = (
        f"{shown('useful_tags_per_customer_day', point['useful_tags_per_customer_day'])} useful tags per "
        f"customer-day: precision {shown('precision_observed', point['precision_observed'])}"
    )
    if is_figure(point.get("precision_strict")):
        words += f", strict {shown('precision_strict', point['precision_strict'])}"
    if is_figure(point.get("distinct_tags")):
        words += f", {point['distinct_tags']:,} distinct tags"
    for key in ("aim", "threshold"):
        if is_figure(point.get(key)):
            words += f", {key} {point[key]:.2f}"
    return words


def _reliability(name: str, _part: Point, points: list[Point], _: Point) -> Curve:
    x_key, y_key = _KEYS_OF["reliability"]
    ordered = sorted(points, key=lambda point: point[x_key])

    def words(point: Point) -> str:
        count = f" of {point['count']:,}" if is_figure(point.get("count")) else ""
        return f"stated {point[x_key]:.1%}, came true {point[y_key]:.1%}{count}"

    values = [float(point[key]) for point in ordered for key in (x_key, y_key)]
    ticks = _ticks(0.0, min(max(values), 1.0), most=1.0)
    gap = max(ordered, key=lambda point: abs(point[x_key] - point[y_key]))
    return Curve(
        "reliability",
        name,
        f"{name}: stated probability against what came true",
        "stated probability",
        "share that came true",
        (
            _series("bins of equal count", "line", ordered, x_key, y_key, words),
            *_few_dots(ordered, x_key, y_key, words),
        ),
        (Guide("as stated", _ends(ticks), _ends(ticks)),),
        _ends(ticks),
        ticks,
        ticks,
        "share",
        "share",
        f"{name}: {len(ordered)} bins; the largest gap is {gap[x_key]:.1%} stated, {gap[y_key]:.1%} came "
        "true",
    )


def _lift(name: str, _part: Point, points: list[Point], _: Point) -> Curve:
    x_key, y_key = _KEYS_OF["lift"]
    ordered = sorted(points, key=lambda point: point[x_key])

    def words(point: Point) -> str:
        held = f", {point['gain']:.1%} of all who did" if is_figure(point.get("gain")) else ""
        return f"best {point[x_key]:.0%}: {point[y_key]:.2f} times as often as everyone{held}"

    x_ticks = _ticks(0.0, 1.0, most=1.0)
    y_ticks = _ticks(0.0, max([*(float(point[y_key]) for point in ordered), 1.0]))
    return Curve(
        "lift",
        name,
        f"{name}: how much more often the best-scored buy",
        "share of customers, best-scored first",
        "times as often as everyone",
        (
            _series("model", "line", ordered, x_key, y_key, words),
            *_few_dots(ordered, x_key, y_key, words),
        ),
        (Guide("by chance", _ends(x_ticks), (1.0, 1.0)),),
        _ends(x_ticks),
        x_ticks,
        y_ticks,
        "share",
        "times",
        f"{name}: {words(ordered[0])}",
    )


def _deciles(name: str, _part: Point, points: list[Point], found: Point) -> Curve:
    divisor, unit = money_unit(found.get("currency"))
    predicted = [float(point["predicted_mean_minor"]) / divisor for point in points]
    actual = [float(point["actual_mean_minor"]) / divisor for point in points]
    places = tuple(float(number) for number in range(1, len(points) + 1))
    tenth = "tenth" if len(points) == 10 else "part"

    def words(side: str, values: list[float]) -> tuple[str, ...]:
        return tuple(
            f"{tenth} {number} of {len(points)}"
            + (f" ({point['count']:,} customers)" if is_figure(point.get("count")) else "")
            + f": {side} {value:,.2f}"
            for number, (point, value) in enumerate(zip(points, values, strict=True), start=1)
        )

    return Curve(
        "deciles",
        name,
        f"{name}: predicted and actual spend by {tenth} of prediction",
        f"{tenth} of prediction, highest last",
        f"mean net spend, {unit}",
        (
            Series("predicted", "bars", places, tuple(predicted), words("predicted", predicted)),
            Series("actual", "bars", places, tuple(actual), words("actual", actual)),
        ),
        (),
        (0.5, len(points) + 0.5),
        places,
        _ticks(min(0.0, *predicted, *actual), max(*predicted, *actual, 0.01)),
        "number",
        "number",
        f"{name}: highest {tenth} predicted {predicted[-1]:,.2f}, actual {actual[-1]:,.2f} {unit}",
    )


def money_unit(currency: str | None) -> tuple[float, str]:
    """Return how many minor units make what is shown, and how that is called.

    >>> money_unit("GBP"), money_unit("JPY"), money_unit(None)
    ((100.0, 'GBP'), (1.0, 'JPY'), (1.0, 'minor units'))
    """
    if currency is None:
        return 1.0, "minor units"
    if currency in WHOLE_MINOR:
        return 1.0, currency
    return (1000.0 if currency in THOUSANDTHS else 100.0), currency


def written(value: float, form: Form) -> str:
    """Write a mark of an axis.

    >>> written(0.25, "share"), written(2.5, "times"), written(12500.0, "number"), written(0.05, "number")
    ('25%', '2.5×', '12,500', '0.05')
    """
    if form == "share":
        return f"{100 * value:g}%" if value == round(value, 3) else f"{value:.1%}"
    return f"{value:g}×" if form == "times" else f"{value:,.6g}"


def _series(name: str, style: Style, points: list[Point], x_key: str, y_key: str, words: Any) -> Series:
    return Series(
        name,
        style,
        tuple(float(point[x_key]) for point in points),
        tuple(float(point[y_key]) for point in points),
        tuple(words(point) for point in points),
    )


def _few_dots(points: list[Point], x_key: str, y_key: str, words: Any) -> tuple[Series, ...]:
    """Mark the points of a line where they are few enough to tell apart."""
    return (_series("", "dots", points, x_key, y_key, words),) if len(points) <= DOTS_MOST else ()


def _ticks(low: float, high: float, most: float = math.inf) -> tuple[float, ...]:
    """Return round numbers from at or below ``low`` to at or above ``high``, none above ``most``."""
    from matplotlib.ticker import MaxNLocator

    if not high > low:
        low, high = (low - 0.05, high + 0.05) if high >= most else (low, low + 0.05)
    marks = [float(mark) for mark in MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return tuple(round(mark, 10) for mark in marks if mark <= most + 1e-9)


def _ends(ticks: tuple[float, ...]) -> tuple[float, float]:
    return ticks[0], ticks[-1]
