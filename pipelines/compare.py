"""`tagtide compare`: two registered models on the same later rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.errors import did_you_mean
from configs.home import Home
from configs.settings import Settings
from pipelines.build_features import asked_or_latest
from pipelines.errors import CommandError, MissingStepError
from pipelines.invocation import Invocation, JsonFlag, plain

if TYPE_CHECKING:
    from training.comparison import BundleComparison, ComparedPart
    from training.registry import ModelVersion

Say = Callable[[str], None]

FOLDER = "compare"
CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Asked:
    """What to compare.

    Attributes
    ----------
    first, second
        ``champion``, ``challenger`` or a version's number; ``propensity/3`` names the task as well.
    task
        Empty: the task that a name tells, else every task that has both.
    """

    first: str = CHAMPION
    second: str = CHALLENGER
    task: str = ""


@dataclass(frozen=True)
class Compared:
    """One task's comparison, or why there is none.

    Attributes
    ----------
    found
        None where it could not be made.
    plots
        Pictures in the home's reports folder.
    skipped
        Why there is none; empty where there is.
    """

    task: str
    found: BundleComparison | None
    plots: Sequence[Path] = ()
    skipped: str = ""


def compare(home: Home, settings: Settings, asked: Asked, known_until: datetime, say: Say) -> list[Compared]:
    """Compare two versions of one task, or of every task that has both.

    Parameters
    ----------
    known_until
        Until when events are looked at; outcome windows close by then.

    Raises
    ------
    MissingStepError
        If nothing was trained, or no task has both.
    RegistryError
        If the task that was named has no such version.
    TrainingDataError
        If the task that was named cannot be compared on any rows.
    """
    from training.errors import RegistryError, TrainingDataError
    from training.registry import find_version, tasks

    known = tasks(home)
    if not known:
        raise MissingStepError(f"home {home.root} has no trained model", "run `tagtide train` first")
    names = [_split(name, known) for name in (asked.first, asked.second)]
    told = {task for task, _ in names if task} | ({asked.task} if asked.task else set())
    if len(told) > 1:
        raise CommandError(f"cannot compare models of {' and '.join(sorted(told))} with each other")
    for task in told:
        if task not in known:
            raise CommandError(
                f"no model named {task!r}{did_you_mean(task, known)}; expected {', '.join(known)}"
            )
    found: list[Compared] = []
    for task in sorted(told) or known:
        try:
            models = [find_version(home, task, name) for _, name in names]
            found.append(_compared(home, settings, models, known_until, say))
        except (RegistryError, TrainingDataError) as reason:
            if told:
                raise
            found.append(Compared(task, None, skipped=reason.message))
    if all(one.found is None for one in found):
        raise MissingStepError(
            f"no task can be compared: {found[0].skipped}",
            "run `tagtide train --challenger`, or name versions",
        )
    return found


def _split(name: str, known: Sequence[str]) -> tuple[str, str]:
    """Return task and version of a name; the task is empty where it is not told."""
    task, slash, version = name.rpartition("/")
    if slash and not task:
        raise CommandError(f"cannot compare {name!r}; expected for example {known[0]}/1")
    return task, version


def _compared(
    home: Home, settings: Settings, models: Sequence[ModelVersion], known_until: datetime, say: Say
) -> Compared:
    from features.tags import load_catalogue
    from pipelines.current_lake import lake_up_to_date
    from training.artifact import load_bundle
    from training.comparison import Side, compare_bundles
    from training.comparison_plots import comparison_figures
    from training.model_inputs import require_features
    from training.workbench import Budget, Workbench

    first, second = models
    if first.version == second.version:
        raise CommandError(
            f"{first.model_version} is one model, not two", "name two versions, such as `tagtide compare 1 2`"
        )
    sides = (
        Side(first.model_version, load_bundle(first.directory)),
        Side(second.model_version, load_bundle(second.directory)),
    )
    for side in sides:
        require_features(side.bundle)
    instants = [datetime.fromisoformat(side.bundle.as_of) for side in sides]
    if max(instants) > known_until:
        late = models[instants.index(max(instants))].model_version
        raise CommandError(
            f"{late} was trained as of {max(instants).isoformat()}; expected an --as-of not before that",
            "leave --as-of out",
        )
    say(f"scoring {first.model_version} and {second.model_version}")
    events = lake_up_to_date(home, settings).read(known_by=known_until)
    bench = Workbench(events, max(instants), settings, load_catalogue(), Budget())
    found = compare_bundles(bench, *sides, known_until=known_until)
    folder = home.reports / FOLDER / f"{first.task}-{first.version}-{second.version}"
    folder.mkdir(parents=True, exist_ok=True)
    plots = []
    for name, figure in comparison_figures(found).items():
        figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
        plots.append(folder / f"{name}.png")
    (folder / "comparison.json").write_text(
        json.dumps(plain(as_json_part(Compared(first.task, found, plots))), indent=2) + "\n", encoding="utf-8"
    )
    return Compared(first.task, found, plots)


def as_json_part(one: Compared) -> dict[str, Any]:
    """Return one task's comparison for machines."""
    if one.found is None:
        return {"task": one.task, "skipped": one.skipped}
    return {
        "task": one.task,
        "first": one.found.first,
        "second": one.found.second,
        "verdict": one.found.verdict,
        "parts": [_json_of(part) for part in one.found.parts],
        "plots": [path.name for path in one.plots],
        "folder": one.plots[0].parent if one.plots else None,
    }


