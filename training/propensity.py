"""Purchase propensity: the calibrated probability of a purchase within a horizon.

Per horizon two models are averaged on the log-odds scale: boosted trees, which find interactions and
thresholds, and a logistic regression on the same features, which goes on smoothly where trees stand still.
What each weighs, and how the average becomes a probability, is learnt on the calibrating slice, which neither
was fitted on.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.artifact import Bundle
from training.calibration import Calibrator, fit_calibrator
from training.cold_start import Newcomers
from training.curved_logistic import CurvedLogistic, fit_curved_logistic
from training.datasets import CALIBRATE, CERTIFY, FIT
from training.errors import TrainingDataError
from training.model_inputs import dtypes_of
from training.propensity_evaluation import evaluate_propensity, fit_baselines
from training.propensity_rows import ELIGIBLE_US, HORIZONS_HOURS, PropensityData, purchased_within
from training.tag_model import Columns, design_matrix
from training.trees import ReadTrees, Trees, read_booster

FloatArray = npt.NDArray[np.float64]

__all__ = [
    "ELIGIBLE_US",
    "HORIZONS_HOURS",
    "TASK",
    "Blend",
    "PropensityData",
    "PropensityModel",
    "purchased_within",
    "train_propensity",
]

TASK = "propensity"

LEAST_ROWS = 200
"""Rows with and without a purchase that each slice needs,"""
LEAST_CUSTOMERS = 50
"""and customers."""

PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.04,
    "num_leaves": 15,
    "max_bin": 127,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.3,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
ROUNDS = 250

LEAF_SHARE, LEAST_IN_LEAF = 200, 50
"""A leaf holds at least one in so many of the fitting rows, and at least so many. Rows of one customer are
nearly alike: small leaves learn customers by heart."""

USUAL_TREES_WEIGHT = 0.6
"""What the trees weigh where nothing is known. The best weights of rolling earlier slices lay between 0.26
and 0.93 with next to no loss at 0.6: one slice tells little, so the weight goes half the way to its best."""


CURVED_HOURS = 168
"""Longest horizon whose logistic reads squares. On rolling earlier slices they ranked better over 72 hours
and 7 days, and worse over 30 days, in which nearly everybody buys: the few who do not say too little."""

GRID = 201
"""Quantiles of the calibrating scores that a calibration has knots at, beside its own."""


@dataclass(frozen=True)
class Blend:
    """One horizon's two models and what the trees weigh.

    Attributes
    ----------
    names
        Inputs of both, in order.
    trees_weight
        From 0 (the logistic alone) to 1 (the trees alone).
    """

    trees: Trees
    logistic: CurvedLogistic
    names: Sequence[str]
    trees_weight: float

    def score(self, matrix: npt.NDArray[np.float32], threads: int) -> FloatArray:
        """Return scores between 0 and 1 to be calibrated, shape (n,).

        Parameters
        ----------
        matrix
            Shape (n, n_features), as `design_matrix` makes it.
        """
        if len(matrix) == 0:
            return np.empty(0)
        trees = np.asarray(self.trees.predict(matrix, raw_score=True, num_threads=threads))
        plain = self.logistic.log_odds(matrix)
        return probability_of(self.trees_weight * trees + (1 - self.trees_weight) * plain)

    def contributions(self, matrix: npt.NDArray[np.float32], threads: int) -> FloatArray:
        """Return what each feature adds to each score in log-odds, before calibration.

        Trees by TreeSHAP (Lundberg 2020); in the logistic, a feature's own terms.

        Returns
        -------
        Shape (n, n_features + 1): the last column is what everybody has. Rows sum to the score's log-odds.
        """
        if len(matrix) == 0:
            return np.empty((0, len(self.names) + 1))
        trees = np.asarray(self.trees.predict(matrix, pred_contrib=True, num_threads=threads))
        plain = self.logistic.contributions(matrix)
        return self.trees_weight * trees + (1 - self.trees_weight) * plain


def probability_of(log_odds: FloatArray) -> FloatArray:
    """Return probabilities.

    >>> probability_of(np.array([0.0]))
    array([0.5])
    """
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))


def log_odds_of(probability: FloatArray) -> FloatArray:
    """Return log-odds; those of 0 and 1 are cut off at a trillionth.

    >>> log_odds_of(np.array([0.5]))
    array([0.])
    """
    inside = np.clip(probability, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(inside / (1 - inside)))


def trees_weight(trees: FloatArray, plain: FloatArray, bought: npt.NDArray[np.bool_]) -> float:
    """Return the weight of the trees: half-way between the usual one and that which makes outcomes likeliest.

    Parameters
    ----------
    trees, plain
        Shape (n,): log-odds of the two models, on rows neither was fitted on.

    Returns
    -------
    Within [0, 1]; the likelihood has one maximum in it.
    """
    from scipy.optimize import minimize_scalar

    def loss(weight: float) -> float:
        log_odds = weight * trees + (1 - weight) * plain
        return float(np.mean(np.logaddexp(0, log_odds) - bought * log_odds))

    likeliest = float(minimize_scalar(loss, bounds=(0, 1), method="bounded").x)
    return round((USUAL_TREES_WEIGHT + likeliest) / 2, 4)


def train_propensity(
    data: Mapping[str, PropensityData],
    *,
    as_of: str,
    seed: int,
    threads: int,
    fingerprint: Mapping[str, Any],
    newcomers: Mapping[str, Newcomers] | None = None,
    left_out: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Bundle:
    """Train every horizon that the data carries.

    Parameters
    ----------
    data
        Per horizon (``72h``, ``7d``, ``30d``) its rows. Without rows of the slice that certifies, nothing is
        measured.
    newcomers
        Per horizon what those did of whom nothing had been known; without them priors are the population's
        shares.
    left_out
        Horizons for which there are no rows, and why.
    parameters
        In place of those of `PARAMETERS`, ``min_data_in_leaf`` and ``rounds``; None: those as they are.

    Returns
    -------
    The bundle; its content says under ``left_out`` why a horizon is not among its answers.

    Raises
    ------
    TrainingDataError
        If a slice lacks purchases, customers without one, or customers, with the numbers, and no other
        horizon could be trained.
    """
    used = PARAMETERS | {"rounds": ROUNDS} | dict(parameters or {})
    nobody = Newcomers(np.zeros(0, bool), np.zeros(0, bool))
    models, features, calibrators, figures = {}, {}, {}, {}
    blends: dict[str, dict[str, Any]] = {}
    priors: dict[str, float] = {}
    population: dict[str, float] = {}
    missing, refusals = dict(left_out or {}), []
    for horizon, rows in data.items():
        try:
            _require_enough(horizon, rows)
        except TrainingDataError as refusal:
            refusals.append(refusal)
            missing[horizon] = refusal.message
            continue
        names = list(rows.features)
        came = (newcomers or {}).get(horizon, nobody)
        curved = HORIZONS_HOURS[horizon] <= CURVED_HOURS
        blend = _fit(rows, used | {"seed": seed, "num_threads": threads}, curved=curved)
        calibrators[horizon] = _calibrate(rows, blend, threads)
        models[horizon] = str(blend.trees.model_to_string(num_iteration=-1))
        features[horizon] = names
        blends[horizon] = {"trees_weight": blend.trees_weight, "logistic": blend.logistic.to_json()}
        share = float(rows.bought[rows.part(CALIBRATE)].mean())
        population[horizon] = max([share, *population.values()])
        # A longer horizon contains the shorter ones.
        priors[horizon] = max([came.prior(share), *priors.values()])
        if (rows.rows.part == CERTIFY).any():
            probability = _of_part(rows, CERTIFY, blend, threads, calibrators[horizon])
            figures[horizon] = evaluate_propensity(rows, CERTIFY, probability, fit_baselines(rows), seed)
            figures[horizon]["cold_start"] = came.held_against(priors[horizon])
    if not models:
        raise refusals[0]
    return Bundle(
        task=TASK,
        as_of=as_of,
        models=models,
        features=features,
        dtypes=dtypes_of(name for names in features.values() for name in names),
        calibrators=calibrators,
        content={
            "priors": priors,
            "population": population,
            "horizons_hours": {name: HORIZONS_HOURS[name] for name in models},
            "blends": blends,
            "left_out": missing,
            "parameters": used,
        },
        fingerprint=dict(fingerprint),
        metrics=figures,
        versions={name: importlib.metadata.version(name) for name in ("lightgbm", "numpy", "scikit-learn")},
    )


def _fit(data: PropensityData, parameters: Mapping[str, Any], *, curved: bool) -> Blend:
    import lightgbm

    names, fit = list(data.features), data.part(FIT)
    matrix = _matrix(data, fit)
    leaf = max(len(matrix) // LEAF_SHARE, LEAST_IN_LEAF)
    used = {"min_data_in_leaf": leaf, **parameters}
    rounds, threads = int(used.pop("rounds")), int(used["num_threads"])
    dataset = lightgbm.Dataset(
        matrix, data.bought[fit].astype(np.float32), feature_name=names, params=dict(used)
    )
    booster = lightgbm.train(dict(used), dataset, num_boost_round=rounds)
    logistic = fit_curved_logistic(matrix, data.bought[fit], curved=curved)
    calibrate = data.part(CALIBRATE)
    later = _matrix(data, calibrate)
    trees = np.asarray(booster.predict(later, raw_score=True, num_threads=threads))
    weight = trees_weight(trees, logistic.log_odds(later), data.bought[calibrate])
    return Blend(booster, logistic, names, weight)


def _matrix(data: PropensityData, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    return design_matrix(
        list(data.features), {name: values[chosen] for name, values in data.features.items()}
    )


def _calibrate(data: PropensityData, blend: Blend, threads: int) -> Calibrator:
    chosen = data.part(CALIBRATE)
    return half_way(blend.score(_matrix(data, chosen), threads), data.bought[chosen].astype(np.float64))


def _of_part(
    data: PropensityData, part: int, blend: Blend, threads: int, calibrator: Calibrator
) -> FloatArray:
    """Return the probabilities of a slice's rows, NaN for the others."""
    chosen = data.part(part)
    probability = np.full(len(chosen), np.nan)
    probability[chosen] = calibrator(blend.score(_matrix(data, chosen), threads))
    return probability


