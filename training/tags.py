"""Training of a tag family: fit, then calibrate, then choose thresholds, then certify, each on later data."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features import affinity, customer
from features.affinity import CUSTOMER_CONTEXT
from features.history import History
from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED, OutcomeJudge
from features.tags import TagFamily
from features.windows import IntArray, expand
from training.artifact import Bundle
from training.calibration import fit_isotonic
from training.contract import Certificate, Claims, certify, choose_thresholds, prior_strength
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT, DecisionRows, PairDecisions
from training.errors import TrainingDataError
from training.metrics import auc, ece, wilson_interval
from training.tag_model import KEY, OBSERVED, TAG, TAGS_TASK, Columns, TagModel, design_matrix

FloatArray = npt.NDArray[np.float64]

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
ROUNDS = 140
OBSERVED_ROUNDS = 80
USEFUL_LIFT_OF_KEY, USEFUL_LIFT_OF_CUSTOMER = 2.0, 1.2


@dataclass(frozen=True)
class TagData:
    """Everything a family is trained or tested on.

    Attributes
    ----------
    rows
        Decision rows.
    pairs
        The claims worth considering at them; without a key, one for each row.
    keys
        The category or brand of each claim; empty texts without a key.
    customers
        Customer features, one entry a decision row.
    affinities
        Affinity features, one entry a claim; empty without a key.
    outcome, observed
        What became of each claim, and which decision rows were observed.
    """

    rows: DecisionRows
    pairs: PairDecisions
    keys: Sequence[str]
    customers: Columns
    affinities: Columns
    outcome: npt.NDArray[np.int8]
    observed: npt.NDArray[np.bool_]

    def in_part(self, part: int) -> npt.NDArray[np.bool_]:
        """Return which claims belong to a slice."""
        return np.asarray(self.rows.part[self.pairs.row] == part)


def tag_data(
    history: History,
    judge: OutcomeJudge,
    family: TagFamily,
    rows: DecisionRows,
    pairs: PairDecisions,
    joined: pl.DataFrame,
) -> TagData:
    """Arrange a joined training frame, and judge its claims.

    Parameters
    ----------
    history, judge
        What was known, and what came of it.
    joined
        The feature service's answer for ``pairs.frame``: one row a claim.
    """
    names = [definition.name for definition in customer.catalogue() if definition.name in joined.columns]
    texts = [""] if family.key is None else history.columns.texts(family.key)
    first_claim = np.zeros(len(rows), np.int64)
    first_claim[pairs.row[::-1]] = np.arange(len(pairs.row))[::-1]
    has_claim = np.zeros(len(rows), bool)
    has_claim[pairs.row] = True
    chosen = np.flatnonzero(has_claim)
    renumbered = np.cumsum(has_claim) - 1
    rows = rows.take(chosen)
    pairs = PairDecisions(renumbered[pairs.row], pairs.code, pairs.frame)
    pick = first_claim[chosen]
    affinities = {
        definition.name: joined[definition.name].to_numpy()
        for definition in (affinity.catalogue() if family.key is not None else [])
    }
    return TagData(
        rows=rows,
        pairs=pairs,
        keys=[texts[code] for code in pairs.code.tolist()],
        customers={name: joined[name].to_numpy()[pick] for name in names},
        affinities=affinities,
        outcome=judge.judge(family, rows.customer[pairs.row], pairs.code, rows.instant[pairs.row]),
        observed=judge.observed(family, rows.customer, rows.instant),
    )


def base_rates(history: History, judge: OutcomeJudge, family: TagFamily, rows: DecisionRows) -> FloatArray:
    """Return per key the share of observed customers for whom a claim would have come true.

    Parameters
    ----------
    rows
        Every customer at every census of a slice: not only those who got or nearly got a tag.

    Returns
    -------
    Shape (n_keys,), or (1,) for a family without a key.
    """
    observed = judge.observed(family, rows.customer, rows.instant)
    customers, instants = rows.customer[observed], rows.instant[observed]
    if family.key is None:
        came_true = judge.judge(family, customers, np.zeros(len(customers), np.int64), instants) == CONFIRMED
        return np.array([came_true.mean() if len(came_true) else 0.0])
    index, _ = history.pairs(family.key)
    size = len(history.columns.texts(family.key))
    confirmed = np.zeros(size)
    for part, row, pair in expand(*index.ranges(customers)):
        code = index.code[pair]
        outcome = judge.judge(family, customers[part][row], code, instants[part][row])
        confirmed += np.bincount(code, outcome == CONFIRMED, minlength=size)
    return confirmed / max(len(customers), 1)


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

    Raises
    ------
    TrainingDataError
        If a slice has too few confirmed claims, with the numbers.
    """
    _require_positives(family, data)
    names = [""] if family.key is None else list(history.columns.texts(family.key))
    code = data.pairs.code
    observed = data.outcome != UNOBSERVED
    fit = data.in_part(FIT) & observed
    frequent = (
        np.bincount(code[fit & (data.outcome == CONFIRMED)], minlength=len(names)) >= LEAST_POSITIVES_OF_KEY
    )
    keys = [] if family.key is None else [names[number] for number in np.flatnonzero(frequent)]
    inputs = _inputs(family, data, bool(keys))

    models = {
        TAG: _fit(_tag_matrix(data, inputs, keys, fit), data.outcome[fit], inputs, seed, threads, ROUNDS)
    }
    features = {TAG: inputs}
    if family.observed_if != "always":
        wanted = [name for name in CUSTOMER_CONTEXT if name in data.customers]
        part = data.rows.part == FIT
        matrix = design_matrix(wanted, {name: data.customers[name][part] for name in wanted})
        models[OBSERVED] = _fit(matrix, data.observed[part], wanted, seed, threads, OBSERVED_ROUNDS)
        features[OBSERVED] = wanted

    bundle = _calibrated(family, data, models, features, keys, as_of, threads)
    certificates, figures = _certified(history, judge, family, data, everyone, bundle, names, threads)
    return Bundle(
        task=f"{TAGS_TASK}{family.family}",
        as_of=as_of,
        models=bundle.models,
        features=features,
        keys=keys,
        calibrators=bundle.calibrators,
        content={
            "family": family.model_dump(mode="json"),
            "contract": [
                one.to_json() for one in certificates if one.threshold == one.threshold or one.certified
            ],
            "parameters": PARAMETERS | {"rounds": ROUNDS},
        },
        fingerprint=dict(fingerprint),
        metrics=figures,
        versions={name: importlib.metadata.version(name) for name in ("lightgbm", "numpy", "scikit-learn")},
    )