def _json_of(part: ComparedPart) -> dict[str, Any]:
    figures = {
        one.metric: {
            "first": one.first,
            "second": one.second,
            "difference": one.difference,
            "low": one.low,
            "high": one.high,
            "better": one.better,
            "verdict": one.verdict,
        }
        for one in part.figures
    }
    return {
        "name": part.name,
        "rows_are": part.chosen,
        "first_day": part.first_day,
        "last_day": part.last_day,
        "rows": part.rows,
        "customers": part.customers,
        "figures": figures,
        "further": part.alone,
    }


def command(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(help="champion, challenger, a number, or MODEL/number.")] = CHAMPION,
    second: Annotated[str, typer.Argument(help="The same; it is judged against the first.")] = CHALLENGER,
    task: Annotated[
        str,
        typer.Option("--task", metavar="MODEL", help="Only this model, such as propensity or tags-interest."),
    ] = "",
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="ISO",
            help="Look at nothing known later; [dim]default: when the last event became known[/dim]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the JSON here as well.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Score two registered models on the same rows, later than what either was fitted on.

    Where three days or more came after both were trained, those are taken, else the certifying slice of the
    later one; the output says which. Each figure's difference has a 90 % interval from resampling customers,
    with both models measured on each resample. Pictures go to the home's reports.

    \b
    [bold]Examples[/bold]
      tagtide compare champion challenger                     every model that has both
      tagtide compare champion challenger --task propensity   one of them
      tagtide compare tags-interest/2 tags-interest/5         two versions by number
      tagtide compare 1 2 --task clv --out clv.json           and the figures in a file
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    until = asked_or_latest(home, settings, as_of)
    with invocation.steps() as say:
        found = compare(home, settings, Asked(first, second, task), until, say)
    payload = {"as_of": until, "models": [as_json_part(one) for one in found]}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(plain(payload), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    invocation.emit(payload, as_tables(found), as_json)


def as_tables(found: Sequence[Compared]) -> Any:
    """Show comparisons as tables, each with its rows, its verdict and where its pictures are."""
    from rich.console import Group
    from rich.text import Text

    shown: list[Any] = []
    for one in found:
        if one.found is None:
            shown.append(Text(f"{one.task}: {one.skipped}\n"))
            continue
        shown += [_table(one.found, part) for part in one.found.parts]
        shown.append(Text(f"{one.found.verdict}\nPictures: {one.plots[0].parent if one.plots else 'none'}\n"))
    return Group(*shown)


def _table(compared: BundleComparison, part: ComparedPart) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{compared.task} {part.name}".strip()
    table = Table(box=SIMPLE_HEAD, title=f"{title}: {part.rows:,} rows of {part.customers:,} customers")
    table.caption = f"{part.first_day[:10]} to {part.last_day[:10]}: {part.chosen}"
    table.add_column("figure", no_wrap=True)
    for name in (compared.first, compared.second):
        table.add_column(f"version {name.rpartition('/')[2]}", justify="right")
    table.add_column("difference (90 % interval)", justify="right")
    table.add_column("so it is")
    for one in part.figures:
        difference = f"{one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f})"
        said = "" if one.verdict == "no difference shown" else one.verdict
        table.add_row(one.metric, f"{one.first:.3f}", f"{one.second:.3f}", difference, said)
    first, second = part.alone["first"], part.alone["second"]
    for name in first:
        table.add_row(name, f"{first[name]:,.4g}", f"{second[name]:,.4g}", "", "")
    return table
