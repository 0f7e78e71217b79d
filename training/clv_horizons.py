"""Several horizons of one customer's value, which agree: a longer one is never worth less than a shorter.

Each horizon has a model of its own, since level, ranking and interval differ with it. Where a longer one
would say less of a customer than a shorter one, the shorter one's answer stands; the longer model's factor is
set so that the total still meets its level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from training.clv import ROLES, ClvModel, ClvPrediction, from_pieces
from training.clv_cutoffs import history_days_needed
from training.clv_inputs import ClvInputs
from training.spend_history import DAY_US
from training.trees import ReadTrees, read_booster

FloatArray = npt.NDArray[np.float64]

HORIZONS_DAYS = (90, 183, 365)
"""The first is the default: it is always tried, the others where the span allows them."""


def horizons_within(
    first_us: int, as_of_us: int, horizons_days: Sequence[int] = HORIZONS_DAYS
) -> tuple[list[int], dict[str, str]]:
    """Tell the horizons that the span of history allows from those it does not.

    A horizon needs a window of its own length that is closed, and half as much history before it. The
    shortest is allowed anyway: where its window is not closed yet, it is reached from a shorter one.

    Returns
    -------
    (horizons, skipped): days in ascending order, and per skipped horizon why.

    >>> horizons_within(0, 300 * DAY_US)
    ([90, 183], {'365': '365 days: needs 547 days of history before the as-of instant, has 300'})
    """
    has = (as_of_us - first_us) // DAY_US
    default, *longer = sorted(set(horizons_days))
    allowed = [default, *(days for days in longer if history_days_needed(days) <= has)]
    skipped = {
        str(
            days
        ): f"{days} days: needs {history_days_needed(days)} days of history before the as-of instant, "
        f"has {has}"
        for days in longer
        if days not in allowed
    }
    return allowed, skipped


@dataclass(frozen=True)
class ClvHorizons:
    """Models of one or more horizons.

    Attributes
    ----------
    models
        In ascending order of their horizon; the first is the default one.
    skipped
        Per horizon that the history does not allow, why.
    """

    models: tuple[ClvModel, ...]
    skipped: Mapping[str, str]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The features they read, in order; the same for all."""
        return self.models[0].inputs

    def predict(self, features: ClvInputs) -> dict[int, ClvPrediction]:
        """Predict every horizon; see `ClvModel.predict`.

        Returns
        -------
        By horizon in days, ascending. Per customer expected, low and high do not decrease along it.
        """
        found: dict[int, ClvPrediction] = {}
        shorter = None
        for model in self.models:
            shorter = at_least(model.predict(features), shorter)
            found[model.horizon_days] = shorter
        return found

    def texts(self) -> dict[str, str]:
        """Return the boosters as text, by role; those of longer horizons are named with their days."""
        return {
            role + self._suffix(model): text for model in self.models for role, text in model.models().items()
        }

    def content(self) -> dict[str, Any]:
        """Return everything but the boosters, fit for JSON."""
        return {
            "horizons": {str(model.horizon_days): model.content() for model in self.models},
            "skipped_horizons": dict(self.skipped),
        }

    def _suffix(self, model: ClvModel) -> str:
        return "" if model is self.models[0] else f"_{model.horizon_days}"

    @classmethod
    def of_pieces(
        cls,
        texts: Mapping[str, str],
        content: Mapping[str, Any],
        *,
        threads: int,
        read: ReadTrees = read_booster,
    ) -> ClvHorizons:
        """Rebuild from what `texts` and `content` gave."""
        models = []
        for number, (days, one) in enumerate(
            sorted(content["horizons"].items(), key=lambda row: int(row[0]))
        ):
            suffix = "" if number == 0 else f"_{days}"
            own = {role: texts[role + suffix] for role in ROLES if role + suffix in texts}
            models.append(from_pieces(own, one, threads=threads, read=read))
        return cls(tuple(models), dict(content["skipped_horizons"]))


def agreeing(models: Sequence[ClvModel], current: ClvInputs, skipped: Mapping[str, str]) -> ClvHorizons:
    """Set the longer models' factors so that, never below a shorter one, they meet their levels.

    Parameters
    ----------
    models
        In ascending order of their horizon.
    current
        All customers as of the as-of instant. Where a level is below the shorter horizon's total, that total
        stands.
    """
    agreed: list[ClvModel] = []
    shorter: ClvPrediction | None = None
    for model in models:
        own = model.predict(current)
        if shorter is not None:
            model = _meeting_level(model, own.expected_minor, shorter.expected_minor)
            own = model.predict(current)
        shorter = at_least(own, shorter)
        agreed.append(model)
    return ClvHorizons(tuple(agreed), skipped)


def at_least(found: ClvPrediction, shorter: ClvPrediction | None) -> ClvPrediction:
    """Raise a prediction to a shorter horizon's where it is below; the parts keep their shares."""
    if shorter is None:
        return found
    expected = np.maximum(found.expected_minor, shorter.expected_minor)
    ratio = np.divide(
        expected, found.expected_minor, out=np.ones_like(expected), where=found.expected_minor > 0
    )
    is_nothing = found.expected_minor <= 0
    parts = [
        np.where(is_nothing, getattr(shorter, name), getattr(found, name) * ratio)
        for name in ("purchase_minor", "interaction_minor", "referral_minor")
    ]
    low, high = (
        np.maximum(found.low_minor, shorter.low_minor),
        np.maximum(found.high_minor, shorter.high_minor),
    )
    return ClvPrediction(expected, np.minimum(low, expected), np.maximum(high, expected), *parts)


def _meeting_level(model: ClvModel, own: FloatArray, shorter: FloatArray) -> ClvModel:
    from scipy.optimize import brentq

    level, floor = float(own.sum()), float(shorter.sum())
    if level <= floor or not (own < shorter).any():
        return model

    def excess(times: float) -> float:
        return float(np.maximum(own * times, shorter).sum()) - level

    return replace(model, factor=model.factor * float(brentq(excess, 0.0, 1.0)))
