"""`tagtide backtest`: how good the models would have been, had they been trained back then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from configs.errors import did_you_mean
from configs.home import Home
from configs.settings import Settings
from pipelines.backtest_report import (
    Places,
    Written,
    places_asked,
    places_in,
    read_figures,
    write_figures,
    write_pictures,
)
from pipelines.backtest_runs import TASKS, Asked, backtest
from pipelines.build_features import latest_known
from pipelines.errors import CommandError
from pipelines.instants import instant_option
from pipelines.invocation import Invocation, JsonFlag, plain
from pipelines.measurements import record_measurement
from pipelines.stages import shown_stages
from pipelines.tag_families import names_in


def command(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(TASKS)}.")],
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="ISO", help="Train as of this instant, test afterwards.")
    ] = None,
    horizon_days: Annotated[
        int | None,
        typer.Option(
            "--horizon-days",
            min=1,
            help="Of clv ([dim]default 90[/dim]), or the one horizon of propensity wanted; in days.",
        ),
    ] = None,
    families: Annotated[
        str, typer.Option("--families", metavar="NAMES", help="Tag families, separated by commas.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the JSON goes; [dim]default: reports/ of the home[/dim]. Beside X.json: the page "
            "X.html, and PNG and SVG files in X-plots/.",
        ),
    ] = None,
    no_plots: Annotated[
        bool, typer.Option("--no-plots", help="Write the JSON alone, no pictures and no page.")
    ] = False,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Train nothing: draw the JSON of an earlier backtest anew."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train as of a past instant, answer for the days after it, and compare with what came true.

    Without options the `evaluation:` block of the source's mapping decides on the dates, else the data's
    span; the output says which (`decided_by`). Plain baselines are measured on the same rows. A family,
    horizon or cut-off that the data cannot carry is skipped with the numbers it lacks.

    \b
    [bold]Examples[/bold]
      tagtide backtest tags --families interest
      tagtide backtest propensity --out propensity.json
      tagtide backtest clv --as-of 2017-10-01 --horizon-days 90
      tagtide backtest tags --from tags.json   draw its page and plots anew
    """
    invocation = ctx.ensure_object(Invocation)
    if task not in TASKS:
        raise CommandError(
            f"cannot backtest {task!r}{did_you_mean(task, TASKS)}; expected {', '.join(TASKS)}"
        )
    names = names_in(families)
    _require_fitting(task, names, horizon_days)
    places = None if out is None else places_asked(out)
    if from_file is not None:
        _require_alone(as_of, horizon_days, names)
        found = read_figures(from_file, task)
        places = places or Places(from_file)
    else:
        home, settings = invocation.home(), invocation.settings
        instant = None if as_of is None else instant_option(as_of, "--as-of", settings.zone)
        with shown_stages(invocation.console) as stages:
            found = plain(backtest(home, settings, task, stages, Asked(instant, horizon_days, names)))
        _record(home, settings, found)
        places = places or places_in(home, task, found)
    written = write_figures(places, found)
    if not no_plots:
        with shown_stages(invocation.console) as stages:
            written = write_pictures(places, task, found, stages)
    _say(invocation, written)
    invocation.emit(found, as_table(task, found), as_json)


def _require_fitting(task: str, families: list[str], horizon_days: int | None) -> None:
    if families and task != "tags":
        raise CommandError(f"--families is for `backtest tags`; {task} has none", "leave it out")
    if horizon_days is not None and task == "tags":
        raise CommandError(
            "--horizon-days is for `backtest clv` and `backtest propensity`; a tag lives 72 hours",
            "leave it out",
        )


def _require_alone(as_of: str | None, horizon_days: int | None, families: list[str]) -> None:
    if as_of is not None or horizon_days is not None or families:
        raise CommandError(
            "--from draws an earlier backtest as it was; --as-of, --horizon-days, --families make a new one",
            "leave the one or the others out",
        )


def _record(home: Home, settings: Settings, found: Mapping[str, Any]) -> None:
    """Write the error of a single value backtest into the ledger, where reports read it."""
    bias = found.get("bias")
    if bias is None or not math.isfinite(bias):
        return
    how = f"backtest as of {found['as_of'][:10]}, {found['horizon_days']} days, net of refunds"
    at: datetime = latest_known(home, settings)
    record_measurement(home, settings, "clv_bias", bias, at, how)


def _say(invocation: Invocation, written: Written) -> None:
    say = invocation.console.print
    for remark in written.remarks:
        say(f"note: {remark}", soft_wrap=True, markup=False)
    say(f"figures: {written.figures}", soft_wrap=True, markup=False)
    if written.pictures:
        folder = written.pictures[0].parent
        say(f"plots: {len(written.pictures)} files in {folder}", soft_wrap=True, markup=False)
    if written.page is not None:
        say(f"page: {written.page}", soft_wrap=True, markup=False)


def _cell(value: float | None) -> str:
    """Write a figure for a table: counts in full.

    >>> _cell(33456), _cell(0.812345), _cell(None)
    ('33,456', '0.8123', '')
    """
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def as_table(task: str, found: Mapping[str, Any]) -> Any:
    """Show figures as tables: models beside their baselines, or families without any side by side."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from training.backtest_figures import skipped_of, tables_of

    shown: list[Any] = []
    title = f"Backtest of {task} as of {found['as_of']} (decided by {found.get('decided_by', '?')})"
    for figures in tables_of(found):
        table = Table(title=f"{title}: {figures.part}" if figures.part else title)
        table.add_column("figure", no_wrap=True)
        for name in figures.columns:
            table.add_column(name, justify="right", overflow="fold")
        for name, values in figures.rows:
            table.add_row(name, *map(_cell, values))
        shown.append(table)
    shown += [Text(f"{name} was not measured: {why}") for name, why in skipped_of(found).items()]
    return Group(*shown)
