"""The report as one HTML page that loads nothing: four numbers first, then what stands behind them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from monitoring.charts import PrecisionChart, axis_floor, precision_chart
from monitoring.drift import DRIFTED_PSI, FeatureDrift
from monitoring.figures import Figures
from monitoring.precision import DayPrecision

STATUS_MEANINGS = {
    "ok": "The precision is at or above what the contract demands.",
    "unsure": "The precision is below the demand, but could be there by chance at the contract's confidence.",
    "below": "Even the upper bound at the contract's confidence is below the demand: the contract is broken.",
    "low lift": "The precision holds, but the lift does not: the tag says little more than anyone's habit.",
    "too few": "Fewer observed claims than the contract's least support: no verdict.",
    "no contract": "The catalogue holds no contract for this family.",
}

TONES = {
    "ok": "good",
    "met": "good",
    "stable": "good",
    "unsure": "warn",
    "low lift": "warn",
    "look closer": "warn",
    "below": "bad",
    "missed": "bad",
    "drifted": "bad",
}

MARKS = {"good": "✓", "warn": "▲", "bad": "✕", "": "○"}
"""Besides the colour, for those who do not see it."""

DRIFT_ROWS_SHOWN = 12
DASH = "–"


def render_page(figures: Figures, *, version: str, evidently_file: str | None, evidently_rows: int) -> str:
    """Return the page.

    Parameters
    ----------
    version
        Of Tagtide, for the foot of the page.
    evidently_file
        Relative link to the Evidently report, if there is one.
    evidently_rows
        Most rows a side it was sampled to.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("monitoring", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        share=_share,
        times=_times,
        decimals=_decimals,
        count=lambda value: f"{value:,}",
        plain=_plain,
        finite=lambda value: value if math.isfinite(value) else None,
        instant=_instant,
        psi_width=_psi_width,
        tone=lambda name: TONES.get(name, ""),
        mark=lambda name: MARKS[TONES.get(name, "")],
        meaning=STATUS_MEANINGS.__getitem__,
    )
    tally = Counter(row.verdict for row in figures.drift)
    return environment.get_template("report.html").render(
        figures=figures,
        zone=ZoneInfo(figures.time_zone),
        version=version,
        evidently_file=evidently_file,
        evidently_rows=evidently_rows,
        charts=_charts(figures),
        statuses=[name for name in STATUS_MEANINGS if any(row.status == name for row in figures.tags)],
        drift_tally=[
            (name, tally[name])
            for name in ("drifted", "look closer", "stable", "too few rows")
            if tally[name]
        ],
        drift_tables=_split(figures.drift),
    )


def _charts(figures: Figures) -> list[PrecisionChart]:
    contracts = {row.family: row.contract_precision for row in figures.families}
    days: dict[str, list[DayPrecision]] = {}
    for day in figures.days:
        days.setdefault(day.family, []).append(day)
    floor = axis_floor(figures.days, [demand for demand in contracts.values() if demand is not None])
    return [precision_chart(of_family, contracts.get(family), floor) for family, of_family in days.items()]


def _split(drift: Sequence[FeatureDrift]) -> list[tuple[Sequence[FeatureDrift], bool]]:
    """Return the rows to show at once, and the rest."""
    return [(drift[:DRIFT_ROWS_SHOWN], False), (drift[DRIFT_ROWS_SHOWN:], True)]


def _share(value: float | None, digits: int = 1) -> str:
    return DASH if value is None or math.isnan(value) else f"{value:.{digits}%}"


def _times(value: float | None) -> str:
    """Show a ratio.

    >>> _times(2.345), _times(155.08), _times(None)
    ('2.35×', '155×', '–')
    """
    if value is None:
        return DASH
    return f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def _decimals(value: float | None, digits: int) -> str:
    return DASH if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _plain(value: float) -> str:
    """Show a number of unknown size.

    >>> _plain(1234567.0), _plain(12.3456), _plain(0.0), _plain(0.01234)
    ('1,234,567', '12.3', '0', '0.0123')
    """
    if math.isnan(value):
        return DASH
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _instant(value: datetime, zone: ZoneInfo) -> str:
    return f"{value.astimezone(zone):%d %b %Y %H:%M}"


def _psi_width(value: float) -> float:
    """Place a PSI on the bar, which ends at twice the drift threshold.

    >>> _psi_width(0.10), _psi_width(3.0)
    (20.0, 100.0)
    """
    if math.isnan(value):
        return 0.0
    return round(min(100.0, 100.0 * value / (2 * DRIFTED_PSI)), 1)
