"""`tagtide backtest`: how good the models would have been, had they been trained back then."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from configs.errors import did_you_mean
from configs.home import Home
from configs.settings import Settings
from pipelines.build_features import latest_known, write_snapshots
from pipelines.errors import CommandError, MissingStepError
from pipelines.instants import instant_option
from pipelines.invocation import Invocation, JsonFlag, plain
from pipelines.measurements import record_measurement
from pipelines.tag_families import names_in, require_known

if TYPE_CHECKING:
    from features.mapping import Census, EvaluationPlan, TagsPlan
    from training.backtest import BacktestDays
    from training.workbench import Workbench

Say = Callable[[str], None]

TASKS = ("tags", "propensity", "clv")
DEFAULT_CLV_DAYS = 90

Answer = tuple[dict[str, Any], str, str]
"""Figures, the instant models were trained as of, and who decided on it: option, mapping or span."""


@dataclass(frozen=True)
class Asked:
    """What to backtest.

    Attributes
    ----------
    as_of
        Instant the models are trained as of; None: what the source's mapping says, else the data's span.
    horizon_days
        Of CLV; None likewise.
    families
        Tag families; all if empty.
    """

    as_of: datetime | None = None
    horizon_days: int | None = None
    families: Sequence[str] = ()


def backtest(
    home: Home,
    settings: Settings,
    task: str,
    say: Say,
    asked: Asked,
) -> dict[str, Any]:
    """Run a backtest on everything the home holds.

    Parameters
    ----------
    task
        One of `TASKS`.
    asked
        What was asked for.

    Returns
    -------
    Figures per family, per horizon, or of CLV, with ``as_of source rows customers seconds peak_gb``.
    """
    from features.sources import imported_mapping, imported_sources
    from pipelines.current_lake import open_lake

    lake = open_lake(home, settings)
    if lake.is_empty():
        raise MissingStepError(f"home {home.root} has no events", "run `tagtide import SOURCE` first")
    begun = time.perf_counter()
    say("reading the lake")
    events = lake.read()
    sources = imported_sources(home)
    plan = imported_mapping(home, sources[0]).evaluation if len(sources) == 1 else None
    run = {"tags": _tags, "propensity": _propensity, "clv": _clv}[task]
    found, instant, decided_by = run(home, settings, events, plan, say, asked)
    return found | {
        "as_of": instant,
        "decided_by": decided_by,
        "source": " + ".join(sources) or "posted events",
        "rows": events.height,
        "customers": found.get("customers", events["customer_id"].n_unique()),
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_gb": round(_peak_gb(), 2),
    }


def _peak_gb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _census_days(census: Census, settings: Settings) -> list[datetime]:
    from training.splits import midnight

    days = range(0, (census.last - census.first).days + 1, census.every_days)
    return [midnight(census.first + timedelta(days=day), settings.zone) for day in days]


def _days(
    events: pl.DataFrame,
    settings: Settings,
    planned: Census | None,
    as_of: datetime | None,
    horizon_hours: int,
) -> BacktestDays:
    from training.backtest import BacktestDays, span_days

    if as_of is None and planned is not None:
        return BacktestDays(_census_days(planned, settings), "mapping")
    activity = events.filter(pl.col("event_type") != "contact")["event_time"]
    first, last = activity.min(), activity.max()
    if not (isinstance(first, datetime) and isinstance(last, datetime)):
        raise CommandError("a backtest needs something that customers did; the home holds contacts only")
    if as_of is None:
        return BacktestDays(span_days(first, last, settings, horizon_hours), "span")
    latest = last - timedelta(hours=horizon_hours)
    later = [as_of + timedelta(days=day) for day in range(0, 30, 2)]
    chosen = [day for day in later if day <= latest]
    if not chosen:
        raise CommandError(
            f"--as-of {as_of.isoformat()}: no outcome window of {horizon_hours} h closes before the data "
            f"ends at {last.isoformat()}",
            "choose an earlier --as-of",
        )
    return BacktestDays(chosen, "option")


def _bench(
    events: pl.DataFrame,
    as_of: datetime,
    settings: Settings,
    test_days: Sequence[datetime] = (),
    tags_plan: TagsPlan | None = None,
) -> Workbench:
    from features.tags import load_catalogue
    from training.workbench import BACKTEST_BUDGET, Workbench

    return Workbench(events, as_of, settings, load_catalogue(), BACKTEST_BUDGET, test_days, tags_plan)


def _join(home: Home, settings: Settings, say: Say) -> Callable[[str, pl.DataFrame], pl.DataFrame]:
    from features.store import training_frame

    return partial(training_frame, home, settings, progress=say)


def _tags(
    home: Home,
    settings: Settings,
    events: pl.DataFrame,
    plan: EvaluationPlan | None,
    say: Say,
    asked: Asked,
) -> Answer:
    from training.backtest import backtest_tags

    planned = plan.tags.census if plan is not None and plan.tags is not None else None
    days = _days(events, settings, planned, asked.as_of, 72)
    slices = plan.tags if plan is not None and days.decided_by == "mapping" else None
    bench = _bench(events, days.days[0], settings, days.days, slices)
    require_known(asked.families, bench.families)
    runnable, missing = bench.runnable()
    chosen = [family for family in runnable if not asked.families or family.family in asked.families]
    write_snapshots(home, settings, bench, [bench.tag_rows], say)
    found: dict[str, Any] = {
        name: {"skipped": f"the data has no {' or '.join(types)}"}
        for name, types in missing.items()
        if not asked.families or name in asked.families
    }
    for family in chosen:
        say(f"backtesting tags of family {family.family}")
        found[family.family] = backtest_tags(bench, family, _join(home, settings, say))
    return found, days.days[0].isoformat(), days.decided_by


def _propensity(
    home: Home,
    settings: Settings,
    events: pl.DataFrame,
    plan: EvaluationPlan | None,
    say: Say,
    asked: Asked,
) -> Answer:
    from training.backtest import backtest_propensity, backtest_rows
    from training.propensity import ELIGIBLE_US, HORIZONS_HOURS

    planned = {} if plan is None else {one.horizon_hours: one.census for one in plan.propensity}
    found: dict[str, Any] = {}
    instant = decided_by = ""
    for horizon, hours in HORIZONS_HOURS.items():
        days = _days(events, settings, planned.get(hours), asked.as_of, hours)
        bench = _bench(events, days.days[0], settings)
        rows = [bench.propensity_rows(horizon), backtest_rows(bench, days.days, ELIGIBLE_US)]
        write_snapshots(home, settings, bench, rows, say, with_pairs=False)
        say(f"backtesting propensity within {horizon}")
        found[horizon] = backtest_propensity(bench, horizon, days, _join(home, settings, say))
        instant, decided_by = days.days[0].isoformat(), days.decided_by
    return found, instant, decided_by


def _clv(
    home: Home,
    settings: Settings,
    events: pl.DataFrame,
    plan: EvaluationPlan | None,
    say: Say,
    asked: Asked,
) -> Answer:
    from training.splits import midnight

    if asked.as_of is not None or asked.horizon_days is not None:
        days = asked.horizon_days or DEFAULT_CLV_DAYS
        runs, decided_by = [(asked.as_of or _closed(events, days), days)], "option"
    elif plan is not None and plan.clv:
        runs = [(midnight(one.as_of, settings.zone), one.horizon_days) for one in plan.clv]
        decided_by = "mapping"
    else:
        runs, decided_by = [(_closed(events, DEFAULT_CLV_DAYS), DEFAULT_CLV_DAYS)], "span"
    found: dict[str, Any] = {}
    for instant, days in runs:
        say(f"backtesting value over {days} days as of {instant.date()}")
        figures = _clv_run(home, settings, events, instant, days, say)
        if len(runs) == 1:
            return figures | {"horizon_days": days}, instant.isoformat(), decided_by
        found[f"{instant.date()}/{days}d"] = figures
    return found, ", ".join(instant.isoformat() for instant, _ in runs), decided_by


def _clv_run(
    home: Home, settings: Settings, events: pl.DataFrame, as_of: datetime, horizon_days: int, say: Say
) -> dict[str, Any]:
    from training.backtest import backtest_clv
    from training.datasets import key_frame

    bench = _bench(events, as_of, settings)
    rows = bench.clv_rows(horizon_days)
    write_snapshots(home, settings, bench, [rows], say, with_pairs=False)
    joined = _join(home, settings, say)("clv_v1", key_frame(bench.history, rows))
    return backtest_clv(bench, horizon_days, joined)


def _closed(events: pl.DataFrame, horizon_days: int) -> datetime:
    last: datetime = events.select(pl.col("event_time").max()).item()
    return last - timedelta(days=horizon_days)


def command(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(TASKS)}.")],
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="ISO", help="Train as of this instant, test afterwards.")
    ] = None,
    horizon_days: Annotated[
        int | None,
        typer.Option("--horizon-days", min=1, help="Horizon of CLV in days; [dim]default 90[/dim]"),
    ] = None,
    families: Annotated[
        str, typer.Option("--families", metavar="NAMES", help="Tag families, separated by commas.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the JSON here as well.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train as of a past instant, answer for the days after it, and compare with what came true.

    Without options the `evaluation:` block of the source's mapping decides on the dates, else the data's
    span; the output says which. Plain baselines are measured on the same rows.

    \b
    [bold]Examples[/bold]
      tagtide backtest tags --families interest
      tagtide backtest propensity --out propensity.json
      tagtide backtest clv --as-of 2017-10-01 --horizon-days 90
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    if task not in TASKS:
        raise CommandError(
            f"cannot backtest {task!r}{did_you_mean(task, TASKS)}; expected {', '.join(TASKS)}"
        )
    instant = None if as_of is None else instant_option(as_of, "--as-of", settings.zone)
    names = names_in(families)
    with invocation.steps() as say:
        found = backtest(home, settings, task, say, Asked(instant, horizon_days, names))
    if "bias" in found:
        how = f"backtest as of {found['as_of'][:10]}, {found['horizon_days']} days, net of refunds"
        record_measurement(home, settings, "clv_bias", found["bias"], latest_known(home, settings), how)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(plain(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    invocation.emit(found, as_table(task, found), as_json)


def as_table(task: str, found: Mapping[str, Any]) -> Any:
    """Show figures as tables: models beside their baselines, or families without any side by side."""
    from rich.console import Group

    parts = {name: part for name, part in found.items() if isinstance(part, Mapping)}
    if "bias" in found:
        parts = {task: found}
    title = f"Backtest of {task} as of {found['as_of']} (decided by {found['decided_by']})"
    alone = {name: part for name, part in parts.items() if not _baselines(part)}
    tables = [_table(title, alone)] if alone else []
    for name, part in parts.items():
        if name not in alone:
            tables.append(_table(f"{title}: {name}", {"model": part, **_baselines(part)}))
    return Group(*tables)


def _baselines(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    prefix = "baseline_"
    return {name.removeprefix(prefix): value for name, value in part.items() if name.startswith(prefix)}


def _table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("figure", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    figures = dict.fromkeys(
        figure
        for part in columns.values()
        for figure, value in part.items()
        if isinstance(value, int | float) and figure not in {"rows", "seconds", "peak_gb"}
    )
    for figure in figures:
        cells = [part.get(figure) for part in columns.values()]
        table.add_row(figure, *("" if cell is None else f"{cell:,.4g}" for cell in cells))
    return table
