"""`tagtide audit`: who read or changed what, and whether the log of it is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.home import Home
from configs.settings import Settings
from features.resolver import open_resolver
from features.tombstones import ErasureKeys
from features.windows import from_us, to_us
from monitoring.audit import AuditLog, Entry
from pipelines.current_lake import open_database
from pipelines.errors import CommandError
from pipelines.instants import instant_option
from pipelines.invocation import Invocation, JsonFlag

if TYPE_CHECKING:
    from rich.console import RenderableType

    from features.identities import Resolution

LINES_SHOWN = 50

app = typer.Typer()


@app.callback(invoke_without_command=True)
def before_audit(ctx: typer.Context) -> None:
    """Show who read or changed what, and check that the log of it is whole."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command("ls")
def ls_command(
    ctx: typer.Context,
    since: Annotated[str | None, typer.Option("--since", metavar="ISO", help="Only later than this.")] = None,
    what: Annotated[
        str | None, typer.Option("--what", help="Only `read`, `write`, `denied`, `erasure`, `promotion`, …")
    ] = None,
    customer: Annotated[
        str | None,
        typer.Option("--customer", metavar="ID", help="Only what was about exactly this customer."),
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Only so many lines, the latest.")] = LINES_SHOWN,
    as_json: JsonFlag = False,
) -> None:
    """List who read or changed what and when, oldest first.

    Customers stand in the log as keyed hashes: it names nobody, but tells of an id you give it.

    \b
    [bold]Examples[/bold]
      tagtide audit ls --what erasure
      tagtide audit ls --since 2026-11-01 --customer 1098
    """
    invocation = ctx.ensure_object(Invocation)
    since_us = None if since is None else to_us(instant_option(since, "--since", invocation.settings.zone))
    with opened(invocation.home(), invocation.settings) as (log, who):
        customers = None if customer is None else who().members(customer)
        rows = log.read(since_us=since_us, what=what, customers=customers, last=last)
    payload = {"lines": [_shown(row) for row in rows]}
    invocation.emit(payload, _as_table(payload["lines"]), as_json)


@app.command("verify")
def verify_command(
    ctx: typer.Context,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="SEQ:HASH", help="A head noted earlier: it must be there still."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check that no line was changed, inserted or taken away.

    Note the head it prints somewhere else, and give it back next time: nothing else tells whether lines at
    the end are gone.

    \b
    [bold]Examples[/bold]
      tagtide audit verify
    """
    invocation = ctx.ensure_object(Invocation)
    with opened(invocation.home(), invocation.settings) as (log, _):
        verdict = log.verify(head)
    if verdict.problem:
        raise CommandError(
            f"audit log: {verdict.problem}; {verdict.lines} lines before it are whole",
            "compare it with a backup of the database",
        )
    payload = {"lines": verdict.lines, "head": verdict.head}
    invocation.emit(payload, f"{verdict.lines:,} lines, all whole; head {verdict.head}", as_json)


@contextmanager
def opened(home: Home, settings: Settings) -> Iterator[tuple[AuditLog, Callable[[], Resolution]]]:
    """Open the audit log of a home, and who is who in it."""
    with open_database(home, settings) as engine:
        resolver = open_resolver(home, engine, settings)
        keys = ErasureKeys(home, settings.erasure_key)
        yield AuditLog(engine, keys, lambda: resolver.resolution().spaces), resolver.resolution


def record(invocation: Invocation, *entries: Entry) -> None:
    """Write down what a command did, unless the settings want no audit log."""
    if invocation.settings.audit and entries:
        with opened(invocation.home(), invocation.settings) as (log, _):
            log.append(entries)


def by_command(what: str, detail: str, customers: int = 0, customer: str | None = None) -> Entry:
    """Return an entry of what the command line does now."""
    return Entry(time.time_ns() // 1000, "cli", what, detail, customers, customer)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("seq", "who", "what", "detail", "customers", "request_id", "status", "hash")
    return {"at": from_us(row["at_us"])} | {name: row[name] for name in names}


def _as_table(lines: Sequence[Mapping[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table(
        "line",
        "when",
        "who",
        "what",
        "",
        "customers",
        "status",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.columns[5].justify = "right"
    for line in lines:
        table.add_row(
            str(line["seq"]),
            f"{line['at']:%Y-%m-%d %H:%M:%S}",
            line["who"],
            line["what"],
            line["detail"],
            f"{line['customers']:,}" if line["customers"] else "",
            str(line["status"] or ""),
        )
    return table
