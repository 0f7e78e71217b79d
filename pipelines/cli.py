"""The ``tagtide`` command: options before the command, the commands, and how a failure is shown."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import MutableMapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from configs import telemetry
from configs.errors import TagtideError
from configs.home import Home
from features.file_lock import SharedLock
from pipelines import (
    audit,
    backtest,
    build_features,
    compare,
    config_show,
    demo,
    doctor,
    erase,
    identities,
    import_events,
    model_card,
    monitor,
    outbox,
    promote,
    replay,
    retention,
    roi,
    score,
    segments,
    serve,
    tokens,
    train,
    wecom,
)
from pipelines.invocation import DEFAULT_HOME, Invocation, JsonFlag

EXIT_DEFECT = 1
EXIT_MENDABLE = 2
EXIT_INTERRUPTED = 130

READERS = {"backtest", "compare", "features", "monitor", "retention", "roi", "score", "train"}
"""Commands that read customers in bulk: nobody is erased or linked while one runs."""

MENDABLE_OS_ERRORS = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS}

app = typer.Typer(
    name="tagtide",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer()


@app.callback(invoke_without_command=True)
def before_the_command(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option("--home", metavar="DIR", help="Home directory. [dim]TAGTIDE_HOME, else .tagtide[/dim]"),
    ] = None,
    as_json: JsonFlag = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Turn retail events into 72-hour customer tags, purchase propensities and customer lifetime value.

    \b
    [bold]Start here[/bold]
      tagtide doctor        is this machine ready?
      tagtide demo          the whole job on real retail data, in minutes
    """
    environ: MutableMapping[str, str] = ctx.obj
    ctx.obj = Invocation(
        home or Path(environ.get("TAGTIDE_HOME") or DEFAULT_HOME), environ, as_json=as_json, debug=debug
    )
    if ctx.invoked_subcommand in READERS and ctx.obj.home_path.is_dir():
        ctx.with_resource(SharedLock(Home(ctx.obj.home_path).jobs_lock).together())
    if version:
        typer.echo(f"tagtide {metadata.version('tagtide')}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit


@config_app.callback(invoke_without_command=True)
def before_config(ctx: typer.Context) -> None:
    """Show settings and where they come from."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


app.command("demo", rich_help_panel="Start here")(demo.command)
app.command("doctor", rich_help_panel="Start here")(doctor.command)
app.command("import", rich_help_panel="Data")(import_events.command)
app.command("features", rich_help_panel="Data")(build_features.command)
app.command("erase", rich_help_panel="Data")(erase.command)
app.add_typer(identities.app, name="identities", rich_help_panel="Data")
app.command("train", rich_help_panel="Models")(train.command)
app.command("backtest", rich_help_panel="Models")(backtest.command)
app.command("compare", rich_help_panel="Models")(compare.command)
app.command("model-card", rich_help_panel="Models")(model_card.command)
app.command("promote", rich_help_panel="Models")(promote.command)
app.command("rollback", rich_help_panel="Models")(promote.rollback_command)
app.command("score", rich_help_panel="Models")(score.command)
app.command("segments", rich_help_panel="Customers")(segments.command)
app.command("retention", rich_help_panel="Customers")(retention.command)
app.command("roi", rich_help_panel="Customers")(roi.command)
app.command("serve", rich_help_panel="Service")(serve.command)
app.command("replay", rich_help_panel="Service")(replay.command)
app.add_typer(wecom.app, name="wecom", rich_help_panel="Service")
app.command("monitor", rich_help_panel="Service")(monitor.command)
app.add_typer(outbox.app, name="outbox", rich_help_panel="Service")
app.add_typer(tokens.app, name="tokens", rich_help_panel="Service")
app.add_typer(audit.app, name="audit", rich_help_panel="Service")
config_app.command("show")(config_show.command)
app.add_typer(config_app, name="config", rich_help_panel="Start here")


def main(arguments: Sequence[str] | None = None, environ: MutableMapping[str, str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        Without the program's name; by default ``sys.argv[1:]``.
    environ
        By default ``os.environ``. Telemetry of every dependency is switched off in it.

    Returns
    -------
    The exit code: 0 if all went well, 2 for what the user can mend, 130 if interrupted, 1 for a defect.
    """
    environ = os.environ if environ is None else environ
    given = debug_first(sys.argv[1:] if arguments is None else arguments)
    telemetry.switch_off(environ)
    try:
        code = app(args=given, prog_name="tagtide", standalone_mode=False, obj=environ)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost frame: every failure becomes an exit code
        return report(error, debug="--debug" in given[:1])
    return code if isinstance(code, int) else 0


def report(error: Exception, *, debug: bool) -> int:
    """Show a failure on standard error and return the exit code.

    What the user can mend is one line and a next step, with the traceback only if ``debug``. Anything else
    is a defect and shows its traceback always.
    """
    if isinstance(error, TagtideError):
        message, next_step = error.message, error.next_step
    elif isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        message = error.format_message()
        next_step = f"see `{context.command_path if context is not None else 'tagtide'} --help`"
    elif isinstance(error, OSError) and error.errno in MENDABLE_OS_ERRORS:
        message = f"{error.strerror}: {error.filename or 'the file system'}"
        next_step = "check space and permissions; `tagtide doctor` helps"
    else:
        traceback.print_exception(error)
        sys.stderr.write("error: this is a defect of Tagtide, not of your input; please report it\n")
        return EXIT_DEFECT
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    if next_step:
        sys.stderr.write(f"next step: {next_step}\n")
    return EXIT_MENDABLE


def debug_first(arguments: Sequence[str]) -> list[str]:
    """Move ``--debug`` to the front: whoever adds it to a failed command adds it at the end.

    >>> debug_first(["train", "--debug"])
    ['--debug', 'train']
    >>> debug_first(["score", "--", "--debug"])
    ['score', '--', '--debug']
    """
    options = list(arguments)
    own = options[: options.index("--")] if "--" in options else options
    if "--debug" not in own:
        return options
    return ["--debug", *(part for part in own if part != "--debug"), *options[len(own) :]]


if __name__ == "__main__":
    sys.exit(main())
