"""Customer lifetime value as a bundle: its training rows, its training run, and the model read back."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.windows import DAY_US, IntArray, to_us
from training.artifact import Bundle
from training.clv import ROLES, ClvModel, from_pieces, train_clv
from training.clv_cutoffs import closed_cutoffs, trainable_horizon
from training.clv_evaluation import evaluate_clv, evaluate_clv_baselines
from training.clv_inputs import ClvInputs
from training.errors import TrainingDataError
from training.high_value import CUT_OFF, high_value_cut_off
from training.model_inputs import customer_inputs, dtypes_of
from training.spend_history import SpendHistory

if TYPE_CHECKING:
    from training.workbench import Workbench


TASK = "clv"


def clv_instants(history: SpendHistory, as_of_us: int, horizon_days: int) -> list[int]:
    """Return every instant features are wanted at: the model's, the one it is measured at, their cut-offs."""
    known = history.known_by(as_of_us)
    if known.time_us.size == 0:
        raise TrainingDataError(
            "CLV needs purchases: none was known by the as-of instant", "import purchases"
        )
    instants = set()
    measured = measured_at(known, as_of_us, horizon_days)
    for at in (as_of_us, *(() if measured is None else (measured,))):
        trained = trainable_horizon(known.first_us, at, horizon_days)
        instants |= {at, *closed_cutoffs(known.first_us, at, trained)}
    return sorted(instants)


def measured_at(known: SpendHistory, as_of_us: int, horizon_days: int) -> int | None:
    """Return the latest instant whose outcome window is closed and before which a model could be trained."""
    at = as_of_us - horizon_days * DAY_US
    try:
        trainable_horizon(known.first_us, at, horizon_days)
    except TrainingDataError:
        return None
    return at


class JoinedFeatures:
    """Features of customers at instants, looked up in a joined training frame.

    Parameters
    ----------
    joined
        The feature service's answer: ``customer_id``, ``event_timestamp`` and every input of the model,
        among other columns perhaps.
    customers
        The ids that the model numbers customers by.
    """

    def __init__(self, joined: pl.DataFrame, customers: npt.NDArray[Any]) -> None:
        number = {name: place for place, name in enumerate(customers.tolist())}
        owner = np.array([number[name] for name in joined["customer_id"].to_list()], np.int64)
        instant = joined["event_timestamp"].dt.epoch("us").to_numpy()
        names = customer_inputs(TASK)
        inputs = ClvInputs(tuple(names), joined.select(names).cast(pl.Float64).to_numpy())
        self._at: dict[int, tuple[IntArray, ClvInputs]] = {}
        for at in np.unique(instant).tolist():
            rows = np.flatnonzero(instant == at)
            rows = rows[np.argsort(owner[rows])]
            self._at[at] = owner[rows], inputs.take(rows)

    def __call__(self, customers: IntArray, at_us: int) -> ClvInputs:
        """Return the inputs of customers at an instant."""
        owner, inputs = self._at[at_us]
        return inputs.take(np.searchsorted(owner, customers))


def measure_clv(
    history: SpendHistory,
    features_at: JoinedFeatures,
    at_us: int,
    horizon_days: int,
    known_by_us: int,
    *,
    seed: int,
    threads: int,
) -> dict[str, Any]:
    """Train as of a past instant and compare with what was spent since, beside the classic models.

    Parameters
    ----------
    known_by_us
        The outcome is what was known by then of the horizon's spend.
    """
    model = train_clv(
        history, features_at, as_of_us=at_us, horizon_days=horizon_days, seed=seed, threads=threads
    )
    then = history.known_by(at_us)
    buyers = then.buyers(at_us)
    found = model.predict(features_at(buyers, at_us))
    actual = history.spend_between(at_us, at_us + horizon_days * DAY_US, known_by_us)[buyers]
    figures: dict[str, Any] = evaluate_clv(
        actual, found.expected_minor, found.low_minor, found.high_minor, seed=seed
    )
    figures |= evaluate_clv_baselines(actual, then.summary(at_us, buyers), horizon_days, seed=seed)
    return figures | {"level": model.level.name, "level_reason": model.level.reason, "customers": len(buyers)}


def train_bundle(
    bench: Workbench,
    history: SpendHistory,
    joined: pl.DataFrame,
    horizon_days: int,
) -> Bundle:
    """Train the model that serves, and measure its like at the latest instant whose outcome is known.

    Parameters
    ----------
    history
        Of the workbench's events.
    joined
        The feature service's answer for `clv_rows`.
    """
    settings, as_of_us = bench.settings, to_us(bench.as_of)
    features_at = JoinedFeatures(joined, history.customers)
    seed, threads = settings.seed, settings.threads
    model = train_clv(
        history, features_at, as_of_us=as_of_us, horizon_days=horizon_days, seed=seed, threads=threads
    )
    buyers = history.known_by(as_of_us).buyers(as_of_us)
    cut_off = high_value_cut_off(model.predict(features_at(buyers, as_of_us)).expected_minor)
    measured = measured_at(history.known_by(as_of_us), as_of_us, horizon_days)
    figures: dict[str, Any] = {}
    if measured is not None:
        figures = measure_clv(
            history, features_at, measured, horizon_days, as_of_us, seed=seed, threads=threads
        )
    return Bundle(
        task=TASK,
        as_of=bench.as_of.isoformat(),
        models=model.models(),
        features=dict.fromkeys(ROLES, model.inputs),
        dtypes=dtypes_of(model.inputs),
        content=model.content() | {"measured_at_us": measured, CUT_OFF: cut_off},
        fingerprint=bench.fingerprint,
        metrics=figures,
        versions={name: importlib.metadata.version(name) for name in ("lightgbm", "numpy", "scipy")},
    )


def load_model(bundle: Bundle, *, threads: int) -> ClvModel:
    """Read the model back from its bundle."""
    content: Mapping[str, Any] = {
        name: value for name, value in bundle.content.items() if name not in {"measured_at_us", CUT_OFF}
    }
    return from_pieces(dict(bundle.models), dict(content), threads=threads)
