"""A search for LightGBM's parameters on rolling slices that end before a model is calibrated.

Each trial fits on what was known before a held-out stretch of the fitting slice and is judged by the log loss
on that stretch; the stretches roll back through time, with an embargo of the outcome's window before each.
The first trial is the defaults, so what is found is never worse than they are on these stretches.

[1] Akiba, T., et al. (2019). Optuna: A Next-generation Hyperparameter Optimization Framework. KDD '19.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from training.errors import TrainingDataError, TuningUnavailableError
from training.tag_model import Columns, design_matrix

if TYPE_CHECKING:
    import optuna

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DAY_US = 86_400_000_000
STRETCHES = 3
STRETCH_DAYS_MAX = 14
LEAST_OF_CLASS = 50
"""Rows of each class that a stretch, and what is fitted before it, need to count."""

FIT_ROWS_MAX, HELD_OUT_ROWS_MAX = 30_000, 30_000
"""Of each stretch; a seeded sample where there are more."""

ROUNDS = "rounds"
"""The number of trees, beside LightGBM's own parameters."""

SHARED = {"feature_pre_filter": False}
"""Pre-filtering would tie a data set to the least rows of a leaf that the first trial had."""

SPACE: Mapping[str, tuple[float, float, str]] = {
    "learning_rate": (0.02, 0.15, "log"),
    "num_leaves": (7, 63, "log integer"),
    "min_data_in_leaf": (50, 500, "log integer"),
    "feature_fraction": (0.3, 0.9, "linear"),
    "bagging_fraction": (0.3, 0.95, "linear"),
    "lambda_l2": (0.1, 50.0, "log"),
    ROUNDS: (80, 400, "log integer"),
}
"""What is searched: least value, greatest value, and on which scale."""


@dataclass(frozen=True)
class SearchBudget:
    """How much a search may cost.

    Attributes
    ----------
    trials
        Sets of parameters tried, the defaults among them.
    minutes
        No trial is begun after so long; None: no limit. A search that ran into it is not repeatable.
    """

    trials: int
    minutes: float | None = None


@dataclass(frozen=True)
class SearchRows:
    """Rows of one model's fitting slice.

    Attributes
    ----------
    features
        Shape (n,) each.
    labels
        Shape (n,), true where it happened.
    instants
        Shape (n,), µs since the epoch.
    window_us
        How long after its instant a row's outcome is open.
    """

    features: Columns
    labels: npt.NDArray[np.bool_]
    instants: IntArray
    window_us: int


