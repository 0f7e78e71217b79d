"""How good propensities were, beside plain models on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.baselines import Logistic, fit_logistic
from training.curve_points import lift_curve, reliability
from training.datasets import FIT
from training.metrics import auc, auc_gain_lower, brier, ece, lift_top_decile, pr_auc
from training.propensity_rows import PropensityData
from training.tag_model import Columns

FloatArray = npt.NDArray[np.float64]

RFM_FEATURES = (
    "order_count_7d",
    "order_count_30d",
    "order_count_90d",
    "seconds_since_last_purchase",
    "order_gap_mean_days",
    "spend_30d_minor",
)
"""What the plain logistic baseline reads."""


@dataclass(frozen=True)
class PropensityBaselines:
    """Plain models fitted on the same rows: a logistic on RFM, and one on everything the model reads.

    Attributes
    ----------
    names
        What the second one reads, in order.
    """

    rfm: Logistic
    same_features: Logistic
    names: Sequence[str]

    def predict(self, features: Columns) -> tuple[FloatArray, FloatArray]:
        """Return both probabilities, shape (n,) each."""
        return (
            self.rfm.predict(side_by_side(features, RFM_FEATURES)),
            self.same_features.predict(side_by_side(features, self.names)),
        )


def fit_baselines(data: PropensityData) -> PropensityBaselines:
    """Fit the baselines on the slice that fits the model."""
    fit, names = data.part(FIT), list(data.features)
    rows = {name: values[fit] for name, values in data.features.items()}
    return PropensityBaselines(
        fit_logistic(side_by_side(rows, RFM_FEATURES), data.bought[fit], fill="max"),
        fit_logistic(side_by_side(rows, names), data.bought[fit]),
        names,
    )


def side_by_side(features: Columns, names: Sequence[str]) -> FloatArray:
    """Return features as columns of one matrix, shape (n, n_features)."""
    return np.column_stack([np.asarray(features[name], np.float64) for name in names])


def evaluate_propensity(
    data: PropensityData, part: int, probability: FloatArray, baselines: PropensityBaselines, seed: int
) -> dict[str, Any]:
    """Measure a horizon on those of a slice who are measured, beside its baselines.

    Parameters
    ----------
    probability
        Shape (n_rows,), of all rows of ``data``.

    Returns
    -------
    ``auc pr_auc brier ece lift_top_decile`` of the model and of each baseline, ``base_rate``, ``rows``,
    ``auc_gain_lower`` (5 % bound of the gain over the logistic on the same features, customers resampled),
    and the model's ``reliability`` and ``lift_curve``.
    """
    chosen = data.part(part, evaluated=True)
    bought = data.bought[chosen]
    plain, same = baselines.predict({name: values[chosen] for name, values in data.features.items()})
    own = probability[chosen]
    return _figures(bought, own) | {
        "base_rate": float(bought.mean()) if len(bought) else float("nan"),
        "rows": int(chosen.sum()),
        "baseline_logistic": _figures(bought, plain),
        "baseline_logistic_same_features": _figures(bought, same),
        "auc_gain_lower": auc_gain_lower(bought, own, same, data.rows.customer[chosen], seed=seed),
        "reliability": reliability(bought, own),
        "lift_curve": lift_curve(bought, own),
    }


def _figures(bought: npt.NDArray[np.bool_], probability: FloatArray) -> dict[str, float]:
    return {
        "auc": auc(bought, probability),
        "pr_auc": pr_auc(bought, probability),
        "brier": brier(bought, probability),
        "ece": ece(bought, probability),
        "lift_top_decile": lift_top_decile(bought, probability),
    }
