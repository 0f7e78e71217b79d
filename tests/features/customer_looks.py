"""One look at a customer, in bulk and from what the online store holds: both must see the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from features import customer
from features.history import History
from features.live import LiveCustomers
from features.packed_memory import pack_memories
from features.publishing import profile_rows
from features.windows import to_us
from tests.features.streams import event, frame

LAG = timedelta(hours=1)
Row = dict[str, Any]


def seen(at: datetime, event_type: str, *, late: timedelta = timedelta(0), **columns: Any) -> Row:
    """One event of customer ``a``; ``late`` after it happened it became known."""
    return event(0, "a", event_type, at, late, **columns)


def look(rows: Sequence[Row], now: datetime, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return features of customer ``a`` by name, by default all; the business zone is that of ``now``."""
    numbered = [row | {"event_id": f"e{number}"} for number, row in enumerate(rows)]
    zone, now_us = now.tzinfo, to_us(now)
    assert isinstance(zone, ZoneInfo)
    history = History(frame(numbered), zone, LAG)
    in_bulk = customer.CATALOGUE.compute(
        history.customer_rows(history.numbers(["a"]), np.array([now_us])), names
    )
    boundary = int(history.boundary(np.array([now_us]))[0])
    memory = pack_memories(frame(numbered), now_us).get("a")
    profile = next(iter(profile_rows(history, boundary)), None)
    online = customer.CATALOGUE.compute(
        LiveCustomers(["a"], [memory], [profile], now_us, boundary, {}, zone).rows, names
    )
    np.testing.assert_equal(online, in_bulk)
    return {name: values[0].item() for name, values in in_bulk.items()}
