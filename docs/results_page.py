"""The page of results, written from the backtests' JSON alone: no figure on it is typed by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results_goals import Verdict, verdicts

from training.backtest_curves import curves_of
from training.backtest_figures import (
    FigureTable,
    contract_rows,
    is_figure,
    label_of,
    parts_of,
    reasons_of,
    shown,
    skipped_of,
    tables_of,
)

PICTURES = "images/results"


@dataclass(frozen=True)
class Result:
    """One backtest that is shown.

    Attributes
    ----------
    data_set, task
        Shipped source and task; its JSON is named for both.
    found
        The JSON; null where it was never run.
    environment
        Machine and versions it ran with.
    """

    data_set: str
    task: str
    found: Mapping[str, Any] | None
    environment: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Stem of its JSON, and name of its folder of pictures."""
        return f"{self.data_set}-{self.task}"


TITLES = {"tags": "Tags", "propensity": "Purchase propensity", "clv": "Customer lifetime value"}

SAID = {
    "tags": (
        "Each family is trained, calibrated and certified on days before the first test midnight. At each "
        "test midnight its tags are given to customers with an event in the 72 hours before, and judged by "
        "the 72 hours after. Precision is of the tags whose outcome could be seen; the strict one is of all. "
        "The plain rule gives the tag to whoever did it in the last 72 hours, or, where a family claims "
        "something else, to every candidate."
    ),
    "propensity": (
        "For every customer active in the 30 days before each test midnight: the stated probability of a "
        "purchase within the horizon, held against whether one followed. Beside the model, on the same rows: "
        "a logistic regression on recency, frequency and money, and one on all the features the model reads."
    ),
    "clv": (
        "For every customer who had bought by the cut-off: expected spend net of refunds, held against what "
        "was spent. Nothing after the cut-off is used, the total's level included. Beside the model, on the "
        "same customers: BG/NBD with Gamma-Gamma, and the customer's past rate of spending carried on."
    ),
}

INTRODUCTION = (
    "What the models would have been worth, had they been trained back then: every figure comes from "
    "`tagtide backtest` on public data and stands in a [JSON beside this page](results). It is written "
    "from those by `docs/refresh_results.py`; a test holds both against each other."
)

REASONS_SHOWN = 4


def results_page(results: list[Result]) -> str:
    """Return the page.

    Parameters
    ----------
    results
        In the order they are shown; those of one task stand together.
    """
    parts = [
        "# Results",
        INTRODUCTION,
        _goals(results),
    ]
    for task, title in TITLES.items():
        shown_here = [one for one in results if one.task == task and one.found is not None]
        if shown_here:
            parts += [f"## {title}", SAID[task], *(_section(one) for one in shown_here)]
    parts.append(_reproduce(results))
    return "\n\n".join(parts) + "\n"


def _goals(results: list[Result]) -> str:
    lines = ["## Goals", "", "| data | of | figure | reached | goal | |", "|---|---|---|---|---|---|"]
    for one in results:
        if one.found is not None:
            lines += [_goal_row(one, verdict) for verdict in verdicts(one.data_set, one.task, one.found)]
    return "\n".join(lines)


def _goal_row(one: Result, verdict: Verdict) -> str:
    mark = {True: "met", False: "**missed**", None: "not measured"}[verdict.met]
    cells = (one.data_set, f"`{verdict.part}`", verdict.figure, verdict.reached, verdict.goal, mark)
    return f"| {' | '.join(cells)} |"


def _section(one: Result) -> str:
    found = one.found or {}
    parts = [f"### {TITLES[one.task]} on {one.data_set}", _facts(one)]
    for table in tables_of(found):
        title = f"`{table.part}`" if table.part else ""
        parts += [title, _table(table, found)] if title else [_table(table, found)]
        parts += [f"{reason}." for reason in reasons_of(parts_of(found).get(table.part, {}))]
    parts += [f"- `{name}` was not measured: {why}" for name, why in skipped_of(found).items()]
    parts += _contracts(found)
    parts += [
        f"![{curve.summary}]({PICTURES}/{one.name}/{curve.file_stem}.svg)"
        for curve in curves_of(found).curves
    ]
    return "\n\n".join(parts)


