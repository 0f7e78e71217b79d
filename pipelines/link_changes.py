"""Adding and taking back links, and what has to follow at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

import polars as pl
import sqlalchemy as sa

from configs.home import Home
from configs.settings import Settings
from features.event_log import EventLog
from features.file_lock import SharedLock
from features.identities import Resolution
from features.identity_log import Identities
from features.lake import Lake
from features.packed_store import PackedStore, open_packed_store
from features.parked import Parked
from features.pseudonyms import open_pseudonyms
from pipelines.current_lake import open_database

LINKS_MARK = "identity_log_seq"
"""Progress mark: the online store knows customers as the identity log had them up to this line."""


@dataclass(frozen=True)
class LinkChange:
    """What came of a change of links.

    Attributes
    ----------
    customers
        Ids whose history is now another customer's than before.
    events
        Events stored under them.
    resolution
        Who is who now.
    """

    customers: int
    events: int
    resolution: Resolution


def change_links(
    home: Home,
    settings: Settings,
    change: Callable[[sa.Engine, Identities], object],
    on_wait: Callable[[], None] | None = None,
) -> LinkChange:
    """Change links while nobody else reads or writes customers in bulk, and put the online store right.

    What an earlier change could not finish, because its process ended, is finished first.

    Parameters
    ----------
    change
        Adds lines to the identity log.
    on_wait
        Called if commands or a service on this home have to be waited for.

    Raises
    ------
    TagtideError
        If the change is not possible, or a store refuses.
    """
    jobs, online = SharedLock(home.jobs_lock), SharedLock(home.online_lock)
    with jobs.alone(on_wait), online.alone(on_wait), open_database(home, settings) as engine:
        identities = Identities(engine, open_pseudonyms(home, settings, engine))
        log = EventLog(engine)
        with contextlib.closing(open_packed_store(home, settings)) as store:
            if store.mark(LINKS_MARK) is None:
                store.put_mark(LINKS_MARK, _last_line(identities))
            parts = _Parts(home, settings, store, log, identities, Parked(engine))
            _follow(parts)
            change(engine, identities)
            return _follow(parts)


@dataclass(frozen=True)
class _Parts:
    home: Home
    settings: Settings
    store: PackedStore
    log: EventLog
    identities: Identities
    parked: Parked


def _follow(parts: _Parts) -> LinkChange:
    """Bring the online store up to the identity log."""
    from features.profile_refresh import refresh_from_lake
    from serving.merges import move
    from serving.upkeep import BOUNDARY_MARK

    done, last = parts.store.mark(LINKS_MARK) or 0, _last_line(parts.identities)
    after = parts.identities.resolution()
    lines = parts.identities.log().filter(pl.col("seq") > done)
    if lines.is_empty():
        return LinkChange(0, 0, after)
    raw = Lake(parts.home.lake)
    parts.log.compact(raw)
    before = parts.identities.resolution_at(done)
    ids: Collection[str] = pl.concat([lines["left"], lines["right"]]).unique().to_list()
    moved = move(parts.store, raw, parts.parked, before, after, ids)
    boundary_us = parts.store.mark(BOUNDARY_MARK)
    if boundary_us is not None and moved.events:
        lake, settings = Lake(parts.home.lake, after), parts.settings
        refresh_from_lake(parts.store, lake, boundary_us, settings.zone, settings.publication_lag)
    parts.store.put_mark(LINKS_MARK, last)
    return LinkChange(moved.customers, moved.events, after)


def _last_line(identities: Identities) -> int:
    log = identities.log()
    return 0 if log.is_empty() else int(log["seq"][-1])