@dataclass(frozen=True)
class Stretch:
    """What one held-out stretch is judged with.

    Attributes
    ----------
    fit_matrix, fit_labels
        Rows whose outcome was closed before the stretch began.
    matrix, labels
        Rows of the stretch.
    """

    fit_matrix: npt.NDArray[np.float32]
    fit_labels: FloatArray
    matrix: npt.NDArray[np.float32]
    labels: FloatArray


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes
    ----------
    parameters
        Of the best trial, `ROUNDS` among them.
    loss, default_loss
        Mean log loss on the held-out stretches: of the best trial, and of the defaults.
    trials
        How many were run.
    """

    parameters: dict[str, Any]
    loss: float
    default_loss: float
    trials: int


@dataclass(frozen=True)
class Trial:
    """What is told after each trial.

    Attributes
    ----------
    number
        From 1.
    best, default
        Mean log loss of the best so far, and of the defaults.
    """

    number: int
    best: float
    default: float


def stretches(rows: SearchRows, seed: int) -> list[Stretch]:
    """Cut the last of the fitting slice into held-out stretches, latest first.

    A stretch is a fifth of the slice, at most two weeks. Rows of the stretch itself and later ones, and rows
    whose outcome was still open when it began, are not fitted on.

    Raises
    ------
    TrainingDataError
        If not one stretch has enough rows of both classes.
    """
    rng = np.random.default_rng(seed)
    names = list(rows.features)
    end, first = int(rows.instants.max()) + 1, int(rows.instants.min())
    length = min(STRETCH_DAYS_MAX * DAY_US, (end - first) // 5)
    found = []
    for number in range(STRETCHES):
        until = end - number * length
        begin = until - length
        held = np.flatnonzero((rows.instants >= begin) & (rows.instants < until))
        before = np.flatnonzero(rows.instants + rows.window_us < begin)
        held, before = _sampled(held, HELD_OUT_ROWS_MAX, rng), _sampled(before, FIT_ROWS_MAX, rng)
        if min(_rarer(rows.labels[held]), _rarer(rows.labels[before])) < LEAST_OF_CLASS:
            continue
        found.append(
            Stretch(
                design_matrix(names, {name: values[before] for name, values in rows.features.items()}),
                rows.labels[before].astype(np.float64),
                design_matrix(names, {name: values[held] for name, values in rows.features.items()}),
                rows.labels[held].astype(np.float64),
            )
        )
    if not found:
        raise TrainingDataError(
            f"a search for parameters needs a stretch of the fitting slice with {LEAST_OF_CLASS} rows of "
            f"each outcome, and as many before it; {len(rows.labels)} rows over {(end - first) / DAY_US:.0f} "
            f"days hold none",
            "train without --tune, or import more history",
        )
    return found


def search(
    problems: Sequence[Sequence[Stretch]],
    defaults: Mapping[str, Any],
    budget: SearchBudget,
    *,
    seed: int,
    threads: int,
    told: Callable[[Trial], None],
) -> Found:
    """Search for the parameters with the least log loss, averaged over stretches and models.

    Parameters
    ----------
    problems
        Per model that shares the parameters its stretches.
    defaults
        What is used without a search, `ROUNDS` included. Of `SPACE` that is searched which stands here: a
        model may leave one out to derive it from its rows.
    told
        Called after each trial.

    Returns
    -------
    The same for the same stretches, number of trials and seed, unless time ran out.

    Raises
    ------
    TuningUnavailableError
        If Optuna is not installed.
    """
    library = require_optuna()
    searched = [name for name in SPACE if name in defaults]
    sets = [[_LightGbmData(stretch, defaults) for stretch in problem] for problem in problems]

    def loss_of(trial: optuna.Trial) -> float:
        parameters = {**defaults, **{name: _suggest(trial, name) for name in searched}}
        losses = [np.mean([one.loss(parameters, seed, threads) for one in parts]) for parts in sets]
        return float(np.mean(losses))

    def tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        told(Trial(trial.number + 1, study.best_value, study.trials[0].value or float("nan")))

    study = library.create_study(sampler=library.samplers.TPESampler(seed=seed))
    study.enqueue_trial({name: _inside(name, defaults[name]) for name in searched})
    seconds = None if budget.minutes is None else 60 * budget.minutes
    study.optimize(loss_of, n_trials=budget.trials, timeout=seconds, callbacks=[tell])
    default_loss = study.trials[0].value
    return Found(
        dict(study.best_params),
        float(study.best_value),
        float("nan") if default_loss is None else float(default_loss),
        len(study.trials),
    )


def log_loss(labels: FloatArray, probabilities: FloatArray) -> float:
    """Mean negative log likelihood of outcomes.

    >>> round(log_loss(np.array([1.0, 0.0]), np.array([0.8, 0.4])), 4)
    0.367
    """
    said = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return float(-np.mean(labels * np.log(said) + (1 - labels) * np.log1p(-said)))


class _LightGbmData:
    """A stretch in LightGBM's form, made once for all trials."""

    def __init__(self, stretch: Stretch, defaults: Mapping[str, Any]) -> None:
        import lightgbm

        self._stretch = stretch
        shared = {name: value for name, value in defaults.items() if name != ROUNDS} | SHARED
        self._data = lightgbm.Dataset(
            stretch.fit_matrix, stretch.fit_labels, params=shared, free_raw_data=False
        ).construct()

    def loss(self, parameters: Mapping[str, Any], seed: int, threads: int) -> float:
        """Fit, and judge on the held-out rows."""
        import lightgbm

        given = {name: value for name, value in parameters.items() if name != ROUNDS}
        given |= {"seed": seed, "num_threads": threads, **SHARED}
        booster = lightgbm.train(given, self._data, num_boost_round=int(parameters[ROUNDS]))
        said = np.asarray(booster.predict(self._stretch.matrix, num_threads=threads))
        return log_loss(self._stretch.labels, said)


def require_optuna() -> Any:
    """Return Optuna, made quiet.

    Raises
    ------
    TuningUnavailableError
        If it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise TuningUnavailableError(
            "a search for parameters needs the package optuna, which is not installed",
            "pip install 'tagtide[tune]', or train without --tune",
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _suggest(trial: optuna.Trial, name: str) -> float | int:
    low, high, scale = SPACE[name]
    if scale == "log integer":
        return int(trial.suggest_int(name, int(low), int(high), log=True))
    return float(trial.suggest_float(name, low, high, log=scale == "log"))


def _inside(name: str, value: float) -> float | int:
    low, high, scale = SPACE[name]
    inside = min(max(value, low), high)
    return int(inside) if scale == "log integer" else float(inside)


def _rarer(labels: npt.NDArray[np.bool_]) -> int:
    return min(int(labels.sum()), int((~labels).sum()))


def _sampled(rows: npt.NDArray[np.intp], most: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
