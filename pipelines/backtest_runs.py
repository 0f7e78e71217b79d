"""Running backtests on a home: the same for imported and posted events, and for any source."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from configs.errors import TagtideError
from configs.home import Home
from configs.settings import Settings
from pipelines.backtest_days import ClvRun, Span, clv_runs, data_span, days_to_test, require_begun
from pipelines.build_features import write_snapshots
from pipelines.errors import CommandError, MissingStepError
from pipelines.stages import Stages
from pipelines.tag_families import require_known

if TYPE_CHECKING:
    from features.mapping import EvaluationPlan, PropensityPlan, TagsPlan
    from features.tags import TagFamily
    from training.backtest import BacktestDays
    from training.workbench import Workbench

TASKS = ("tags", "propensity", "clv")

TAG_HOURS = 72


@dataclass(frozen=True)
class Asked:
    """What to backtest.

    Attributes
    ----------
    as_of
        Instant the models are trained as of; None: what the source's mapping says, else the data's span.
    horizon_days
        Of CLV, or the one horizon of propensity; None: all that the mapping names.
    families
        Tag families; all if empty.
    """

    as_of: datetime | None = None
    horizon_days: int | None = None
    families: Sequence[str] = ()


@dataclass(frozen=True)
class _Run:
    """A home's events, and what was asked of them."""

    home: Home
    settings: Settings
    events: pl.DataFrame
    span: Span
    plan: EvaluationPlan | None
    stages: Stages
    asked: Asked

    def bench(
        self,
        as_of: datetime,
        test_days: Sequence[datetime] = (),
        propensity_plans: Mapping[str, PropensityPlan] | None = None,
        tags_plan: TagsPlan | None = None,
    ) -> Workbench:
        from features.tags import load_catalogue
        from training.workbench import BACKTEST_BUDGET, Workbench

        catalogue = load_catalogue()
        return Workbench(
            self.events,
            as_of,
            self.settings,
            catalogue,
            BACKTEST_BUDGET,
            test_days,
            propensity_plans,
            tags_plan,
        )

    @property
    def join(self) -> Callable[[str, pl.DataFrame], pl.DataFrame]:
        from features.store import training_frame

        return partial(training_frame, self.home, self.settings, progress=self.stages)


def backtest(home: Home, settings: Settings, task: str, stages: Stages, asked: Asked) -> dict[str, Any]:
    """Run a backtest on everything the home holds.

    Parameters
    ----------
    task
        One of `TASKS`.
    stages
        Told what is being done.
    asked
        What was asked for.

    Returns
    -------
    Figures per family, per horizon, or of CLV, with ``as_of decided_by source currency rows customers
    seconds peak_gb``. A part that the data cannot carry says why under ``skipped``.

    Raises
    ------
    TagtideError
        If it cannot carry any, with the numbers it has and those it would need.
    """
    from features.sources import imported_mapping, imported_sources
    from pipelines.current_lake import lake_up_to_date

    begun = time.perf_counter()
    stages.plan(1)
    stages("reading the lake")
    lake = lake_up_to_date(home, settings)
    if lake.is_empty():
        raise MissingStepError(f"home {home.root} has no events", "run `tagtide import SOURCE` first")
    events = lake.read()
    stages.finish()
    sources = imported_sources(home)
    mappings = [imported_mapping(home, source) for source in sources]
    currencies = {mapping.currency for mapping in mappings}
    plan = mappings[0].evaluation if len(mappings) == 1 else None
    run = _Run(home, settings, events, data_span(events), plan, stages, asked)
    found = {"tags": _tags, "propensity": _propensity, "clv": _clv}[task](run)
    return found | {
        "source": " + ".join(sources) or "posted events",
        "currency": currencies.pop() if len(currencies) == 1 else None,
        "rows": events.height,
        "customers": found.get("customers", events["customer_id"].n_unique()),
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_gb": round(_peak_gb(), 2),
    }


def _peak_gb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _told(days: BacktestDays) -> dict[str, Any]:
    return {
        "as_of": days.days[0].isoformat(),
        "decided_by": days.decided_by,
        "test_days": {
            "first": days.days[0].isoformat(),
            "last": days.days[-1].isoformat(),
            "count": len(days.days),
        },
    }


def _attempt(
    found: dict[str, Any], name: str, refusals: list[TagtideError], measure: Callable[[], dict[str, Any]]
) -> None:
    """Measure a part, or note why the data cannot carry it."""
    from training.errors import TrainingDataError

    try:
        found[name] = measure()
    except (TrainingDataError, CommandError) as refusal:
        refusals.append(refusal)
        found[name] = {"skipped": refusal.message}


def _require_any(found: Mapping[str, Any], refusals: Sequence[TagtideError], what: str) -> None:
    if any("skipped" not in part for part in found.values()):
        return
    if len(found) == len(refusals) == 1:
        raise refusals[0]
    reasons = "; ".join(f"{name}: {part['skipped']}" for name, part in found.items())
    next_step = next((refusal.next_step for refusal in refusals if refusal.next_step), "")
    raise CommandError(f"no {what} can be backtested on this data. {reasons}", next_step)


