"""When a challenger may take the champion's place.

A challenger must beat its own plain baselines, measured on the same rows as itself, and must not be worse
than the champion by more than a tolerance. Each side's figures are those recorded when it was trained, on the
latest slice that nothing had been chosen on; the slices of two models trained at different times differ, and
the tolerances allow for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.errors import RegistryError


@dataclass(frozen=True)
class Comparison:
    """One figure the gate looks at.

    Attributes
    ----------
    metric
        Dotted path into the metrics: ``72h.auc``.
    better
        ``higher``, ``lower``, or ``nearer_zero``.
    baselines
        Dotted paths of the plain models' same figure: the challenger must be strictly better than each.
    tolerance
        How much worse than the champion is still accepted, in the metric's unit.
    optional
        Whether a challenger may lack the figure as long as the champion lacks it too: a horizon that the
        history is too short for.
    """

    metric: str
    better: Literal["higher", "lower", "nearer_zero"]
    baselines: tuple[str, ...]
    tolerance: float
    optional: bool = False

    def gain(self, new: float, old: float) -> float:
        """Return by how much ``new`` is better than ``old``; negative: worse.

        >>> Comparison("bias", "nearer_zero", (), 0.1).gain(-0.05, 0.20)
        0.15000000000000002
        """
        if self.better == "nearer_zero":
            return abs(old) - abs(new)
        return new - old if self.better == "higher" else old - new


RULES: Mapping[str, tuple[Comparison, ...]] = {
    "tags": (
        Comparison("precision_observed", "higher", ("rule_precision_observed",), 0.03),
        Comparison("useful_tags_per_customer_day", "higher", (), 0.03),
    ),
    "propensity": (
        Comparison("72h.auc", "higher", ("72h.baseline_logistic.auc",), 0.01),
        Comparison("72h.ece", "lower", (), 0.01),
        Comparison("7d.auc", "higher", ("7d.baseline_logistic.auc",), 0.01),
        Comparison("7d.ece", "lower", (), 0.01),
        Comparison("30d.auc", "higher", ("30d.baseline_logistic.auc",), 0.01, optional=True),
        Comparison("30d.ece", "lower", (), 0.01, optional=True),
    ),
    "clv": (
        Comparison(
            "normalized_gini",
            "higher",
            ("baseline_bgnbd_gg.normalized_gini", "baseline_past_rate.normalized_gini"),
            0.02,
        ),
        Comparison("bias", "nearer_zero", (), 0.10),
    ),
    "segments": (
        Comparison("stability", "higher", (), 0.15),
        # With another number of segments this is another figure: only the baseline has the same number.
        Comparison("explained_share", "higher", ("baseline_rfm.explained_share",), 1.0),
    ),
}
"""What is compared, per task; ``tags`` stands for every task named ``tags-<family>``."""


@dataclass(frozen=True)
class GateDecision:
    """Whether a challenger may be promoted, and why.

    Attributes
    ----------
    reasons
        Every finding, one sentence each.
    objections
        Those among them that speak against it; empty if it passed.
    """

    passed: bool
    reasons: tuple[str, ...]
    objections: tuple[str, ...]


def rules_for(task: str) -> tuple[Comparison, ...]:
    """Return a task's comparisons.

    Raises
    ------
    RegistryError
        If the task is none that is trained.

    >>> rules_for("tags-interest") == RULES["tags"]
    True
    """
    rules = RULES.get(task.split("-", 1)[0])
    if rules is None:
        raise RegistryError(f"unknown task {task!r}: expected tags-<family>, propensity, clv or segments")
    return rules


def flatten(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested metrics to dotted names, leaving out what is no number.

    >>> flatten({"72h": {"auc": 0.7, "baseline": {"auc": 0.6}}, "as_of": "2017-10-31"})
    {'72h.auc': 0.7, '72h.baseline.auc': 0.6}
    """
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{name}"] = float(value)
    return flat


def promotion_gate(
    champion: Mapping[str, Any] | None, challenger: Mapping[str, Any], rules: Sequence[Comparison]
) -> GateDecision:
    """Compare a challenger with its own baselines and with the champion.

    Parameters
    ----------
    champion
        Metrics of the champion, nested or flat; None if there is none yet: then the baselines alone decide.
    challenger
        Metrics of the challenger, its baselines' among them.
    rules
        Usually `rules_for` of the task.

    Returns
    -------
    Passed only if every comparison passed. A figure of the challenger that is missing or NaN fails, unless
    it is optional and the champion lacks it too; a baseline that is missing fails (it was not fitted), one
    that is NaN does not (it could not be measured, so there is nothing to beat). A figure that the champion
    lacks is not compared with it.
    """
    new = flatten(challenger)
    old = flatten(champion) if champion is not None else {}
    findings = [finding for rule in rules for finding in _findings(rule, new, old)]
    objections = tuple(text for passed, text in findings if not passed)
    return GateDecision(not objections, tuple(text for _, text in findings), objections)


def _findings(rule: Comparison, new: Mapping[str, float], old: Mapping[str, float]) -> list[tuple[bool, str]]:
    value = new.get(rule.metric, math.nan)
    if math.isnan(value):
        if rule.optional and math.isnan(old.get(rule.metric, math.nan)):
            return []
        return [(False, f"{rule.metric} was not measured")]
    findings = []
    for name in rule.baselines:
        if name not in new:
            findings.append((False, f"{name} was not recorded: the baseline was not fitted"))
            continue
        passed = math.isnan(new[name]) or rule.gain(value, new[name]) > 0
        verdict = "beats" if passed else "does not beat"
        findings.append((passed, f"{rule.metric} {value:.4f} {verdict} {name} {new[name]:.4f}"))
    before = old.get(rule.metric, math.nan)
    if not math.isnan(before):
        passed = rule.gain(value, before) >= -rule.tolerance
        verdict = "holds against" if passed else "is worse than"
        findings.append(
            (passed, f"{rule.metric} {value:.4f} {verdict} the champion's {before:.4f} (±{rule.tolerance:g})")
        )
    return findings
