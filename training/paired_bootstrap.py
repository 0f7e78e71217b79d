"""Two models on the same rows: each figure of both, and an interval of the difference.

Customers are resampled, not rows, and both models are measured on each resample: rows of one customer hang
together, and so do the errors of two models on one row [Field & Welsh 2007, JRSS-B 69:369-390; Efron 1979].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from training.metrics import TOP_SHARE, cluster_weights, grouped_auc, share_ties

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CONFIDENCE = 0.90
REPETITIONS = 400

Better = Literal["higher", "lower", "nearer_zero"]

Statistic: TypeAlias = Callable[[FloatArray], float]
"""A figure as a function of how often each customer counts, shape (n_customers,)."""


@dataclass(frozen=True)
class FigurePair:
    """One figure of two models, still to be measured.

    Attributes
    ----------
    better
        Which direction is.
    first, second
        Of each model, on the same rows.
    """

    metric: str
    better: Better
    first: Statistic
    second: Statistic


@dataclass(frozen=True)
class PairedFigure:
    """One figure of two models, and their difference.

    Attributes
    ----------
    first, second
        On the rows as they are; NaN where the figure does not exist.
    difference
        ``second - first``; where nearer to zero is better, ``|second| - |first|``.
    low, high
        90 % interval of the difference.
    """

    metric: str
    better: Better
    first: float
    second: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> Literal["better", "worse", "no difference shown"]:
        """What the interval says of the second model: no difference, if it holds 0."""
        if self.low > 0:
            return "better" if self.better == "higher" else "worse"
        if self.high < 0:
            return "worse" if self.better == "higher" else "better"
        return "no difference shown"


def paired_figures(
    pairs: Sequence[FigurePair], customer_count: int, *, seed: int, repetitions: int = REPETITIONS
) -> list[PairedFigure]:
    """Measure figures of two models and bootstrap their differences, all on the same resamples.

    Parameters
    ----------
    customer_count
        Customers that the statistics weigh, > 0.
    """
    once = np.ones(customer_count)
    draws: list[list[float]] = [[] for _ in pairs]
    for weight in cluster_weights(np.arange(customer_count), repetitions=repetitions, seed=seed):
        for pair, found in zip(pairs, draws, strict=True):
            gain = _difference(pair.better, pair.first(weight), pair.second(weight))
            if not math.isnan(gain):
                found.append(gain)
    figures = []
    for pair, found in zip(pairs, draws, strict=True):
        first, second = pair.first(once), pair.second(once)
        bounds = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) if found else (np.nan,) * 2
        low, high = (float(bound) for bound in bounds)
        difference = _difference(pair.better, first, second)
        figures.append(PairedFigure(pair.metric, pair.better, first, second, difference, low, high))
    return figures


def _difference(better: Better, first: float, second: float) -> float:
    return abs(second) - abs(first) if better == "nearer_zero" else second - first


def numbered(customers: npt.NDArray[np.int64]) -> tuple[IntArray, int]:
    """Number the customers of rows from 0, and count them.

    >>> numbered(np.array([7, 3, 7]))
    (array([1, 0, 1]), 2)
    """
    known, member = np.unique(customers, return_inverse=True)
    return member.astype(np.int64), len(known)


def ratio_of_sums(part: FloatArray, whole: FloatArray, member: IntArray, count: int) -> Statistic:
    """Return the sum of one column over the sum of another, such as a share or a mean; NaN over nothing."""
    parts, wholes = np.bincount(member, part, count), np.bincount(member, whole, count)

    def statistic(weight: FloatArray) -> float:
        total = float(weight @ wholes)
        return float(weight @ parts) / total if total > 0 else math.nan

    return statistic


def relative_bias(predicted: FloatArray, actual: FloatArray, member: IntArray, count: int) -> Statistic:
    """Return `training.metrics.bias` under weights."""
    ratio = ratio_of_sums(predicted, actual, member, count)
    return lambda weight: ratio(weight) - 1


def ranking_auc(labels: FloatArray, scores: FloatArray, member: IntArray) -> Statistic:
    """Return `training.metrics.auc` under weights."""
    _, group = np.unique(scores, return_inverse=True)
    return lambda weight: grouped_auc(labels, group, weight[member])


def calibration_error(
    labels: FloatArray, probabilities: FloatArray, member: IntArray, count: int, bins: int = 10
) -> Statistic:
    """Return `training.metrics.ece` under weights; the bins stay those of the rows as they are."""
    order = np.argsort(probabilities, kind="stable")
    shared, said = share_ties(labels, probabilities)
    gaps = np.zeros((count, bins))
    for number, rows in enumerate(np.array_split(np.arange(len(order)), bins)):
        gaps[:, number] = np.bincount(member[order[rows]], (shared - said)[rows], count)
    rows_of = np.bincount(member, minlength=count).astype(np.float64)

    def statistic(weight: FloatArray) -> float:
        total = float(weight @ rows_of)
        return float(np.abs(weight @ gaps).sum()) / total if total > 0 else math.nan

    return statistic


def lift_of_top_decile(labels: FloatArray, scores: FloatArray, member: IntArray, count: int) -> Statistic:
    """Return `training.metrics.lift_top_decile` under weights; the top tenth stays that of the rows."""
    order = np.argsort(-scores, kind="stable")
    shared, _ = share_ties(labels, -scores)
    top = order[: max(1, round(len(order) * TOP_SHARE))]
    in_top = ratio_of_sums(shared[: len(top)], np.ones(len(top)), member[top], count)
    everywhere = ratio_of_sums(labels, np.ones(len(labels)), member, count)

    def statistic(weight: FloatArray) -> float:
        base = everywhere(weight)
        return in_top(weight) / base if base > 0 else math.nan

    return statistic


def ranking_gini(actual: FloatArray, scores: FloatArray, member: IntArray) -> Statistic:
    """Return `training.metrics.normalized_gini` under weights."""
    outcome = np.maximum(actual, 0.0)
    by_score, by_outcome = _lorenz(outcome, scores, member), _lorenz(outcome, outcome, member)

    def statistic(weight: FloatArray) -> float:
        perfect = by_outcome(weight)
        return by_score(weight) / perfect if perfect > 0 else math.nan

    return statistic


def _lorenz(outcome: FloatArray, scores: FloatArray, member: IntArray) -> Statistic:
    order = np.argsort(-scores, kind="stable")
    shared, _ = share_ties(outcome, -scores)
    owner = member[order]

    def statistic(weight: FloatArray) -> float:
        counted = weight[owner]
        held = np.cumsum(counted * shared)
        if held[-1] <= 0:
            return math.nan
        ranked = np.cumsum(counted)
        return float((counted * (held / held[-1] - ranked / ranked[-1])).sum())

    return statistic


def probability_pairs(
    prefix: str, labels: npt.NDArray[np.bool_], scores: Mapping[str, FloatArray], member: IntArray, count: int
) -> list[FigurePair]:
    """Return the figures of two models that say a probability.

    Parameters
    ----------
    prefix
        In front of each figure's name, such as ``72h.``.
    scores
        ``first`` and ``second``, shape (n,) each.
    """
    seen, ones = labels.astype(np.float64), np.ones(len(labels))
    made: dict[str, tuple[Better, Callable[[FloatArray], Statistic]]] = {
        "auc": ("higher", lambda said: ranking_auc(seen, said, member)),
        "brier": ("lower", lambda said: ratio_of_sums((said - seen) ** 2, ones, member, count)),
        "ece": ("lower", lambda said: calibration_error(seen, said, member, count)),
        "lift_top_decile": ("higher", lambda said: lift_of_top_decile(seen, said, member, count)),
    }
    return [
        FigurePair(f"{prefix}{name}", better, make(scores["first"]), make(scores["second"]))
        for name, (better, make) in made.items()
    ]