def half_way(scores: FloatArray, outcomes: FloatArray) -> Calibrator:
    """Fit a calibration half-way, in log-odds, between the scores and what a slice says of them.

    The slice is recent but short: what all customers do together differs from week to week. The scores rest
    on months, but on older ones. On rolling earlier slices the mean of both had the smallest calibration
    error at every horizon.

    Parameters
    ----------
    scores, outcomes
        Shape (n,), of the calibrating slice; scores lie between 0 and 1, outcomes are 0 or 1.
    """
    slice_says = fit_calibrator(scores, outcomes)
    grid = np.unique(np.r_[slice_says.scores, np.quantile(scores, np.linspace(0, 1, GRID))])
    log_odds = (log_odds_of(grid) + log_odds_of(slice_says(grid))) / 2
    return Calibrator(grid, np.maximum.accumulate(probability_of(log_odds)))


def _require_enough(horizon: str, data: PropensityData) -> None:
    for part, name in ((FIT, "fit"), (CALIBRATE, "calibrate"), (CERTIFY, "certify")):
        chosen = data.part(part)
        inside = data.bought[chosen]
        if part == CERTIFY and not chosen.any():
            continue
        if min(int(inside.sum()), int((~inside).sum())) < LEAST_ROWS:
            raise TrainingDataError(
                f"propensity {horizon}: slice {name!r} has {int(inside.sum())} rows with and "
                f"{int((~inside).sum())} without a purchase; expected {LEAST_ROWS} of each",
                "import more history, or choose a later --as-of",
            )
        customers = len(np.unique(data.rows.customer[chosen]))
        if customers < LEAST_CUSTOMERS:
            raise TrainingDataError(
                f"propensity {horizon}: slice {name!r} has {customers} customers; expected {LEAST_CUSTOMERS}",
                "import the events of more customers",
            )


