"""Customer lifetime value: expected net spend over a horizon, with an interval, for everyone who ever bought.

Rank and level are different problems. A two-part boosted model (`training.clv_ranker`), blended with BG/NBD +
Gamma-Gamma and the past rate (`training.clv_blend`), ranks customers; a level model (`training.clv_level`)
sets the total; held-out customers give the interval (`training.clv_interval`).

``expected = level x share of the blend``, split as the field's formula has it: purchase value + interactions
x learnt value + referrals x learnt value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.baselines import BgNbdGammaGamma, fit_bgnbd_gamma_gamma
from training.bgnbd import BgNbd
from training.clv_blend import LEAST, Blend, Scores, choose_blend
from training.clv_cutoffs import TrainingRows, closed_cutoffs, trainable_horizon
from training.clv_inputs import (
    ClassicForecast,
    ClvInputs,
    forecast_inputs,
    ranker_inputs,
    summary_of_features,
)
from training.clv_interval import IntervalKnots, fit_interval
from training.clv_level import Level, choose_level
from training.clv_ranker import Ranker, fit_ranker
from training.clv_split import SPLIT_EVENTS, SplitValues, forecast_terms, learn_values, split_terms
from training.errors import TrainingDataError
from training.gamma_gamma import GammaGamma
from training.spend_history import DAY_US, SpendHistory
from training.trees import ReadTrees, read_booster

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ROLES = ("any_spend", "amount")
"""The two boosters of the ranker."""


@dataclass(frozen=True)
class ClvPrediction:
    """Expected net spend per customer, minor units; every array has shape (n,).

    ``purchase + interaction + referral = expected`` and ``0 <= low <= expected <= high``.
    """

    expected_minor: FloatArray
    low_minor: FloatArray
    high_minor: FloatArray
    purchase_minor: FloatArray
    interaction_minor: FloatArray
    referral_minor: FloatArray


@dataclass(frozen=True)
class ClvModel:
    """A fitted model for one horizon.

    Attributes
    ----------
    inputs
        The features it reads, in the order it was fitted on.
    trained_horizon_days
        Shorter than ``horizon_days`` where the history holds no closed window of that length.
    factor
        What the blend is multiplied by to meet the level.
    values
        What one interaction and one referral are worth; 0 where the data has no such events.
    missing_events
        Those event types.
    """

    inputs: tuple[str, ...]
    horizon_days: int
    trained_horizon_days: int
    ranker: Ranker
    classic: BgNbdGammaGamma | None
    blend: Blend
    factor: float
    interval: IntervalKnots
    values: SplitValues
    missing_events: tuple[str, ...]
    level: Level

    def predict(self, features: ClvInputs) -> ClvPrediction:
        """Predict from the features `inputs`, in that order; every customer has bought at least once."""
        forecast = ClassicForecast.of(features, self.classic, self.trained_horizon_days)
        boosted = self.ranker.predict(forecast_inputs(features, forecast))
        scores = Scores(boosted, forecast.spend_minor, forecast.past_rate())
        stretch = _stretch(self.classic, features, self.trained_horizon_days, self.horizon_days)
        expected = self.blend.score(scores) * stretch * self.factor
        low, high = self.interval.around(expected)
        worth = self.values.of(forecast_terms(features, forecast))
        total = worth.sum(axis=1, keepdims=True)
        shares = np.where(total > 0, worth / np.where(total > 0, total, 1.0), [1.0, 0.0, 0.0])
        parts = expected[:, None] * shares
        return ClvPrediction(expected, low, high, parts[:, 0], parts[:, 1], parts[:, 2])

    def split_reasons(self) -> dict[str, str]:
        """Say of interactions and referrals where their value comes from, or why it is 0."""
        return {
            name: f"0: the data has no {name} events"
            if name in self.missing_events
            else "least squares of spend on purchases' forecast and the counts of 90 days"
            if getattr(self.values, f"{name}_minor") > 0
            else f"0: customers with more {name} events did not spend more than their purchases foretell"
            for name in SPLIT_EVENTS
        }

    def models(self) -> dict[str, str]:
        """Return the boosters as text, by role; `from_pieces` takes them back."""
        boosters = dict(zip(ROLES, (self.ranker.any_spend, self.ranker.amount), strict=True))
        return {role: booster.model_to_string() for role, booster in boosters.items() if booster is not None}

    def content(self) -> dict[str, Any]:
        """Return everything but the boosters, fit for JSON."""
        return {
            "inputs": list(self.inputs),
            "horizon_days": self.horizon_days,
            "trained_horizon_days": self.trained_horizon_days,
            "factor": self.factor,
            "any_spend_constant": self.ranker.any_spend_constant,
            "amount_scale": self.ranker.amount_scale,
            "classic": None
            if self.classic is None
            else {"bgnbd": vars(self.classic.orders), "gamma_gamma": vars(self.classic.value)},
            "blend": {**vars(self.blend), "ginis": dict(self.blend.ginis)},
            "interval": {name: knots.tolist() for name, knots in vars(self.interval).items()},
            "values": vars(self.values),
            "missing_events": list(self.missing_events),
            "level": {**vars(self.level), "errors": dict(self.level.errors)},
        }


def from_pieces(
    models: dict[str, str], content: dict[str, Any], *, threads: int, read: ReadTrees = read_booster
) -> ClvModel:
    """Rebuild a model from what `ClvModel.models` and `ClvModel.content` gave."""
    days = content["horizon_days"]
    trees = {role: read(f"clv {role} of {days} days", text) for role, text in models.items()}
    classic = content["classic"]
    return ClvModel(
        tuple(content["inputs"]),
        content["horizon_days"],
        content["trained_horizon_days"],
        Ranker(
            trees.get("any_spend"),
            trees.get("amount"),
            content["any_spend_constant"],
            content["amount_scale"],
            threads,
        ),
        None
        if classic is None
        else BgNbdGammaGamma(BgNbd(**classic["bgnbd"]), GammaGamma(**classic["gamma_gamma"])),
        Blend(**content["blend"]),
        content["factor"],
        IntervalKnots(**{name: np.array(knots) for name, knots in content["interval"].items()}),
        SplitValues(**content["values"]),
        tuple(content["missing_events"]),
        Level(**content["level"]),
    )


def train_clv(
    history: SpendHistory,
    features_at: Callable[[IntArray, int], ClvInputs],
    *,
    as_of_us: int,
    horizon_days: int,
    seed: int,
    threads: int,
) -> ClvModel:
    """Choose cut-offs, build their rows and fit.

    Parameters
    ----------
    history
        Only what was known at ``as_of_us`` is used.
    features_at
        Given customer numbers of ``history`` and an instant in µs, their features as of it; always the same
        ones.

    Raises
    ------
    TrainingDataError
        If the history holds no closed outcome window, or too few customers.
    """
    known = history.known_by(as_of_us)
    if known.time_us.size == 0:
        raise TrainingDataError(
            "CLV needs purchases: none was known by the as-of instant", "import purchases"
        )
    trained = trainable_horizon(known.first_us, as_of_us, horizon_days)
    sets = []
    for cutoff in closed_cutoffs(known.first_us, as_of_us, trained):
        customers = known.buyers(cutoff)
        if customers.size == 0:
            continue
        spend = known.spend_between(cutoff, cutoff + trained * DAY_US)[customers].astype(np.float64)
        sets.append(TrainingRows(cutoff, customers, features_at(customers, cutoff), spend))
    current = features_at(known.buyers(as_of_us), as_of_us)
    level = choose_level(known, as_of_us, horizon_days)
    return fit_clv(sets, current, level, horizon_days, trained, seed=seed, threads=threads)


def fit_clv(
    sets: Sequence[TrainingRows],
    current: ClvInputs,
    level: Level,
    horizon_days: int,
    trained_horizon_days: int,
    *,
    seed: int,
    threads: int,
) -> ClvModel:
    """Fit ranker, blend, level factor, interval and split.

    Parameters
    ----------
    sets
        One per cut-off, latest first; every window is closed before the as-of instant.
    current
        All customers as of the as-of instant. The level is their total; what BG/NBD foretells of them is
        one of the estimates of the spread.

    Raises
    ------
    TrainingDataError
        If there are too few rows.
    """
    if not sets:
        raise TrainingDataError("CLV needs at least one closed outcome window", "import a longer history")
    classics = [_classic(rows.features) for rows in sets]
    inputs = np.concatenate(
        [
            ranker_inputs(rows.features, classic, trained_horizon_days)
            for rows, classic in zip(sets, classics, strict=True)
        ]
    )
    spend = np.concatenate([rows.net_spend_minor for rows in sets])
    customers = np.concatenate([rows.customers for rows in sets])
    latest = np.arange(len(spend)) < len(sets[0].net_spend_minor)
    fitted = fit_ranker(inputs, spend, customers, latest, seed=seed, threads=threads)

    ends = np.cumsum([len(rows.net_spend_minor) for rows in sets])[:-1]
    origins = [
        (_scores(boosted, classic, rows.features, trained_horizon_days), rows.net_spend_minor)
        for boosted, classic, rows in zip(np.split(fitted.held_out, ends), classics, sets, strict=True)
    ]
    classic = _classic(current)
    boosted = fitted.ranker.predict(ranker_inputs(current, classic, trained_horizon_days))
    scores = _scores(boosted, classic, current, trained_horizon_days)
    blend = choose_blend(origins, scores)
    actual = sets[0].net_spend_minor
    held_out = blend.score(origins[0][0])
    closed_factor = max(float(actual.sum()), 1.0) / float(held_out.sum())
    held_out *= closed_factor
    score = blend.score(scores) * _stretch(classic, current, trained_horizon_days, horizon_days)
    factor = closed_factor if level.total_minor is None else level.total_minor / float(score.sum())
    interval = fit_interval(held_out, actual)
    if horizon_days != trained_horizon_days:
        stretch = np.log(horizon_days / trained_horizon_days)
        interval = IntervalKnots(interval.log_predicted + stretch, interval.low, interval.high)
    terms = np.concatenate(
        [
            split_terms(rows.features, classic_then, trained_horizon_days)
            for rows, classic_then in zip(sets, classics, strict=True)
        ]
    )
    missing = tuple(name for name, feature in SPLIT_EVENTS.items() if not (current.column(feature) > 0).any())
    return ClvModel(
        current.names,
        horizon_days,
        trained_horizon_days,
        fitted.ranker,
        classic,
        blend,
        factor,
        interval,
        learn_values(terms, spend),
        missing,
        level,
    )


def _scores(
    boosted: FloatArray, classic: BgNbdGammaGamma | None, features: ClvInputs, trained_days: int
) -> Scores:
    forecast = ClassicForecast.of(features, classic, trained_days)
    return Scores(boosted, forecast.spend_minor, forecast.past_rate())


def _stretch(
    classic: BgNbdGammaGamma | None, features: ClvInputs, trained_days: int, horizon_days: int
) -> FloatArray:
    """Return a longer horizon's worth over the trained one, shape (n,): by BG/NBD, else in proportion."""
    if classic is None or horizon_days == trained_days:
        return np.full(len(features), horizon_days / trained_days)
    summary = summary_of_features(features)
    short = np.maximum(classic.expected_spend(summary, trained_days), LEAST)
    return np.asarray(np.maximum(classic.expected_spend(summary, horizon_days), LEAST) / short)


def _classic(features: ClvInputs) -> BgNbdGammaGamma | None:
    try:
        return fit_bgnbd_gamma_gamma(summary_of_features(features))
    except TrainingDataError:
        # without repeat buyers the boosted model ranks alone
        return None
