"""The two-part ranker: probability of spending at all, times the amount where something is spent.

[1] Vanderveld, A., et al. (2016). An Engagement-Based Customer Lifetime Value System for E-commerce. KDD '16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from training.sufficiency import require_spenders
from training.trees import Trees

if TYPE_CHECKING:
    import lightgbm

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FOLDS = 5
ROUNDS_MAX = 300
PATIENCE = 30
ROWS_PER_THREAD = 20_000
"""With fewer rows a further thread waits more than it works, on a busy machine ten times longer."""

SETTINGS: Mapping[str, Any] = {
    "learning_rate": 0.04,
    "num_leaves": 6,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
"""Few leaves of many rows: with a few thousand customers deeper trees rank worse on rolling backtests."""


@dataclass(frozen=True)
class Ranker:
    """Two boosters; a part is None where the data left nothing to learn and its constant stands instead."""

    any_spend: Trees | None
    amount: Trees | None
    any_spend_constant: float
    amount_scale: float
    threads: int

    def predict(self, features: FloatArray) -> FloatArray:
        """Return a score proportional to expected spend, shape (n,), > 0, in minor units."""
        share = np.full(len(features), self.any_spend_constant)
        if self.any_spend is not None:
            share = np.asarray(self.any_spend.predict(features, num_threads=self.threads))
        size = np.ones(len(features))
        if self.amount is not None:
            size = np.asarray(self.amount.predict(features, num_threads=self.threads))
        return np.maximum(share * size * self.amount_scale, 1e-6)


@dataclass(frozen=True)
class CrossFit:
    """The ranker for use, and for each row a score of a model that had not seen its customer."""

    ranker: Ranker
    held_out: FloatArray


def fit_ranker(
    features: FloatArray,
    spend: FloatArray,
    customers: IntArray,
    latest: npt.NDArray[np.bool_],
    *,
    seed: int,
    threads: int,
) -> CrossFit:
    """Fit on several cut-offs' rows, holding customers out to know when to stop and how far to trust it.

    Customers, not rows, are divided into folds: one customer's rows at several cut-offs share most of their
    outcome. Each fold's models stop early on its held-out customers at the latest cut-off; the final
    ones run for the median of those numbers of rounds on everything.

    Parameters
    ----------
    features
        Shape (n, n_features); NaN for missing.
    spend
        Shape (n,). Net spend after the cut-off; negative counts as none.
    customers
        Shape (n,). Numbers that identify customers across cut-offs.
    latest
        Shape (n,). Rows of the latest cut-off.

    Raises
    ------
    TrainingDataError
        If there are too few customers, or too few who spent something.
    """
    outcome = np.maximum(spend, 0.0)
    require_spenders(customers, outcome)
    generator = np.random.default_rng(seed)
    fold_of_customer = generator.permutation(int(customers.max()) + 1) % FOLDS
    fold = fold_of_customer[customers]
    useful_threads = min(threads, max(1, len(outcome) // ROWS_PER_THREAD))
    settings = {**SETTINGS, "seed": seed, "num_threads": useful_threads}
    held_out = np.zeros(len(outcome))
    rounds: list[tuple[int, int]] = []
    for number in range(FOLDS):
        out = (fold == number) & latest
        if not out.any():
            continue
        inside = fold != number
        ranker, stopped = _fit(
            features[inside], outcome[inside], settings, (features[out], outcome[out]), None
        )
        held_out[~inside] = ranker.predict(features[~inside])
        rounds.append(stopped)
    final_rounds = tuple(int(np.median(column)) for column in zip(*rounds, strict=True))
    ranker, _ = _fit(features, outcome, settings, None, (final_rounds[0], final_rounds[1]))
    return CrossFit(ranker, held_out)


def _fit(
    features: FloatArray,
    outcome: FloatArray,
    settings: Mapping[str, Any],
    held_out: tuple[FloatArray, FloatArray] | None,
    rounds: tuple[int, int] | None,
) -> tuple[Ranker, tuple[int, int]]:
    spent = outcome > 0
    scale = float(outcome[spent].mean())
    whether = None if held_out is None else (held_out[0], (held_out[1] > 0).astype(np.float64))
    any_spend, any_rounds = (None, 1)
    if not spent.all():
        objective = {**settings, "objective": "binary"}
        any_spend, any_rounds = _boost(
            features, spent.astype(np.float64), objective, whether, None if rounds is None else rounds[0]
        )
    how_much = None
    if held_out is not None and (held_out[1] > 0).any():
        rows = held_out[1] > 0
        how_much = (held_out[0][rows], held_out[1][rows] / scale)
    objective = {**settings, "objective": "gamma"}
    amount, amount_rounds = _boost(
        features[spent], outcome[spent] / scale, objective, how_much, None if rounds is None else rounds[1]
    )
    threads = int(settings["num_threads"])
    return Ranker(any_spend, amount, float(spent.mean()), scale, threads), (any_rounds, amount_rounds)


def _boost(
    features: FloatArray,
    target: FloatArray,
    settings: Mapping[str, Any],
    held_out: tuple[FloatArray, FloatArray] | None,
    rounds: int | None,
) -> tuple[lightgbm.Booster, int]:
    import lightgbm

    train = lightgbm.Dataset(features, target, free_raw_data=False)
    if held_out is None:
        booster = lightgbm.train(dict(settings), train, num_boost_round=rounds or ROUNDS_MAX)
        return booster, booster.num_trees()
    valid = lightgbm.Dataset(*held_out, reference=train, free_raw_data=False)
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    booster = lightgbm.train(
        dict(settings), train, num_boost_round=ROUNDS_MAX, valid_sets=[valid], callbacks=[stop]
    )
    return booster, max(booster.best_iteration, 1)
