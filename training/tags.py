"""Training of a tag family: fit, then calibrate and choose thresholds, then certify, each on later data."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.history import History
from features.outcomes import CONFIRMED, UNOBSERVED, OutcomeJudge
from features.tags import TagFamily
from features.windows import IntArray
from training.artifact import Bundle
from training.calibration import Calibrator, fit_calibrator, fit_tempered
from training.contract import Certificate, certify_alone, certify_in_steps
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT, DecisionRows
from training.model_inputs import dtypes_of
from training.sufficiency import require_claims
from training.tag_claims import Claims
from training.tag_data import TagData, base_rates
from training.tag_evaluation import evaluate_tags, precision_by_kind, score_part
from training.tag_model import (
    KEY,
    OBSERVED,
    TAG,
    TAGS_TASK,
    TagModel,
    design_matrix,
)
from training.tag_prior import Prior, learn_prior
from training.tag_thresholds import choose_thresholds

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

FEW_CLAIMS = 100_000
"""Claims about a customer and a key to fit on, from which on a model may be as fine as `PARAMETERS` allow."""
FEW_PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.04,
    "num_leaves": 9,
    "min_data_in_leaf": 200,
    "rounds": ROUNDS,
}
"""Of a model of fewer, and of claims about customers as a whole, of whom there are no more however often they
are looked at: with as many leaves it learns the luck of those it was fitted on, and promises too much."""

MANY_CLAIMS = 1_000_000
MANY_ROUNDS = 240
"""Of a model of as many claims with a key: with fewer rounds it is too modest about the likeliest."""

OBSERVED_ROUNDS = 80

AIMS_ABOVE = (0.1, 0.5, 1.0)
"""How far above the promise thresholds aim, in slacks: the lowest of many is good partly by luck. The first
is what is wanted, the others what is left of the small tags where it cannot be carried."""


@dataclass(frozen=True)
class FittedTags:
    """A family's model, and the claims its contract is made of.

    Attributes
    ----------
    bundle
        Without a contract yet.
    choosing, certifying
        Claims that thresholds are chosen on, and later ones that certify them.
    choosing_rates, certifying_rates
        Per key the share of observed customers for whom a claim would have come true in either slice.
    prior
        What the family's tags have in common.
    names
        The keys.
    """

    family: TagFamily
    bundle: Bundle
    choosing: Claims
    certifying: Claims
    choosing_rates: FloatArray
    certifying_rates: FloatArray
    prior: Prior
    names: Sequence[str]

    def certificates(self, precision: float | None = None) -> list[Certificate]:
        """Return what every tag proves under the family's contract, or if it promised another precision."""
        contract = self.family.contract
        if precision is not None:
            contract = contract.model_copy(update={"precision": precision})
        aims = [min(contract.precision + above * contract.slack, 1.0) for above in AIMS_ABOVE]
        tags, rates = len(self.names), self.choosing_rates
        is_one = self.family.key is None
        steps = (
            choose_thresholds(self.choosing, tags, contract, rates, self.prior, aim, of_each_kind=is_one)
            for aim in aims
        )
        if is_one:
            return certify_alone(self.certifying, steps, self.certifying_rates, contract, self.prior)
        known = np.isin(self.names, list(self.bundle.keys))
        return certify_in_steps(
            self.certifying, self.names, steps, self.certifying_rates, contract, self.prior, known
        )

    def under(self, certificates: Sequence[Certificate]) -> Bundle:
        """Return the bundle with a contract; tags that there is nothing to say about are left out."""
        known = {*self.bundle.keys, *([""] if self.family.key is None else [])}
        told = [one.to_json() for one in certificates if one.claims or one.tag in known]
        return replace(self.bundle, content={**self.bundle.content, "contract": told})


def usual_parameters(claims: int, key: str | None) -> dict[str, Any]:
    """Return the parameters of a model of so many claims with or without a key, ``rounds`` included.

    >>> usual_parameters(500_000, "category")["num_leaves"], usual_parameters(500_000, None)["num_leaves"]
    (31, 9)
    """
    if key is None or claims < FEW_CLAIMS:
        return PARAMETERS | FEW_PARAMETERS
    return PARAMETERS | {"rounds": MANY_ROUNDS if claims >= MANY_CLAIMS else ROUNDS}


def fitted_on(data: TagData) -> npt.NDArray[np.bool_]:
    """Return which claims a family's model is fitted on: the observed ones of the fitting slice."""
    return np.asarray(data.in_part(FIT) & (data.outcome != UNOBSERVED))


