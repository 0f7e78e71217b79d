"""The lake with everything in it that was posted so far, under the ids that customers have now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from configs.home import Home
from configs.settings import Settings
from features.database import open_engine
from features.event_log import EventLog
from features.identities import Resolution
from features.identity_log import Identities
from features.lake import Lake


@contextmanager
def open_database(home: Home, settings: Settings) -> Iterator[sa.Engine]:
    """Open the database of event log, ledger and identities, and close it in the end."""
    engine = open_engine(settings.database_url, home)
    try:
        yield engine
    finally:
        engine.dispose()


def open_lake(home: Home, settings: Settings) -> Lake:
    """Return the lake as it is."""
    if not _has_database(home, settings):
        return Lake(home.lake, Resolution())
    with open_database(home, settings) as engine:
        return Lake(home.lake, Identities(engine).resolution())


def lake_up_to_date(home: Home, settings: Settings) -> Lake:
    """Move what was posted from the event log, where there is one, to the lake, and return the lake."""
    if _has_database(home, settings):
        with open_database(home, settings) as engine:
            EventLog(engine).compact(Lake(home.lake))
    return open_lake(home, settings)


def _has_database(home: Home, settings: Settings) -> bool:
    return settings.database_url is not None or home.database.exists()
