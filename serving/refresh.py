"""The daily refresh: what came in live goes to the lake, and everybody's profile is made anew."""

from __future__ import annotations

from configs.settings import Settings
from features.event_log import EventLog
from features.history import History
from features.lake import Lake
from features.packed_store import CUSTOMER_PROFILE, KEY_PROFILE, PackedStore
from features.publishing import key_rows, profile_rows
from features.windows import from_us


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