def _tags(run: _Run) -> dict[str, Any]:
    from features.tags import load_catalogue
    from training.backtest import backtest_tags

    require_known(run.asked.families, load_catalogue())
    planned = run.plan.tags.census if run.plan is not None and run.plan.tags is not None else None
    days = days_to_test(run.span, run.settings, planned, run.asked.as_of, TAG_HOURS)
    slices = run.plan.tags if run.plan is not None and days.decided_by == "mapping" else None
    bench = run.bench(days.days[0], days.days, tags_plan=slices)
    _, missing = bench.runnable()
    chosen = bench.chosen(run.asked.families)
    found: dict[str, Any] = {
        name: {"skipped": f"the data has no {' or '.join(types)}"}
        for name, types in missing.items()
        if not run.asked.families or name in run.asked.families
    }
    refusals: list[TagtideError] = []
    if chosen:
        run.stages.plan(1 + len(chosen))
        rows = bench.decision_rows(chosen)
        write_snapshots(run.home, run.settings, bench, rows, run.stages, chosen)
        run.stages.finish()

    def measure(family: TagFamily) -> dict[str, Any]:
        return {"contract": family.contract.model_dump()} | backtest_tags(bench, family, run.join)

    for family in chosen:
        run.stages(f"backtesting tags of family {family.family}")
        _attempt(found, family.family, refusals, partial(measure, family))
        run.stages.finish()
    _require_any(found, refusals, "tag family")
    return found | _told(days)


def _propensity(run: _Run) -> dict[str, Any]:
    from training.backtest import backtest_propensity, backtest_rows
    from training.propensity_rows import ELIGIBLE_US, HORIZONS_HOURS

    planned: dict[str, PropensityPlan] = {}
    if run.plan is not None and run.asked.as_of is None:
        of_hours = {one.horizon_hours: one for one in run.plan.propensity}
        planned = {name: of_hours[hours] for name, hours in HORIZONS_HOURS.items() if hours in of_hours}
    found: dict[str, Any] = {name: {} for name in _horizons_asked(run.asked, HORIZONS_HOURS)}
    refusals: list[TagtideError] = []
    days_of: dict[str, BacktestDays] = {}
    benches: dict[datetime, Workbench] = {}
    rows_of: dict[datetime, list[Any]] = {}

    def prepare(horizon: str) -> dict[str, Any]:
        days = days_to_test(
            run.span,
            run.settings,
            planned[horizon].census if horizon in planned else None,
            run.asked.as_of,
            HORIZONS_HOURS[horizon],
        )
        at = days.days[0]
        bench = benches[at] if at in benches else run.bench(at, propensity_plans=planned)
        rows = [bench.propensity_rows(horizon), backtest_rows(bench, days.days, ELIGIBLE_US)]
        benches[at] = bench
        rows_of.setdefault(at, []).extend(rows)
        days_of[horizon] = days
        return {}

    run.stages("choosing whom to look at")
    for horizon in found:
        _attempt(found, horizon, refusals, partial(prepare, horizon))
    run.stages.plan(len(benches) + len(days_of))
    for at, bench in benches.items():
        # Horizons that begin at the same instant share one bench, and the features written for it.
        write_snapshots(run.home, run.settings, bench, rows_of[at], run.stages)
        run.stages.finish()
        for horizon in [name for name, days in days_of.items() if days.days[0] == at]:
            run.stages(f"backtesting propensity within {horizon}")
            measure = partial(backtest_propensity, bench, horizon, days_of[horizon], run.join)
            _attempt(found, horizon, refusals, measure)
            if "skipped" not in found[horizon]:
                found[horizon] |= _told(days_of[horizon])
            run.stages.finish()
    _require_any(found, refusals, "horizon")
    measured = [days_of[name] for name, part in found.items() if "skipped" not in part]
    return found | {
        "as_of": ", ".join(dict.fromkeys(days.days[0].isoformat() for days in measured)),
        "decided_by": ", ".join(dict.fromkeys(days.decided_by for days in measured)),
    }


def _horizons_asked(asked: Asked, horizons_hours: Mapping[str, int]) -> list[str]:
    if asked.horizon_days is None:
        return list(horizons_hours)
    chosen = [name for name, hours in horizons_hours.items() if hours == 24 * asked.horizon_days]
    if not chosen:
        known = ", ".join(str(hours // 24) for hours in horizons_hours.values())
        raise CommandError(
            f"--horizon-days is {asked.horizon_days}; propensity is predicted over {known} days",
            "choose one of them, or leave it out for all",
        )
    return chosen


def _clv(run: _Run) -> dict[str, Any]:
    planned = () if run.plan is None else run.plan.clv
    runs, decided_by = clv_runs(run.span, run.settings, planned, run.asked.as_of, run.asked.horizon_days)
    run.stages.plan(2 * len(runs))
    found: dict[str, Any] = {}
    refusals: list[TagtideError] = []
    for one in runs:
        run.stages(f"backtesting value over {one.horizon_days} days as of {one.as_of.date()}")
        _attempt(found, one.name, refusals, partial(_clv_run, run, one))
        run.stages.finish()
    _require_any(found, refusals, "cut-off")
    told = {"as_of": ", ".join(one.as_of.isoformat() for one in runs), "decided_by": decided_by}
    if len(runs) == 1:
        return {**found[runs[0].name], **told}
    return found | told


def _clv_run(run: _Run, asked: ClvRun) -> dict[str, Any]:
    from training.backtest import backtest_clv, require_closed
    from training.datasets import key_frame

    require_closed(asked.as_of, asked.horizon_days, run.span.last)
    require_begun(run.span, asked.as_of)
    bench = run.bench(asked.as_of)
    rows = bench.clv_rows(asked.horizon_days)
    write_snapshots(run.home, run.settings, bench, [rows], run.stages)
    run.stages.finish()
    joined = run.join("clv_v1", key_frame(bench.history, rows))
    run.stages(f"training value over {asked.horizon_days} days as of {asked.as_of.date()}")
    figures = backtest_clv(bench, asked.horizon_days, joined)
    return figures | {"horizon_days": asked.horizon_days}
