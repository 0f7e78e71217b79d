"""The figures of a backtest by name: what each means, how it is written, and which stand side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

DASH = "–"

BASELINE = "baseline_"

RUN_FACTS = frozenset({"rows", "seconds", "peak_gb"})
"""Of the run as a whole: no figure of a model."""


NO_FIGURES = frozenset({"contract", "suspended", "test_days"})
"""Objects within a part that hold no figures of it."""


@dataclass(frozen=True)
class FigureKind:
    """How a figure is called and written.

    Attributes
    ----------
    label
        In words, for people.
    meaning
        One sentence.
    show
        Writes a finite value.
    """

    label: str
    meaning: str
    show: Callable[[float], str]


def _share(value: float) -> str:
    return f"{value:.1%}"


def _signed_share(value: float) -> str:
    return f"{value:+.1%}".replace("-", "−")


def _decimals(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _fine_decimals(value: float) -> str:
    return f"{value:.4f}".replace("-", "−")


def _times(value: float) -> str:
    return f"{value:.2f}×"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _plain(value: float) -> str:
    return f"{value:,.4g}".replace("-", "−")


FIGURES: Mapping[str, FigureKind] = {
    "precision_observed": FigureKind(
        "precision", "Of the tags given out whose outcome was seen, the share that came true.", _share
    ),
    "precision_wilson_low": FigureKind(
        "precision, lower bound", "Lower end of the precision's 90 % Wilson interval.", _share
    ),
    "precision_strict": FigureKind(
        "precision, strict", "Of all tags given out, seen or not, the share that came true.", _share
    ),
    "useful_tags_per_customer_day": FigureKind(
        "useful tags per customer-day",
        "Tags given out whose certified lift is 2 or more (1.2 for tags of the customer as a whole), over "
        "all customers at all test midnights.",
        _decimals,
    ),
    "customers_tagged_share": FigureKind(
        "customers tagged", "Share of the customers looked at who got a tag at least once.", _share
    ),
    "distinct_tags": FigureKind("distinct tags", "Different tags given out.", _count),
    "lift_median": FigureKind(
        "lift, median tag", "Precision over the tag's own base rate, in the middle of all tags.", _times
    ),
    "rule_precision_observed": FigureKind(
        "plain rule's precision", "The same for a rule: whoever did it in the last 72 h will again.", _share
    ),
    "n_assigned": FigureKind("tags given out", "At the test midnights.", _count),
    "n_customer_days": FigureKind("customer-days", "Customers at all test midnights.", _count),
    "auc": FigureKind("AUC", "Chance that one who did outscores one who did not; 0.5 is blind.", _decimals),
    "pr_auc": FigureKind("PR-AUC", "Average precision over all thresholds.", _decimals),
    "brier": FigureKind("Brier score", "Mean squared error of the probability; lower is better.", _decimals),
    "ece": FigureKind(
        "calibration error",
        "Mean gap between stated probability and observed share over ten bins of equal count.",
        _fine_decimals,
    ),
    "lift_top_decile": FigureKind(
        "lift, top tenth", "How much more often the tenth scored highest buys than everyone.", _times
    ),
    "base_rate": FigureKind("base rate", "Share of everyone who bought.", _share),
    "auc_gain_lower": FigureKind(
        "AUC gain, lower bound",
        "5 % bound of the gain over a logistic regression on the same features, customers resampled.",
        _fine_decimals,
    ),
    "bias": FigureKind("total off by", "Predicted over actual total, less one.", _signed_share),
    "bias_low": FigureKind("total off by, low", "Lower end of its 90 % interval.", _signed_share),
    "bias_high": FigureKind("total off by, high", "Upper end of its 90 % interval.", _signed_share),
    "bias_winsorized": FigureKind(
        "total off by, no whales",
        "The same with everyone capped at the 99.5th percentile.",
        _signed_share,
    ),
    "bias_top_decile_order_value": FigureKind(
        "off by, largest orders",
        "Predicted over actual total of the tenth with the highest past order value, less one.",
        _signed_share,
    ),
    "mae_over_mean": FigureKind("mean error", "Mean absolute error over the mean actual.", _decimals),
    "spearman": FigureKind("Spearman", "Rank correlation of predicted and actual spend.", _decimals),
    "normalized_gini": FigureKind(
        "normalised Gini", "How well customers are ranked: 1 is perfect, 0 is random.", _decimals
    ),
    "decile_mae_over_mean": FigureKind(
        "decile error", "Mean gap between predicted and actual mean of each tenth, over the mean.", _decimals
    ),
    "top_decile_capture": FigureKind(
        "held by the top tenth", "Share of the actual total spent by the tenth predicted highest.", _share
    ),
    "interval_coverage_80": FigureKind(
        "80 % interval holds", "Share of customers whose spend lies in their interval.", _share
    ),
    "interval_coverage_80_buyers": FigureKind(
        "80 % interval holds, buyers", "The same among those who bought.", _share
    ),
    "interval_coverage_80_non_buyers": FigureKind(
        "80 % interval holds, others", "The same among those who did not buy.", _share
    ),
    "eligible": FigureKind("eligible", "Customers at test midnights who should get an answer.", _count),
    "scored": FigureKind("scored", "How many of them got one.", _count),
    "cold_start.prior": FigureKind(
        "cold start: prior", "What is answered of customers of whom nothing is known.", _share
    ),
    "cold_start.observed": FigureKind("cold start: observed", "What newcomers did.", _share),
    "cold_start.observed_low": FigureKind(
        "cold start: observed, low", "Lower end of its 90 % interval.", _share
    ),
    "cold_start.observed_high": FigureKind(
        "cold start: observed, high", "Upper end of its 90 % interval.", _share
    ),
    "rows": FigureKind("rows", "Customers at instants.", _count),
    "customers": FigureKind("customers", "Customers the figures are about.", _count),
    "horizon_days": FigureKind("horizon, days", "How far the forecast looks ahead.", _count),
}


def is_figure(value: object) -> bool:
    """Tell whether a value is a number, and no truth value.

    >>> is_figure(0.5), is_figure(True), is_figure(None)
    (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def label_of(name: str) -> str:
    """Return what a figure is called in words.

    >>> label_of("auc"), label_of("some_new.figure")
    ('AUC', 'some new: figure')
    """
    return FIGURES[name].label if name in FIGURES else name.replace("_", " ").replace(".", ": ")


def shown(name: str, value: float | None) -> str:
    """Write a figure as people read it; a dash where there is none.

    >>> shown("bias", -0.0342), shown("auc", 0.76543), shown("ece", None), shown("made_up", 12.3456)
    ('−3.4%', '0.765', '–', '12.35')
    """
    if value is None or not math.isfinite(value):
        return DASH
    return FIGURES[name].show(value) if name in FIGURES else _plain(value)


def parts_of(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what a backtest's JSON says of each family, horizon or run, by name.

    A single run of CLV stands at the top of its JSON; its part is named for its date and horizon.

    >>> list(parts_of({"as_of": "2011-09-09T00:00:00+00:00", "horizon_days": 90, "bias": 0.1}))
    ['2011-09-09/90d']
    >>> list(parts_of({"72h": {"auc": 0.7}, "test_days": {"count": 3}, "as_of": "2017-10-31"}))
    ['72h']
    """
    if "bias" in found:
        return {f"{str(found['as_of'])[:10]}/{found['horizon_days']}d": found}
    return {
        name: part
        for name, part in found.items()
        if isinstance(part, Mapping) and name != "test_days" and not name.startswith(BASELINE)
    }


def skipped_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts that could not be measured, and why.

    >>> skipped_of({"cart_abandoner": {"skipped": "the data has no add_to_cart"}, "rows": 3})
    {'cart_abandoner': 'the data has no add_to_cart'}
    """
    return {name: str(part["skipped"]) for name, part in parts_of(found).items() if "skipped" in part}


@dataclass(frozen=True)
class FigureTable:
    """Figures side by side: a model and its baselines, or families without any.

    Attributes
    ----------
    part
        Whose figures; empty where the columns are the parts.
    columns
        Names of the columns.
    rows
        Figure by figure, one value a column; None where it has none.
    """

    part: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


def tables_of(found: Mapping[str, Any]) -> list[FigureTable]:
    """Lay a backtest's figures out: parts without baselines together, others each beside its baselines.

    >>> [table] = tables_of({"72h": {"auc": 0.7, "baseline_logistic": {"auc": 0.6}}})
    >>> table.part, table.columns, table.rows
    ('72h', ('model', 'logistic'), (('auc', (0.7, 0.6)),))
    """
    parts = {name: part for name, part in parts_of(found).items() if "skipped" not in part}
    alone = {name: part for name, part in parts.items() if not baselines_of(part)}
    tables = [_table("", alone)] if alone else []
    beside = [name for name in parts if name not in alone]
    return tables + [_table(name, {"model": parts[name], **baselines_of(parts[name])}) for name in beside]


def baselines_of(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the figures of the plain models measured on the same rows, by name."""
    return {
        name.removeprefix(BASELINE): value
        for name, value in part.items()
        if name.startswith(BASELINE) and isinstance(value, Mapping)
    }


def reasons_of(part: Mapping[str, Any]) -> list[str]:
    """Return why a part's model is what it is, in words.

    >>> reasons_of({"level_reason": "bgnbd_gg by rule", "ranking_reason": ""})
    ['Level: bgnbd_gg by rule']
    """
    named = (("Level", "level_reason"), ("Ranking", "ranking_reason"))
    return [f"{title}: {part[key]}" for title, key in named if part.get(key)]


def _flat(part: Mapping[str, Any]) -> dict[str, float]:
    """Return a part's own figures, those of an object within it under a dotted name."""
    flat: dict[str, float] = {}
    for name, value in part.items():
        if is_figure(value):
            flat[name] = value
        elif isinstance(value, Mapping) and name not in NO_FIGURES and not name.startswith(BASELINE):
            flat |= {f"{name}.{inner}": one for inner, one in value.items() if is_figure(one)}
    return flat


def _table(part: str, columns: Mapping[str, Mapping[str, Any]]) -> FigureTable:
    flat = [_flat(column) for column in columns.values()]
    names = dict.fromkeys(name for column in flat for name in column if name not in RUN_FACTS)
    rows = tuple((name, tuple(column.get(name) for column in flat)) for name in names)
    return FigureTable(part, tuple(columns), rows)


@dataclass(frozen=True)
class TagRow:
    """One tag of a family's contract table.

    Attributes
    ----------
    tag_id
        Which.
    certified
        Whether it may be given out.
    reason
        Why not; empty if it may.
    figures
        What it proved, as far as the JSON says.
    """

    tag_id: str
    certified: bool
    reason: str
    figures: Mapping[str, float]


def contract_rows(part: Mapping[str, Any]) -> list[TagRow]:
    """Return a family's tags with their verdicts: certified ones first, each kind in the JSON's order.

    The JSON holds a list of ids or of objects with ``tag``, or an object that gives each id its reason.

    >>> rows = contract_rows({"certified": ["a"], "suspended": {"b": "support 3; expected 50"}})
    >>> [(row.tag_id, row.certified, row.reason) for row in rows]
    [('a', True, ''), ('b', False, 'support 3; expected 50')]
    >>> contract_rows({"suspended": [{"tag": "c", "reason": "lift 1.1", "lift": 1.1}]})[0].figures
    {'lift': 1.1}
    """
    return [
        row
        for name, certified in (("certified", True), ("suspended", False))
        for row in _tag_rows(part.get(name) or (), certified)
    ]


def _tag_rows(listed: Any, certified: bool) -> list[TagRow]:
    if isinstance(listed, Mapping):
        return [TagRow(str(tag), certified, str(reason or ""), {}) for tag, reason in listed.items()]
    rows = []
    for one in listed:
        if isinstance(one, Mapping):
            figures = {name: value for name, value in one.items() if is_figure(value)}
            tag = one.get("tag_id") or one.get("tag") or ""
            rows.append(TagRow(str(tag), certified, str(one.get("reason") or ""), figures))
        else:
            rows.append(TagRow(str(one), certified, "", {}))
    return rows
