"""The daily refresh: what came in live goes to the lake, profiles are made anew, closed claims judged."""

from __future__ import annotations

import polars as pl

from configs.settings import Settings
from features.event_log import EventLog
from features.history import History
from features.lake import Lake
from features.packed_store import CUSTOMER_PROFILE, KEY_PROFILE, PackedStore
from features.publishing import key_rows, profile_rows
from features.tags import load_catalogue
from features.windows import from_us
from monitoring.closing import close_windows, closed_by
from monitoring.ledger import Ledger


def refresh_profiles(
    settings: Settings, store: PackedStore, log: EventLog, lake: Lake, boundary_us: int
) -> int:
    """Make every profile as of a day boundary and publish it.

    Parameters
    ----------
    boundary_us
        Day boundary, µs since the epoch.

    Returns
    -------
    Number of customers with a profile.
    """
    log.compact(lake)
    events = lake.read(known_by=from_us(boundary_us))
    if events.is_empty():
        return 0
    history = History(events, settings.zone, settings.publication_lag)
    store.put_many(KEY_PROFILE, key_rows(history, boundary_us))
    return store.put_many(CUSTOMER_PROFILE, profile_rows(history, boundary_us))


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