def _facts(one: Result) -> str:
    found = one.found or {}
    instants = ", ".join(text[:10] for text in str(found["as_of"]).split(", "))
    days = found.get("test_days")
    tested = f", {days['count']} test days to {str(days['last'])[:10]}" if isinstance(days, Mapping) else ""
    decided = {"mapping": "dates of the shipped mapping", "span": "dates of the data's span"}
    who = decided.get(str(found.get("decided_by")), str(found.get("decided_by")))
    return (
        f"As of {instants}{tested} ({who}); {found['rows']:,} events, {found['customers']:,} customers; "
        f"{found['seconds']:.0f} s, at most {found['peak_gb']} GB. Figures: "
        f"[{one.name}.json](results/{one.name}.json)."
    )


def _table(table: FigureTable, found: Mapping[str, Any]) -> str:
    demanded = {
        name: part["contract"]["precision"]
        for name, part in parts_of(found).items()
        if isinstance(part.get("contract"), Mapping) and is_figure(part["contract"].get("precision"))
    }
    heads = [f"`{name}`" if not table.part else name for name in table.columns]
    lines = [f"| figure | {' | '.join(heads)} |", "|---|" + "---:|" * len(table.columns)]
    for name, values in table.rows:
        cells = " | ".join(shown(name, value) for value in values)
        lines.append(f"| {label_of(name)} | {cells} |")
        if name == "precision_observed" and demanded and not table.part:
            promised = " | ".join(shown(name, demanded.get(column)) for column in table.columns)
            lines.append(f"| what the contract demands | {promised} |")
    return "\n".join(lines)


def _contracts(found: Mapping[str, Any]) -> list[str]:
    """Say of each family how many tags are certified, and why the others are suspended."""
    said = []
    for name, part in parts_of(found).items():
        rows = contract_rows(part)
        suspended = Counter(_kind_of(row.reason) for row in rows if not row.certified)
        if not rows:
            continue
        reasons = ", ".join(f"{reason} ({count})" for reason, count in suspended.most_common(REASONS_SHOWN))
        said.append(
            f"- `{name}`: {sum(row.certified for row in rows)} certified, {suspended.total()} suspended"
            + (f": {reasons}" if reasons else "")
        )
    return ["\n".join(said)] if said else []


def _kind_of(reason: str) -> str:
    """Return a reason without its numbers.

    >>> _kind_of("support 12; expected 50"), _kind_of("precision 0.71 at random hours; expected 0.75")
    ('support', 'precision at random hours')
    """
    words = reason.partition(";")[0].split()
    return " ".join(word for word in words if not word[:1].isdigit()) or reason


def _reproduce(results: list[Result]) -> str:
    lines = [
        "## How to reproduce",
        "",
        "All of it, in temporary homes; a data set that is not there keeps its earlier figures:",
        "",
        "```sh",
        "python docs/refresh_results.py",
        "```",
        "",
        "Or one by one; `backtest` also writes a page and plots beside its JSON:",
        "",
        "```sh",
    ]
    for data_set in dict.fromkeys(one.data_set for one in results):
        lines.append(f"tagtide --home {data_set} import {data_set}")
        lines += [
            f"tagtide --home {data_set} backtest {one.task} --out {one.name}.json"
            for one in results
            if one.data_set == data_set
        ]
    lines += ["```", "", "What they ran on:", "", "| figures | machine | versions |", "|---|---|---|"]
    for one in results:
        if one.found is not None and one.environment:
            versions = ", ".join(f"{name} {version}" for name, version in one.environment["versions"].items())
            lines.append(f"| {one.name} | {one.environment['machine']} | {versions} |")
    return "\n".join(lines)
