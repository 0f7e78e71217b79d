"""`tagtide erase`: forget a customer everywhere, and keep them from coming back."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.audit import by_command, record
from pipelines.errors import CommandError
from pipelines.invocation import Invocation, JsonFlag
from serving.erasure import PLACES, Receipt, erase

if TYPE_CHECKING:
    from rich.console import RenderableType


def command(
    ctx: typer.Context,
    customer: Annotated[str, typer.Argument(help="One of the customer's ids, plain or SPACE:ID.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Forget a customer everywhere, under all ids they have, and do not take their past in again.

    Removes events, refused rows, links, memories, profiles, tags, claims, snapshots and scores. What stays is
    a keyed hash of each id, by which events up to this moment are dropped should they be imported or posted
    again. What happens later is a new customer's. It cannot be undone.

    \b
    [bold]Examples[/bold]
      tagtide erase 1098              asks first
      tagtide erase pos:1098 --yes    a customer of a further source
      tagtide erase 1098 --yes --json
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    if not yes:
        _confirm(invocation)
    receipt = erase(
        home,
        settings,
        customer,
        now=datetime.now(UTC),
        on_wait=lambda: invocation.console.print("waiting for other commands on this home to end …"),
    )
    record(invocation, by_command("erasure", receipt.erasure_id, 1, customer))
    invocation.emit(asdict(receipt), as_table(receipt), as_json)


def _confirm(invocation: Invocation) -> None:
    if not sys.stdin.isatty():
        raise CommandError("erasing asks first, and there is nobody to ask", "add --yes")
    invocation.console.print("Everything known of this customer will be gone for good.")
    if not typer.confirm("Erase?", err=True):
        raise CommandError("nothing was erased", "")


def as_table(receipt: Receipt) -> RenderableType:
    """Show a receipt as a table."""
    from rich.table import Table

    table = Table("where", "what", "erased", box=None, pad_edge=False, header_style="bold")
    table.title = f"Erasure {receipt.erasure_id}"
    table.columns[2].justify = "right"
    for place in PLACES:
        table.add_row(place.name.replace("_", " "), place.what, f"{receipt.rows[place.name]:,}")
    table.add_row("tombstones", f"events up to {receipt.erased_at} stay out", f"{receipt.ids:,}")
    return table
