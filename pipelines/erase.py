"""`tagtide erase`: forget a customer everywhere, and keep them from coming back."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import sqlalchemy as sa
import typer

from configs.home import Home
from configs.settings import Settings
from features.errors import SourceError
from features.event_log import EVENT_LOG, EventLog
from features.file_lock import SharedLock
from features.lake import Lake
from features.packed_store import open_packed_store
from features.parked import Parked
from features.quarantine import Quarantine
from features.refused_ids import IdPlaces, rows_naming
from features.resolver import Resolver, open_resolver
from features.sources import imported_mapping
from monitoring.ledger import Ledger
from pipelines.current_lake import open_database
from pipelines.erased_files import empty_spill, forget_in_reports, forget_in_tables, leave_no_traces
from pipelines.errors import CommandError
from pipelines.invocation import Invocation, JsonFlag
from serving.idempotency import IdempotentReplies
from serving.wecom_removals import take_tags_off
from serving.wecom_state import WecomState

if TYPE_CHECKING:
    from rich.console import RenderableType

PLACES = {
    "lake": "events",
    "event_log": "posted events",
    "quarantine": "refused rows",
    "online_store": "memories, profiles and tags",
    "ledger": "claims, outcomes, transitions and served propensities",
    "feature_store": "rows of snapshots and profiles",
    "scores": "rows of batch scores",
    "reports": "mentions in reports",
    "identities": "links, and what was parked of them",
}
"""Where something is erased, and what. Models and their registry hold no id."""


@dataclass(frozen=True)
class Receipt:
    """What an erasure did; it names nobody.

    Attributes
    ----------
    erased_at
        ISO instant up to which events of this customer no longer come in.
    ids
        How many ids the customer had: all are gone.
    rows
        What was erased, by place.
    """

    erasure_id: str
    erased_at: str
    ids: int
    rows: dict[str, int]


def erase(
    home: Home,
    settings: Settings,
    customer: str,
    *,
    now: datetime,
    on_wait: Callable[[], None] | None = None,
) -> Receipt:
    """Erase everything of a customer, under all of their ids, and leave a tombstone for each id.

    Doing it again is harmless, and completes what was cut short. While it runs, no command and no refresh
    reads customers in bulk; posted events wait only while the online store is changed.

    Parameters
    ----------
    customer
        One of the customer's ids.
    now
        The present: what happens later is a new customer's.
    on_wait
        Called if others have to be waited for.

    Raises
    ------
    CommandError
        If nothing is known of such a customer.
    TagtideError
        If a store refuses; what was erased until then stays erased.
    """
    with SharedLock(home.jobs_lock).alone(on_wait), open_database(home, settings) as engine:
        resolver = open_resolver(home, engine, settings.erasure_key)
        resolution = resolver.resolution()
        members = resolution.members(customer)
        was_buried = bool(resolver.tombstones.until(members))
        take_tags_off(home, engine, members, resolution.spaces, now)
        # First of all: whatever comes in from now on finds the tombstones.
        resolver.tombstones.bury(members, now)
        ids = resolution.spellings(members)
        rows = dict.fromkeys(PLACES, 0)
        rows |= _forget_online(home, settings, engine, ids)
        lake = Lake(home.lake).forget(ids)
        rows["lake"] = lake.rows
        WecomState(home).forget(ids)
        rows["quarantine"] = _forget_refused(home, resolver, set(members))
        rows["feature_store"] = forget_in_tables(home.feature_store, ids)
        rows["scores"] = forget_in_tables(home.scores, ids)
        rows["reports"] = forget_in_reports(home.reports, ids) + forget_in_reports(home.sources, ids)
        empty_spill(home)
        # A replay refreshes profiles whenever its events say so: it may have had the lake as it was.
        again = _forget_online(home, settings, engine, ids)
        rows |= {place: rows[place] + count for place, count in again.items()}
        # Last, so that an erasure which was cut short still knows all ids when it is done again.
        rows["identities"] = resolver.identities.forget(members) + Parked(engine).forget(members)
        if not any(rows.values()) and not was_buried:
            resolver.tombstones.lift(members)
            raise CommandError(
                f"nothing is known of such a customer in {home.root}",
                "ids of further sources are written SOURCE:ID; see docs/identities.md",
            )
        erased_at = now if lake.latest is None else max(now, lake.latest)
        if erased_at > now:
            resolver.tombstones.bury(members, erased_at)
        erasure_id = resolver.tombstones.record(rows, erased_at)
    if engine.dialect.name == "sqlite" and engine.url.database:
        leave_no_traces(Path(engine.url.database))
    leave_no_traces(home.online_store)
    return Receipt(erasure_id, erased_at.isoformat(), len(members), rows)


def _forget_online(home: Home, settings: Settings, engine: sa.Engine, ids: Collection[str]) -> dict[str, int]:
    """Erase what the service reads and writes at any moment, while it does not."""
    from features.profile_refresh import take_off

    with SharedLock(home.online_lock).alone():
        # Nobody recorded whose ids are in them; without them a post that is sent again is carried out again.
        IdempotentReplies(engine).forget()
        theirs = EVENT_LOG.c.customer_id.in_(sorted(ids))
        log, ledger = EventLog(engine), Ledger(engine)
        with engine.begin() as connection:
            sources = (
                connection.execute(sa.select(EVENT_LOG.c.source).where(theirs).distinct()).scalars().all()
            )
        pairs = [(source, one) for source in sources for one in sorted(ids)]
        with contextlib.closing(open_packed_store(home, settings)) as store:
            return {
                "event_log": log.forget(pairs, None) if pairs else 0,
                "online_store": take_off(store, ids) + sum(store.erase(one) for one in sorted(ids)),
                "ledger": sum(ledger.forget(one) for one in sorted(ids)),
            }


def _forget_refused(home: Home, resolver: Resolver, members: set[str]) -> int:
    spaces = resolver.resolution().spaces

    def is_theirs(source: str, rows: pl.DataFrame) -> pl.Series:
        try:
            places = IdPlaces.of(imported_mapping(home, source), spaces.prefix_of(source), spaces)
        except SourceError:
            places = IdPlaces()
        return rows_naming(rows, places, spaces, members.intersection)

    return Quarantine(home.quarantine).forget(is_theirs)


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
    for place, what in PLACES.items():
        table.add_row(place.replace("_", " "), what, f"{receipt.rows[place]:,}")
    table.add_row("tombstones", f"events up to {receipt.erased_at} stay out", f"{receipt.ids:,}")
    return table
