"""80 % intervals around expected spend, from how held-out customers of the same size turned out.

Split-conformal [1] in two parts, as spending has two: whether, and how much. Within bins of the prediction
("Mondrian") the upper end is a quantile of actual over predicted among those *who bought*, of customers the
model had not seen; the lower end is 0 wherever buying nothing is not rare. A plain quantile over everyone
would be met by the many who buy nothing and miss most who do. Between bin centres ends are interpolated, so
that two customers who differ by a cent do not get different intervals.

[1] Vovk, V., Gammerman, A., Shafer, G. (2005). Algorithmic Learning in a Random World, ch. 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

COVERAGE = 0.80

DRIFT = 0.02
"""What is asked for beyond that: the window to come is not exchangeable with the closed one, which cost about
so much on rolling origins."""

RARE = 0.05
"""Up to this share of buying nothing, both ends are quantiles; above it the interval begins at 0."""

BINS_MAX = 12
BIN_BUYERS_MIN = 50


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

    Parameters
    ----------
    predicted
        Shape (n,), > 0, at the level the model predicts at.
    actual
        Shape (n,). What they spent.

    Returns
    -------
    Knots at the medians of up to 12 bins of the prediction, of equally many buyers, at least 50.
    """
    order = np.argsort(predicted, kind="stable")
    bought = actual[order] > 0
    buyers = int(bought.sum())
    bins = max(1, min(BINS_MAX, buyers // BIN_BUYERS_MIN))
    # a bin ends with its last buyer; who bought nothing after that belongs to the next bin
    ends = np.flatnonzero(bought)[np.linspace(0, buyers, bins + 1).round().astype(int)[1:-1] - 1] + 1
    knots = []
    for rows in np.split(order, ends):
        ratio = np.sort(actual[rows] / predicted[rows])
        spent = ratio[ratio > 0]
        share = COVERAGE + DRIFT
        if spent.size < (1 - RARE) * ratio.size:
            low, high = 0.0, _upper(spent, share) if spent.size else 1.0
        else:
            low, high = _lower(ratio, (1 - share) / 2), _upper(ratio, (1 + share) / 2)
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