def evaluate_tags(
    data: TagData, part: int, model: TagModel, base_rate_of: Mapping[str, float], customer_days: int
) -> dict[str, float]:
    """Measure a family's tags on a slice's censuses, with the keys that backtests report.

    Parameters
    ----------
    base_rate_of
        Per key the share of observed customers for whom the tag would have come true in that slice.
    customer_days
        Customers at all censuses of the slice, candidates or not.
    """
    claims = data.in_part(part) & (data.rows.kind[data.pairs.row] == CENSUS)
    chosen = np.flatnonzero(claims)
    keys = [data.keys[number] for number in chosen.tolist()]
    scores = model.score(
        {name: values[chosen] for name, values in data.affinities.items()},
        data.customers,
        data.pairs.row[chosen],
        keys,
    )
    outcome = data.outcome[chosen]
    given = model.given(scores)
    useful_lift = USEFUL_LIFT_OF_CUSTOMER if model.family.key is None else USEFUL_LIFT_OF_KEY
    lifts = np.array([one["lift"] or 0.0 for one in model.contract] or [0.0])
    useful = given & (lifts[scores.certificate] >= useful_lift)
    observed = outcome != UNOBSERVED
    confirmed = outcome == CONFIRMED
    hits, tried = int((given & confirmed).sum()), int((given & observed).sum())
    rule = _rule(model.family, data, chosen)
    tags = np.array(keys, dtype=object)[given]
    by_tag = {
        tag: (confirmed[given][tags == tag].sum(), observed[given][tags == tag].sum()) for tag in set(tags)
    }
    tag_lifts = [
        hit / count / base_rate_of[tag]
        for tag, (hit, count) in by_tag.items()
        if count and base_rate_of.get(tag, 0) > 0
    ]
    tagged = data.rows.customer[data.pairs.row[chosen][given]]
    looked_at = data.rows.customer[(data.rows.part == part) & (data.rows.kind == CENSUS)]
    nothing = float("nan")
    return {
        "precision_observed": hits / tried if tried else nothing,
        "precision_strict": hits / int(given.sum()) if given.any() else nothing,
        "precision_wilson_low": wilson_interval(hits, tried)[0] if tried else nothing,
        "useful_tags_per_customer_day": int(useful.sum()) / max(customer_days, 1),
        "customers_tagged_share": len(np.unique(tagged)) / max(len(np.unique(looked_at)), 1),
        "distinct_tags": len(by_tag),
        "lift_median": float(np.median(tag_lifts)) if tag_lifts else nothing,
        "rule_precision_observed": (
            float(confirmed[rule & observed].mean()) if (rule & observed).any() else nothing
        ),
        "auc": auc(confirmed[observed], scores.probability_if_observed[observed]),
        "ece": ece(confirmed[observed], scores.probability_if_observed[observed]),
        "n_assigned": int(given.sum()),
        "n_customer_days": customer_days,
    }


