"""Calibration: scores become probabilities on data the model was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SLICE_LUCK = 0.02
"""Standard deviation of the share that comes true between slices of ten days, beyond that of their claims."""

LIKELY = 0.6
"""Scores from here on are those that tags might be given for."""


@dataclass(frozen=True)
class Calibrator:
    """A non-decreasing, piecewise linear map from score to probability.

    Attributes
    ----------
    scores, probabilities
        Shape (n_knots,), both non-decreasing.
    """

    scores: FloatArray
    probabilities: FloatArray

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Return the probability of each score; NaN stays NaN.

        >>> float(Calibrator(np.array([0.0, 1.0]), np.array([0.0, 0.5]))(np.array([0.5]))[0])
        0.25
        """
        return np.interp(scores, self.scores, self.probabilities)

    def to_json(self) -> dict[str, list[float]]:
        """Return the knots for a bundle."""
        return {"scores": self.scores.tolist(), "probabilities": self.probabilities.tolist()}

    @classmethod
    def from_json(cls, content: dict[str, list[float]]) -> Calibrator:
        """Read what `to_json` wrote."""
        return cls(np.asarray(content["scores"]), np.asarray(content["probabilities"]))


def fit_isotonic(scores: FloatArray, outcomes: FloatArray) -> Calibrator:
    """Fit isotonic regression (pool adjacent violators; Zadrozny & Elkan 2002).

    Parameters
    ----------
    scores, outcomes
        Shape (n,); outcomes are 0 or 1.

    Returns
    -------
    The fitted map. Probabilities stay within [1/(n+2), 1 - 1/(n+2)]: no finite sample proves certainty.
    """
    from sklearn.isotonic import IsotonicRegression

    margin = 1 / (len(scores) + 2)
    fitted = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip").fit(scores, outcomes)
    return Calibrator(np.asarray(fitted.X_thresholds_), np.asarray(fitted.y_thresholds_))


def fit_calibrator(scores: FloatArray, outcomes: FloatArray) -> Calibrator:
    """Fit centred isotonic regression (Oron & Flournoy 2017): isotonic, but rising within its steps as well.

    Plain isotonic regression gives every score of a step one probability, so that a customer's probability
    stands still while their behaviour changes, and thresholds fall on ties. Here each step's probability
    holds at the step's mean score, with straight lines in between; the outer halves of the first and the last
    step go on with the slope of their neighbours.

    Parameters
    ----------
    scores, outcomes
        Shape (n,); outcomes are 0 or 1.
    """
    steps = fit_isotonic(scores, outcomes)
    margin = 1 / (len(scores) + 2)
    fitted = steps(scores)
    levels, step = np.unique(fitted, return_inverse=True)
    if len(levels) < 2:
        return steps
    centres = np.bincount(step, scores) / np.bincount(step)
    slopes = np.diff(levels) / np.diff(centres)
    first, last = float(scores.min()), float(scores.max())
    low = max(levels[0] - slopes[0] * (centres[0] - first), margin)
    high = min(levels[-1] + slopes[-1] * (last - centres[-1]), 1 - margin)
    knots = np.r_[first, centres, last], np.r_[min(low, levels[0]), levels, max(high, levels[-1])]
    kept = np.r_[True, np.diff(knots[0]) > 0]
    return Calibrator(knots[0][kept], knots[1][kept])


def fit_tempered(scores: FloatArray, outcomes: FloatArray, customer: npt.NDArray[np.int64]) -> Calibrator:
    """Fit centred isotonic regression, but believe the scores themselves as far as luck may explain a gap.

    A slice of some days has luck of its own: the share that comes true moves from slice to slice by more than
    the claims' number lets expect. Scores that are probabilities already, of a model fitted on months, count
    as much as the slice, and less where the likely ones are off by more than luck explains (the positive part
    of James & Stein 1961).

    Parameters
    ----------
    scores, outcomes, customer
        Shape (n,); scores within [0, 1], outcomes 0 or 1, and whom they are about.
    """
    fitted = fit_calibrator(scores, outcomes)
    likely = scores >= min(LIKELY, float(np.quantile(scores, 0.9)))
    residual = (outcomes - scores)[likely]
    _, cluster = np.unique(customer[likely], return_inverse=True)
    variance = float((np.bincount(cluster, residual) ** 2).sum()) / len(residual) ** 2 + SLICE_LUCK**2
    gap = float(residual.mean())
    weight = max(1 - variance / max(gap**2, variance), 0.5)
    return Calibrator(fitted.scores, weight * fitted.probabilities + (1 - weight) * fitted.scores)
