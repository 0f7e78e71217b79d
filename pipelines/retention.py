"""`tagtide retention`: who still buys in later months."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from configs.home import Home
from configs.settings import Settings
from pipelines.build_features import Say, asked_or_latest, open_workbench
from pipelines.instants import AsOf
from pipelines.invocation import Invocation, JsonFlag, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from training.retention import Retention

REPORT = "retention"
MONTHS_SHOWN = 12


@dataclass(frozen=True)
class RetentionReport:
    """What was found, and where the pictures lie.

    Attributes
    ----------
    as_of
        The instant it is told from, ISO.
    """

    as_of: str
    found: Retention
    plots: tuple[Path, ...]
    figures: Path

    def as_json(self) -> dict[str, Any]:
        """Return the result for machines."""
        return {
            "as_of": self.as_of,
            "by_first_purchase": self.found.by_first_purchase.to_dicts(),
            "by_stage": self.found.pooled().to_dicts(),
            "by_stage_and_cohort": self.found.by_stage.to_dicts(),
            "plots": [str(path) for path in self.plots],
        }


def report_retention(
    home: Home, settings: Settings, as_of: datetime, directory: Path, say: Say
) -> RetentionReport:
    """Follow the cohorts and write table and pictures; doing it again writes the same.

    Raises
    ------
    MissingStepError
        If there is no event.
    TrainingDataError
        If there is no purchase, or there are fewer than two whole months.
    """
    from training.retention import retention
    from training.retention_plot import plot_retention

    bench = open_workbench(home, settings, as_of, say)
    found = retention(bench.history, bench.events, as_of, settings.zone, say)
    say("drawing")
    directory.mkdir(parents=True, exist_ok=True)
    day = as_of.astimezone(settings.zone).date()
    plots = plot_retention(found, directory, f"Retention, whole months until {day}")
    report = RetentionReport(as_of.isoformat(), found, tuple(plots), directory / "retention.json")
    text = json.dumps(plain(report.as_json()), indent=1, ensure_ascii=False) + "\n"
    report.figures.write_text(text, encoding="utf-8")
    return report


def command(
    ctx: typer.Context,
    as_of: AsOf = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to; [dim]default: HOME/reports/retention[/dim]"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show who still buys in later months, by month of first purchase and by life-cycle stage.

    A cohort is everybody whose first purchase fell into a month, or everybody who was in a stage when a month
    began; told is the share that buys in each later whole month. Writes the table as JSON and a picture as
    PNG and SVG.

    \b
    [bold]Examples[/bold]
      tagtide retention                                as of the last event known
      tagtide retention --as-of 2017-10-31             as one would have seen it that midnight
      tagtide retention --json | jq '.by_stage[0]'     for machines
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    instant = asked_or_latest(home, settings, as_of)
    with invocation.steps() as say:
        report = report_retention(home, settings, instant, out or home.reports / REPORT, say)
    invocation.emit(report.as_json(), as_screen(report), as_json)


def as_screen(report: RetentionReport) -> RenderableType:
    """Show both kinds of cohorts as tables, percent by month."""
    from rich.console import Group
    from rich.text import Text

    pooled = report.found.pooled()
    newcomers = report.found.by_first_purchase.with_columns(
        name=pl.col("cohort").dt.strftime("%b %Y"), size=pl.col("customers")
    )
    first = pl.col("customers").max().over("stage")
    stages = pooled.with_columns(name=pl.col("stage"), size=first)
    return Group(
        _table("Newcomers by month of first purchase: % who buy in the months after", newcomers),
        _table("Customers by stage when a month began: % who buy in that month and after", stages),
        Text("\n".join(f"picture: {path}" for path in report.plots)),
    )


def _table(title: str, rows: pl.DataFrame) -> RenderableType:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    months = min(int(rows["months_later"].to_numpy().max()), MONTHS_SHOWN)
    table.add_column("cohort", no_wrap=True)
    for name in ("customers", *(str(month) for month in range(1, months + 1))):
        table.add_column(name, justify="right")
    for name in rows["name"].unique(maintain_order=True).to_list():
        of_cohort = rows.filter(pl.col("name") == name)
        shares = dict(of_cohort.select("months_later", "share").iter_rows())
        cells = [f"{100 * shares[month]:.0f}" if month in shares else "" for month in range(1, months + 1)]
        table.add_row(str(name), f"{of_cohort['size'][0]:,}", *cells)
    return table
