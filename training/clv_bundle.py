"""Customer lifetime value as a bundle: its training rows, its training run, and the model read back."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.windows import DAY_US, IntArray, to_us
from training.artifact import Bundle
from training.clv import train_clv
from training.clv_cutoffs import closed_cutoffs, trainable_horizon
from training.clv_evaluation import ClosedWindow, evaluate_clv, evaluate_clv_baselines
from training.clv_horizons import ClvHorizons, agreeing, horizons_within
from training.clv_inputs import ClvInputs
from training.clv_split import SPLIT_EVENTS
from training.errors import TrainingDataError
from training.high_value import CUT_OFF, high_value_cut_off
from training.model_inputs import customer_inputs, dtypes_of
from training.spend_history import SpendHistory
from training.trees import ReadTrees, read_booster

if TYPE_CHECKING:
    from training.workbench import Workbench


TASK = "clv"


def clv_instants(history: SpendHistory, as_of_us: int, *horizons_days: int) -> list[int]:
    """Return every instant features are wanted at: of models, of their measurements, and their cut-offs."""
    known = history.known_by(as_of_us)
    if known.time_us.size == 0:
        raise TrainingDataError(
            "CLV needs purchases: none was known by the as-of instant", "import purchases"
        )
    instants = set()
    for horizon_days in horizons_days:
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
    summary = then.summary(at_us, buyers)
    figures = evaluate_clv(
        actual,
        found.expected_minor,
        found.low_minor,
        found.high_minor,
        order_value=summary.mean_order_minor,
        seed=seed,
    )
    closed = _latest_closed(then, at_us, model.trained_horizon_days)
    figures |= evaluate_clv_baselines(actual, summary, horizon_days, closed, seed=seed)
    parts = {
        "purchase": found.purchase_minor,
        "interaction": found.interaction_minor,
        "referral": found.referral_minor,
    }
    total = float(found.expected_minor.sum())
    return figures | {
        "level": model.level.name,
        "level_reason": model.level.reason,
        "level_errors": dict(model.level.errors),
        "ranking": model.blend.name,
        "ranking_reason": model.blend.reason,
        "ranking_ginis": dict(model.blend.ginis),
        "split_shares": {name: float(part.sum()) / total for name, part in parts.items()},
        "split_values_minor": {name: getattr(model.values, f"{name}_minor") for name in SPLIT_EVENTS},
        "split_reasons": model.split_reasons(),
        "trained_horizon_days": model.trained_horizon_days,
        "customers": len(buyers),
    }


def _latest_closed(known: SpendHistory, at_us: int, days: int) -> ClosedWindow:
    cutoff = at_us - days * DAY_US
    buyers = known.known_by(cutoff).buyers(cutoff)
    spend = known.spend_between(cutoff, at_us)[buyers].astype(np.float64)
    return ClosedWindow(known.known_by(cutoff).summary(cutoff, buyers), spend, days)


def train_bundle(
    bench: Workbench,
    history: SpendHistory,
    joined: pl.DataFrame,
    horizons_days: Sequence[int],
) -> Bundle:
    """Train the models that serve, and measure their like at the latest instants whose outcomes are known.

    Parameters
    ----------
    history
        Of the workbench's events.
    joined
        The feature service's answer for the workbench's `clv_rows` of these horizons.
    horizons_days
        Those that are asked for; the ones that the span does not allow are named in ``skipped_horizons``.

    Returns
    -------
    Figures of the shortest horizon stand at the top of ``metrics``, those of another one under ``183d``. Each
    horizon is measured by itself.
    """
    settings, as_of_us = bench.settings, to_us(bench.as_of)
    features_at = JoinedFeatures(joined, history.customers)
    seed, threads = settings.seed, settings.threads
    known = history.known_by(as_of_us)
    allowed, skipped = horizons_within(known.first_us, as_of_us, horizons_days)
    models = [
        train_clv(history, features_at, as_of_us=as_of_us, horizon_days=days, seed=seed, threads=threads)
        for days in allowed
    ]
    now = features_at(known.buyers(as_of_us), as_of_us)
    horizons = agreeing(models, now, skipped)
    cut_off = high_value_cut_off(horizons.predict(now)[allowed[0]].expected_minor)
    figures: dict[str, Any] = {}
    measured = {days: measured_at(known, as_of_us, days) for days in allowed}
    for days, at in measured.items():
        if at is not None:
            found = measure_clv(history, features_at, at, days, as_of_us, seed=seed, threads=threads)
            figures |= found if days == allowed[0] else {f"{days}d": found}
    if skipped:
        figures["skipped_horizons"] = skipped
    texts = horizons.texts()
    return Bundle(
        task=TASK,
        as_of=bench.as_of.isoformat(),
        models=texts,
        features=dict.fromkeys(texts, horizons.inputs),
        dtypes=dtypes_of(horizons.inputs),
        content=horizons.content()
        | {"measured_at_us": {str(days): at for days, at in measured.items()}, CUT_OFF: cut_off},
        fingerprint=bench.fingerprint,
        metrics=figures,
        versions={name: importlib.metadata.version(name) for name in ("lightgbm", "numpy", "scipy")},
    )


def load_models(bundle: Bundle, *, threads: int, read: ReadTrees = read_booster) -> ClvHorizons:
    """Read the models back from their bundle, their trees some way."""
    return ClvHorizons.of_pieces(bundle.models, bundle.content, threads=threads, read=read)
