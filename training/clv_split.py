"""Expected value split as the field's formula has it: purchases + interactions + referrals.

What one interaction and one referral of the last 90 days add is learnt by least squares of spend after closed
cut-offs, beside the forecast from purchases alone, with weights of 0 or more; so a customer who interacts
more because they buy more is not credited twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.baselines import BgNbdGammaGamma
from training.clv_inputs import ClassicForecast, ClvInputs

FloatArray = npt.NDArray[np.float64]

SPLIT_EVENTS = {"interaction": "interaction_count_90d", "referral": "referral_count_90d"}
"""Event types with a part of their own in the value, and the feature that counts them."""


@dataclass(frozen=True)
class SplitValues:
    """What is learnt of the parts, by least squares of spend on the terms of `split_terms`.

    Attributes
    ----------
    base_minor, purchase
        Purchase value is ``base + purchase x forecast``: the forecast is a shrunken one.
    interaction_minor, referral_minor
        What one event of the last 90 days adds to spend over the trained horizon, >= 0.
    """

    base_minor: float
    purchase: float
    interaction_minor: float
    referral_minor: float

    def of(self, terms: FloatArray) -> FloatArray:
        """Return each part's worth, shape (n, 3), >= 0."""
        purchases = np.maximum(self.base_minor + self.purchase * terms[:, 0], 0.0)
        return np.column_stack(
            [purchases, self.interaction_minor * terms[:, 1], self.referral_minor * terms[:, 2]]
        )


def split_terms(features: ClvInputs, classic: BgNbdGammaGamma | None, horizon_days: int) -> FloatArray:
    """Return what the split weighs, shape (n, 3): spend forecast of purchases, interactions, referrals.

    The forecast is BG/NBD + Gamma-Gamma's, which sees neither interactions nor referrals; where it could not
    be fitted, the past rate.
    """
    return forecast_terms(features, ClassicForecast.of(features, classic, horizon_days))


def forecast_terms(features: ClvInputs, forecast: ClassicForecast) -> FloatArray:
    """Return what `split_terms` does, of a forecast that was made already."""
    purchases = forecast.past_rate() if forecast.spend_minor is None else forecast.spend_minor
    counts = [np.nan_to_num(features.column(name)) for name in SPLIT_EVENTS.values()]
    return np.column_stack([purchases, *counts])


def learn_values(terms: FloatArray, spend: FloatArray) -> SplitValues:
    """Regress spend on the three terms, weights >= 0, with a free intercept.

    Parameters
    ----------
    terms
        Shape (n, 3), of `split_terms`.
    spend
        Shape (n,). Net spend over the trained horizon.
    """
    from scipy.optimize import nnls

    means = terms.mean(axis=0)
    centred = terms - means
    scale = np.maximum(np.abs(centred).max(axis=0), 1e-12)
    weights, _ = nnls(centred / scale, spend - spend.mean())
    purchase, interaction, referral = np.where(np.ptp(terms, axis=0) > 0, weights / scale, 0.0).tolist()
    base = float(spend.mean() - means @ np.array([purchase, interaction, referral]))
    return SplitValues(base, purchase, interaction, referral)
