"""Purchase propensity: the calibrated probability of a purchase within a horizon."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from features.history import History
from features.outcomes import OutcomeJudge
from features.tags import Condition
from features.windows import DAY_US, HOUR_US
from training.artifact import Bundle
from training.baselines import Logistic, fit_logistic
from training.calibration import fit_calibrator
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT, DecisionRows, active_at
from training.errors import TrainingDataError
from training.metrics import auc, auc_gain_lower, brier, ece, lift_top_decile, pr_auc
from training.model_inputs import dtypes_of
from training.splits import CALIBRATE_DAYS, CERTIFY_DAYS, FIT_ENDS_DAYS, Slice, midnight
from training.tag_model import Columns, design_matrix

FloatArray = npt.NDArray[np.float64]

TASK = "propensity"
HORIZONS_HOURS: Mapping[str, int] = {"72h": 72, "7d": 168}
ELIGIBLE_US = 90 * DAY_US
"""Who is scored: customers active in the last 90 days,"""
EVALUATED_US = 30 * DAY_US
"""and who is measured: those active in the last 30."""

LEAST_POSITIVES = 200

RFM_FEATURES = (
    "order_count_7d",
    "order_count_30d",
    "order_count_90d",
    "seconds_since_last_purchase",
    "order_gap_mean_days",
    "spend_30d_minor",
)
"""What the plain logistic baseline reads."""

PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.04,
    "num_leaves": 15,
    "max_bin": 127,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.6,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
ROUNDS = 250


@dataclass(frozen=True)
class PropensitySlices:
    """Censuses of one horizon's slices: fit, calibrate, and the one nothing was chosen on."""

    fit: Slice
    calibrate: Slice
    certify: Slice


def propensity_slices(
    as_of: datetime, horizon_hours: int, first_event: datetime, zone: ZoneInfo, warm_up_days: int = 30
) -> PropensitySlices:
    """Return the slices of a horizon as of an instant; the longer the horizon, the earlier they end.

    Raises
    ------
    TrainingDataError
        If fewer than 14 days are left to fit on.
    """
    today = as_of.astimezone(zone).date()
    extra = max(horizon_hours - 72, 0) // 24

    def back(days: int, embargoes: int) -> datetime:
        return midnight(today - timedelta(days=days + embargoes * extra), zone)

    first = midnight((first_event.astimezone(zone) + timedelta(days=warm_up_days)).date(), zone)
    slices = PropensitySlices(
        Slice(first, back(FIT_ENDS_DAYS, 3)),
        Slice(back(CALIBRATE_DAYS[0], 2), back(CALIBRATE_DAYS[1], 2)),
        Slice(back(CERTIFY_DAYS[0], 1), back(CERTIFY_DAYS[1], 1)),
    )
    if (slices.fit.last - slices.fit.first).days < 14:
        raise TrainingDataError(
            f"propensity within {horizon_hours} h as of {as_of.isoformat()}: the data begins "
            f"{first_event.isoformat()}, which leaves fewer than 14 days to fit on",
            "choose a later --as-of or import more history",
        )
    return slices


