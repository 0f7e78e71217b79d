"""Calibration: scores become probabilities on data the model was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


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
