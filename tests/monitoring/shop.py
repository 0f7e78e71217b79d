"""A small shop's events and claims for the tests of this folder, and outcomes worked out the slow way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import sqlalchemy as sa

from features.events import EVENT_SCHEMA
from features.tags import Condition, TagFamily, load_catalogue
from features.windows import HOUR_US, to_us
from monitoring.ledger import Claim, Ledger

START = datetime(2026, 3, 2, tzinfo=UTC)
START_US = to_us(START)
FAMILIES = load_catalogue()
CATEGORIES = ("MILK", "BREAD", "CAT FOOD/WET", "茶")


def at(hours: float) -> datetime:
    """Return the instant so many hours after the start."""
    return START + timedelta(hours=hours)


def at_us(hours: float) -> int:
    """Return the same in microseconds."""
    return to_us(at(hours))


def event(
    customer: str, hours: float, event_type: str = "purchase", category: str | None = "MILK"
) -> dict[str, object]:
    """Return one event known when it happened."""
    return {
        "event_id": f"{customer}-{hours}-{event_type}-{category}",
        "customer_id": customer,
        "event_type": event_type,
        "event_time": at(hours),
        "ingested_at": at(hours),
        "item_id": None,
        "category": category,
        "brand": None if category is None else f"brand of {category}",
        "quantity": 1,
        "amount_minor": 199,
        "discount_minor": None,
        "coupon_minor": None,
        "order_id": None,
        "source": "shop",
    }


def events_of(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    """Return rows of the event schema, by time."""
    return pl.DataFrame(rows, schema=EVENT_SCHEMA).sort("event_time")


def random_events(seed: int, *, customers: int = 40, days: int = 12, a_day: int = 40) -> pl.DataFrame:
    """Return purchases, views and contacts of a random fortnight that began four days before the start."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(days * a_day):
        hours = float(rng.uniform(-96, 24 * days - 96))
        kind = ("purchase", "view", "contact")[int(rng.choice(3, p=[0.5, 0.35, 0.15]))]
        category = None if kind == "contact" else CATEGORIES[int(rng.integers(len(CATEGORIES)))]
        row = event(f"c{int(rng.integers(customers))}", hours, kind, category)
        rows.append({**row, "event_id": str(number)})
    return events_of(rows)


def claim(
    customer: str,
    hours: float,
    key: str | None = "MILK",
    *,
    family: str = "interest",
    probability: float = 0.85,
    lift: float | None = 2.5,
    is_control: bool = False,
) -> Claim:
    """Return one claim."""
    return Claim(
        customer_id=customer,
        family=family,
        tag_id=FAMILIES[family].tag_id(key) if family in FAMILIES else f"{family}:{key}",
        key=key,
        probability=probability * 0.7,
        probability_if_observed=probability,
        threshold=0.7,
        model_version="1",
        features_hash="00",
        assigned_at_us=at_us(hours),
        expires_at_us=at_us(hours) + 72 * HOUR_US,
        origin="event",
        kind="assigned",
        certified_precision=0.81,
        certified_lift=lift,
        is_control=is_control,
    )


def random_claims(seed: int, *, customers: int = 40, count: int = 300, hours: float = 120) -> list[Claim]:
    """Return interest and high_intent claims at random instants."""
    rng = np.random.default_rng(seed)
    claims = []
    for _ in range(count):
        who, when = f"c{int(rng.integers(customers))}", float(rng.uniform(0, hours))
        probability = round(float(rng.uniform(0.5, 0.99)), 2)
        if rng.random() < 0.25:
            claims.append(claim(who, when, None, family="high_intent", probability=probability, lift=1.3))
        else:
            key = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
            lift = 2.5 if key != "BREAD" else 1.5
            is_control = bool(rng.random() < 0.1)
            claims.append(claim(who, when, key, probability=probability, lift=lift, is_control=is_control))
    return claims


def slow_outcome(
    events: pl.DataFrame, customer: str, key: str | None, assigned_us: int, family: TagFamily
) -> str:
    """Judge one claim event by event, as the catalogue's words say."""

    theirs = events.filter(pl.col("customer_id") == customer).to_dicts()

    def seen(condition: Condition, with_key: bool) -> bool:
        return any(
            assigned_us + condition.not_before_minutes * 60_000_000
            < to_us(row["event_time"])
            <= assigned_us + condition.within_hours * HOUR_US
            and row["event_type"] in condition.any_of
            and (not with_key or row[family.key or ""] == key)
            for row in theirs
        )

    if seen(family.confirmed_by, family.confirmed_by.same_key):
        return "confirmed"
    if family.observed_if == "always" or seen(family.observed_if, False):
        return "refuted"
    return "unobserved"


def open_ledger(folder: Path) -> Ledger:
    """Return a ledger in a SQLite file."""
    return Ledger(sa.create_engine(f"sqlite:///{folder / 'ledger.db'}"))


def filled_ledger(folder: Path, claims: Sequence[Claim]) -> Ledger:
    """Return a ledger holding some claims."""
    ledger = open_ledger(folder)
    ledger.record(claims)
    return ledger
