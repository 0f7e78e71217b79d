"""`tagtide model-card`: what a registered model is for, how it was made, how good it is, where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from configs.errors import did_you_mean
from configs.home import Home
from pipelines.errors import CommandError, MissingStepError
from pipelines.invocation import Invocation, JsonFlag

if TYPE_CHECKING:
    from training.registry import ModelVersion


def card_of(home: Home, task: str, version: str) -> tuple[ModelVersion, str]:
    """Return a registered model, and its card in Markdown.

    Parameters
    ----------
    version
        ``champion``, ``challenger`` or a number; empty: the champion, else the challenger.

    Raises
    ------
    MissingStepError
        If nothing was trained.
    CommandError, RegistryError
        If there is no such model or version.
    """
    from training.artifact import bundle_hash, load_bundle
    from training.model_card import model_card
    from training.registry import CHALLENGER, CHAMPION, champion, find_version, tasks

    known = tasks(home)
    if not known:
        raise MissingStepError(f"home {home.root} has no trained model", "run `tagtide train` first")
    if task not in known:
        raise CommandError(f"no model named {task!r}{did_you_mean(task, known)}; expected {', '.join(known)}")
    name = version or (CHAMPION if champion(home, task) is not None else CHALLENGER)
    model = find_version(home, task, name)
    return model, model_card(load_bundle(model.directory), bundle_hash(model.directory))


def command(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(help="Registered model, such as propensity.", metavar="MODEL")],
    version: Annotated[
        str,
        typer.Option(
            "--version",
            metavar="NAME",
            help="champion, challenger or a number; [dim]default: the champion, else the challenger[/dim]",
        ),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Print a model's card in Markdown: purpose, data, figures beside baselines, contract, limits.

    \b
    [bold]Examples[/bold]
      tagtide model-card propensity                        the champion's
      tagtide model-card tags-interest --version 3         of one version
      tagtide model-card clv --version challenger > clv.md
    """
    invocation = ctx.ensure_object(Invocation)
    model, card = card_of(invocation.home(), task, version)
    if as_json or invocation.as_json:
        invocation.emit({"model_version": model.model_version, "card": card}, "", as_json)
        return
    typer.echo(card, nl=False)
