from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from configs.settings import load_settings
from features.mapping import PropensityPlan
from features.outcomes import CONFIRMED, UNOBSERVED
from features.tags import load_catalogue
from features.windows import DAY_US, to_us
from tests.training.made_spend import day, shoppers
from tests.training.rhythmic_shop import OPENED, ZONE, join_directly, shop_events
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
from training.datasets import CALIBRATE, CERTIFY, FIT, TEST, SamplingBudget, customer_snapshot
from training.errors import TrainingDataError
from training.metrics import wilson_interval
from training.propensity_rows import planned_slices
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
    assert found["n_customer_days"] == int((bench.rows_of(INTEREST).part == TEST).sum())
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
    eligible = sum(
        own.filter((pl.col("event_time") <= instant) & (pl.col("event_time") > instant - timedelta(days=90)))[
            "customer_id"
        ].n_unique()
        for instant in DAYS
    )
    assert found["scored"] == found["eligible"] == eligible > rows
    assert sum(point["count"] for point in found["reliability"]) == rows
    assert found["lift_curve"][-1] == {"share": 1.0, "lift": 1.0, "gain": 1.0}
    # Everybody is there from the shop's first weeks on.
    assert (found["cold_start"]["newcomers_learnt"], found["cold_start"]["newcomers"]) == (0, 0)


PLAN = PropensityPlan.model_validate(
    {
        "horizon_hours": 168,
        "census": {"first": "2024-05-12", "last": "2024-05-20", "every_days": 4},
        "fit_until": "2024-04-20",
        "calibrate": {"first": "2024-04-28", "last": "2024-05-05", "every_days": 1},
        "active_within_days": 10,
    }
)


def test_the_slices_are_those_that_the_mapping_names(settings):
    events = shop_events(200)
    newcomer = events.filter((pl.col("customer_id") == "1") & (pl.col("event_time") > AS_OF)).with_columns(
        customer_id=pl.lit("a newcomer"), event_id=pl.format("new-{}", "event_id")
    )
    bench = Workbench(
        pl.concat([events, newcomer]),
        AS_OF,
        settings,
        load_catalogue(),
        SMALL,
        propensity_plans={"7d": PLAN},
    )
    rows = bench.propensity_rows("7d")
    days = {
        part: sorted(set(pl.Series(rows.instant[rows.part == part]).cast(pl.Datetime("us")).dt.date()))
        for part in (FIT, CALIBRATE, CERTIFY)
    }
    assert days[FIT][-1] == date(2024, 4, 20)
    assert days[CALIBRATE] == [date(2024, 4, 28) + timedelta(days=each) for each in range(8)]
    assert days[CERTIFY] == []
    assert bench.propensity_slices("72h").certify is not None
    found = backtest_propensity(
        bench,
        "7d",
        BacktestDays([AS_OF + timedelta(days=each) for each in (0, 4, 8)], "mapping"),
        lambda service, rows: join_directly(bench.history, load_catalogue()["high_intent"])(rows),
    )
    assert found["slices"] == {
        "fit": {"first": "2024-01-31", "last": "2024-04-20"},
        "calibrate": {"first": "2024-04-28", "last": "2024-05-05"},
    }
    assert found["rows"] < found["eligible"]
    came = newcomer.filter(pl.col("event_type") != "contact")["event_time"].min()
    after = newcomer.filter(
        (pl.col("event_type") == "purchase")
        & (pl.col("event_time") > came)
        & (pl.col("event_time") <= came + timedelta(days=7))
    )
    assert (found["cold_start"]["newcomers"], found["cold_start"]["observed"]) == (1, after.height > 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"fit_until": "2024-04-22"},
            "fit_until is 2024-04-22, whose outcome window closes 2024-04-29; expected that not after ",
        ),
        (
            {"calibrate": {"first": "2024-04-28", "last": "2024-05-06"}},
            "calibrate.last is 2024-05-06, whose outcome window closes 2024-05-13; expected that not after ",
        ),
        ({"fit_until": "2024-02-10"}, "days before, where"),
    ],
)
def test_a_mapping_whose_windows_overlap_is_refused_with_the_dates(changed, message):
    plan = PropensityPlan.model_validate(PLAN.model_dump() | changed)
    with pytest.raises(TrainingDataError) as refused:
        planned_slices(plan, OPENED, ZONE)
    assert message in refused.value.message


def test_test_rows_are_those_active_before_each_day(bench):
    rows = backtest_rows(bench, DAYS, 72 * 3600 * 10**6)
    tested = bench.rows_of(INTEREST).take(bench.rows_of(INTEREST).part == TEST)
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
