"""`tagtide outbox`: what waits to be delivered, what could not be, and to try that again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from features.windows import from_us
from pipelines.current_lake import open_database
from pipelines.errors import CommandError
from pipelines.invocation import Invocation, JsonFlag
from serving.outbox import Outbox

if TYPE_CHECKING:
    from rich.console import RenderableType

STATES = {"waiting": ("first", "queued"), "dead": ("dead",), "all": ("first", "queued", "dead")}

app = typer.Typer()


@app.callback(invoke_without_command=True)
def before_outbox(ctx: typer.Context) -> None:
    """See what waits to be delivered to the receiver of triggers and tag changes, and try again."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def listed(outbox: Outbox, state: str, most: int, now_us: int) -> dict[str, Any]:
    """Return counts, and the messages in a state, oldest first.

    Parameters
    ----------
    state
        One of `STATES`.
    most
        At most so many messages.
    now_us
        The present, microseconds since the epoch.
    """
    standing = outbox.standing()
    age = None if standing.oldest_us is None else max(now_us - standing.oldest_us, 0) / 1_000_000
    messages = [
        {
            "key": row["key"],
            "kind": row["kind"],
            "customer_id": row["customer_id"],
            "state": "dead" if row["state"] == "dead" else "waiting",
            "attempts": row["attempts"],
            "created_at": from_us(row["created_at_us"]).isoformat(),
            "due_at": None if row["state"] == "dead" else from_us(row["due_at_us"]).isoformat(),
            "problem": row["problem"],
        }
        for row in outbox.listed(STATES[state], most)
    ]
    return {
        "waiting": standing.waiting,
        "dead": standing.dead,
        "delivered": standing.delivered,
        "oldest_seconds": age,
        "messages": messages,
    }


@app.command("ls")
def ls_command(
    ctx: typer.Context,
    state: Annotated[
        Literal["waiting", "dead", "all"], typer.Option("--state", help="Which messages to list.")
    ] = "all",
    most: Annotated[int, typer.Option("--most", min=0, help="List at most so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Count the messages that wait, are dead or were delivered, and list some, the oldest first.

    \b
    [bold]Examples[/bold]
      tagtide outbox ls
      tagtide outbox ls --state dead --json
    """
    invocation = ctx.ensure_object(Invocation)
    with _open(invocation) as outbox:
        found = listed(outbox, state, most, _now_us())
    invocation.emit(found, as_table(found), as_json)


@app.command("retry")
def retry_command(
    ctx: typer.Context,
    keys: Annotated[list[str] | None, typer.Argument(help="Keys of dead letters, from `ls`.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Let dead letters wait again, each at its old place among its customer's; a running service sends them.

    \b
    [bold]Examples[/bold]
      tagtide outbox retry --all
      tagtide outbox retry 4d1a7c0e9b3f48d2a6c5e1f00b7d9a42
    """
    if bool(keys) == every:
        raise CommandError("expected keys of dead letters, or --all", "see `tagtide outbox ls --state dead`")
    invocation = ctx.ensure_object(Invocation)
    with _open(invocation) as outbox:
        count = outbox.retry(None if every else keys, _now_us())
    if keys and count < len(set(keys)):
        raise CommandError(
            f"{count} of {len(set(keys))} keys were those of dead letters, and wait again",
            "see `tagtide outbox ls --state dead`",
        )
    invocation.emit({"retried": count}, f"{count} messages wait again", as_json)


@contextmanager
def _open(invocation: Invocation) -> Iterator[Outbox]:
    with open_database(invocation.home(), invocation.settings) as engine:
        yield Outbox(engine)


def _now_us() -> int:
    return time.time_ns() // 1000


def as_table(found: dict[str, Any]) -> RenderableType:
    """Show messages as a table."""
    from rich.table import Table

    table = Table(
        *("key", "kind", "customer", "state", "attempts", "since", "problem"),
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    oldest = "" if found["oldest_seconds"] is None else f", the first for {found['oldest_seconds']:.0f} s"
    table.title = (
        f"{found['waiting']:,} wait{oldest}; {found['dead']:,} dead; {found['delivered']:,} delivered so far"
    )
    for one in found["messages"]:
        since = one["created_at"][:19]
        cells = (one["key"], one["kind"], one["customer_id"], one["state"], str(one["attempts"]), since)
        table.add_row(*cells, one["problem"])
    return table
