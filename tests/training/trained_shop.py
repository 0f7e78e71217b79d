"""Tags trained once on the rhythmic shop, and its outcomes judged the long way."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED
from features.tags import TagFamily, load_catalogue
from features.windows import HOUR_US
from tests.training.rhythmic_shop import AS_OF, join_directly, shop_decisions, shop_history
from training.artifact import Bundle
from training.datasets import DecisionRows, PairDecisions, key_frame, pair_decisions
from training.tag_data import TagData, tag_data
from training.tag_model import TagModel, TagScores
from training.tags import train_tags

INTEREST, HIGH_INTENT = (load_catalogue()[name] for name in ("interest", "high_intent"))
HALF_AN_HOUR, HOURS_72 = HOUR_US // 2, 72 * HOUR_US


@cache
def interest_data() -> TagData:
    _, history, judge = shop_history()
    rows = shop_decisions()
    claims = pair_decisions(history, "category", rows, INTEREST)
    return tag_data(judge, INTEREST, rows, claims, join_directly(history, INTEREST))


@cache
def high_intent_data() -> TagData:
    _, history, judge = shop_history()
    rows = shop_decisions()
    everybody = PairDecisions(np.arange(len(rows)), np.zeros(len(rows), np.int64), key_frame(history, rows))
    return tag_data(judge, HIGH_INTENT, rows, everybody, join_directly(history, HIGH_INTENT))


def trained(family: TagFamily, data: TagData) -> Bundle:
    _, history, judge = shop_history()
    return train_tags(
        history,
        judge,
        family,
        data,
        shop_decisions(),
        as_of=AS_OF.isoformat(),
        seed=1,
        threads=1,
        fingerprint={"rows": 1},
    )


@cache
def interest_bundle() -> Bundle:
    return trained(INTEREST, interest_data())


@cache
def high_intent_bundle() -> Bundle:
    return trained(HIGH_INTENT, high_intent_data())


def scored(data: TagData, model: TagModel, chosen: npt.NDArray[Any]) -> TagScores:
    return model.score(
        {name: values[chosen] for name, values in data.affinities.items()},
        data.customers,
        data.pairs.row[chosen],
        [data.keys[claim] for claim in chosen.tolist()],
    )


@cache
def attention_by_customer() -> dict[str, list[tuple[int, str]]]:
    events, _, _ = shop_history()
    attention = events.filter(pl.col("event_type").is_in(["view", "add_to_cart", "purchase"]))
    table: dict[str, list[tuple[int, str]]] = {}
    for name, at, category in attention.select(
        "customer_id", pl.col("event_time").dt.epoch("us"), "category"
    ).iter_rows():
        table.setdefault(name, []).append((at, category))
    return table


def outcome_by_hand(name: str, category: str, at: int) -> int:
    seen = {
        key
        for moment, key in attention_by_customer().get(name, [])
        if at + HALF_AN_HOUR < moment <= at + HOURS_72
    }
    return CONFIRMED if category in seen else REFUTED if seen else UNOBSERVED


def names_of(rows: DecisionRows) -> list[tuple[str, int]]:
    _, history, _ = shop_history()
    names = [history.columns.customers[number] for number in rows.customer.tolist()]
    return list(zip(names, rows.instant.tolist(), strict=True))
