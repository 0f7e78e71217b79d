"""The lake with everything in it that was posted so far."""

from __future__ import annotations

from configs.home import Home
from configs.settings import Settings
from features.event_log import EventLog, open_engine
from features.lake import Lake


def lake_up_to_date(home: Home, settings: Settings) -> Lake:
    """Move what was posted from the event log, where there is one, to the lake, and return the lake."""
    lake = Lake(home.lake)
    if settings.database_url is not None or home.database.exists():
        engine = open_engine(settings.database_url, home)
        try:
            EventLog(engine).compact(lake)
        finally:
            engine.dispose()
    return lake
