"""80 % intervals around expected spend, from how held-out customers of the same size turned out.

Split-conformal [1], with bins of the prediction ("Mondrian"): within each bin the quantiles of actual over
predicted, of customers the model had not seen; between bin centres they are interpolated, so that two
customers who differ by a cent do not get different intervals.

[1] Vovk, V., Gammerman, A., Shafer, G. (2005). Algorithmic Learning in a Random World, ch. 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

COVERAGE = 0.80
BINS_MAX = 12
BIN_ROWS_MIN = 60


@dataclass(frozen=True)
class IntervalKnots:
    """Low and high as multiples of the prediction, at knots of its logarithm.

    Attributes
    ----------
    log_predicted
        Shape (n_knots,), ascending.
    low, high
        Shape (n_knots,), multiples of the prediction.
    """

    log_predicted: FloatArray
    low: FloatArray
    high: FloatArray

    def around(self, expected_minor: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return low and high around predictions, each shape (n,), ``0 <= low <= expected <= high``."""
        position = np.log(np.maximum(expected_minor, 1e-9))
        low = np.interp(position, self.log_predicted, self.low) * expected_minor
        high = np.interp(position, self.log_predicted, self.high) * expected_minor
        return np.clip(low, 0.0, expected_minor), np.maximum(high, expected_minor)


def fit_interval(predicted: FloatArray, actual: FloatArray) -> IntervalKnots:
    """Learn the knots from predictions of held-out customers.

    Where more than a tenth of a bin spent nothing, the interval begins at 0 and its upper end alone carries
    the coverage; elsewhere a tenth lies on either side.

    Parameters
    ----------
    predicted
        Shape (n,), > 0, at the level the model predicts at.
    actual
        Shape (n,). What they spent.
    """
    order = np.argsort(predicted, kind="stable")
    bins = max(1, min(BINS_MAX, len(order) // BIN_ROWS_MIN))
    knots = []
    for rows in np.array_split(order, bins):
        ratio = np.sort(actual[rows] / predicted[rows])
        idle = float((ratio <= 0).mean())
        if idle >= (1 - COVERAGE) / 2:
            low, high = 0.0, _upper(ratio, COVERAGE)
        else:
            low, high = _lower(ratio, (1 - COVERAGE) / 2), _upper(ratio, (1 + COVERAGE) / 2)
        knots.append((float(np.log(np.median(predicted[rows]))), low, high))
    table = np.array(knots)
    _, first = np.unique(table[:, 0], return_index=True)
    return IntervalKnots(table[first, 0], table[first, 1], table[first, 2])


def _upper(ordered: FloatArray, share: float) -> float:
    """Return the conformal upper quantile: the ``ceil((n + 1) share)``-th smallest, or the largest."""
    rank = math.ceil((ordered.size + 1) * share)
    return float(ordered[min(rank, ordered.size) - 1])


def _lower(ordered: FloatArray, share: float) -> float:
    rank = math.floor((ordered.size + 1) * share)
    return float(ordered[max(rank, 1) - 1])