def propensity_decisions(
    history: History, slices: PropensitySlices, size: int, seed: int, every_days: int = 2
) -> DecisionRows:
    """Return the census rows of each slice: customers active in the last 90 days.

    Parameters
    ----------
    size
        Most rows of the fitting slice; a sample for speed. The later slices are whole.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for part, days in ((FIT, slices.fit), (CALIBRATE, slices.calibrate), (CERTIFY, slices.certify)):
        customer, instant = active_at(history, days.days(every_days), ELIGIBLE_US)
        if part == FIT and len(customer) > size:
            chosen = np.sort(rng.choice(len(customer), size, replace=False))
            customer, instant = customer[chosen], instant[chosen]
        parts.append(
            DecisionRows(customer, instant, np.full(len(customer), CENSUS), np.full(len(customer), part))
        )
    return DecisionRows.joined(parts)


def purchased_within(judge: OutcomeJudge, rows: DecisionRows, horizon_hours: int) -> npt.NDArray[np.bool_]:
    """Return who bought anything in ``(t, t + horizon]``, shape (n_rows,)."""
    bought = np.zeros(len(rows), bool)
    for begin in range(0, horizon_hours, 72):
        part = Condition(any_of=("purchase",), within_hours=min(72, horizon_hours - begin))
        bought |= judge.holds(part, None, rows.customer, rows.customer, rows.instant + begin * HOUR_US)
    return bought


@dataclass(frozen=True)
class PropensityData:
    """One horizon's rows, their features, and whether a purchase followed."""

    rows: DecisionRows
    features: Columns
    bought: npt.NDArray[np.bool_]

    def part(self, part: int, *, evaluated: bool = False) -> npt.NDArray[np.bool_]:
        """Return which rows belong to a slice, if asked only those who are measured."""
        chosen = self.rows.part == part
        if evaluated:
            chosen = chosen & (_seconds_since_activity(self.features) < EVALUATED_US / 1_000_000)
        return np.asarray(chosen)


def _seconds_since_activity(features: Columns) -> FloatArray:
    since = [
        values
        for name, values in features.items()
        if name.startswith("seconds_since_last_") and name != "seconds_since_last_contact"
    ]
    return np.asarray(np.fmin.reduce(since), np.float64)


def train_propensity(
    data: Mapping[str, PropensityData],
    *,
    as_of: str,
    seed: int,
    threads: int,
    fingerprint: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
) -> Bundle:
    """Train every horizon.

    Parameters
    ----------
    data
        Per horizon (``72h``, ``7d``) its rows.
    parameters
        In place of those of `PARAMETERS` and ``rounds``; None: those as they are.

    Raises
    ------
    TrainingDataError
        If a slice lacks purchases or customers without one, with the numbers.
    """
    import lightgbm

    used = PARAMETERS | {"rounds": ROUNDS} | dict(parameters or {})
    rounds = int(used.pop("rounds"))
    models, features, calibrators, figures, priors = {}, {}, {}, {}, {}
    for horizon, rows in data.items():
        _require_both_classes(horizon, rows)
        names = list(rows.features)
        fit, calibrate = rows.part(FIT), rows.part(CALIBRATE)
        matrix = design_matrix(names, rows.features)
        fitting = used | {"seed": seed, "num_threads": threads}
        dataset = lightgbm.Dataset(
            matrix[fit], rows.bought[fit].astype(np.float32), feature_name=names, params=fitting
        )
        booster = lightgbm.train(fitting, dataset, num_boost_round=rounds)
        raw = np.asarray(booster.predict(matrix, num_threads=threads))
        models[horizon] = str(booster.model_to_string(num_iteration=-1))
        features[horizon] = names
        calibrators[horizon] = fit_calibrator(raw[calibrate], rows.bought[calibrate].astype(np.float64))
        priors[horizon] = float(rows.bought[calibrate].mean())
        figures[horizon] = evaluate_propensity(
            rows, CERTIFY, calibrators[horizon](raw), fit_baselines(rows), seed
        )
    return Bundle(
        task=TASK,
        as_of=as_of,
        models=models,
        features=features,
        dtypes=dtypes_of(name for names in features.values() for name in names),
        calibrators=calibrators,
        content={
            "priors": priors,
            "horizons_hours": {name: HORIZONS_HOURS[name] for name in data},
            "parameters": used | {"rounds": rounds},
        },
        fingerprint=dict(fingerprint),
        metrics=figures,
        versions={name: importlib.metadata.version(name) for name in ("lightgbm", "numpy", "scikit-learn")},
    )