def fit_tags(
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
) -> FittedTags:
    """Fit and calibrate one family, and gather the claims its contract is made of.

    Parameters
    ----------
    data
        Slices `FIT`, `CALIBRATE` and `CERTIFY`.
    everyone
        All decision rows, those without a candidate included: the population of base rates.
    as_of
        ISO instant the model belongs to.
    parameters
        Of the tags' own model, in place of `usual_parameters`; None: those as they are.

    Raises
    ------
    TrainingDataError
        If a slice has too few confirmed claims, with the numbers.
    """
    require_claims(family.family, data.rows.part[data.pairs.row], data.outcome, LEAST_POSITIVES)
    names = [""] if family.key is None else list(history.columns.texts(family.key))
    code = data.pairs.code
    fit = fitted_on(data)
    frequent = (
        np.bincount(code[fit & (data.outcome == CONFIRMED)], minlength=len(names)) >= LEAST_POSITIVES_OF_KEY
    )
    keys = [] if family.key is None else [names[number] for number in np.flatnonzero(frequent)]
    inputs = _inputs(family, data, bool(keys))

    used = usual_parameters(int(fit.sum()), family.key) | dict(parameters or {})
    matrix = _tag_matrix(data, inputs, keys, fit)
    models, features = {TAG: _fit(matrix, data.outcome[fit], inputs, seed, threads, used)}, {TAG: inputs}
    del matrix
    if family.observed_if != "always":
        wanted = list(data.customers)
        part = data.rows.part == FIT
        matrix = design_matrix(wanted, {name: data.customers[name][part] for name in wanted})
        plain = PARAMETERS | {"rounds": OBSERVED_ROUNDS}
        models[OBSERVED] = _fit(matrix, data.observed[part], wanted, seed, threads, plain)
        features[OBSERVED] = wanted

    calibrating = data.in_part(CALIBRATE)
    observed = data.outcome[calibrating] != UNOBSERVED
    booster = Bundle(family.family, as_of, models, features, keys).boosters()[TAG]
    scores = np.asarray(
        booster.predict(_tag_matrix(data, inputs, keys, calibrating), num_threads=threads), np.float64
    )
    outcomes = (data.outcome[calibrating][observed] == CONFIRMED).astype(np.float64)
    customer = data.rows.customer[data.pairs.row[calibrating]][observed]
    calibrators = {TAG: fit_tempered(scores[observed], outcomes, customer)}
    probability = calibrators[TAG](scores)
    bundle = Bundle(
        task=f"{TAGS_TASK}{family.family}",
        as_of=as_of,
        models=models,
        features=features,
        dtypes=dtypes_of((*data.customers, *data.affinities)),
        keys=keys,
        calibrators=calibrators | _strict_calibrators(data, probability, models, features, threads),
        content={
            "family": family.model_dump(mode="json"),
            "contract": [],
            "parameters": used,
        },
        fingerprint=dict(fingerprint),
        versions={name: importlib.metadata.version(name) for name in ("lightgbm", "numpy", "scikit-learn")},
    )
    choosing = _claims(data, np.flatnonzero(calibrating), probability)
    certified = score_part(data, CERTIFY, TagModel(bundle, family, threads))
    rates = {
        part: base_rates(
            history, judge, family, everyone.take((everyone.part == part) & (everyone.kind == CENSUS))
        )
        for part in (CALIBRATE, CERTIFY)
    }
    return FittedTags(
        family,
        bundle,
        choosing,
        _claims(data, certified.chosen, certified.scores.probability_if_observed),
        rates[CALIBRATE],
        rates[CERTIFY],
        learn_prior(choosing, len(names)),
        names,
    )


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
    """Train one family: its bundle with contract and the figures of the certifying slice; see `fit_tags`."""
    fitted = fit_tags(
        history,
        judge,
        family,
        data,
        everyone,
        as_of=as_of,
        seed=seed,
        threads=threads,
        fingerprint=fingerprint,
        parameters=parameters,
    )
    certificates = fitted.certificates()
    bundle = fitted.under(certificates)
    model = TagModel(bundle, family, threads)
    census = everyone.take((everyone.part == CERTIFY) & (everyone.kind == CENSUS))
    rates = dict(zip(fitted.names, fitted.certifying_rates.tolist(), strict=True))
    scored = score_part(data, CERTIFY, model)
    figures = evaluate_tags(data, scored, model, rates, len(census))
    return replace(
        bundle,
        metrics=figures
        | precision_by_kind(data, scored, model)
        | {
            "prior_strength": fitted.prior.strength,
            "certified_tags": sum(one.certified for one in certificates),
        },
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


def _strict_calibrators(
    data: TagData,
    if_observed: FloatArray,
    models: Mapping[str, str],
    features: Mapping[str, Sequence[str]],
    threads: int,
) -> dict[str, Calibrator]:
    """Calibrate whether there will be anything to see, and the product of both probabilities."""
    if OBSERVED not in models:
        return {}
    part, later = data.rows.part == CALIBRATE, data.in_part(CALIBRATE)
    booster = Bundle("", "", {OBSERVED: models[OBSERVED]}, features).boosters()[OBSERVED]
    matrix = design_matrix(features[OBSERVED], {name: data.customers[name] for name in features[OBSERVED]})
    seen = np.asarray(booster.predict(matrix, num_threads=threads))
    observed = fit_calibrator(seen[part], data.observed[part].astype(np.float64))
    both = if_observed * observed(seen)[data.pairs.row[later]]
    strict = fit_calibrator(both, (data.outcome[later] == CONFIRMED).astype(np.float64))
    return {OBSERVED: observed, "strict": strict}


def _claims(data: TagData, chosen: IntArray, probability: FloatArray) -> Claims:
    row = data.pairs.row[chosen]
    return Claims(
        data.pairs.code[chosen],
        probability,
        data.outcome[chosen],
        data.rows.customer[row],
        data.rows.kind[row],
    )
