"""Training of a tag family: fit, then calibrate, then choose thresholds, then certify, each on later data."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.history import History
from features.outcomes import CONFIRMED, UNOBSERVED, OutcomeJudge
from features.tags import TagFamily
from training.artifact import Bundle
from training.calibration import fit_calibrator
from training.contract import Certificate, Claims, certify, choose_thresholds, prior_strength
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT, DecisionRows
from training.model_inputs import dtypes_of
from training.sufficiency import require_claims
from training.tag_data import TagData, base_rates
from training.tag_evaluation import ScoredPart, evaluate_tags, score_part
from training.tag_model import (
    KEY,
    OBSERVED,
    TAG,
    TAGS_TASK,
    TagModel,
    design_matrix,
)

FloatArray = npt.NDArray[np.float64]
FloatColumn = npt.NDArray[np.float32]

LEAST_POSITIVES = 200
"""Confirmed claims to fit on, at least."""

LEAST_POSITIVES_OF_KEY = 30
"""Confirmed claims from which on a category or brand is an input of its own."""

PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.08,
    "num_leaves": 31,
    "max_bin": 127,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.6,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "cat_smooth": 50.0,
    "cat_l2": 20.0,
    "max_cat_threshold": 16,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
ROUNDS = 160
OBSERVED_ROUNDS = 80


def train_tags(
    history: History,
    judge: OutcomeJudge,
    family: TagFamily,
    data: TagData,
    everyone: DecisionRows,
    *,
    as_of: str,
    seed: int,
    threads: int,
    fingerprint: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
) -> Bundle:
    """Train one family.

    Parameters
    ----------
    data
        Slices `FIT`, `CALIBRATE` and `CERTIFY`.
    everyone
        All decision rows, those without a candidate included: the population of base rates.
    as_of
        ISO instant the model belongs to.
    parameters
        Of the tags' own model, in place of those of `PARAMETERS` and ``rounds``; None: those as they are.

    Raises
    ------
    TrainingDataError
        If a slice has too few confirmed claims, with the numbers.
    """
    require_claims(family.family, data.rows.part[data.pairs.row], data.outcome, LEAST_POSITIVES)
    names = [""] if family.key is None else list(history.columns.texts(family.key))
    code = data.pairs.code
    observed = data.outcome != UNOBSERVED
    fit = data.in_part(FIT) & observed
    frequent = (
        np.bincount(code[fit & (data.outcome == CONFIRMED)], minlength=len(names)) >= LEAST_POSITIVES_OF_KEY
    )
    keys = [] if family.key is None else [names[number] for number in np.flatnonzero(frequent)]
    inputs = _inputs(family, data, bool(keys))

    used = PARAMETERS | {"rounds": ROUNDS} | dict(parameters or {})
    models = {TAG: _fit(_tag_matrix(data, inputs, keys, fit), data.outcome[fit], inputs, seed, threads, used)}
    features = {TAG: inputs}
    if family.observed_if != "always":
        wanted = list(data.customers)
        part = data.rows.part == FIT
        matrix = design_matrix(wanted, {name: data.customers[name][part] for name in wanted})
        plain = PARAMETERS | {"rounds": OBSERVED_ROUNDS}
        models[OBSERVED] = _fit(matrix, data.observed[part], wanted, seed, threads, plain)
        features[OBSERVED] = wanted

    bundle = _calibrated(family, data, models, features, keys, as_of, threads)
    certificates, figures = _certified(history, judge, family, data, everyone, bundle, names, threads)
    return Bundle(
        task=f"{TAGS_TASK}{family.family}",
        as_of=as_of,
        models=bundle.models,
        features=features,
        dtypes=dtypes_of((*data.customers, *data.affinities)),
        keys=keys,
        calibrators=bundle.calibrators,
        content={
            "family": family.model_dump(mode="json"),
            "contract": [
                one.to_json() for one in certificates if one.threshold == one.threshold or one.certified
            ],
            "parameters": used,
        },
        fingerprint=dict(fingerprint),
        metrics=figures,
        versions={name: importlib.metadata.version(name) for name in ("lightgbm", "numpy", "scikit-learn")},
    )


def _inputs(family: TagFamily, data: TagData, with_key: bool) -> list[str]:
    if family.key is None:
        return list(data.customers)
    return [*data.affinities, *data.customers, *([KEY] if with_key else [])]


def _tag_matrix(
    data: TagData, inputs: Sequence[str], keys: Sequence[str], chosen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    row = data.pairs.row[chosen]
    columns: dict[str, npt.NDArray[Any]] = {
        name: data.customers[name][row] for name in inputs if name in data.customers
    }
    columns |= {name: data.affinities[name][chosen] for name in inputs if name in data.affinities}
    if KEY in inputs:
        number = {key: code for code, key in enumerate(keys)}
        texts = pl.Series(data.keys).filter(pl.Series(chosen))
        columns[KEY] = texts.replace_strict(number, default=None, return_dtype=pl.Float64).to_numpy()
    return design_matrix(inputs, columns)


def _fit(
    matrix: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    names: Sequence[str],
    seed: int,
    threads: int,
    used: Mapping[str, Any],
) -> str:
    import lightgbm

    parameters = {**used, "seed": seed, "num_threads": threads}
    rounds = int(parameters.pop("rounds"))
    dataset = lightgbm.Dataset(
        matrix,
        labels.astype(np.float32),
        feature_name=list(names),
        categorical_feature=[KEY] if KEY in names else [],
        params=parameters,
    )
    booster = lightgbm.train(parameters, dataset, num_boost_round=rounds)
    return str(booster.model_to_string(num_iteration=-1))


def _calibrated(
    family: TagFamily,
    data: TagData,
    models: Mapping[str, str],
    features: Mapping[str, Sequence[str]],
    keys: Sequence[str],
    as_of: str,
    threads: int,
) -> Bundle:
    raw = Bundle(family.family, as_of, models, features, keys)
    boosters = raw.boosters()
    later = data.in_part(CALIBRATE)
    observed = later & (data.outcome != UNOBSERVED)
    matrix = _tag_matrix(data, features[TAG], keys, later)
    scores = np.asarray(boosters[TAG].predict(matrix, num_threads=threads))
    calibrators = {TAG: fit_calibrator(scores[observed[later]], data.outcome[observed].astype(np.float64))}
    if OBSERVED in models:
        part = data.rows.part == CALIBRATE
        inputs = {name: data.customers[name] for name in features[OBSERVED]}
        seen = np.asarray(
            boosters[OBSERVED].predict(design_matrix(features[OBSERVED], inputs), num_threads=threads)
        )
        calibrators[OBSERVED] = fit_calibrator(seen[part], data.observed[part].astype(np.float64))
        both = calibrators[TAG](scores) * calibrators[OBSERVED](seen)[data.pairs.row[later]]
        calibrators["strict"] = fit_calibrator(both, (data.outcome[later] == CONFIRMED).astype(np.float64))
    return Bundle(family.family, as_of, models, features, keys, calibrators, {"contract": []})


def _certified(
    history: History,
    judge: OutcomeJudge,
    family: TagFamily,
    data: TagData,
    everyone: DecisionRows,
    bundle: Bundle,
    names: Sequence[str],
    threads: int,
) -> tuple[list[Certificate], dict[str, float]]:
    model = TagModel(bundle, family, threads)
    chosen = _claims(data, score_part(data, CALIBRATE, model))
    strength = prior_strength(chosen, len(names))
    # The lowest of many thresholds that reach an aim reaches it partly by luck: aim above the promise.
    aim = family.contract.precision + family.contract.slack / 2
    thresholds = choose_thresholds(chosen, len(names), aim, strength)
    census = everyone.take((everyone.part == CERTIFY) & (everyone.kind == CENSUS))
    rates = base_rates(history, judge, family, census)
    later = score_part(data, CERTIFY, model)
    certificates = certify(_claims(data, later), names, thresholds, rates, family.contract, strength)
    content = {"contract": [one.to_json() for one in certificates]}
    certified = TagModel(
        Bundle(
            bundle.task,
            bundle.as_of,
            bundle.models,
            bundle.features,
            bundle.keys,
            bundle.calibrators,
            content,
        ),
        family,
        threads,
    )
    # The scores do not depend on the contract, only what is given out does.
    rescored = ScoredPart(
        CERTIFY, later.chosen, certified.under_contract(later.scores, data.keys_of(later.chosen))
    )
    figures = evaluate_tags(
        data, rescored, certified, dict(zip(names, rates.tolist(), strict=True)), len(census)
    )
    return certificates, figures | {
        "prior_strength": strength,
        "certified_tags": sum(one.certified for one in certificates),
    }


def _claims(data: TagData, scored: ScoredPart) -> Claims:
    row = data.pairs.row[scored.chosen]
    return Claims(
        data.pairs.code[scored.chosen],
        scored.scores.probability_if_observed,
        data.outcome[scored.chosen],
        data.rows.customer[row],
        data.rows.kind[row],
    )
