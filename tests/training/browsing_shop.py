"""A small shop with views, carts, discounts and pauses, in which the families about not buying can be learnt.

Two customers in three decide: what they put in the cart they nearly always buy the next day, every other one
of them at a discount, and now and then they stay away for a fortnight. The third dreams: looks and fills the
cart as often, and hardly ever buys.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl

from configs.home import open_home
from configs.settings import Settings, load_settings
from features.events import EVENT_SCHEMA
from features.tags import TagFamily, load_catalogue
from features.windows import DAY_US, HOUR_US, from_us, to_us
from tests.training.rhythmic_shop import OPENED, join_directly
from training.artifact import Bundle
from training.datasets import SamplingBudget
from training.tag_data import TagData, tag_data
from training.tags import train_tags
from training.workbench import Budget, Workbench

CUSTOMERS, DAYS, PAUSE_DAYS = 240, 140, 14
AS_OF = from_us(to_us(OPENED) + (DAYS - 10) * DAY_US)
"""The last days are for a service to be told of."""
BUDGET = Budget(SamplingBudget(fit=5000, calibrate=3600, certify=4000))
FAMILIES = ("cart_abandoner", "browsing_no_order", "slipping_away", "deal_seeker")


def is_dreamer(customer: int) -> bool:
    return customer % 3 == 0


def is_bargain_hunter(customer: int) -> bool:
    return customer % 2 == 0


@cache
def browsing_events(seed: int = 0) -> pl.DataFrame:
    """Draw the shop's events."""
    rng = np.random.default_rng(seed)
    who = np.arange(CUSTOMERS)
    dreams, hunts = who % 3 == 0, who % 2 == 0
    away = (rng.random((CUSTOMERS, DAYS // PAUSE_DAYS)) < 0.2) & ~dreams[:, None]
    there = ~np.repeat(away, PAUSE_DAYS, axis=1)
    visitor, day = np.nonzero((rng.random((CUSTOMERS, DAYS)) < 0.4) & there)
    at = day * DAY_US + rng.integers(9 * HOUR_US, 20 * HOUR_US, len(day))
    filled = rng.random(len(day)) < 0.8
    bought = filled & (rng.random(len(day)) < np.where(dreams[visitor], 0.04, 0.9))
    cheap = rng.random(len(day)) < np.where(hunts[visitor], 0.95, 0.05)
    minute = HOUR_US // 60
    parts = [
        _part("view", visitor, at),
        _part("view", visitor, at + 3 * minute),
        _part("add_to_cart", visitor[filled], at[filled] + 5 * minute),
        _part("purchase", visitor[bought], at[bought] + 20 * HOUR_US, np.where(cheap[bought], 200, 50)),
    ]
    return (
        pl.concat(parts)
        .sort("event_time", "customer_id", "event_type")
        .with_columns(event_id=pl.format("e{}", pl.int_range(pl.len())))
    )


def _part(
    event_type: str, who: np.ndarray[Any, Any], offset_us: np.ndarray[Any, Any], discount: Any = None
) -> pl.DataFrame:
    made = dict.fromkeys(EVENT_SCHEMA)
    made |= {
        "customer_id": pl.Series(who).cast(pl.String),
        "event_type": event_type,
        "event_time": pl.Series(offset_us + to_us(OPENED)).cast(EVENT_SCHEMA["event_time"]),
        "category": "tea",
        "quantity": 1,
        "source": "shop",
    }
    if discount is not None:
        made |= {"amount_minor": 1000, "discount_minor": pl.Series(discount)}
    return (
        pl.DataFrame(made)
        .with_columns(ingested_at=pl.col("event_time"))
        .select(pl.col(name).cast(dtype) for name, dtype in EVENT_SCHEMA.items())
    )


def shop_settings(home: Any) -> Settings:
    return load_settings(home, {"TAGTIDE_THREADS": "1", "TAGTIDE_TIME_ZONE": "UTC"}).settings


@cache
def browsing_bench(folder: Any) -> Workbench:
    """Look at what was known by `AS_OF`."""
    known = browsing_events().filter(pl.col("event_time") <= AS_OF)
    home = open_home(folder / "browsing", create=True)
    return Workbench(known, AS_OF, shop_settings(home.root), load_catalogue(), BUDGET)


@cache
def browsing_data(folder: Any, name: str) -> TagData:
    bench = browsing_bench(folder)
    family = bench.families[name]
    join = join_directly(bench.history, family)
    return tag_data(bench.judge, family, bench.rows_of(family), bench.claims(family), join)


@cache
def browsing_bundle(folder: Any, name: str) -> Bundle:
    bench = browsing_bench(folder)
    family: TagFamily = bench.families[name]
    return train_tags(
        bench.history,
        bench.judge,
        family,
        browsing_data(folder, name),
        bench.rows_of(family),
        as_of=AS_OF.isoformat(),
        seed=1,
        threads=1,
        fingerprint={"rows": 1},
    )
