"""Backtests: train as of a past instant, answer for later days, and compare with what came true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from configs.settings import Settings
from features.tags import TagFamily
from features.windows import to_us
from training.clv_bundle import JoinedFeatures, measure_clv
from training.datasets import CENSUS, CERTIFY, TEST, DecisionRows, active_at, key_frame
from training.errors import TrainingDataError
from training.model_inputs import customer_inputs
from training.propensity import TASK, PropensityModel, train_propensity
from training.propensity_evaluation import evaluate_propensity, fit_baselines
from training.propensity_rows import (
    ELIGIBLE_US,
    EVALUATED_DAYS,
    HORIZONS_HOURS,
    PropensityData,
    purchased_within,
)
from training.sufficiency import require_customers
from training.tag_data import base_rates, tag_data
from training.tag_evaluation import evaluate_tags, precision_by_kind, rescored, score_part
from training.tag_model import TagModel
from training.tags import fit_tags
from training.workbench import Workbench

Join = Callable[[str, pl.DataFrame], pl.DataFrame]
"""Asks the feature service of a name for the inputs of rows of keys and instants."""

TRAINING_DAYS = 90
"""How much history a backtest that chooses its own days wants before the first of them."""
CURVE_PROMISES = (0.5, 0.6, 0.65, 0.7, 0.75, 0.78, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9)
CURVE_FIGURES = (
    *("precision_observed", "precision_wilson_low", "precision_strict"),
    *("useful_tags_per_customer_day", "distinct_tags", "n_assigned"),
)
"""What a coverage curve tells of each precision that a family might promise instead."""

TEST_DAYS = 30
"""How many days before the data's end the test begins, unless a mapping or option says otherwise."""


@dataclass(frozen=True)
class BacktestDays:
    """The censuses a backtest answers for.

    Attributes
    ----------
    days
        Midnights, aware, ascending; the first is the instant as of which models are trained.
    decided_by
        ``option``, ``mapping`` or ``span``: who chose them.
    """

    days: Sequence[datetime]
    decided_by: str


def span_days(first: datetime, last: datetime, settings: Settings, horizon_hours: int) -> list[datetime]:
    """Choose every second midnight of the last 30 days whose outcome window is closed.

    Raises
    ------
    TrainingDataError
        If the data is too short for one.
    """
    latest = (last - timedelta(hours=horizon_hours)).astimezone(settings.zone)
    end = latest.replace(hour=0, minute=0, second=0, microsecond=0)
    days = [end - timedelta(days=back) for back in range(0, TEST_DAYS, 2)][::-1]
    if days[0] - first < timedelta(days=TRAINING_DAYS):
        has = (last - first) / timedelta(days=1)
        needed = TRAINING_DAYS + (end - days[0]).days + horizon_hours / 24
        raise TrainingDataError(
            f"a backtest needs {TRAINING_DAYS} days before its first test day {days[0].date()}; the data "
            f"begins {first.isoformat()} and ends {last.isoformat()}: {has:.1f} days, where {needed:.0f} are "
            f"needed to test what happens within {horizon_hours} h",
            "import more history",
        )
    return days


def backtest_rows(bench: Workbench, days: Sequence[datetime], within_us: int) -> DecisionRows:
    """Return every customer active within some time before each test day."""
    rows, instants = active_at(bench.history, days, within_us)
    return DecisionRows(rows, instants, np.full(len(rows), CENSUS), np.full(len(rows), TEST))


def backtest_tags(bench: Workbench, family: TagFamily, join: Join) -> dict[str, Any]:
    """Train a family as of the first test day, and measure the tags it would have given out.

    Parameters
    ----------
    bench
        Made with ``test_days``; its instant is the first of them.

    Returns
    -------
    The figures; what was certified and what suspended, with reasons; the precision of the certifying slice
    at each kind of instants; and what other promises than the contract's would have come to.
    """
    require_customers("tags", bench)
    settings = bench.settings
    everyone = bench.rows_of(family)
    data = tag_data(
        bench.judge,
        family,
        everyone,
        bench.claims(family),
        lambda frame: join(family.service, frame),
        bench.test_judge,
    )
    fitted = fit_tags(
        bench.history,
        bench.judge,
        family,
        data,
        everyone,
        as_of=bench.as_of.isoformat(),
        seed=settings.seed,
        threads=settings.threads,
        fingerprint=bench.fingerprint,
    )
    census = everyone.take(everyone.part == TEST)
    rates = base_rates(bench.history, bench.test_judge, family, census)
    rate_of = dict(zip(fitted.names, rates.tolist(), strict=True))
    scored = score_part(data, TEST, TagModel(fitted.bundle, family, settings.threads))
    certifying = score_part(data, CERTIFY, TagModel(fitted.bundle, family, settings.threads))

    def measured(precision: float | None) -> tuple[TagModel, dict[str, float]]:
        # Scores do not depend on the contract, only what is given out does.
        bundle = fitted.under(fitted.certificates(precision))
        model = TagModel(bundle, family, settings.threads)
        return model, evaluate_tags(data, rescored(data, scored, model), model, rate_of, len(census))

    model, figures = measured(None)
    told = [(family.tag_id(row["tag"] or None), row) for row in model.contract]
    return {
        **figures,
        "certifying": precision_by_kind(data, rescored(data, certifying, model), model),
        "certified": sorted(tag for tag, row in told if row["certified"]),
        "suspended": [
            {"tag": tag, "reason": row["reason"]} for tag, row in sorted(told) if not row["certified"]
        ],
        "coverage_curve": [
            {"promise": promise} | {name: value for name, value in found.items() if name in CURVE_FIGURES}
            for promise in CURVE_PROMISES
            for _, found in [measured(promise)]
        ],
    }