class PropensityModel:
    """Scores customers for every horizon of a bundle.

    Parameters
    ----------
    bundle
        Of task `TASK`.
    threads
        Of LightGBM.
    read
        Makes the trees of their text.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, read: ReadTrees = read_booster) -> None:
        self.bundle = bundle
        self._threads = threads
        trees = bundle.trees(read)
        self._blends = {
            horizon: Blend(
                trees[horizon],
                CurvedLogistic.from_json(bundle.content["blends"][horizon]["logistic"]),
                tuple(bundle.features[horizon]),
                float(bundle.content["blends"][horizon]["trees_weight"]),
            )
            for horizon in self.horizons
        }

    @property
    def priors(self) -> dict[str, float]:
        """Per horizon what newcomers do: the answer about customers of whom nothing is known."""
        return {name: float(value) for name, value in self.bundle.content["priors"].items()}

    @property
    def population(self) -> dict[str, float]:
        """Per horizon everybody's share of buyers: the answer about customers whose profile is too old."""
        return {name: float(value) for name, value in self.bundle.content["population"].items()}

    @property
    def horizons(self) -> list[str]:
        """Every horizon, the shortest first."""
        hours: Mapping[str, int] = self.bundle.content["horizons_hours"]
        return sorted(hours, key=lambda name: hours[name])

    def score(self, customers: Columns) -> dict[str, FloatArray]:
        """Return per horizon, shortest first, the calibrated probability of each customer.

        A longer horizon contains the shorter ones, so its probability is never below theirs: where the
        horizons' models disagree, the longer one is raised.
        """
        scores: dict[str, FloatArray] = {}
        matrices: dict[Sequence[str], npt.NDArray[np.float32]] = {}
        floor: FloatArray | None = None
        for horizon in self.horizons:
            blend = self._blends[horizon]
            if blend.names not in matrices:
                matrices[blend.names] = design_matrix(blend.names, customers)
            raw = blend.score(matrices[blend.names], self._threads)
            probability = self.bundle.calibrators[horizon](raw)
            floor = probability if floor is None else np.maximum(floor, probability)
            scores[horizon] = floor
        return scores

    def contributions(self, horizon: str, customers: Columns) -> tuple[list[str], FloatArray]:
        """Return what each feature adds to each customer's score of a horizon, in log-odds.

        Returns
        -------
        Feature names, and shape (n, n_features + 1): the last column is what everybody has.
        """
        blend = self._blends[horizon]
        return list(blend.names), blend.contributions(design_matrix(blend.names, customers), self._threads)
