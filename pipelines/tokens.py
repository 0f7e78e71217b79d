"""`tagtide tokens`: make, list, change and revoke the bearer tokens of the HTTP service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.audit import by_command, record
from pipelines.invocation import Invocation, JsonFlag
from serving.tokens import Scope, Token, TokenFile

if TYPE_CHECKING:
    from rich.console import RenderableType

GRACE_HOURS = 24.0
ONCE = "It is shown this once: only its hash is kept."

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who uses it; the audit log names it.")]
ExpiresDays = Annotated[
    float | None,
    typer.Option(
        "--expires-days", min=0.0, help="It opens nothing after so many days. [dim]Default: never[/dim]"
    ),
]


@app.callback(invoke_without_command=True)
def before_tokens(ctx: typer.Context) -> None:
    """Make, list, change and revoke the bearer tokens of the HTTP service."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command("add")
def add_command(
    ctx: typer.Context,
    name: Name,
    scope: Annotated[
        Scope,
        typer.Option(
            "--scope", help="What it is good for: asking; posting too; erasing and everything else."
        ),
    ] = "read",
    expires_days: ExpiresDays = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a token and print it, this once. A running service takes it within a second.

    \b
    [bold]Examples[/bold]
      tagtide tokens add scrm --scope write
      tagtide tokens add analyst --scope read --expires-days 90
    """
    invocation = ctx.ensure_object(Invocation)
    now = datetime.now(UTC)
    file = TokenFile(invocation.home(create=True).tokens)
    secret = file.add(name, scope, now=now, expires_at=_ends(now, expires_days))
    record(invocation, by_command("token", f"add {name} {scope}"))
    _emit(invocation, name, secret, as_json)


@app.command("ls")
def ls_command(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the tokens: name, scope, when made, when they end. None of them can be shown again.

    \b
    [bold]Examples[/bold]
      tagtide tokens ls
    """
    invocation = ctx.ensure_object(Invocation)
    now = datetime.now(UTC)
    tokens = TokenFile(invocation.home().tokens).read()
    rows = [
        {
            "name": one.name,
            "scope": one.scope,
            "created_at": one.created_at,
            "expires_at": one.expires_at,
            "is_valid": one.is_valid(now),
        }
        for one in tokens
    ]
    invocation.emit({"tokens": rows}, _as_table(tokens, now), as_json)


@app.command("rotate")
def rotate_command(
    ctx: typer.Context,
    name: Name,
    grace_hours: Annotated[
        float, typer.Option("--grace-hours", min=0.0, help="How long the earlier token stays good beside it.")
    ] = GRACE_HOURS,
    expires_days: ExpiresDays = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a new token of the same name and scope, and let the earlier one end after a grace period.

    \b
    [bold]Examples[/bold]
      tagtide tokens rotate scrm                     the old one ends tomorrow
      tagtide tokens rotate scrm --grace-hours 0     at once: it leaked
    """
    invocation = ctx.ensure_object(Invocation)
    now = datetime.now(UTC)
    file = TokenFile(invocation.home().tokens)
    secret = file.rotate(
        name, now=now, grace=timedelta(hours=grace_hours), expires_at=_ends(now, expires_days)
    )
    record(invocation, by_command("token", f"rotate {name}"))
    _emit(invocation, name, secret, as_json)


@app.command("revoke")
def revoke_command(ctx: typer.Context, name: Name, as_json: JsonFlag = False) -> None:
    """Remove every token of a name. A running service refuses it within a second.

    \b
    [bold]Examples[/bold]
      tagtide tokens revoke analyst
    """
    invocation = ctx.ensure_object(Invocation)
    now = datetime.now(UTC)
    count = TokenFile(invocation.home().tokens).revoke(name, now=now)
    record(invocation, by_command("token", f"revoke {name}"))
    invocation.emit({"name": name, "revoked": count}, f"{name} opens nothing any more", as_json)


def _ends(now: datetime, days: float | None) -> datetime | None:
    return None if days is None else now + timedelta(days=days)


def _emit(invocation: Invocation, name: str, secret: str, as_json: bool) -> None:
    invocation.console.print(ONCE, highlight=False)
    invocation.emit({"name": name, "token": secret}, secret, as_json)


def _as_table(tokens: Sequence[Token], now: datetime) -> RenderableType:
    from rich.table import Table

    table = Table("name", "scope", "made", "ends", box=None, pad_edge=False, header_style="bold")
    for one in tokens:
        ends: Any = "never" if one.expires_at is None else f"{one.expires_at:%Y-%m-%d %H:%M}"
        table.add_row(one.name, one.scope, f"{one.created_at:%Y-%m-%d %H:%M}", f"{ends}{_past(one, now)}")
    return table


def _past(token: Token, now: datetime) -> str:
    return "" if token.is_valid(now) else " (expired)"