def _rule(family: TagFamily, data: TagData, chosen: IntArray) -> npt.NDArray[np.bool_]:
    """The plain rule: whoever looked at or bought the key in the last 72 h will do so again."""
    if family.key is None:
        return np.asarray(data.customers["order_count_72h"][data.pairs.row[chosen]] > 0)
    return np.asarray(data.affinities["key_attention_count_72h"][chosen] > 0)


def _inputs(family: TagFamily, data: TagData, with_key: bool) -> list[str]:
    if family.key is None:
        return list(data.customers)
    context = [name for name in CUSTOMER_CONTEXT if name in data.customers]
    return [*data.affinities, *context, *([KEY] if with_key else [])]


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
    rounds: int,
) -> str:
    import lightgbm

    parameters = PARAMETERS | {"seed": seed, "num_threads": threads}
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
    calibrators = {TAG: fit_isotonic(scores[observed[later]], data.outcome[observed].astype(np.float64))}
    if OBSERVED in models:
        part = data.rows.part == CALIBRATE
        inputs = {name: data.customers[name] for name in features[OBSERVED]}
        seen = np.asarray(
            boosters[OBSERVED].predict(design_matrix(features[OBSERVED], inputs), num_threads=threads)
        )
        calibrators[OBSERVED] = fit_isotonic(seen[part], data.observed[part].astype(np.float64))
        both = calibrators[TAG](scores) * calibrators[OBSERVED](seen)[data.pairs.row[later]]
        calibrators["strict"] = fit_isotonic(both, (data.outcome[later] == CONFIRMED).astype(np.float64))
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
    chosen = _claims(data, CALIBRATE, model)
    strength = prior_strength(chosen, len(names))
    thresholds = choose_thresholds(chosen, len(names), family.contract.precision, strength)
    census = everyone.take((everyone.part == CERTIFY) & (everyone.kind == CENSUS))
    rates = base_rates(history, judge, family, census)
    certificates = certify(_claims(data, CERTIFY, model), names, thresholds, rates, family.contract, strength)
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
    figures = evaluate_tags(
        data, CERTIFY, certified, dict(zip(names, rates.tolist(), strict=True)), len(census)
    )
    return certificates, figures | {
        "prior_strength": strength,
        "certified_tags": sum(one.certified for one in certificates),
    }


def _claims(data: TagData, part: int, model: TagModel) -> Claims:
    chosen = np.flatnonzero(data.in_part(part))
    scores = model.score(
        {name: values[chosen] for name, values in data.affinities.items()},
        data.customers,
        data.pairs.row[chosen],
        [data.keys[number] for number in chosen.tolist()],
    )
    row = data.pairs.row[chosen]
    return Claims(
        data.pairs.code[chosen],
        scores.probability_if_observed,
        data.outcome[chosen],
        data.rows.customer[row],
        data.rows.kind[row],
    )


def _require_positives(family: TagFamily, data: TagData) -> None:
    for part, name in ((FIT, "fit"), (CALIBRATE, "calibrate"), (CERTIFY, "certify")):
        inside = data.in_part(part)
        confirmed = int((data.outcome[inside] == CONFIRMED).sum())
        refuted = int((data.outcome[inside] == REFUTED).sum())
        if min(confirmed, refuted) < LEAST_POSITIVES:
            raise TrainingDataError(
                f"family {family.family!r}: slice {name!r} has {confirmed} confirmed and {refuted} refuted "
                f"claims; expected {LEAST_POSITIVES} of each",
                "import more history, or choose a later --as-of",
            )
