"""The daily refresh: posted events go to the lake, profiles to the new day, and closed claims are judged."""

from __future__ import annotations

import logging

import polars as pl

from configs.settings import Settings
from features.event_log import EventLog
from features.lake import Lake
from features.packed_memory import SHORT_MEMORY_US
from features.packed_store import CUSTOMER_MEMORY, PackedStore
from features.profile_refresh import Refreshed, refresh_from_lake
from features.tags import load_catalogue
from features.windows import from_us
from monitoring.closing import close_windows, closed_by
from monitoring.ledger import Ledger

logger = logging.getLogger(__name__)


def refresh_profiles(
    settings: Settings, store: PackedStore, log: EventLog, lake: Lake, boundary_us: int
) -> Refreshed:
    """Bring every profile to a day boundary: whoever can have changed is computed, the others are carried on.

    Short memories in which nothing is left are cleared away with it.

    Parameters
    ----------
    boundary_us
        Day boundary, µs since the epoch.

    Raises
    ------
    FeatureStoreError
        If fewer profiles are stored afterwards than there should be.
    """
    log.compact(lake)
    done = refresh_from_lake(store, lake, boundary_us, settings.zone, settings.publication_lag)
    store.prune(CUSTOMER_MEMORY, boundary_us - SHORT_MEMORY_US)
    logger.info(
        "%s refresh%s: %d of %d customers and %d of %d categories and brands computed",
        done.how,
        f" because {done.why_full}" if done.why_full else "",
        done.computed,
        done.customers,
        done.keys_computed,
        done.keys,
    )
    return done


def close_claims(settings: Settings, lake: Lake, ledger: Ledger, now_us: int) -> int:
    """Judge the claims whose window has closed, by what the lake holds.

    Returns
    -------
    Number of claims judged.
    """
    due = ledger.open_claims(closed_by(now_us, settings.lateness_allowance))
    if due.is_empty():
        return 0
    first = from_us(int(due.select(pl.col("assigned_at_us").min()).item()))
    events = lake.read(known_by=from_us(now_us), since=first)
    return close_windows(ledger, events, load_catalogue(), now_us, settings.lateness_allowance).judged
