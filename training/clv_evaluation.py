"""The figures a CLV forecast is judged by, and its plain baselines on the same customers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training import metrics
from training.baselines import fit_bgnbd_gamma_gamma, past_rate
from training.errors import TrainingDataError
from training.spend_history import PurchaseSummary

FloatArray = npt.NDArray[np.float64]


def evaluate_clv(
    actual: npt.ArrayLike,
    predicted: npt.ArrayLike,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
    *,
    seed: int,
) -> dict[str, float]:
    """Compare a forecast with what was spent, net of refunds.

    Parameters
    ----------
    actual, predicted
        Shape (n,), minor units, one row per customer.
    low, high
        Shape (n,). The 80 % interval; without it the two coverages are left out.

    Returns
    -------
    ``bias bias_low bias_high bias_winsorized mae_over_mean spearman normalized_gini decile_mae_over_mean
    top_decile_capture`` and ``interval_coverage_80 interval_coverage_80_buyers``; the two ranking
    correlations are over ``max(0, net spend)``, buyers are customers who spent more than 0.
    """
    outcome = np.asarray(actual, dtype=np.float64)
    estimate = np.asarray(predicted, dtype=np.float64)
    positive = np.maximum(outcome, 0.0)
    bias_low, bias_high = metrics.bias_interval(outcome, estimate, seed=seed)
    figures = {
        "bias": metrics.bias(outcome, estimate),
        "bias_low": bias_low,
        "bias_high": bias_high,
        "bias_winsorized": metrics.bias_winsorized(outcome, estimate),
        "mae_over_mean": metrics.mae_over_mean(outcome, estimate),
        "spearman": metrics.spearman(positive, estimate),
        "normalized_gini": metrics.normalized_gini(positive, estimate),
        "decile_mae_over_mean": metrics.decile_mae_over_mean(outcome, estimate),
        "top_decile_capture": metrics.top_decile_capture(outcome, estimate),
    }
    if low is not None and high is not None:
        lower, upper = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        buyers = outcome > 0
        figures["interval_coverage_80"] = metrics.interval_coverage(outcome, lower, upper)
        figures["interval_coverage_80_buyers"] = metrics.interval_coverage(
            outcome[buyers], lower[buyers], upper[buyers]
        )
    return figures


def evaluate_clv_baselines(
    actual: npt.ArrayLike, history: PurchaseSummary, horizon_days: int, *, seed: int
) -> dict[str, dict[str, Any]]:
    """Fit the plain models on what was known and judge them on the same customers.

    Parameters
    ----------
    history
        The same customers in the same order, as of the forecast.

    Returns
    -------
    ``baseline_bgnbd_gg`` (left out where it cannot be fitted) and ``baseline_past_rate``, each as from
    `evaluate_clv`.
    """
    found = {"baseline_past_rate": evaluate_clv(actual, past_rate(history, horizon_days), seed=seed)}
    try:
        classic = fit_bgnbd_gamma_gamma(history)
    except TrainingDataError:
        return found
    return {
        "baseline_bgnbd_gg": evaluate_clv(actual, classic.expected_spend(history, horizon_days), seed=seed),
        **found,
    }
