"""`tagtide features`: features at decision instants for training, and what the online store serves from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from configs.home import Home
from configs.settings import Settings
from pipelines.instants import AsOf, instant_option
from pipelines.invocation import Invocation, JsonFlag

if TYPE_CHECKING:
    from features.history import History
    from features.profile_refresh import Refreshed
    from features.tags import TagFamily
    from training.datasets import DecisionRows
    from training.workbench import Budget, Workbench

Say = Callable[[str], None]


@dataclass(frozen=True)
class FeaturesReport:
    """What was computed.

    Attributes
    ----------
    as_of
        The instant, ISO.
    customers
        Customers with a profile at the latest day boundary before it.
    snapshots
        Rows at decision instants, per feature view.
    online
        Keys in the online store, per feature view, counted afterwards.
    profiles
        ``how`` profiles were brought up to date (``full``, ``incremental`` or ``unchanged``), ``why_full``,
        and how many ``customers_computed``, ``keys_computed``, ``removed`` and ``memories_written``.
    """

    as_of: str
    customers: int
    snapshots: dict[str, int]
    online: dict[str, int]
    profiles: dict[str, str | int] = field(default_factory=dict)


def latest_known(home: Home, settings: Settings) -> datetime:
    """Return when the last event became known, imported or posted: the default ``--as-of``.

    Raises
    ------
    MissingStepError
        If there is no event.
    """
    from pipelines.current_lake import lake_up_to_date
    from pipelines.errors import MissingStepError

    times = lake_up_to_date(home, settings).read(columns=["event_time", "ingested_at"])
    latest = times.select(pl.max_horizontal("event_time", "ingested_at").max()).item()
    if not isinstance(latest, datetime):
        raise MissingStepError(f"home {home.root} has no events", "run `tagtide import SOURCE` first")
    return latest


def asked_or_latest(home: Home, settings: Settings, as_of: str | None) -> datetime:
    """Return the instant that ``--as-of`` names, or `latest_known` where it was not given.

    Raises
    ------
    CommandError
        If it is no ISO 8601 instant, or there is no event to take the latest of.
    """
    return latest_known(home, settings) if as_of is None else instant_option(as_of, "--as-of", settings.zone)


def open_workbench(
    home: Home, settings: Settings, as_of: datetime, say: Say, budget: Budget | None = None
) -> Workbench:
    """Read everything known by an instant, as training needs it.

    Parameters
    ----------
    budget
        How much of it to look at; None for the default.

    Raises
    ------
    MissingStepError
        If there is no event.
    TrainingDataError
        If none was known by then.
    """
    from features.tags import load_catalogue
    from pipelines.current_lake import lake_up_to_date
    from pipelines.errors import MissingStepError
    from training.workbench import Budget, Workbench

    say("reading the lake")
    lake = lake_up_to_date(home, settings)
    if lake.is_empty():
        raise MissingStepError(f"home {home.root} has no events", "run `tagtide import SOURCE` first")
    return Workbench(lake.read(known_by=as_of), as_of, settings, load_catalogue(), budget or Budget())


def write_snapshots(
    home: Home,
    settings: Settings,
    bench: Workbench,
    decisions: Sequence[DecisionRows],
    say: Say,
    families: Sequence[TagFamily] = (),
) -> dict[str, int]:
    """Compute features at every decision instant of a workbench and register them with Feast.

    Parameters
    ----------
    decisions
        The rows whose customer features are wanted.
    families
        Tag families whose features of categories or brands are wanted as well.
    """
    from features import affinity, customer
    from features.feast_objects import BRAND_SNAPSHOT, CATEGORY_SNAPSHOT, CUSTOMER_SNAPSHOT
    from features.store import apply, write_snapshot
    from training.datasets import DecisionRows, customer_snapshot

    apply(home, settings, customer.catalogue(), affinity.catalogue())
    views = {"category": CATEGORY_SNAPSHOT, "brand": BRAND_SNAPSHOT}
    say("computing customer features")
    written = {
        CUSTOMER_SNAPSHOT: write_snapshot(
            home, CUSTOMER_SNAPSHOT, customer_snapshot(bench.history, DecisionRows.joined(decisions))
        )
    }
    for key, view in views.items():
        of_key = [family for family in families if family.key == key]
        if of_key:
            say(f"computing features of customers and each {key}")
            written[view] = write_snapshot(home, view, bench.pair_snapshot(*of_key))
    return written


@dataclass(frozen=True)
class Published:
    """What went online.

    Attributes
    ----------
    refreshed
        What was done with the profiles.
    memories_written
        Short memories that were not online as they are now.
    online
        Keys in the online store, per feature view, counted afterwards.
    """

    refreshed: Refreshed
    memories_written: int
    online: dict[str, int]


def publish_profiles(
    home: Home,
    settings: Settings,
    events: pl.DataFrame,
    history: History,
    as_of: datetime,
    say: Say,
    *,
    full: bool = False,
) -> Published:
    """Bring memories and profiles in Parquet and in the online store to an instant, and count them online.

    Parameters
    ----------
    events, history
        What is known by the instant.
    full
        Compute every profile, also of customers who cannot have changed since those stored.
    """
    import numpy as np

    from features import affinity, customer
    from features.feast_objects import VIEWS
    from features.known_events import KnownEvents
    from features.packed_memory import SHORT_MEMORY_US
    from features.packed_store import (
        CUSTOMER_MEMORY,
        CUSTOMER_PROFILE,
        KEY_PROFILE,
        LIFE_US,
        is_alive,
        open_packed_store,
    )
    from features.profile_refresh import ProfileRefresh
    from features.publishing import customer_frame, key_frame, memory_rows
    from features.store import apply, materialise, verify_online, write_snapshot
    from features.windows import to_us
    from serving.upkeep import BOUNDARY_MARK

    now_us = to_us(as_of)
    boundary = int(history.boundary(np.array([now_us]))[0])
    frames = {CUSTOMER_PROFILE: customer_frame, KEY_PROFILE: key_frame}
    apply(home, settings, customer.catalogue(), affinity.catalogue())
    with contextlib.closing(open_packed_store(home, settings)) as store:
        memories = [row for row in memory_rows(events, now_us) if is_alive(row, now_us, LIFE_US)]
        before = store.get_many(CUSTOMER_MEMORY, [row.key for row in memories], now_us=now_us, ttl_us=None)
        memories_written = sum(row != before.get(row.key) for row in memories)
        write_snapshot(home, CUSTOMER_MEMORY, customer_frame(memories))
        online = materialise(home, settings, as_of, [CUSTOMER_MEMORY], say)
        store.prune(CUSTOMER_MEMORY, boundary - SHORT_MEMORY_US)
        refresh = ProfileRefresh(store, KnownEvents(events, boundary), full=full)
        if refresh.why_full:
            say(f"packing every profile: {refresh.why_full}")
            refresh.begin()
            rows = {
                CUSTOMER_PROFILE: list(chain.from_iterable(refresh.all_customers(history))),
                KEY_PROFILE: refresh.all_keys(history),
            }
            for view, frame in frames.items():
                write_snapshot(home, view, frame(rows[view]))
            online |= materialise(home, settings, as_of, list(frames), say)
            done = refresh.finish("full", *(len(some) for some in rows.values()))
        else:
            say(f"packing the profiles of {len(refresh.changed):,} customers who can have changed")
            done = refresh.run(lambda _: history)
            for view, frame in frames.items():
                # The service refreshes the online store alone.
                if done.how != "unchanged" or not VIEWS[view].path(home).exists():
                    found = store.get_many(view, list(store.keys(view)), now_us=now_us, ttl_us=None)
                    write_snapshot(home, view, frame(found.values()))
                online[view] = verify_online(home, settings, view, as_of)
        # Profiles of a later day are not overwritten by older ones, so the mark stays with them.
        store.put_mark(BOUNDARY_MARK, max(boundary, store.mark(BOUNDARY_MARK) or boundary))
    return Published(done, memories_written, online)


def build_features(
    home: Home,
    settings: Settings,
    as_of: datetime,
    say: Say,
    budget: Budget | None = None,
    *,
    full: bool = False,
) -> FeaturesReport:
    """Compute snapshots, memories and profiles as of an instant, and bring them online.

    Parameters
    ----------
    budget
        How many decision instants; None for the default.
    full
        See `publish_profiles`.
    """
    from training.errors import TrainingDataError

    bench = open_workbench(home, settings, as_of, say, budget)
    snapshots: dict[str, int] = {}
    try:
        families = bench.chosen(())
        rows = [
            *bench.decision_rows(families),
            *(bench.propensity_rows(horizon) for horizon in bench.propensity_horizons()[0]),
        ]
    except TrainingDataError as error:
        # Too short a history to train on is no reason to forget it online.
        say(f"no features at decision instants: {error}")
    else:
        snapshots = write_snapshots(home, settings, bench, rows, say, families)
    done = publish_profiles(home, settings, bench.events, bench.history, as_of, say, full=full)
    profiles: dict[str, str | int] = {
        "how": done.refreshed.how,
        "why_full": done.refreshed.why_full,
        "customers_computed": done.refreshed.computed,
        "keys_computed": done.refreshed.keys_computed,
        "removed": done.refreshed.removed,
        "memories_written": done.memories_written,
    }
    return FeaturesReport(
        as_of.isoformat(), done.online["customer_profile"], snapshots, done.online, profiles
    )


def command(
    ctx: typer.Context,
    as_of: AsOf = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compute every profile, also of customers who cannot have changed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compute features as of an instant: for training, and for the online store.

    Registers the feature views with Feast, writes features at the decision instants of the slices that models
    are fitted, calibrated and certified on, and brings memories and profiles in the online store up to date.
    Only the profiles of customers who can have changed since are computed; the result is the same.

    \b
    [bold]Examples[/bold]
      tagtide features                      as of the last event known
      tagtide features --as-of 2017-10-31   as of that midnight
      tagtide features --full               and every profile anew
    """
    invocation = ctx.ensure_object(Invocation)
    home, settings = invocation.home(), invocation.settings
    instant = asked_or_latest(home, settings, as_of)
    with invocation.steps() as say:
        report = build_features(home, settings, instant, say, full=full)
    invocation.emit(vars(report), as_table(report), as_json)


def as_table(report: FeaturesReport) -> Any:
    """Show a report as a table."""
    from rich.table import Table

    table = Table(title=f"Features as of {report.as_of}")
    table.add_column("feature view")
    table.add_column("what")
    table.add_column("rows", justify="right")
    for what, counts in (("at decision instants", report.snapshots), ("online", report.online)):
        for view, count in counts.items():
            table.add_row(view, what, f"{count:,}")
    table.caption = _said_of_profiles(report)
    return table


def _said_of_profiles(report: FeaturesReport) -> str:
    did = report.profiles
    if not did:
        return ""
    if did["how"] == "unchanged":
        return f"profiles were up to date; {did['memories_written']:,} memories written"
    why = f", because {did['why_full']}" if did["why_full"] else ""
    computed = f"{did['customers_computed']:,} customers and {did['keys_computed']:,} keys computed"
    return (
        f"{did['how']} refresh{why}: {computed}, {did['removed']:,} removed; "
        f"{did['memories_written']:,} memories written"
    )
