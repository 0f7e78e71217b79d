"""`tagtide identities`: join ids of one customer, part them again, and see why they belong together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import sqlalchemy as sa
import typer

from configs.errors import did_you_mean
from configs.home import Home
from configs.settings import Settings
from features.event_limits import ID_BYTES_MAX
from features.events import CONTROL_CHARACTERS
from features.identities import MARK, Space, Spaces
from features.identity_log import Identities
from features.lake import Lake
from features.mapping import SOURCE_NAME
from features.pseudonyms import open_pseudonyms
from pipelines.audit import by_command, record
from pipelines.current_lake import lake_up_to_date, open_database
from pipelines.errors import CommandError
from pipelines.invocation import Invocation, JsonFlag
from pipelines.link_changes import LinkChange, change_links
from pipelines.source_ids import require_unambiguous

if TYPE_CHECKING:
    from rich.console import RenderableType

BY_HAND = "by hand"
LINES_SHOWN = 20

app = typer.Typer()

One = Annotated[str, typer.Argument(metavar="ID", help="An id: plain, or SPACE:ID.")]
Other = Annotated[str, typer.Argument(metavar="OTHER", help="Another id of the same customer.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="What the log is to say about it.")]


@app.callback(invoke_without_command=True)
def before_identities(ctx: typer.Context) -> None:
    """Join ids of one customer, part them again, and see why they belong together."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command("link")
