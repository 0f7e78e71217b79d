from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from configs.settings import load_settings
from features.outcomes import CONFIRMED, UNOBSERVED
from features.tags import load_catalogue
from features.windows import DAY_US, to_us
from tests.training.made_spend import day, shoppers
from tests.training.rhythmic_shop import OPENED, join_directly, shop_events
from tests.training.trained_shop import INTEREST
from training.backtest import (
    CURVE_FIGURES,
    CURVE_PROMISES,
    BacktestDays,
    backtest_clv,
    backtest_propensity,
    backtest_rows,
    backtest_tags,
    span_days,
)
from training.datasets import TEST, SamplingBudget, customer_snapshot
from training.errors import TrainingDataError
from training.metrics import wilson_interval
from training.workbench import Budget, Workbench

AS_OF = datetime(2024, 5, 12, tzinfo=UTC)
DAYS = [AS_OF + timedelta(days=each) for each in range(0, 14, 2)]
SMALL = Budget(SamplingBudget(fit=4000, calibrate=2000, certify=3000), propensity_rows=3000)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return load_settings(tmp_path_factory.mktemp("home"), {"TAGTIDE_THREADS": "1"}).settings


@pytest.fixture(scope="module")
def bench(settings):
    return Workbench(shop_events(200), AS_OF, settings, load_catalogue(), SMALL, DAYS)


def test_the_days_are_every_second_midnight_whose_window_is_closed(settings):
    last = datetime(2024, 5, 30, 13, tzinfo=UTC)
    days = span_days(OPENED, last, settings, 72)
    assert days[-1] == datetime(2024, 5, 27, tzinfo=UTC)
    assert days[0] == datetime(2024, 4, 29, tzinfo=UTC)
    assert {after - before for before, after in pairwise(days)} == {timedelta(days=2)}
    assert span_days(OPENED, last, settings, 168)[-1] == datetime(2024, 5, 23, tzinfo=UTC)


def test_the_days_are_midnights_of_the_business_zone(settings):
    shanghai = settings.model_copy(update={"time_zone": "Asia/Shanghai"})
    days = span_days(OPENED, datetime(2024, 5, 30, 13, tzinfo=UTC), shanghai, 72)
    assert {instant.astimezone(shanghai.zone).hour for instant in days} == {0}


def test_too_short_a_span_is_refused_with_its_beginning(settings):
    with pytest.raises(TrainingDataError, match=f"the data begins {OPENED.date()}"):
        span_days(OPENED, OPENED + timedelta(days=100), settings, 72)


def test_tags_are_judged_by_what_happened_after_each_midnight(bench):
    found = backtest_tags(bench, INTEREST, lambda service, rows: join_directly(bench.history, INTEREST)(rows))
    assert 0.6 < found["precision_observed"] <= 1
    assert found["precision_strict"] <= found["precision_observed"]
    assert found["n_customer_days"] == int((bench.tag_rows.part == TEST).sum())
    assert found["n_assigned"] > 50
    assert set(found["certified"]).isdisjoint(each["tag"] for each in found["suspended"])
    assert all(each["reason"] for each in found["suspended"])
    assert {"precision_census", "precision_after_event"} <= set(found["certifying"])
    tried = round(found["n_assigned"] * found["precision_strict"] / found["precision_observed"])
    hits = round(found["n_assigned"] * found["precision_strict"])
    assert found["precision_wilson_low"] == pytest.approx(wilson_interval(hits, tried)[0])


def test_the_coverage_curve_tells_what_other_promises_would_have_come_to(bench):
    found = backtest_tags(bench, INTEREST, lambda service, rows: join_directly(bench.history, INTEREST)(rows))
    curve = {point["promise"]: point for point in found["coverage_curve"]}
    assert list(curve) == list(CURVE_PROMISES)
    own = curve[INTEREST.contract.precision]
    assert {name: own[name] for name in CURVE_FIGURES} == {name: found[name] for name in CURVE_FIGURES}
    assigned = [point["n_assigned"] for point in curve.values()]
    assert assigned[0] > assigned[-1]


