"""Customers who spend, are contacted and redeem, as rows of the event schema."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from features.events import EVENT_SCHEMA

START = datetime(2024, 1, 1, 12, tzinfo=UTC)

Row = tuple[str, str, float, dict[str, Any]]
"""Customer, event type, day since `START`, and further columns."""


def events_of(rows: Sequence[Row]) -> pl.DataFrame:
    found = []
    for number, (name, kind, day, more) in enumerate(rows):
        at = START + timedelta(days=day)
        found.append(
            dict.fromkeys(EVENT_SCHEMA)
            | {
                "event_id": f"e{number}",
                "customer_id": name,
                "event_type": kind,
                "event_time": at,
                "ingested_at": at,
                "quantity": 1,
                "source": "shop",
            }
            | more
        )
    return pl.DataFrame(found, schema=EVENT_SCHEMA)


def bought(name: str, day: float, amount: int, **more: Any) -> Row:
    return name, "purchase", day, {"amount_minor": amount} | more


def contacted(name: str, day: float, campaign: str | None = "c1", **more: Any) -> Row:
    return name, "contact", day, {"item_id": campaign} | more


def redeemed(name: str, day: float, off: int, **more: Any) -> Row:
    return name, "coupon", day, {"coupon_minor": off} | more