@dataclass(frozen=True)
class PropensityBaselines:
    """Plain models fitted on the same rows: a logistic on RFM, and one on everything the model reads."""

    rfm: Logistic
    same_features: Logistic

    def predict(self, features: Columns) -> tuple[FloatArray, FloatArray]:
        """Return both probabilities, shape (n,) each."""
        return (
            self.rfm.predict(_plain(features, RFM_FEATURES)),
            self.same_features.predict(_plain(features, list(features))),
        )


def fit_baselines(data: PropensityData) -> PropensityBaselines:
    """Fit the baselines on the slice that fits the model."""
    fit = data.part(FIT)
    rows = {name: values[fit] for name, values in data.features.items()}
    return PropensityBaselines(
        fit_logistic(_plain(rows, RFM_FEATURES), data.bought[fit], fill="max"),
        fit_logistic(_plain(rows, list(rows)), data.bought[fit]),
    )


def _plain(features: Columns, names: Sequence[str]) -> FloatArray:
    return np.column_stack([features[name].astype(np.float64) for name in names])


def evaluate_propensity(
    data: PropensityData, part: int, probability: FloatArray, baselines: PropensityBaselines, seed: int
) -> dict[str, Any]:
    """Measure a horizon on a slice's customers active in the last 30 days, beside its baselines."""
    chosen = data.part(part, evaluated=True)
    bought = data.bought[chosen]
    plain, same = baselines.predict({name: values[chosen] for name, values in data.features.items()})
    own = probability[chosen]
    return _figures(bought, own) | {
        "base_rate": float(bought.mean()),
        "rows": int(chosen.sum()),
        "baseline_logistic": _figures(bought, plain),
        "baseline_logistic_same_features": _figures(bought, same),
        "auc_gain_lower": auc_gain_lower(bought, own, same, data.rows.customer[chosen], seed=seed),
    }


def _figures(bought: npt.NDArray[np.bool_], probability: FloatArray) -> dict[str, float]:
    return {
        "auc": auc(bought, probability),
        "pr_auc": pr_auc(bought, probability),
        "brier": brier(bought, probability),
        "ece": ece(bought, probability),
        "lift_top_decile": lift_top_decile(bought, probability),
    }


def _require_both_classes(horizon: str, data: PropensityData) -> None:
    for part, name in ((FIT, "fit"), (CALIBRATE, "calibrate"), (CERTIFY, "certify")):
        inside = data.bought[data.part(part)]
        if min(int(inside.sum()), int((~inside).sum())) < LEAST_POSITIVES:
            raise TrainingDataError(
                f"propensity {horizon}: slice {name!r} has {int(inside.sum())} rows with and "
                f"{int((~inside).sum())} without a purchase; expected {LEAST_POSITIVES} of each",
                "import more history, or choose a later --as-of",
            )


class PropensityModel:
    """Scores customers for every horizon of a bundle."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self._boosters = bundle.boosters()
        self._threads = threads

    @property
    def priors(self) -> dict[str, float]:
        """Population share per horizon: the answer about customers of whom nothing is known."""
        return {name: float(value) for name, value in self.bundle.content["priors"].items()}

    def score(self, customers: Columns) -> dict[str, FloatArray]:
        """Return per horizon the calibrated probability of each customer.

        A longer horizon contains the shorter ones, so its probability is never below theirs.
        """
        hours: Mapping[str, int] = self.bundle.content["horizons_hours"]
        scores: dict[str, FloatArray] = {}
        matrices: dict[tuple[str, ...], npt.NDArray[np.float32]] = {}
        floor: FloatArray | None = None
        for horizon in sorted(hours, key=lambda name: hours[name]):
            names = tuple(self.bundle.features[horizon])
            if names not in matrices:
                matrices[names] = design_matrix(names, customers)
            raw = np.asarray(self._boosters[horizon].predict(matrices[names], num_threads=self._threads))
            probability = self.bundle.calibrators[horizon](raw)
            floor = probability if floor is None else np.maximum(floor, probability)
            scores[horizon] = floor
        return scores
