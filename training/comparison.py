"""Two bundles of one task on the same later rows: figures side by side, and what their difference shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from features.outcomes import CONFIRMED, UNOBSERVED
from features.tags import TagFamily
from features.windows import DAY_US, from_us, to_us
from training import propensity
from training.artifact import Bundle
from training.clv_bundle import TASK as CLV
from training.clv_bundle import load_models
from training.clv_evaluation import evaluate_clv
from training.clv_inputs import ClvInputs
from training.comparison_rows import AFTER_BOTH, comparison_days
from training.datasets import (
    CENSUS,
    TEST,
    DecisionRows,
    active_at,
    customer_snapshot,
    pair_snapshot,
)
from training.errors import TrainingDataError
from training.gate import rules_for
from training.paired_bootstrap import (
    FigurePair,
    PairedFigure,
    numbered,
    paired_figures,
    probability_pairs,
    ranking_gini,
    ratio_of_sums,
    relative_bias,
)
from training.propensity import PropensityData, PropensityModel, purchased_within
from training.tag_data import TagData, base_rates
from training.tag_evaluation import ScoredPart, evaluate_tags, score_part, useful_claims
from training.tag_model import TAGS_TASK, TagModel
from training.workbench import Workbench

FloatArray = npt.NDArray[np.float64]

LEAST_CLV_DAYS = 30
"""Days of spend to compare values on, at least; shorter than the horizon they stand for it."""


@dataclass(frozen=True)
class Side:
    """One of the two bundles.

    Attributes
    ----------
    name
        Its model version: ``propensity/3``.
    """

    name: str
    bundle: Bundle


@dataclass(frozen=True)
class ScoredRows:
    """What the pictures are drawn from: one outcome of each row, and what each model said of it.

    Attributes
    ----------
    outcome, first, second
        Shape (n,): true or false, or net spend in minor units; and probabilities, or expected spend.
    """

    outcome: npt.NDArray[Any]
    first: FloatArray
    second: FloatArray


@dataclass(frozen=True)
class ComparedPart:
    """One part of a comparison, such as a horizon.

    Attributes
    ----------
    name
        ``72h``, or empty where there is one part only.
    chosen
        Which rows were taken, in words.
    first_day, last_day
        Of the censuses, ISO.
    rows, customers
        How many were scored.
    figures
        With intervals.
    alone
        Further figures of each model, without intervals: ``first`` and ``second``.
    """

    name: str
    chosen: str
    first_day: str
    last_day: str
    rows: int
    customers: int
    figures: Sequence[PairedFigure]
    alone: Mapping[str, Mapping[str, float]]
    scored: ScoredRows = field(repr=False)


@dataclass(frozen=True)
class BundleComparison:
    """Two bundles compared.

    Attributes
    ----------
    first, second
        Their names.
    verdict
        One sentence on the second against the first.
    """

    task: str
    first: str
    second: str
    parts: Sequence[ComparedPart]
    verdict: str


def compare_bundles(bench: Workbench, first: Side, second: Side, known_until: datetime) -> BundleComparison:
    """Score two bundles of one task on the same rows.

    Parameters
    ----------
    bench
        Of everything known by ``known_until``, as of the instant of the bundle trained later.

    Raises
    ------
    TrainingDataError
        If there are no rows that are later than what either was fitted on.
    """
    task = first.bundle.task
    if task == propensity.TASK:
        parts = _propensity(bench, first.bundle, second.bundle, known_until)
    elif task == CLV:
        parts = [_value(bench, first.bundle, second.bundle, known_until)]
    elif task.startswith(TAGS_TASK) and task.removeprefix(TAGS_TASK) in bench.families:
        family = bench.families[task.removeprefix(TAGS_TASK)]
        parts = [_tags(bench, family, first.bundle, second.bundle, known_until)]
    else:
        raise TrainingDataError(
            f"no comparison of {task!r} is known",
            "compare tags, propensity or clv; see the model cards of others",
        )
    figures = [figure for part in parts for figure in part.figures]
    return BundleComparison(
        task, first.name, second.name, parts, verdict(task, first.name, second.name, figures)
    )


def verdict(task: str, first: str, second: str, figures: Sequence[PairedFigure]) -> str:
    """Say in one sentence whether the second model is better in what the promotion gate looks at.

    >>> figure = PairedFigure("72h.auc", "higher", 0.70, 0.72, 0.02, 0.01, 0.03)
    >>> verdict("propensity", "propensity/1", "propensity/2", [figure])
    'propensity/2 is better than propensity/1 in 72h.auc (+0.02, 90 % interval +0.01 to +0.03).'
    """
    headline = {rule.metric for rule in rules_for(task)}
    looked_at = [figure for figure in figures if figure.metric in headline]
    better = [_said(figure) for figure in looked_at if figure.verdict == "better"]
    worse = [_said(figure) for figure in looked_at if figure.verdict == "worse"]
    if better and worse:
        return f"{second} is better than {first} in {_listed(better)}, but worse in {_listed(worse)}."
    if better or worse:
        return f"{second} is {'better' if better else 'worse'} than {first} in {_listed(better or worse)}."
    names = _listed([figure.metric for figure in looked_at])
    return f"No difference between {second} and {first} is shown in {names}: every 90 % interval holds 0."


def _said(figure: PairedFigure) -> str:
    bounds = f"{figure.low:+.2g} to {figure.high:+.2g}"
    return f"{figure.metric} ({figure.difference:+.2g}, 90 % interval {bounds})"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "nothing"


def _propensity(bench: Workbench, first: Bundle, second: Bundle, until: datetime) -> list[ComparedPart]:
    hours: Mapping[str, int] = first.content["horizons_hours"]
    common = [horizon for horizon in hours if horizon in second.content["horizons_hours"]]
    models = [PropensityModel(bundle, bench.settings.threads) for bundle in (first, second)]
    parts = []
    for horizon in common:
        certify = bench.propensity_slices(horizon).certify
        if certify is None:
            continue
        days = comparison_days(bench.as_of, until, hours[horizon], certify, bench.settings.zone)
        rows = _census(bench, days.days, propensity.ELIGIBLE_US)
        snapshot = customer_snapshot(bench.history, rows)
        features = {name: snapshot[name].to_numpy() for name in snapshot.columns}
        bought = purchased_within(bench.test_judge, rows, hours[horizon])
        chosen = PropensityData(rows, features, bought).part(TEST, evaluated=True)
        outcome, customers = bought[chosen], rows.customer[chosen]
        _require_both(f"{propensity.TASK} {horizon}", outcome)
        measured = {name: values[chosen] for name, values in features.items()}
        said = [model.score(measured)[horizon] for model in models]
        member, count = numbered(customers)
        pairs = probability_pairs(
            f"{horizon}.", outcome, {"first": said[0], "second": said[1]}, member, count
        )
        figures = paired_figures(pairs, count, seed=bench.settings.seed)
        alone = {"base_rate": float(outcome.mean())}
        parts.append(
            ComparedPart(
                horizon,
                days.chosen,
                *_span(days.days),
                len(outcome),
                count,
                figures,
                {"first": alone, "second": alone},
                ScoredRows(outcome, *said),
            )
        )
    if not parts:
        raise TrainingDataError("the two propensity bundles share no horizon", "train one of them again")
    return parts


def _tags(
    bench: Workbench, family: TagFamily, first: Bundle, second: Bundle, until: datetime
) -> ComparedPart:
    certify = bench.tag_slices.certify
    days = comparison_days(bench.as_of, until, family.life_hours, certify, bench.settings.zone)
    rows = _census(bench, days.days, family.candidate.seen_within.length_us or 3 * DAY_US)
    data = _tag_data(bench, family, rows)
    names = [""] if family.key is None else list(bench.history.columns.texts(family.key))
    rates = base_rates(bench.history, bench.test_judge, family, rows)
    rate_of = dict(zip(names, rates.tolist(), strict=True))
    models = [TagModel(bundle, family, bench.settings.threads) for bundle in (first, second)]
    scored = [score_part(data, TEST, model) for model in models]
    alone = [
        evaluate_tags(data, part, model, rate_of, len(rows))
        for part, model in zip(scored, models, strict=True)
    ]
    observed = data.outcome != UNOBSERVED
    _require_both(first.task, data.outcome[observed] == CONFIRMED)
    figures = _tag_figures(bench, data, rows, models, scored)
    measured = {figure.metric for figure in figures}
    further = [{name: value for name, value in part.items() if name not in measured} for part in alone]
    said = [part.scores.probability_if_observed[observed] for part in scored]
    return ComparedPart(
        "",
        days.chosen,
        *_span(days.days),
        len(data.keys),
        len(np.unique(rows.customer)),
        figures,
        {"first": further[0], "second": further[1]},
        ScoredRows(data.outcome[observed] == CONFIRMED, *said),
    )


def _tag_data(bench: Workbench, family: TagFamily, rows: DecisionRows) -> TagData:
    claims = bench.claims_at(family, rows)
    customers = customer_snapshot(bench.history, rows)
    affinities: dict[str, npt.NDArray[np.float32]] = {}
    if family.key is not None:
        snapshot = pair_snapshot(bench.history, family.key, rows, claims)
        wanted = [name for name in snapshot.columns if name not in claims.frame.columns]
        affinities = {name: snapshot[name].to_numpy().astype(np.float32) for name in wanted}
    keys = [""] * len(claims.row) if family.key is None else claims.frame[family.key].to_list()
    whose, when = rows.customer[claims.row], rows.instant[claims.row]
    return TagData(
        rows,
        claims,
        keys,
        {name: customers[name].to_numpy() for name in customers.columns},
        affinities,
        bench.test_judge.judge(family, whose, claims.code, when),
        bench.test_judge.observed(family, rows.customer, rows.instant),
    )


def _tag_figures(
    bench: Workbench,
    data: TagData,
    rows: DecisionRows,
    models: Sequence[TagModel],
    scored: Sequence[ScoredPart],
) -> list[PairedFigure]:
    known, owner = np.unique(rows.customer, return_inverse=True)
    count, claimer = len(known), owner[data.pairs.row]
    observed, confirmed = data.outcome != UNOBSERVED, data.outcome == CONFIRMED
    days = np.bincount(owner, minlength=count).astype(np.float64)
    shares: dict[str, list[Any]] = {}
    for model, part in zip(models, scored, strict=True):
        given, useful = model.given(part.scores), useful_claims(model, part.scores)
        hits = (given & confirmed).astype(np.float64)
        per_day = np.bincount(claimer, useful, count).astype(np.float64)
        for name, statistic in (
            ("precision_observed", ratio_of_sums(hits, (given & observed).astype(float), claimer, count)),
            ("precision_strict", ratio_of_sums(hits, given.astype(float), claimer, count)),
            ("useful_tags_per_customer_day", ratio_of_sums(per_day, days, np.arange(count), count)),
        ):
            shares.setdefault(name, []).append(statistic)
    pairs = [FigurePair(name, "higher", *both) for name, both in shares.items()]
    said = [part.scores.probability_if_observed[observed] for part in scored]
    pairs += probability_pairs(
        "", confirmed[observed], {"first": said[0], "second": said[1]}, claimer[observed], count
    )
    return paired_figures(pairs, count, seed=bench.settings.seed)


def _value(bench: Workbench, first: Bundle, second: Bundle, until: datetime) -> ComparedPart:
    models = [load_models(bundle, threads=bench.settings.threads).models[0] for bundle in (first, second)]
    at_us, until_us = to_us(bench.as_of), to_us(until)
    horizon = min(model.horizon_days for model in models)
    days = min(horizon, (until_us - at_us) // DAY_US)
    if days < LEAST_CLV_DAYS:
        raise TrainingDataError(
            f"clv: {days} days of spend are known after both were trained, the later as of "
            f"{bench.as_of.isoformat()}; expected {LEAST_CLV_DAYS}",
            "import later events, or train both with an earlier --as-of",
        )
    buyers = bench.spend.known_by(at_us).buyers(at_us)
    customer = bench.history.numbers(bench.spend.customers[buyers].tolist())
    instant = np.full(len(customer), at_us)
    rows = DecisionRows(customer, instant, np.full(len(customer), CENSUS), np.full(len(customer), TEST))
    snapshot = customer_snapshot(bench.history, rows)
    columns = {name: snapshot[name].to_numpy() for name in snapshot.columns}
    actual = bench.spend.spend_between(at_us, at_us + days * DAY_US, until_us)[buyers].astype(np.float64)
    said = [model.predict(ClvInputs.of(columns, model.inputs)) for model in models]
    shares = [days / model.horizon_days for model in models]
    expected = [one.expected_minor * share for one, share in zip(said, shares, strict=True)]
    member, count = numbered(customer)
    pairs = [
        FigurePair("normalized_gini", "higher", *(ranking_gini(actual, one, member) for one in expected)),
        FigurePair("bias", "nearer_zero", *(relative_bias(one, actual, member, count) for one in expected)),
        FigurePair(
            "mae_over_mean",
            "lower",
            *(ratio_of_sums(np.abs(one - actual), actual, member, count) for one in expected),
        ),
    ]
    figures = paired_figures(pairs, count, seed=bench.settings.seed)
    further = [
        {
            name: value
            for name, value in evaluate_clv(
                actual,
                one,
                *(() if share < 1 else (found.low_minor, found.high_minor)),
                seed=bench.settings.seed,
            ).items()
            if name not in {figure.metric for figure in figures} and isinstance(value, int | float)
        }
        for one, found, share in zip(expected, said, shares, strict=True)
    ]
    short = "" if days == horizon else f"; {days} of {horizon} days are over, and predictions are cut to them"
    return ComparedPart(
        "",
        f"{AFTER_BOTH}{short}",
        bench.as_of.isoformat(),
        (from_us(at_us) + timedelta(days=int(days))).isoformat(),
        len(actual),
        count,
        figures,
        {"first": further[0], "second": further[1]},
        ScoredRows(actual, *expected),
    )


def _census(bench: Workbench, days: Sequence[datetime], within_us: int) -> DecisionRows:
    customer, instant = active_at(bench.history, days, within_us)
    return DecisionRows(customer, instant, np.full(len(customer), CENSUS), np.full(len(customer), TEST))


def _span(days: Sequence[datetime]) -> tuple[str, str]:
    return days[0].isoformat(), days[-1].isoformat()


def _require_both(what: str, outcome: npt.NDArray[np.bool_]) -> None:
    happened, not_happened = int(outcome.sum()), int((~outcome).sum())
    if min(happened, not_happened) < 1:
        raise TrainingDataError(
            f"{what}: {happened} rows came true and {not_happened} did not; a comparison needs both",
            "import later events",
        )
