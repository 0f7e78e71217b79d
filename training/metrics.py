"""Every figure Tagtide quotes about a model, defined once.

Ties: wherever rows are cut by rank (bins, deciles, Lorenz curves), rows with equal scores share the mean
outcome of their group, so that no figure depends on the order in which rows happen to stand.

A figure that does not exist for the input (an AUC of one class, a bias over no
spend) is NaN:
it says "not measurable here", never "bad".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

TOP_SHARE = 0.1
"""The part of a ranking that "top decile" means."""


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Area under the ROC curve: the chance that a positive row outscores a negative one, ties counting half.

    Mann-Whitney form: ``sum over score groups of P_g (N_below + N_g / 2) / (P N)``.

    Parameters
    ----------
    labels
        Shape (n,), 0 or 1.
    scores
        Shape (n,), higher means likelier positive.
    weights
        Shape (n,), >= 0; how often each row counts. Default: once.

    Returns
    -------
    NaN if only one class is present.

    >>> auc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    >>> auc([1, 1], [0.3, 0.9])
    nan
    """
    positive, score = _paired(labels, scores)
    weight = np.ones_like(score) if weights is None else np.asarray(weights, dtype=np.float64)
    _, group = np.unique(score, return_inverse=True)
    return grouped_auc(positive, group, weight)


def grouped_auc(positive: FloatArray, group: npt.NDArray[np.intp], weight: FloatArray) -> float:
    """`auc` of rows whose scores were replaced by the rank of their tie group (0 = lowest).

    Ranking once and weighting often is what makes a bootstrap cheap.
    """
    up = np.bincount(group, weight * positive)
    down = np.bincount(group, weight * (1.0 - positive))
    total = up.sum() * down.sum()
    if total <= 0:
        return math.nan
    below = np.cumsum(down) - down
    return float((up * (below + 0.5 * down)).sum() / total)


def pr_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Average precision: ``sum_k (R_k - R_(k-1)) P_k`` over distinct score thresholds, descending.

    Returns
    -------
    NaN if no row is positive (recall is undefined); 1.0 if all are.

    >>> round(pr_auc([0, 1, 0, 1], [0.1, 0.4, 0.35, 0.8]), 3)
    1.0
    """
    positive, score = _paired(labels, scores)
    _, group = np.unique(-score, return_inverse=True)
    count = np.bincount(group)
    hits = np.bincount(group, positive)
    if not hits.any():
        return math.nan
    precision = np.cumsum(hits) / np.cumsum(count)
    return float((precision * hits).sum() / hits.sum())


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared error of a probability [Brier 1950]. NaN without rows.

    >>> round(brier([0, 1], [0.2, 0.6]), 3)
    0.1
    """
    positive, probability = _paired(labels, probabilities)
    return float(np.mean((probability - positive) ** 2)) if positive.size else math.nan


def ece(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error over equal-count bins.

    ``sum_b n_b/n |mean label - mean probability|`` [Naeini et al. 2015]. Rows sharing a probability
    share their mean label, so a plateau of an isotonic calibrator that crosses a bin edge counts the same on
    both sides.

    Parameters
    ----------
    labels, probabilities
        Shape (n,).
    bins
        Number of bins of (as nearly as possible) equal count, > 0. With fewer rows than bins, each row is a
        bin of its own.

    Returns
    -------
    Between 0 and 1; NaN without rows.

    >>> round(ece([0, 0, 1, 1], [0.1, 0.1, 0.8, 0.8], bins=2), 3)
    0.15
    """
    positive, probability = _paired(labels, probabilities)
    if not positive.size:
        return math.nan
    shared, ranked = share_ties(positive, probability)
    gaps = [
        abs(float((y - p).sum())) for y, p in zip(_parts(shared, bins), _parts(ranked, bins), strict=True)
    ]
    return sum(gaps) / positive.size


def lift_top_decile(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Share of positives in the top tenth of the ranking over the share of positives everywhere.

    The top tenth is ``max(1, round(n / 10))`` rows.

    Returns
    -------
    NaN if no row is positive.

    >>> lift_top_decile([1, 0, 0, 0, 0, 0, 0, 0, 0, 0], range(10, 0, -1))
    10.0
    """
    positive, score = _paired(labels, scores)
    if not positive.any():
        return math.nan
    shared, _ = share_ties(positive, -score)
    return float(shared[: _top_count(positive.size)].mean() / positive.mean())


def wilson_interval(
    successes: float, trials: float, confidence: float = 0.90, *, one_sided: bool = False
) -> tuple[float, float]:
    """Score interval of a proportion [Wilson 1927, JASA 22:209-212].

    ``(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)``

    Parameters
    ----------
    successes, trials
        ``0 <= successes <= trials``. They may be fractional (an effective sample size).
    confidence
        Probability that the interval covers the true share, or, one-sided, that either bound holds alone.
    one_sided
        Put all of ``1 - confidence`` on one side: use one of the two bounds, not both.

    Returns
    -------
    (low, high); (0, 1) without trials: nothing is known.

    Raises
    ------
    ValueError
        If the counts or the confidence are impossible.

    >>> tuple(round(x, 4) for x in wilson_interval(8, 10, 0.95))
    (0.4902, 0.9433)
    >>> wilson_interval(0, 0)
    (0.0, 1.0)
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..trials={trials}, got {successes}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(confidence if one_sided else 0.5 + confidence / 2)
    share = successes / trials
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    centre = share + z * z / (2 * trials)
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def spearman(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Pearson correlation of mid-ranks. NaN if either side is constant.

    >>> round(spearman([1, 2, 3, 4], [10, 20, 40, 30]), 3)
    0.8
    """
    outcome, score = _paired(actual, predicted)
    if outcome.size < 2 or np.ptp(outcome) == 0 or np.ptp(score) == 0:
        return math.nan
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(outcome), rankdata(score))[0, 1])


