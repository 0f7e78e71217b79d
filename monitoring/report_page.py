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
from monitoring.page import page_environment
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
    environment = page_environment()
    environment.filters.update(
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
