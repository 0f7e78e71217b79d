"""The figures a CLV forecast is judged by, and its plain baselines on the same customers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training import metrics
from training.baselines import fit_bgnbd_gamma_gamma, past_rate
from training.clv_interval import fit_interval
from training.errors import TrainingDataError
from training.spend_history import PurchaseSummary

FloatArray = npt.NDArray[np.float64]

DECILES = 10


def evaluate_clv(
    actual: npt.ArrayLike,
    predicted: npt.ArrayLike,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
    *,
    order_value: npt.ArrayLike | None = None,
    seed: int,
) -> dict[str, Any]:
    """Compare a forecast with what was spent, net of refunds.

    Parameters
    ----------
    actual, predicted
        Shape (n,), minor units, one row per customer.
    low, high
        Shape (n,). The 80 % interval; without it the coverages are left out.
    order_value
        Shape (n,). Mean net value of each customer's past orders; without it the bias of those who bought for
        most is left out.

    Returns
    -------
    ``bias bias_low bias_high bias_winsorized mae_over_mean spearman normalized_gini decile_mae_over_mean
    top_decile_capture deciles``, ``bias_top_decile_order_value`` and ``interval_coverage_80
    interval_coverage_80_buyers interval_coverage_80_non_buyers``; the two ranking correlations are over
    ``max(0, net spend)``, buyers are customers who spent more than 0.
    """
    outcome = np.asarray(actual, dtype=np.float64)
    estimate = np.asarray(predicted, dtype=np.float64)
    positive = np.maximum(outcome, 0.0)
    bias_low, bias_high = metrics.bias_interval(outcome, estimate, seed=seed)
    figures: dict[str, Any] = {
        "bias": metrics.bias(outcome, estimate),
        "bias_low": bias_low,
        "bias_high": bias_high,
        "bias_winsorized": metrics.bias_winsorized(outcome, estimate),
        "mae_over_mean": metrics.mae_over_mean(outcome, estimate),
        "spearman": metrics.spearman(positive, estimate),
        "normalized_gini": metrics.normalized_gini(positive, estimate),
        "decile_mae_over_mean": metrics.decile_mae_over_mean(outcome, estimate),
        "top_decile_capture": metrics.top_decile_capture(outcome, estimate),
        "deciles": decile_table(outcome, estimate),
    }
    if order_value is not None:
        top = top_decile(order_value)
        figures["bias_top_decile_order_value"] = metrics.bias(outcome[top], estimate[top])
    if low is not None and high is not None:
        lower, upper = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        buyers = outcome > 0
        figures["interval_coverage_80"] = metrics.interval_coverage(outcome, lower, upper)
        figures["interval_coverage_80_buyers"] = metrics.interval_coverage(
            outcome[buyers], lower[buyers], upper[buyers]
        )
        figures["interval_coverage_80_non_buyers"] = metrics.interval_coverage(
            outcome[~buyers], lower[~buyers], upper[~buyers]
        )
    return figures


def decile_table(actual: FloatArray, predicted: FloatArray) -> list[dict[str, float]]:
    """Return, for each tenth of customers by prediction, ascending, what was predicted and what came true.

    >>> decile_table(np.array([0.0, 8.0]), np.array([1.0, 6.0]))[1]
    {'predicted_mean_minor': 6.0, 'actual_mean_minor': 8.0, 'count': 1}
    """
    shared, ranked = metrics.share_ties(actual, predicted)
    parts = min(DECILES, max(len(ranked), 1))
    return [
        {
            "predicted_mean_minor": float(estimate.mean()),
            "actual_mean_minor": float(outcome.mean()),
            "count": len(estimate),
        }
        for estimate, outcome in zip(
            np.array_split(ranked, parts), np.array_split(shared, parts), strict=True
        )
        if len(estimate)
    ]


def top_decile(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the rows of the tenth with the highest values, at least one, of equal ones the first.

    >>> top_decile([5, 9, 7]).tolist()
    [1]
    """
    given = np.asarray(values, dtype=np.float64)
    count = min(given.size, max(1, round(given.size / DECILES)))
    return np.argsort(-given, kind="stable")[:count].astype(np.int64)


@dataclass(frozen=True)
class ClosedWindow:
    """The latest window closed at the forecast: customers at its beginning, and what they spent in it."""

    history: PurchaseSummary
    spend_minor: FloatArray
    days: int


def evaluate_clv_baselines(
    actual: npt.ArrayLike, history: PurchaseSummary, horizon_days: int, closed: ClosedWindow, *, seed: int
) -> dict[str, dict[str, Any]]:
    """Fit the plain models on what was known and judge them on the same customers.

    Parameters
    ----------
    history
        The same customers in the same order, as of the forecast.
    closed
        What their 80 % intervals are learnt from, in the same way as the model's.

    Returns
    -------
    ``baseline_bgnbd_gg`` (left out where it cannot be fitted) and ``baseline_past_rate``, each as from
    `evaluate_clv`.
    """

    def judged(forecast: Callable[[PurchaseSummary, float], FloatArray]) -> dict[str, Any]:
        predicted = forecast(history, horizon_days)
        before = np.maximum(forecast(closed.history, closed.days), 1.0)
        scale = max(float(closed.spend_minor.sum()), 1.0) / float(before.sum())
        low, high = fit_interval(before * scale, closed.spend_minor).around(predicted)
        return evaluate_clv(actual, predicted, low, high, order_value=history.mean_order_minor, seed=seed)

    found = {"baseline_past_rate": judged(past_rate)}
    try:
        now, then = fit_bgnbd_gamma_gamma(history), fit_bgnbd_gamma_gamma(closed.history)
    except TrainingDataError:
        return found
    classic = judged(lambda rows, days: (now if rows is history else then).expected_spend(rows, days))
    return {"baseline_bgnbd_gg": classic, **found}
