"""Makes the application of a home: the one place where stores, models and clock are opened."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import polars as pl
import sqlalchemy as sa
from starlette.applications import Starlette

from configs.home import Home
from configs.settings import Settings
from configs.wecom import load_wecom
from features.database import one_at_a_time, open_engine
from features.event_log import EventLog
from features.file_lock import SharedLock
from features.lake import Lake
from features.lease import Lease
from features.packed_store import PackedStore, open_packed_store
from features.quarantine import Quarantine
from features.resolver import Resolver, open_resolver
from features.stored_ids import StoredIds
from features.tag_names import TagNames
from features.tombstones import ErasureKeys
from features.windows import compile_searches, to_us
from monitoring.audit import AuditLog
from monitoring.ledger import Ledger
from monitoring.tag_changes import TagChanges
from serving.api import create_app
from serving.audit_writer import AuditWriter
from serving.bundle_watch import POINTER, BundleWatch
from serving.clock import ReplayClock, WallClock
from serving.erasure import Erasures
from serving.idempotency import IdempotentReplies
from serving.leadership import STREAM_LEASE, Leadership
from serving.outreach import open_outreach
from serving.refresh import close_claims, refresh_profiles
from serving.scores import Scorer
from serving.stream import STREAM_MARK
from serving.tokens import TokenFile
from serving.upkeep import BOUNDARY_MARK
from serving.wecom_diff import WecomDiff
from serving.wecom_removals import WecomRemovals


def assemble(home: Home, settings: Settings, *, needs_models: bool = True) -> Starlette:
    """Open what a home holds and make the application of it.

    Parameters
    ----------
    needs_models
        Whether it is not ready before models are published.

    Raises
    ------
    TagtideError
        If a store, the log or the ledger cannot be opened, or no bearer token is set.
    """
    store = open_packed_store(home, settings)
    engine = open_engine(settings.database_url, home)
    with one_at_a_time(engine):
        resolver = open_resolver(home, engine, settings)
        lake, ledger = Lake(home.lake, resolver), Ledger(engine, resolver)
        stored_ids = StoredIds(lake)
        log, lease = EventLog(engine, stored_ids), Lease(engine, STREAM_LEASE)
        outreach = open_outreach(home, settings, engine, log, resolver)
        audit = audit_writer(home, settings, engine, resolver)
    jobs, online = SharedLock(home.jobs_lock), SharedLock(home.online_lock)
    wecom = load_wecom(home.root)
    names = TagNames(wecom.names)
    # Now, in a second or two a million events, and not while the first post waits.
    stored_ids.refresh()
    clock = WallClock() if settings.clock == "wall" else ReplayClock(start_of_replay(store, log, lake))
    # Contacts are stored under the ids they came with, so that links can be taken back.
    outreach.take_in(Lake(home.lake), clock.now_us())

    def load(named: Mapping[str, Mapping[str, Any]]) -> Scorer:
        from serving.scorer import load_scorer

        compile_searches()
        return load_scorer(home, settings, store, named)

    def refresh(boundary_us: int) -> None:
        # A replay refreshes from within the stream, which nobody who joins or erases customers runs beside.
        with jobs.together() if settings.clock == "wall" else nullcontext():
            refresh_profiles(settings, store, log, lake, boundary_us)
            close_claims(settings, lake, ledger, boundary_us)
            outreach.take_in(Lake(home.lake), clock.now_us())

    def close() -> None:
        store.close()
        engine.dispose()

    watch = BundleWatch(home.bundles / POINTER, load)
    return create_app(
        settings,
        store,
        log,
        ledger,
        watch,
        clock,
        refresh=refresh,
        quarantine=Quarantine(home.quarantine, resolver.barred, resolver.hidden),
        identities=resolver,
        outreach=outreach,
        names=names,
        replies=IdempotentReplies(engine),
        wecom=WecomDiff(TagChanges(engine), WecomRemovals(engine), resolver.identities, names, wecom),
        guard=online.together,
        watch=watch.check,
        needs_models=needs_models,
        close=close,
        tokens=TokenFile(home.tokens),
        audit=audit,
        eraser=Erasures(home, settings, resolver),
        leadership=Leadership(lease, store, home.processes),
        kept_ids=resolver.kept if settings.pseudonymous_ids else None,
    )


def audit_writer(home: Home, settings: Settings, engine: sa.Engine, resolver: Resolver) -> AuditWriter | None:
    """Open the audit log behind a thread of its own, unless the settings want none."""
    if not settings.audit:
        return None
    keys = ErasureKeys(home, settings.erasure_key)
    return AuditWriter(AuditLog(engine, keys, lambda: resolver.resolution().spaces))


def start_of_replay(store: PackedStore, log: EventLog, lake: Lake) -> int:
    """Return where a home's data end, microseconds since the epoch, UTC.

    A replay begins there: what is known already may not become unknown again.
    """
    known = lake.read(columns=["event_time", "ingested_at"]).select(
        pl.max_horizontal("event_time", "ingested_at").max()
    )
    latest = [store.mark(BOUNDARY_MARK) or 0, *(to_us(instant) for instant in known.to_series().drop_nulls())]
    applied = log.read_after((store.mark(STREAM_MARK) or 0) - 1, 1)
    return max([*latest, *(to_us(instant) for instant in applied["ingested_at"].to_list())])
