"""How a home writes the ids of a source, decided at its first import and the same ever after."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import polars as pl
import sqlalchemy as sa

from configs.errors import did_you_mean
from configs.home import Home
from configs.settings import Settings
from features.errors import SourceError
from features.file_lock import SharedLock
from features.identities import MARK, Space, Spaces
from features.identity_log import Identities
from features.lake import Lake
from features.mapping import SourceMapping
from features.resolver import Resolver, open_resolver
from features.sources import SourceIds, imported_sources
from pipelines.current_lake import lake_up_to_date, open_database
from pipelines.link_changes import change_links

ANOTHER_NAME = "give it another name in its mapping"


def source_space(spaces: Spaces, mapping: SourceMapping) -> Space:
    """Return the space of a source's customer ids: the recorded one, or what it is to be.

    Raises
    ------
    SourceError
        If the mapping says that ids are shared with a source that is not known, or other than was recorded.
    """
    name, other = mapping.source, mapping.shares_customer_ids_with
    if other is not None and other not in spaces.sources:
        raise SourceError(
            f"source {name} shares its customer ids with {other!r}, which was never imported"
            f"{did_you_mean(other, spaces.sources)}",
            f"import {other} first",
        )
    recorded = spaces.by_name.get(name)
    if recorded is not None:
        if other is not None and recorded.prefix != spaces.prefix_of(other):
            raise SourceError(
                f"source {name}: 'shares_customer_ids_with' is {other!r}, "
                "but its customers were imported under ids of their own",
                "take the key out and link customers by `identities`, or begin another --home",
            )
        return Space(name, recorded.prefix, is_source=True)
    if other is not None:
        return Space(name, spaces.prefix_of(other), is_source=True)
    return Space(name, name + MARK if spaces.sources else "", is_source=True)


def ids_of(home: Home, resolver: Resolver, mapping: SourceMapping) -> SourceIds:
    """Return how a source's ids are written; nothing is recorded yet.

    Raises
    ------
    SourceError
        As `source_space`.
    """
    _adopt(home, resolver.identities)
    spaces = resolver.resolution().spaces
    space = source_space(spaces, mapping)
    return SourceIds(space.prefix, spaces.with_one(space), resolver.cover)


def record_space(identities: Identities, lake: Lake, ids: SourceIds, mapping: SourceMapping) -> None:
    """Record how a source's ids are written, before the first of them is stored.

    Parameters
    ----------
    lake
        With everything in it, also what was posted; nobody else writes to it meanwhile.
    ids
        As the source was read.

    Raises
    ------
    SourceError
        If another import has decided otherwise meanwhile, or stored ids look like this source's.
    """
    spaces = identities.resolution().spaces
    space = source_space(spaces, mapping)
    if space.prefix != ids.prefix:
        raise SourceError(
            f"source {mapping.source}: another source was imported meanwhile", "import this one again"
        )
    recorded = spaces.by_name.get(space.name)
    if recorded is None:
        require_unambiguous(lake, space.name)
    if recorded is None or not recorded.is_source:
        identities.settle(space)


def settled_ids(home: Home, settings: Settings, mapping: SourceMapping) -> SourceIds:
    """Return how a source's ids are written, and record it, for events that are posted instead of imported.

    Raises
    ------
    SourceError
        As `source_space` and `record_space`.
    """
    with SharedLock(home.jobs_lock).together(), open_database(home, settings) as engine:
        resolver = open_resolver(home, engine, settings)
        ids = ids_of(home, resolver, mapping)
        if mapping.source not in resolver.resolution().spaces.sources:
            lake = lake_up_to_date(home, settings)
            with lake.writing():
                record_space(resolver.identities, lake, ids, mapping)
    # Whether a customer was erased is for the service to say: it has the tombstones.
    return replace(ids, cover=None)


def require_unambiguous(lake: Lake, name: str) -> None:
    """Refuse a space's name if stored ids begin with it as if they were of the space.

    Raises
    ------
    SourceError
        If one does. No id is shown.
    """
    ids = Lake(lake.root).read(columns=["customer_id"])["customer_id"]
    count = int(ids.str.starts_with(name + MARK).sum())
    if count:
        raise SourceError(
            f"{count} stored events have a customer id that begins with {name + MARK!r}, "
            f"as ids of {name} would",
            ANOTHER_NAME,
        )


def link_identities(
    home: Home, settings: Settings, mapping: SourceMapping, pairs: pl.DataFrame, at: datetime
) -> int:
    """Link the ids that a source names for its customers.

    Parameters
    ----------
    pairs
        ``left``, ``right`` and ``event_time``: canonical ids, and when the latest event said so.

    Returns
    -------
    How many links are new.
    """
    if pairs.is_empty():
        return 0
    added = 0

    def add(engine: sa.Engine, identities: Identities) -> None:
        nonlocal added
        resolver = open_resolver(home, engine, settings)
        covered = [resolver.cover(pairs[side], pairs["event_time"]) for side in ("left", "right")]
        for name in mapping.identities:
            if name not in resolver.resolution().spaces.by_name:
                require_unambiguous(Lake(home.lake), name)
                identities.settle(Space(name, name + MARK, is_source=False))
        new = pairs.filter(~(covered[0] | covered[1]))
        added = identities.add_links(new, why=f"import {mapping.source}", at=at)

    change_links(home, settings, add)
    return added


def named_pairs(rows: pl.DataFrame, identities: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    """Return which ids a source's good rows say are one customer's.

    Parameters
    ----------
    rows, identities
        As `features.sources.SourceRows.good` and ``identities``.
    until
        Only what was known by then is said.

    Returns
    -------
    ``left``, ``right`` and ``event_time``, a row for each pair.
    """
    known = pl.lit(value=True) if until is None else pl.col("ingested_at") <= until
    said = rows.select("customer_id", "event_time", is_known=known)
    parts = [
        said.select("event_time", "is_known", left="customer_id", right=identities[name])
        .filter(pl.col("is_known") & pl.col("right").is_not_null())
        .group_by("left", "right", maintain_order=True)
        .agg(pl.col("event_time").max())
        for name in identities.columns
    ]
    schema = {"left": pl.String(), "right": pl.String(), "event_time": rows.schema["event_time"]}
    return pl.concat([pl.DataFrame(schema=schema), *parts])


def _adopt(home: Home, identities: Identities) -> None:
    """Record what an earlier version imported: it wrote every id as it was."""
    if identities.resolution().spaces.sources:
        return
    first = {name: _first_unprefixed(home, name) for name in imported_sources(home)}
    for name in sorted((name for name, at in first.items() if at), key=lambda name: first[name] or ""):
        identities.settle(Space(name, "", is_source=True))


def _first_unprefixed(home: Home, source: str) -> str | None:
    """Return when a version that knew no links first stored events of a source."""
    for path in sorted((home.sources / source).glob("import-*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if "linked" not in report and report["stored"] + report["duplicate"]:
            return str(report["at"])
    return None
