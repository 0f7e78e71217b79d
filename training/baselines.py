"""The plain models every other one must beat, on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.bgnbd import BgNbd, fit_bgnbd
from training.curved_logistic import signed_logs
from training.errors import TrainingDataError
from training.gamma_gamma import GammaGamma, fit_gamma_gamma
from training.spend_history import PurchaseSummary

FloatArray = npt.NDArray[np.float64]

DAYS_PER_WEEK = 7.0

MIN_AGE_DAYS = 30.0
"""A customer's spend rate is taken over at least this long: one order yesterday is no daily habit."""


@dataclass(frozen=True)
class BgNbdGammaGamma:
    """Expected orders by BG/NBD times expected order value by Gamma-Gamma."""

    orders: BgNbd
    value: GammaGamma

    def expected_orders(self, history: PurchaseSummary, horizon_days: float) -> FloatArray:
        """Return expected orders over the horizon, shape (n,)."""
        return self.orders.expected_purchases(
            history.frequency,
            history.recency_days / DAYS_PER_WEEK,
            history.age_days / DAYS_PER_WEEK,
            horizon_days / DAYS_PER_WEEK,
        )

    def probability_alive(self, history: PurchaseSummary) -> FloatArray:
        """Return the probability of not having left for good, shape (n,)."""
        return self.orders.probability_alive(
            history.frequency, history.recency_days / DAYS_PER_WEEK, history.age_days / DAYS_PER_WEEK
        )

    def expected_spend(self, history: PurchaseSummary, horizon_days: float) -> FloatArray:
        """Return expected net spend over the horizon in minor units, shape (n,)."""
        value = self.value.expected_value(history.order_count, history.mean_order_minor)
        return self.expected_orders(history, horizon_days) * value


def fit_bgnbd_gamma_gamma(history: PurchaseSummary) -> BgNbdGammaGamma:
    """Fit both models on customers' summaries; the unit of time inside is the week.

    Raises
    ------
    TrainingDataError
        If there are too few customers, or none who bought twice.
    """
    orders = fit_bgnbd(
        history.frequency, history.recency_days / DAYS_PER_WEEK, history.age_days / DAYS_PER_WEEK
    )
    return BgNbdGammaGamma(orders, fit_gamma_gamma(history.order_count, history.mean_order_minor))


def past_rate(history: PurchaseSummary, horizon_days: float) -> FloatArray:
    """Return net spend so far per day since the first order, times the horizon: nothing changes, ever.

    Returns
    -------
    Shape (n,), minor units, >= 0.
    """
    return np.maximum(history.net_minor, 0.0) / np.maximum(history.age_days, MIN_AGE_DAYS) * horizon_days


@dataclass(frozen=True)
class Logistic:
    """Logistic regression on standardised ``sign(x) log(1 + |x|)`` of its inputs.

    Attributes
    ----------
    fill
        Shape (n_features,). Stands for a missing value, on the log scale.
    mean, scale, weights
        Shape (n_features,).
    """

    fill: FloatArray
    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    intercept: float

    def predict(self, features: npt.ArrayLike) -> FloatArray:
        """Return the probability of a positive, shape (n,)."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.log_odds(features), -500, 500))))

    def log_odds(self, features: npt.ArrayLike) -> FloatArray:
        """Return the log-odds of a positive, shape (n,); a row alone has what it has among others."""
        # A matrix product would add up one row in another order than a thousand.
        return np.asarray((self._standardised(features) * self.weights).sum(axis=1) + self.intercept)

    def _standardised(self, features: npt.ArrayLike) -> FloatArray:
        logs = signed_logs(features)
        return (np.where(np.isnan(logs), self.fill, logs) - self.mean) / self.scale


def fit_logistic(features: npt.ArrayLike, labels: npt.ArrayLike, *, fill: str = "median") -> Logistic:
    """Fit a logistic regression as plain as can be.

    Parameters
    ----------
    features
        Shape (n, n_features); NaN for missing.
    labels
        Shape (n,), 0 or 1.
    fill
        What a missing value is taken for: ``median`` or ``max`` of its column ("never" is "longest ago"); 0
        where all are missing. A column without two different values weighs nothing.

    Raises
    ------
    TrainingDataError
        If only one class is present.
    """
    from sklearn.linear_model import LogisticRegression

    positive = np.asarray(labels, dtype=np.int64)
    if np.unique(positive).size < 2:
        raise TrainingDataError(f"logistic regression needs both classes; all {positive.size} rows are alike")
    logs = signed_logs(features)
    known = [column[~np.isnan(column)] for column in logs.T]
    reduce = np.max if fill == "max" else np.median
    filled = np.array([float(reduce(column)) if column.size else 0.0 for column in known])
    rows = np.where(np.isnan(logs), filled, logs)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    varies = np.ptp(rows, axis=0) > 0
    scale = np.where(varies, scale, 1.0)
    weights = np.zeros(len(scale))
    if not varies.any():
        share = positive.mean()
        return Logistic(filled, mean, scale, weights, float(np.log(share / (1 - share))))
    rows = (rows[:, varies] - mean[varies]) / scale[varies]
    model = LogisticRegression(max_iter=1000).fit(rows, positive)
    weights[varies] = model.coef_[0]
    return Logistic(filled, mean, scale, weights, float(model.intercept_[0]))
