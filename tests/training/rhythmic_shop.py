"""A small shop whose customers have habits that a model can learn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from features.events import EVENT_SCHEMA, INSTANT
from features.history import History
from features.outcomes import OutcomeJudge
from features.tags import TagFamily
from features.windows import DAY_US, HOUR_US, to_us
from training.datasets import (
    DecisionRows,
    PairDecisions,
    SamplingBudget,
    customer_snapshot,
    pair_snapshot,
    tag_decisions,
)
from training.splits import tag_slices

ZONE = ZoneInfo("Europe/London")
OPENED = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 150
LEFT = OPENED + timedelta(days=100)
AS_OF = datetime(2024, 5, 30, tzinfo=ZONE)
CATEGORIES = ("bread", "coffee", "eggs", "milk", "rice", "soap", "tea", "牛奶")
BUDGET = SamplingBudget(fit=6000, calibrate=3600, certify=4000)


def shop_events(customers: int = 300, days: int = DAYS, seed: int = 0) -> pl.DataFrame:
    """Draw events of customers who come every week or every other week.

    At a visit they nearly always buy their own category, often a second one, sometimes any. In between they
    search, and now and then look at something: what is looked at is nobody's habit. One in seven leaves after
    a hundred days.
    """
    rng = np.random.default_rng(seed)
    every = rng.choice([7, 14], customers)
    phase, hour = rng.uniform(0, every), rng.uniform(9, 19, customers)
    own = rng.integers(0, len(CATEGORIES), customers)
    second = rng.integers(0, len(CATEGORIES), customers)

    who, visit = np.nonzero(np.ones((customers, days // 7 + 1), bool))
    day = np.floor(phase[who]) + visit * every[who]
    came = (day < days) & (rng.random(len(who)) < 0.93)
    who, day = who[came], day[came]
    at = (day * DAY_US + (hour[who] + rng.uniform(-2, 2, len(who))) * HOUR_US).astype(np.int64)
    any_category = rng.integers(0, len(CATEGORIES), len(who))
    lines = [
        (who[bought], at[bought], category[bought])
        for category, share in ((own[who], 0.96), (second[who], 0.6), (any_category, 0.25))
        for bought in [rng.random(len(who)) < share]
    ]
    bought_by, bought_at, bought = (np.concatenate([line[column] for line in lines]) for column in range(3))
    searcher, searched = _each_day(customers, days, 0.5, rng)
    looker, looked = _each_day(customers, days, 0.1, rng)
    parts = [
        _part("purchase", bought_by, bought_at, bought, 300),
        _part("search", searcher, searched, None, None),
        _part("view", looker, looked, rng.integers(0, len(CATEGORIES), len(looker)), None),
        _part("contact", *_each_day(customers, days, 0.02, rng), None, None),
    ]
    return (
        pl.concat(parts)
        .filter((pl.col("customer_id").cast(pl.Int64) % 7 > 0) | (pl.col("event_time") < LEFT))
        .sort("event_time", "customer_id", "event_type", "category")
        .with_columns(event_id=pl.format("e{}", pl.int_range(pl.len())))
        .select(pl.col(name).cast(dtype) for name, dtype in EVENT_SCHEMA.items())
    )


def _each_day(
    customers: int, days: int, share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    who, day = np.nonzero(rng.random((customers, days)) < share)
    return who, day * DAY_US + rng.integers(0, DAY_US, len(who))


def _part(
    event_type: str,
    who: npt.NDArray[np.int64],
    offset_us: npt.NDArray[np.int64],
    category: npt.NDArray[np.int64] | None,
    amount: int | None,
) -> pl.DataFrame:
    at = pl.Series(offset_us + to_us(OPENED)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    named = None if category is None else pl.Series(CATEGORIES).gather(category)
    return pl.DataFrame(
        {"customer_id": pl.Series(who).cast(pl.String), "event_time": at},
        schema_overrides={"event_time": INSTANT},
    ).with_columns(
        ingested_at=pl.col("event_time"),
        event_type=pl.lit(event_type),
        category=pl.lit(None, pl.String) if named is None else named,
        amount_minor=pl.lit(amount, pl.Int64),
        item_id=pl.lit(None, pl.String),
        brand=pl.lit(None, pl.String),
        quantity=pl.lit(1),
        discount_minor=pl.lit(None, pl.Int64),
        coupon_minor=pl.lit(None, pl.Int64),
        order_id=pl.lit(None, pl.String),
        source=pl.lit("shop"),
    )


@cache
def shop_history() -> tuple[pl.DataFrame, History, OutcomeJudge]:
    """Return the shop's events, its history, and the judge of its claims."""
    events = shop_events()
    history = History(events, ZONE, timedelta(hours=6))
    return events, history, OutcomeJudge(history.columns)


@cache
def shop_decisions() -> DecisionRows:
    """Return the decision rows of the shop's tag models."""
    _, history, _ = shop_history()
    return tag_decisions(history, tag_slices(AS_OF, OPENED, ZONE), BUDGET, seed=0)


def join_directly(history: History, family: TagFamily) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return what the feature service would answer, computed on the spot."""

    def join(entities: pl.DataFrame) -> pl.DataFrame:
        moments = entities.select("customer_id", "event_timestamp").unique(maintain_order=True)
        rows = decision_rows(history, moments)
        joined = entities
        if family.key is not None:
            texts = list(history.columns.texts(family.key))
            code = np.array([texts.index(key) for key in entities[family.key].to_list()], np.int64)
            number = moments.with_row_index("row")
            row = entities.join(number, on=moments.columns, how="left", maintain_order="left")["row"]
            claims = PairDecisions(row.to_numpy().astype(np.int64), code, entities)
            joined = pair_snapshot(history, family.key, rows, claims)
        return joined.join(
            customer_snapshot(history, rows), on=moments.columns, how="left", maintain_order="left"
        )

    return join


def decision_rows(history: History, entities: pl.DataFrame) -> DecisionRows:
    """Return entity columns as decision rows."""
    instant = entities["event_timestamp"].dt.epoch("us").to_numpy().astype(np.int64)
    nothing = np.zeros(len(instant), np.int64)
    return DecisionRows(history.numbers(entities["customer_id"].to_list()), instant, nothing, nothing)
