"""A backtest as one HTML page that loads nothing, made from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from monitoring.curve_chart import CurveChart, curve_chart
from monitoring.page import installed_version, page_environment
from monitoring.report_page import MARKS
from training.backtest_curves import curves_of
from training.backtest_figures import (
    FIGURES,
    contract_rows,
    is_figure,
    label_of,
    parts_of,
    reasons_of,
    shown,
    skipped_of,
    tables_of,
)

DECIDED = {
    "option": "dates given on the command line",
    "mapping": "dates of the source's mapping",
    "span": "dates chosen from the data's span",
}

TASKS = {
    "tags": "Tags",
    "propensity": "Purchase propensity",
    "clv": "Customer lifetime value",
}

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "tags": ("precision_observed", "precision_strict", "useful_tags_per_customer_day", "distinct_tags"),
    "propensity": ("auc", "ece", "lift_top_decile", "auc_gain_lower"),
    "clv": ("bias", "normalized_gini", "decile_mae_over_mean", "interval_coverage_80"),
}
"""The figures that come first, by task."""


def render_backtest(task: str, found: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    task
        ``tags``, ``propensity`` or ``clv``.
    found
        As `tagtide backtest` writes it.
    """
    environment = page_environment()
    environment.filters.update(label=label_of, figure=lambda value, name: shown(name, value))
    environment.globals.update(mark=MARKS)
    curves = curves_of(found)
    tables = tables_of(found)
    named = [name for table in tables for name, _ in table.rows]
    return environment.get_template("backtest.html").render(
        task=TASKS.get(task, task),
        found=found,
        decided=", ".join(DECIDED.get(one, one) for one in str(found.get("decided_by", "")).split(", ")),
        days=_days(found),
        instants=", ".join(_instant(one) for one in str(found["as_of"]).split(", ")),
        headlines=_headlines(task, found),
        charts=_by_part(found, [curve_chart(curve) for curve in curves.curves]),
        absent=[str(one) for one in curves.absent],
        skipped=skipped_of(found),
        tables=tables,
        contracts={name: rows for name, part in parts_of(found).items() if (rows := contract_rows(part))},
        reasons={name: reasons for name, part in parts_of(found).items() if (reasons := reasons_of(part))},
        meanings={name: FIGURES[name] for name in dict.fromkeys(named) if name in FIGURES},
        version=installed_version(),
    )


def _instant(text: str) -> str:
    """Write an instant for people.

    >>> _instant("2017-10-31T00:00:00+00:00")
    '31 Oct 2017 00:00 UTC'
    """
    return f"{datetime.fromisoformat(text).astimezone(UTC):%d %b %Y %H:%M} UTC"


def _days(found: Mapping[str, Any]) -> str:
    days = found.get("test_days")
    if not isinstance(days, Mapping):
        return ""
    return f"{days['count']} test days from {str(days['first'])[:10]} to {str(days['last'])[:10]}"


def _headlines(task: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a card for each part: its first figure large, the others beneath, the contract's verdict."""
    cards = []
    for name, part in parts_of(found).items():
        names = [one for one in HEADLINES.get(task, ()) if is_figure(part.get(one))]
        if "skipped" in part or not names:
            continue
        cards.append(
            {
                "part": name,
                "first": (names[0], part[names[0]]),
                "others": [(one, part[one]) for one in names[1:]],
                "verdict": _verdict(part),
            }
        )
    return cards


def _verdict(part: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return tone and words: whether the test days kept what the family's contract promises."""
    contract = part.get("contract")
    demanded = contract.get("precision") if isinstance(contract, Mapping) else None
    if demanded is None:
        return None
    if not is_figure(part.get("precision_observed")):
        return "", "no tag given out"
    met = part["precision_observed"] >= demanded
    return "good" if met else "bad", f"contract {demanded:.0%} {'met' if met else 'missed'}"


def _by_part(found: Mapping[str, Any], charts: list[CurveChart]) -> dict[str, list[CurveChart]]:
    by_part: dict[str, list[CurveChart]] = {}
    for chart in charts:
        by_part.setdefault(chart.curve.part, []).append(chart)
    return {name: by_part[name] for name in parts_of(found) if name in by_part}
