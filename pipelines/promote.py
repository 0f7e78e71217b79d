"""`tagtide promote` and `tagtide rollback`: which model serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from configs.errors import did_you_mean
from configs.home import Home
from monitoring.audit import Entry
from pipelines.audit import by_command, record
from pipelines.errors import CommandError, MissingStepError
from pipelines.invocation import Invocation, JsonFlag

ALL = "all"
WHICH = "Registered models (`clv`, `propensity`, `tags-interest`, …), or `all`."
WHICH_VERSIONS = f"{WHICH[:-1]}; `clv/3` is version 3, challenger or not."


@dataclass(frozen=True)
class Promoted:
    """What became of one task.

    Attributes
    ----------
    task
        ``tags-<family>``, ``propensity``, ``clv`` or ``segments``.
    champion, previous
        Model versions that serve now and served before; empty where there was none.
    refused
        The gate's objections; empty where it let the model pass.
    forced
        Whether the gate was overruled.
    """

    task: str
    champion: str
    previous: str
    refused: str = ""
    forced: bool = False


def promote_tasks(home: Home, tasks: Sequence[str], *, now: datetime, force: bool = False) -> list[Promoted]:
    """Promote challengers that pass the gate, and publish them to the service.

    Parameters
    ----------
    tasks
        Names, or ``all``: every task with a challenger. ``clv/3`` is that version, challenger or not.

    Raises
    ------
    MissingStepError
        If nothing was trained.
    BundleError
        If a challenger's files are damaged; the champion stays.
    """
    from training.errors import PromotionRefusedError
    from training.publication import publish, servable_hash
    from training.registry import challenger, champion, find_version, promote

    asked = dict(_task_and_version(name) for name in tasks)
    found = []
    for task in _chosen(home, list(asked)):
        before = champion(home, task)
        previous = before.model_version if before is not None else ""
        number = asked.get(task, "")
        waiting = find_version(home, task, number) if number else challenger(home, task)
        if ALL in tasks and waiting is None and before is not None:
            publish(home, task, at=now)
            found.append(Promoted(task, previous, previous))
            continue
        if waiting is not None:
            # What cannot be published must not become champion.
            servable_hash(waiting.directory)
        try:
            outcome = promote(home, task, waiting.version if number and waiting else None, force=force)
        except PromotionRefusedError as refusal:
            found.append(Promoted(task, previous, previous, refusal.message))
            continue
        publish(home, task, at=now)
        found.append(Promoted(task, outcome.champion.model_version, previous, forced=outcome.forced))
    return found


def rollback_tasks(home: Home, tasks: Sequence[str], *, now: datetime) -> list[Promoted]:
    """Put the previous champion of each task back to work.

    Parameters
    ----------
    tasks
        Names, or ``all``: every task that had another champion before.

    Raises
    ------
    RegistryError
        If a task that was named, or with ``all`` every task, never had another champion.
    BundleError
        If the one before is damaged, or reads a feature that does not exist any more; nothing changes then.
    """
    from training.errors import RegistryError
    from training.publication import publish, servable_hash
    from training.registry import champion, has_former_champion, rollback

    chosen = _chosen(home, tasks)
    if ALL in tasks:
        chosen = [task for task in chosen if has_former_champion(home, task)]
        if not chosen:
            raise RegistryError("no model had another champion before", "train and promote another one first")
    found = []
    for task in chosen:
        before = champion(home, task)
        outcome = rollback(home, task, check=lambda model: servable_hash(model.directory))
        publish(home, task, at=now)
        previous = before.model_version if before is not None else ""
        found.append(Promoted(task, outcome.champion.model_version, previous))
    return found


def _task_and_version(name: str) -> tuple[str, str]:
    """Split a name into task and version; the version is empty where none is told.

    >>> _task_and_version("clv/3"), _task_and_version("tags-interest")
    (('clv', '3'), ('tags-interest', ''))
    """
    task, _, number = name.partition("/")
    return task, number


def _chosen(home: Home, tasks: Sequence[str]) -> list[str]:
    from training.registry import tasks as registered

    known = registered(home)
    if not known:
        raise MissingStepError(f"home {home.root} has no trained model", "run `tagtide train` first")
    for task in tasks:
        if task != ALL and task not in known:
            raise CommandError(
                f"no model named {task!r}{did_you_mean(task, known)}; expected {', '.join(known)} or {ALL}"
            )
    return known if ALL in tasks else list(tasks)


def command(
    ctx: typer.Context,
    tasks: Annotated[list[str] | None, typer.Argument(help=WHICH_VERSIONS, metavar="[MODEL]...")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overrule the gate.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Put challengers to work that pass the gate; a running service follows without a restart.

    A challenger has to beat its own plain baselines and must not be worse than the champion. Where the gate
    refuses it says why, and the champion serves on. `tagtide rollback` undoes a promotion.

    \b
    [bold]Examples[/bold]
      tagtide promote                     every challenger that passes
      tagtide promote propensity          one of them
      tagtide promote propensity/3        a version that was trained with --no-challenger
      tagtide promote clv --force         even though the gate refuses
    """
    invocation = ctx.ensure_object(Invocation)
    found = promote_tasks(invocation.home(), tasks or [ALL], now=datetime.now(UTC), force=force)
    record(invocation, *_entries("promotion", found))
    invocation.emit({"models": found}, as_table("Promotion", found), as_json)
    if all(one.refused for one in found):
        raise CommandError(
            f"nothing was promoted: {found[0].task}: {found[0].refused}", "improve the models, or use --force"
        )


def rollback_command(
    ctx: typer.Context,
    tasks: Annotated[list[str], typer.Argument(help=WHICH, metavar="MODEL...")],
    as_json: JsonFlag = False,
) -> None:
    """Put the previous champion back to work; a running service follows without a restart.

    \b
    [bold]Examples[/bold]
      tagtide rollback tags-interest
      tagtide rollback all              every model that had another champion before
    """
    invocation = ctx.ensure_object(Invocation)
    found = rollback_tasks(invocation.home(), tasks, now=datetime.now(UTC))
    record(invocation, *_entries("rollback", found))
    invocation.emit({"models": found}, as_table("Rollback", found, with_gate=False), as_json)


def _entries(what: str, found: Sequence[Promoted]) -> list[Entry]:
    return [
        by_command(what, f"{one.task} {one.previous or 'none'} -> {one.champion}" + " by force" * one.forced)
        for one in found
        if one.champion != one.previous
    ]


def as_table(title: str, found: Sequence[Promoted], *, with_gate: bool = True) -> Any:
    """Show what was promoted as a table, and what the gate said where it was asked."""
    from rich.table import Table

    table = Table(title=title)
    columns = ["model", "serves now", "served before", *(["gate"] if with_gate else [])]
    for name in columns:
        table.add_column(name, overflow="fold")
    for one in found:
        verdict = one.refused or ("overruled" if one.forced else "passed")
        if one.champion == one.previous and not one.refused:
            verdict = "champion already"
        cells = [one.task, one.champion or "–", one.previous or "–", verdict]
        table.add_row(*cells[: len(columns)])
    return table
