"""The ranking: a geometric blend of three scores, its weights and its spread learnt on held-out customers.

The boosted model ranks best where the coming months are like the past ones; BG/NBD + Gamma-Gamma and the
past rate are worse then and hold better where they are not. A weighted mean of logarithms ranks by all three.

It also draws predictions together, so that small customers get too much and large ones too little: a slope
on its logarithm, by Poisson quasi-likelihood [1], undoes that. Three estimates of it are averaged, since each
errs in its own way: at the latest closed origin, which is nearest to today; over all closed origins, which
say the same with less noise; and on what BG/NBD + Gamma-Gamma foretell of today's customers, who have aged
since the origins. The level comes later.

[1] Wooldridge, J. M. (1999). Quasi-Likelihood Methods for Count Data. Handbook of Applied Econometrics 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.metrics import normalized_gini

FloatArray = npt.NDArray[np.float64]

WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "boosted": (0.6, 0.2, 0.2),
    "even": (1 / 3, 1 / 3, 1 / 3),
    "classic": (0.0, 0.5, 0.5),
}
"""Of the boosted model, BG/NBD + Gamma-Gamma and the past rate, by name; the first stands by rule."""

ORIGINS_MIN = 3
CLEARLY_BETTER = 0.005
"""By how much another's mean normalised Gini must be higher to be preferred to the rule's."""

SPREAD_RANGE = (0.5, 2.0)
LEAST = 1e-6


@dataclass(frozen=True)
class Scores:
    """Scores of some customers, shape (n,) each, minor units; ``classic`` is None where not fitted."""

    boosted: FloatArray
    classic: FloatArray | None
    past_rate: FloatArray


@dataclass(frozen=True)
class Blend:
    """Which blend ranks, and why.

    Attributes
    ----------
    name
        One of `WEIGHTS`.
    spread
        Exponent of the blend.
    reason
        One sentence.
    ginis
        Mean normalised Gini of each blend on held-out customers at the closed origins.
    """

    name: str
    spread: float
    reason: str
    ginis: Mapping[str, float]

    def score(self, scores: Scores) -> FloatArray:
        """Return what customers are ranked by, shape (n,), > 0, proportional to expected spend."""
        return np.asarray(np.exp(self.spread * log_blend(self.name, scores)))


def log_blend(name: str, scores: Scores) -> FloatArray:
    """Return the weighted mean of the scores' logarithms, shape (n,)."""
    parts = (scores.boosted, scores.classic, scores.past_rate)
    weighed = [
        (weight, np.log(np.maximum(part, LEAST)))
        for weight, part in zip(WEIGHTS[name], parts, strict=True)
        if part is not None
    ]
    return np.asarray(sum(weight * logs for weight, logs in weighed) / sum(weight for weight, _ in weighed))


def choose_blend(origins: Sequence[tuple[Scores, FloatArray]], current: Scores) -> Blend:
    """Choose the blend and fit its spread.

    Parameters
    ----------
    origins
        Per closed origin, latest first: scores of customers the boosted model had not seen, and what they
        spent, shape (n,).
    current
        Scores of all customers as of now.
    """
    ruled = next(iter(WEIGHTS))
    found = {
        name: [normalized_gini(spent, log_blend(name, scores)) for scores, spent in origins]
        for name in WEIGHTS
    }
    ginis = {name: float(np.mean(values)) for name, values in found.items() if np.isfinite(values).all()}
    best = max(ginis, key=lambda name: ginis[name], default=ruled)
    if len(origins) < ORIGINS_MIN:
        name, reason = (
            ruled,
            f"{ruled} by rule: {len(origins)} closed origins are too few to choose by backtest",
        )
    elif not ginis or ginis[best] - ginis[ruled] <= CLEARLY_BETTER:
        name, reason = ruled, f"{ruled} by rule: none ranked clearly better on {len(origins)} closed origins"
    else:
        name, reason = best, f"{best}: ranked better than {ruled} on {len(origins)} closed origins"
    return Blend(name, _spread(name, origins, current), reason, ginis)


def _spread(name: str, origins: Sequence[tuple[Scores, FloatArray]], current: Scores) -> float:
    closed = [_slope(log_blend(name, scores), spent) for scores, spent in origins]
    estimates = [closed[0], float(np.mean(closed))]
    if current.classic is not None:
        estimates.append(_slope(log_blend(name, current), current.classic))
    return float(np.mean(estimates))


def _slope(logs: FloatArray, spent: FloatArray) -> float:
    from sklearn.linear_model import PoissonRegressor

    outcome = np.maximum(spent, 0.0)
    scale = float(logs.std())
    if scale == 0 or not outcome.any():
        return 1.0
    rows = ((logs - logs.mean()) / scale)[:, None]
    # next to no penalty: without any, perfectly separated customers would have no finite slope
    fitted = PoissonRegressor(alpha=1e-4, max_iter=1000).fit(rows, outcome / outcome.mean())
    return float(np.clip(fitted.coef_[0] / scale, *SPREAD_RANGE))
