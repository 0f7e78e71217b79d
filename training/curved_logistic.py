"""Logistic regression whose inputs may bend: logarithms, their squares, and whether a value is missing.

A model of its own beside trees, and a better one than the plain logistic of `training.baselines`: an effect
may level off or turn, and "never" is no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.errors import TrainingDataError

FloatArray = npt.NDArray[np.float64]

FARTHEST = 4.0
"""Standard deviations from the mean that a value lies at the most: squares of outliers run away."""

ROWS_MOST = 100_000
"""Fitting rows, evenly spread; more change nothing but the time it takes."""

LEAST_MISSING = 0.001
"""Share of missing values, and of others, from which on being missing is an input."""


@dataclass(frozen=True)
class CurvedLogistic:
    """What was fitted.

    Attributes
    ----------
    fill
        Shape (n_features,). Stands for a missing value, on the log scale.
    mean, scale
        Shape (n_features,), of ``sign(x) log(1 + |x|)``.
    weights
        Shape (3, n_features): of the standardised logarithm, of its square, and of being missing.
    """

    fill: FloatArray
    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    intercept: float

    def log_odds(self, features: npt.ArrayLike) -> FloatArray:
        """Return the log-odds of a positive, shape (n,); a row alone has what it has among others."""
        # A matrix product would add up one row in another order than a thousand.
        return np.asarray(self._parts(features).sum(axis=1) + self.intercept)

    def contributions(self, features: npt.ArrayLike) -> FloatArray:
        """Return what each input adds to the log-odds, and what everybody has.

        Returns
        -------
        Shape (n, n_features + 1).
        """
        parts = self._parts(features)
        return np.column_stack([parts, np.full(len(parts), self.intercept)])

    def to_json(self) -> dict[str, Any]:
        """Return everything fitted for a bundle."""
        arrays = {name: value.tolist() for name, value in vars(self).items() if name != "intercept"}
        return arrays | {"intercept": self.intercept}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CurvedLogistic:
        """Read what `to_json` wrote."""
        names = ("fill", "mean", "scale", "weights")
        arrays = {name: np.asarray(content[name], np.float64) for name in names}
        return cls(**arrays, intercept=float(content["intercept"]))

    def _parts(self, features: npt.ArrayLike) -> FloatArray:
        logs = signed_logs(features)
        missing = np.isnan(logs)
        rows = _standardised(np.where(missing, self.fill, logs), self.mean, self.scale)
        plain, squared, absent = self.weights
        return np.asarray(rows * plain + rows**2 * squared + missing * absent)


def fit_curved_logistic(
    features: npt.ArrayLike, labels: npt.ArrayLike, *, curved: bool = True
) -> CurvedLogistic:
    """Fit on standardised logarithms, with scikit-learn's usual L2 penalty.

    Parameters
    ----------
    features
        Shape (n, n_features); NaN for missing. A column without two different values weighs nothing.
    labels
        Shape (n,), 0 or 1.
    curved
        Whether squares and being missing are inputs, or the logarithms alone.

    Raises
    ------
    TrainingDataError
        If only one class is present.
    """
    from sklearn.linear_model import LogisticRegression

    positive = np.asarray(labels, dtype=np.int64)
    if np.unique(positive).size < 2:
        raise TrainingDataError(f"logistic regression needs both classes; all {positive.size} rows are alike")
    chosen = np.unique(np.linspace(0, positive.size - 1, min(positive.size, ROWS_MOST)).astype(np.int64))
    logs, positive = signed_logs(np.asarray(features)[chosen]), positive[chosen]
    missing = np.isnan(logs)
    fill = np.array(
        [
            float(np.median(column[~absent])) if not absent.all() else 0.0
            for column, absent in zip(logs.T, missing.T, strict=True)
        ]
    )
    logs = np.where(missing, fill, logs)
    mean, scale = logs.mean(axis=0), logs.std(axis=0)
    varies = np.ptp(logs, axis=0) > 0
    scale = np.where(varies, scale, 1.0)
    rows = _standardised(logs, mean, scale)[:, varies]
    share = missing.mean(axis=0)
    at_times = (share > LEAST_MISSING) & (share < 1 - LEAST_MISSING) & curved
    inputs = np.hstack([rows, rows**2, missing[:, at_times]]) if curved else rows
    weights = np.zeros((3, len(fill)))
    if inputs.shape[1] == 0:
        rate = positive.mean()
        return CurvedLogistic(fill, mean, scale, weights, float(np.log(rate / (1 - rate))))
    model = LogisticRegression(max_iter=2000).fit(inputs, positive)
    count = int(varies.sum())
    weights[0, varies] = model.coef_[0][:count]
    if curved:
        weights[1, varies] = model.coef_[0][count : 2 * count]
        weights[2, at_times] = model.coef_[0][2 * count :]
    return CurvedLogistic(fill, mean, scale, weights, float(model.intercept_[0]))


def signed_logs(features: npt.ArrayLike) -> FloatArray:
    """Return ``sign(x) log(1 + |x|)``; NaN stays NaN.

    >>> signed_logs([0.0, -1.0]).round(3)
    array([ 0.   , -0.693])
    """
    given = np.asarray(features, dtype=np.float64)
    return np.asarray(np.sign(given) * np.log1p(np.abs(given)))


def _standardised(logs: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    return np.clip((logs - mean) / scale, -FARTHEST, FARTHEST)