def backtest_propensity(bench: Workbench, horizon: str, days: BacktestDays, join: Join) -> dict[str, Any]:
    """Train a horizon as of the first test day, and measure it and its baselines on the test days.

    Returns
    -------
    What `evaluate_propensity` returns; ``eligible`` and ``scored``, customers active in the last 90 days on
    the test days and how many of them were given a probability; ``cold_start``, the prior of newcomers held
    against those who came on the test days; and ``slices``, the days that were learnt from.
    """
    require_customers(TASK, bench)
    settings, hours = bench.settings, HORIZONS_HOURS[horizon]
    rows = DecisionRows.joined([bench.propensity_rows(horizon), backtest_rows(bench, days.days, ELIGIBLE_US)])
    joined = join("propensity_v1", key_frame(bench.history, rows))
    features = {name: joined[name].to_numpy() for name in customer_inputs(TASK)}
    bought = purchased_within(bench.judge, rows, hours)
    tested = rows.part == TEST
    bought[tested] = purchased_within(bench.test_judge, rows.take(tested), hours)
    plan = bench.propensity_plans.get(horizon)
    data = PropensityData(rows, features, bought, plan.active_within_days if plan else EVALUATED_DAYS)
    newcomers = bench.newcomers(horizon, days.days)
    bundle = train_propensity(
        {horizon: data},
        as_of=bench.as_of.isoformat(),
        seed=settings.seed,
        threads=settings.threads,
        fingerprint=bench.fingerprint,
        newcomers={horizon: newcomers},
    )
    model = PropensityModel(bundle, settings.threads)
    scores = model.score(features)[horizon]
    baselines = fit_baselines(data)
    slices = bench.propensity_slices(horizon)
    return evaluate_propensity(data, TEST, scores, baselines, settings.seed) | {
        "eligible": int(tested.sum()),
        "scored": int(np.isfinite(scores[tested]).sum()),
        "cold_start": newcomers.held_against(model.priors[horizon]),
        "slices": {
            name: {"first": part.first.date().isoformat(), "last": part.last.date().isoformat()}
            for name, part in (("fit", slices.fit), ("calibrate", slices.calibrate))
        },
    }


def require_closed(as_of: datetime, horizon_days: int, end: datetime) -> None:
    """Refuse a horizon of CLV that the data does not reach over; a part of its last day may be missing.

    Raises
    ------
    TrainingDataError
        Naming the data's end.
    """
    if as_of + timedelta(days=horizon_days - 1) > end:
        raise TrainingDataError(
            f"CLV as of {as_of.isoformat()}: {horizon_days} days reach past the data's end, "
            f"{end.isoformat()}",
            "choose an earlier --as-of or a shorter --horizon-days",
        )


def backtest_clv(bench: Workbench, horizon_days: int, joined: pl.DataFrame) -> dict[str, Any]:
    """Train as of the workbench's instant, and compare with what was spent since.

    Parameters
    ----------
    joined
        The feature service's answer for ``bench.clv_rows``.

    Raises
    ------
    TrainingDataError
        If the horizon reaches past the data's end.
    """
    settings, as_of_us = bench.settings, to_us(bench.as_of)
    # Of any event: a shop that sold nothing on its last days is closed nevertheless.
    end: datetime = bench.events.select(pl.col("event_time").max()).item()
    end_us = to_us(end)
    require_closed(bench.as_of, horizon_days, end)
    require_customers("clv", bench)
    return measure_clv(
        bench.spend,
        JoinedFeatures(joined, bench.spend.customers),
        as_of_us,
        horizon_days,
        max(end_us, int(bench.spend.known_us.max())),
        seed=settings.seed,
        threads=settings.threads,
    )