def link_command(
    ctx: typer.Context,
    one: One,
    other: Other,
    why: Why = BY_HAND,
    new_space: Annotated[
        bool, typer.Option("--new-space", help="A space that never came up may be named.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Join two ids: from now on both are one customer, with the history of both.

    Events keep the ids they came with; whoever reads them sees the customer. Memory, profile and tags are put
    right at once, also while the service runs.

    \b
    [bold]Examples[/bold]
      tagtide identities link 1098 pos:77
      tagtide identities link 1098 unionid:oX3f --why "asked at the counter"
    """
    invocation = ctx.ensure_object(Invocation)
    home, now = invocation.home(), datetime.now(UTC)

    def link(_: sa.Engine, identities: Identities) -> None:
        ids = [_known_id(home, identities, text, may_begin_space=new_space) for text in (one, other)]
        identities.link(*ids, why=why, at=now)

    _change(invocation, "link", link, one, as_json)


@app.command("unlink")
def unlink_command(
    ctx: typer.Context, one: One, other: Other, why: Why = BY_HAND, as_json: JsonFlag = False
) -> None:
    """Take the link between two ids back: everything is as it was without it.

    Two ids may belong together by way of others: `tagtide identities show` names the links.

    \b
    [bold]Examples[/bold]
      tagtide identities unlink 1098 pos:77
    """
    invocation = ctx.ensure_object(Invocation)
    now = datetime.now(UTC)

    def unlink(_: sa.Engine, identities: Identities) -> None:
        spaces = identities.resolution().spaces
        identities.unlink(spaces.canonical(one), spaces.canonical(other), why=why, at=now)

    _change(invocation, "unlink", unlink, one, as_json)


@app.command("show")
def show_command(
    ctx: typer.Context,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="One of the customer's ids.")],
    as_json: JsonFlag = False,
) -> None:
    """Show every id of a customer, how many events came under each, and the links between them.

    \b
    [bold]Examples[/bold]
      tagtide identities show pos:77
    """
    invocation = ctx.ensure_object(Invocation)
    payload = shown(invocation.home(), invocation.settings, customer)
    record(invocation, by_command("read", "identities show", 1, customer))
    invocation.emit(payload, _as_table(payload), as_json)


@app.command("log")
def log_command(
    ctx: typer.Context,
    last: Annotated[int | None, typer.Option("--last", min=1, help="Only so many lines, the latest.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what was linked and unlinked, when and why, oldest first.

    \b
    [bold]Examples[/bold]
      tagtide identities log --last 20
    """
    invocation = ctx.ensure_object(Invocation)
    with open_database(invocation.home(), invocation.settings) as engine:
        lines = Identities(engine).log()
    lines = lines if last is None else lines.tail(last)
    payload = {"lines": lines.to_dicts()}
    invocation.emit(payload, _lines_table(payload["lines"]), as_json)


def shown(home: Home, settings: Settings, customer: str) -> dict[str, Any]:
    """Return what is known of a customer's ids.

    Returns
    -------
    ``customer_id``, the surviving one; ``ids`` with the events stored under each; ``links`` with their log
    line.
    """
    lake_up_to_date(home, settings)
    with open_database(home, settings) as engine:
        identities = Identities(engine, open_pseudonyms(home, settings, engine))
        resolution, log = identities.resolution(), identities.log()
    members = resolution.members(customer)
    spaces = resolution.spaces
    stored = Lake(home.lake).read(columns=["customer_id"], customers=resolution.spellings(members))
    counts = dict(spaces.canonical_column(stored["customer_id"]).value_counts().iter_rows())
    in_force = resolution.links.filter(pl.col("left").is_in(pl.Series(members).implode()))
    links = log.join(in_force, on=["left", "right"], how="semi").unique(
        ["left", "right"], keep="last", maintain_order=True
    )
    return {
        "customer_id": members[0],
        "ids": [{"id": one, "events": counts.get(one, 0)} for one in members],
        "links": links.to_dicts(),
    }


def _known_id(home: Home, identities: Identities, text: str, *, may_begin_space: bool) -> str:
    """Return an id as Tagtide writes it.

    Raises
    ------
    CommandError
        If it is none, or of a space that never came up.
    """
    spaces = identities.resolution().spaces
    canonical = spaces.canonical(text)
    is_clean = pl.select(~pl.lit(text).str.contains(CONTROL_CHARACTERS)).item()
    if not is_clean or not 1 <= len(canonical.encode()) <= ID_BYTES_MAX:
        raise CommandError(
            f"id {text[:ID_BYTES_MAX]!r}: expected 1 to {ID_BYTES_MAX} bytes, no control characters"
        )
    head, mark, _ = text.partition(MARK)
    if not mark or spaces.named_by(text) is not None:
        return canonical
    if may_begin_space and SOURCE_NAME.fullmatch(head):
        require_unambiguous(Lake(home.lake), head)
        identities.settle(Space(head, head + MARK, is_source=False))
        return identities.resolution().spaces.canonical(text)
    raise CommandError(
        f"id {text!r}: no space {head!r} has come up{did_you_mean(head, spaces.by_name)}",
        _next_step(spaces, text),
    )


def _next_step(spaces: Spaces, text: str) -> str:
    first = next((space.name for space in spaces.by_name.values() if not space.prefix), None)
    plain = "" if first is None else f"; a plain id that holds a colon is written {first}:{text}"
    return f"add --new-space if it is a new kind of id{plain}"


def _change(invocation: Invocation, operation: str, change: Any, one: str, as_json: bool) -> None:
    done = change_links(
        invocation.home(),
        invocation.settings,
        change,
        lambda: invocation.console.print("waiting for other commands on this home to end …"),
    )
    payload = _payload(done, one)
    record(invocation, by_command("link", operation, 1, payload["customer_id"]))
    invocation.emit(payload, _change_text(payload), as_json)


def _payload(done: LinkChange, one: str) -> dict[str, Any]:
    members = done.resolution.members(one)
    return {
        "customer_id": members[0],
        "ids": list(members),
        "customers_moved": done.customers,
        "events_moved": done.events,
    }


def _change_text(payload: dict[str, Any]) -> str:
    others = ", ".join(payload["ids"][1:])
    also = f", also known as {others}" if others else ", alone"
    return f"{payload['customer_id']}{also}; {payload['events_moved']:,} events moved"


def _as_table(payload: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    ids = Table("id", "events", box=None, pad_edge=False, header_style="bold")
    ids.title = f"Customer {payload['customer_id']}"
    ids.columns[1].justify = "right"
    for one in payload["ids"]:
        ids.add_row(one["id"], f"{one['events']:,}")
    return Group(ids, _lines_table(payload["links"])) if payload["links"] else ids


def _lines_table(lines: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table("line", "when", "", "id", "id", "why", box=None, pad_edge=False, header_style="bold")
    for line in lines:
        when = f"{line['at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(line["seq"]), when, line["operation"], line["left"], line["right"], line["why"])
    return table