def test_the_rule_of_the_backtest_counts_attention_of_the_last_72_hours(bench):
    found = backtest_tags(bench, INTEREST, lambda service, rows: join_directly(bench.history, INTEREST)(rows))
    events = bench.events.filter(pl.col("event_type").is_in(INTEREST.confirmed_by.any_of))
    outcomes = []
    for instant in DAYS:
        lately = events.filter(
            (pl.col("event_time") <= instant) & (pl.col("event_time") > instant - timedelta(hours=72))
        )
        after = events.filter(
            (pl.col("event_time") > instant + timedelta(minutes=30))
            & (pl.col("event_time") <= instant + timedelta(hours=72))
        )
        seen = set(after.select("customer_id", "category").iter_rows())
        active = set(after["customer_id"])
        for name, key in lately.select("customer_id", "category").unique().iter_rows():
            outcomes.append(
                CONFIRMED if (name, key) in seen else 1 - CONFIRMED if name in active else UNOBSERVED
            )
    observed = [one for one in outcomes if one != UNOBSERVED]
    assert found["rule_precision_observed"] == pytest.approx(np.mean([one == CONFIRMED for one in observed]))


def test_propensity_is_measured_on_those_active_in_the_last_30_days(bench, settings):
    days = BacktestDays(DAYS, "option")
    found = backtest_propensity(
        bench,
        "72h",
        days,
        lambda service, rows: join_directly(bench.history, load_catalogue()["high_intent"])(rows),
    )
    own = bench.events.filter(pl.col("event_type") != "contact")
    bought = bench.events.filter(pl.col("event_type") == "purchase")
    rows = hits = 0
    for instant in DAYS:
        before = own.filter(
            (pl.col("event_time") <= instant) & (pl.col("event_time") > instant - timedelta(days=30))
        )
        after = bought.filter(
            (pl.col("event_time") > instant) & (pl.col("event_time") <= instant + timedelta(hours=72))
        )
        names = set(before["customer_id"])
        rows, hits = rows + len(names), hits + len(names & set(after["customer_id"]))
    assert (found["rows"], found["base_rate"]) == (rows, pytest.approx(hits / rows))
    assert found["auc"] > 0.7
    assert found["auc"] > found["baseline_logistic"]["auc"]


def test_test_rows_are_those_active_before_each_day(bench):
    rows = backtest_rows(bench, DAYS, 72 * 3600 * 10**6)
    tested = bench.tag_rows.take(bench.tag_rows.part == TEST)
    assert set(zip(rows.customer.tolist(), rows.instant.tolist(), strict=True)) == set(
        zip(tested.customer.tolist(), tested.instant.tolist(), strict=True)
    )
    assert set(rows.part.tolist()) == {TEST}


def test_value_is_compared_with_what_was_spent_since(settings):
    shopping = shoppers(200, 160, seed=8)
    as_of = datetime.fromtimestamp(day(100) / 1e6, UTC)
    bench = Workbench(shopping, as_of, settings, load_catalogue(), Budget())
    found = backtest_clv(bench, 45, customer_snapshot(bench.history, bench.clv_rows(45)))
    spent = shopping.filter(
        (pl.col("event_time") > as_of) & (pl.col("event_time") <= as_of + timedelta(days=45))
    )
    known = set(shopping.filter(pl.col("event_time") <= as_of)["customer_id"])
    actual = spent.filter(pl.col("customer_id").is_in(known))["amount_minor"].sum()
    past = found["baseline_past_rate"]
    assert found["customers"] == len(known)
    assert actual > 0
    assert -0.9 < found["bias"] < 2
    assert set(past) <= set(found)


def test_a_horizon_past_the_data_is_refused_with_what_to_change(settings):
    shopping = shoppers(60, 160, seed=8)
    as_of = datetime.fromtimestamp(day(120) / 1e6, UTC)
    bench = Workbench(shopping, as_of, settings, load_catalogue(), Budget())
    assert to_us(as_of) + 45 * DAY_US > bench.spend.time_us.max()
    with pytest.raises(TrainingDataError, match="45 days reach past the data's end") as refused:
        backtest_clv(bench, 45, pl.DataFrame())
    assert "--horizon-days" in refused.value.next_step