def normalized_gini(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Gini of actuals ranked by prediction over the Gini of a perfect ranking.

    ``Gini = sum_i (C_i - i/n)`` where ``C_i`` is the share of the total held by the ``i`` rows
    ranked highest. 1 is a perfect ranking, 0 a random one.

    Parameters
    ----------
    actual
        Shape (n,). Negative values (net refunds) count as 0: a Lorenz curve needs shares.

    Returns
    -------
    NaN if all actuals are equal: there is nothing to rank.

    >>> round(normalized_gini([3, 2, 1], [10, 20, 30]), 6)
    -1.0
    """
    outcome, score = _paired(actual, predicted)
    outcome = np.maximum(outcome, 0.0)
    if outcome.size == 0 or np.ptp(outcome) == 0:
        return math.nan
    return _gini(outcome, score) / _gini(outcome, outcome)


def top_decile_capture(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Share of the total actual held by the tenth of rows predicted highest.

    Returns
    -------
    NaN if the total is not positive.

    >>> top_decile_capture([5] + [1] * 5 + [0] * 4, range(10, 0, -1))
    0.5
    """
    outcome, score = _paired(actual, predicted)
    if outcome.sum() <= 0:
        return math.nan
    shared, _ = share_ties(outcome, -score)
    return float(shared[: _top_count(outcome.size)].sum() / outcome.sum())


def bias(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Relative error of the total: ``sum(predicted) / sum(actual) - 1``.

    NaN if the total actual is not positive.

    >>> bias([10, 30], [20, 40])
    0.5
    """
    outcome, estimate = _paired(actual, predicted)
    total = outcome.sum()
    return float(estimate.sum() / total - 1) if total > 0 else math.nan


def bias_interval(
    actual: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    seed: int,
    confidence: float = 0.90,
    repetitions: int = 1000,
) -> tuple[float, float]:
    """Percentile bootstrap of `bias` [Efron 1979], one row a customer; resamples without spend are left out.

    Returns
    -------
    (low, high); NaNs if no resample has positive spend.
    """
    outcome, estimate = _paired(actual, predicted)
    if not outcome.size:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(repetitions):
        rows = generator.integers(0, outcome.size, outcome.size)
        total = outcome[rows].sum()
        if total > 0:
            draws.append(estimate[rows].sum() / total - 1)
    if not draws:
        return math.nan, math.nan
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bias_winsorized(actual: npt.ArrayLike, predicted: npt.ArrayLike, quantile: float = 0.995) -> float:
    """`bias` with actuals and predictions capped at a quantile of the actuals: without the whales.

    >>> bias_winsorized([1, 1, 1, 1000], [1, 1, 1, 5], quantile=0.5)
    0.0
    """
    outcome, estimate = _paired(actual, predicted)
    if not outcome.size:
        return math.nan
    cap = np.quantile(outcome, quantile)
    return bias(np.minimum(outcome, cap), np.minimum(estimate, cap))


def mae_over_mean(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Mean absolute error over the mean actual. NaN if the mean is not positive.

    >>> mae_over_mean([0, 10], [1, 6])
    0.5
    """
    outcome, estimate = _paired(actual, predicted)
    if outcome.sum() <= 0:
        return math.nan
    return float(np.abs(estimate - outcome).mean() / outcome.mean())


def decile_mae_over_mean(actual: npt.ArrayLike, predicted: npt.ArrayLike, parts: int = 10) -> float:
    """Mean over deciles of prediction of ``|mean predicted - mean actual|``, over the mean actual.

    Returns
    -------
    NaN if the mean actual is not positive.

    >>> decile_mae_over_mean([0, 10], [1, 6], parts=2)
    0.5
    """
    outcome, estimate = _paired(actual, predicted)
    if outcome.sum() <= 0:
        return math.nan
    shared, ranked = share_ties(outcome, estimate)
    gaps = [
        abs(y.mean() - p.mean()) for y, p in zip(_parts(shared, parts), _parts(ranked, parts), strict=True)
    ]
    return float(np.mean(gaps) / outcome.mean())


def interval_coverage(actual: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> float:
    """Share of actuals inside their interval, both ends included. NaN without rows.

    >>> interval_coverage([1, 5, 9], [0, 5, 10], [2, 6, 11])
    0.6666666666666666
    """
    outcome, lower = _paired(actual, low)
    _, upper = _paired(actual, high)
    return float(((lower <= outcome) & (outcome <= upper)).mean()) if outcome.size else math.nan


def cluster_weights(clusters: npt.ArrayLike, *, repetitions: int, seed: int) -> Iterator[FloatArray]:
    """Yield row weights of a bootstrap that resamples whole clusters.

    Rows of one customer are no independent draws; resampling customers keeps their dependence inside each
    resample [Field & Welsh 2007, JRSS-B 69:369-390].

    Parameters
    ----------
    clusters
        Shape (n,), the cluster of each row, any hashable kind.

    Yields
    ------
    Shape (n,): how often the row's cluster was drawn.

    >>> weights = next(cluster_weights(["a", "a", "b"], repetitions=1, seed=0))
    >>> bool(weights[0] == weights[1]), float(weights[0] + weights[2])
    (True, 2.0)
    """
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    count = int(member.max()) + 1 if member.size else 0
    generator = np.random.default_rng(seed)
    for _ in range(repetitions):
        drawn = np.bincount(generator.integers(0, max(count, 1), count), minlength=count)
        yield drawn[member].astype(np.float64)


def auc_gain_lower(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    baseline_scores: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    seed: int,
    quantile: float = 0.05,
    repetitions: int = 500,
) -> float:
    """Lower bound of ``auc(scores) - auc(baseline_scores)``, paired, customers resampled.

    Parameters
    ----------
    clusters
        Shape (n,), the customer of each row.
    quantile
        Of the bootstrapped gains.

    Returns
    -------
    Above 0: better than the baseline at that confidence. NaN if only one class is present.
    """
    positive, score = _paired(labels, scores)
    _, baseline = _paired(labels, baseline_scores)
    _, group = np.unique(score, return_inverse=True)
    _, baseline_group = np.unique(baseline, return_inverse=True)
    gains = [
        grouped_auc(positive, group, weight) - grouped_auc(positive, baseline_group, weight)
        for weight in cluster_weights(clusters, repetitions=repetitions, seed=seed)
    ]
    known = [gain for gain in gains if not math.isnan(gain)]
    return float(np.quantile(known, quantile)) if known else math.nan


def share_ties(values: FloatArray, by: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sort ascending ``by``, giving rows of one tie group the group's mean value.

    Returns
    -------
    (values, by), both sorted. Group sums, and so the total, stay what they were.

    >>> share_ties(np.array([4.0, 0.0, 1.0]), np.array([7.0, 7.0, 3.0]))
    (array([1., 2., 2.]), array([3., 7., 7.]))
    """
    keys, group, count = np.unique(by, return_inverse=True, return_counts=True)
    means = np.bincount(group, values) / count
    return np.repeat(means, count), np.repeat(keys, count)


def _gini(outcome: FloatArray, score: FloatArray) -> float:
    shared, _ = share_ties(outcome, -score)
    held = np.cumsum(shared) / shared.sum()
    return float((held - np.arange(1, held.size + 1) / held.size).sum())


def _top_count(rows: int) -> int:
    return max(1, round(rows * TOP_SHARE))


def _parts(values: FloatArray, parts: int) -> list[FloatArray]:
    if parts < 1:
        raise ValueError(f"bins must be at least 1, got {parts}")
    return np.array_split(values, min(parts, values.size))


def _paired(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    a = np.asarray(first, dtype=np.float64)
    b = np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"expected two vectors of one length, got shapes {a.shape} and {b.shape}")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a metric of missing values is not defined: drop or fill them first")
    return a, b
