"""Customers simulated by the story that BG/NBD and Gamma-Gamma tell, as events of the schema."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from features.customer import CATALOGUE
from features.events import EVENT_SCHEMA
from features.history import History
from training.clv_inputs import ClvInputs
from training.model_inputs import customer_inputs
from training.spend_history import DAY_US, SpendHistory

START = datetime(2020, 1, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000


def day(number: float) -> int:
    """Return the instant so many days after the start, µs since the epoch."""
    return START_US + round(number * DAY_US)


def events(rows: list[tuple[str, float, int, str]]) -> pl.DataFrame:
    """Build events of the schema from (customer, day, minor units, type)."""
    times = [START + timedelta(microseconds=round(at * DAY_US)) for _, at, _, _ in rows]
    frame = pl.DataFrame(
        {
            "event_id": [str(number) for number in range(len(rows))],
            "customer_id": [row[0] for row in rows],
            "event_type": [row[3] for row in rows],
            "event_time": times,
            "ingested_at": times,
            "amount_minor": [row[2] for row in rows],
        },
        schema_overrides=EVENT_SCHEMA,
    )
    missing = [
        pl.lit(None, dtype).alias(name) for name, dtype in EVENT_SCHEMA.items() if name not in frame.columns
    ]
    return (
        frame.with_columns(*missing)
        .with_columns(quantity=pl.lit(1, pl.Int32), source=pl.lit("made"))
        .select(list(EVENT_SCHEMA))
    )


def shoppers(
    count: int,
    days: int,
    *,
    seed: int,
    season: Callable[[float], float] = lambda at: 1.0,
    joined_within: int = 60,
    dropout: float = 0.02,
) -> pl.DataFrame:
    """Simulate purchases: own rates and order values, a chance to leave, and a season that thins them."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        rate = generator.gamma(2.0, 0.05)
        value = generator.gamma(3.0, 1000)
        at = generator.uniform(0, joined_within)
        while at < days:
            if season(at) >= generator.random():
                rows.append((f"c{number:05d}", at, int(value * generator.gamma(4.0, 0.25)) + 1, "purchase"))
                if generator.random() < dropout:
                    break
            at += generator.exponential(1 / rate)
    return events(rows)


def kernel_features(frame: pl.DataFrame, history: SpendHistory) -> Callable[..., ClvInputs]:
    """Return the function the CLV model asks for features, on the real kernel."""
    memory = History(frame, ZoneInfo("UTC"), timedelta(hours=1))

    def features_at(customers: npt.NDArray[np.int64], at_us: int) -> ClvInputs:
        numbers = memory.numbers(history.customers[customers].tolist())
        rows = memory.customer_rows(numbers, np.full(len(numbers), at_us, np.int64))
        names = customer_inputs("clv")
        return ClvInputs.of(CATALOGUE.compute(rows, names), names)

    return features_at
