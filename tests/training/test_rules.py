from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from features.history import History
from features.outcomes import CONFIRMED, UNOBSERVED
from features.windows import HOUR_US, from_us, to_us
from tests.training.rhythmic_shop import AS_OF, ZONE, shop_history
from tests.training.trained_shop import HIGH_INTENT, INTEREST, attention_by_customer, outcome_by_hand
from training.rules import rule_precision_observed

DAYS = [AS_OF - timedelta(days=back) for back in (12, 8, 4)]


def test_the_rule_claims_whatever_was_looked_at_in_the_last_72_hours():
    _, history, _ = shop_history()
    outcomes = []
    for day in map(to_us, DAYS):
        for name, moments in attention_by_customer().items():
            lately = {key for at, key in moments if day - 72 * HOUR_US < at <= day}
            outcomes += [outcome_by_hand(name, key, day) for key in lately]
    observed = [one for one in outcomes if one != UNOBSERVED]
    expected = sum(one == CONFIRMED for one in observed) / len(observed)
    assert len(observed) > 100
    assert rule_precision_observed(history, INTEREST, DAYS) == pytest.approx(expected, abs=1e-12)


def test_without_a_key_the_rule_claims_everybody_active():
    events, history, _ = shop_history()
    own = events.filter(pl.col("event_type") != "contact")
    hits = []
    for day in DAYS:
        until = from_us(to_us(day))
        active = own.filter(
            (pl.col("event_time") <= until) & (pl.col("event_time") > until - timedelta(hours=72))
        )
        after = events.filter(
            (pl.col("event_type") == "purchase")
            & (pl.col("event_time") > until + timedelta(minutes=30))
            & (pl.col("event_time") <= until + timedelta(hours=72))
        )
        buyers = set(after["customer_id"])
        hits += [name in buyers for name in active["customer_id"].unique()]
    found = rule_precision_observed(history, HIGH_INTENT, DAYS)
    assert found == pytest.approx(np.mean(hits), abs=1e-12)


def test_where_nothing_was_observed_there_is_no_figure():
    events, _, _ = shop_history()
    ended = History(events.filter(pl.col("event_time") < from_us(to_us(DAYS[0]))), ZONE, timedelta(hours=6))
    assert math.isnan(rule_precision_observed(ended, INTEREST, [DAYS[0]]))
    assert math.isnan(rule_precision_observed(ended, INTEREST, []))
