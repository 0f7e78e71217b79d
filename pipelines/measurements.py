"""Figures that outcomes cannot tell, written into a home's ledger for its reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from configs.home import Home
from configs.settings import Settings

if TYPE_CHECKING:
    from monitoring.ledger import Ledger


@contextmanager
def open_ledger(home: Home, settings: Settings) -> Iterator[Ledger]:
    """Open the ledger of a home."""
    from features.database import open_engine
    from monitoring.ledger import Ledger

    engine = open_engine(settings.database_url, home)
    try:
        yield Ledger(engine)
    finally:
        engine.dispose()


def record_measurement(
    home: Home, settings: Settings, name: str, value: float, at: datetime, how: str
) -> None:
    """Write a measured figure down.

    Parameters
    ----------
    name
        ``event_to_tag_p99_ms`` or ``clv_bias``.
    at
        Aware; a report told from an earlier instant does not show it.
    how
        One sentence: on what it was measured.
    """
    from features.windows import to_us
    from monitoring.ledger import Measurement

    with open_ledger(home, settings) as ledger:
        ledger.record_measurement(Measurement(name, value, to_us(at), how))
