"""The CLV model, on simulated customers and on public data, with features from the real kernel."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.events import EVENT_SCHEMA
from tests.training.made_spend import day, events, kernel_features, shoppers
from training.clv import ClvModel, fit_clv, from_pieces, train_clv
from training.clv_cutoffs import TrainingRows
from training.clv_evaluation import ClosedWindow, evaluate_clv, evaluate_clv_baselines
from training.clv_inputs import ClvInputs
from training.clv_level import Level
from training.errors import TrainingDataError
from training.spend_history import DAY_US, SpendHistory, spend_history


@pytest.fixture(scope="module")
def shop() -> tuple[pl.DataFrame, SpendHistory]:
    frame = shoppers(600, 330, seed=11)
    return frame, spend_history(frame)


@pytest.fixture(scope="module")
def model(shop: tuple[pl.DataFrame, SpendHistory]) -> ClvModel:
    frame, history = shop
    return train_clv(
        history, kernel_features(frame, history), as_of_us=day(240), horizon_days=90, seed=1, threads=1
    )


def test_the_forecast_of_a_simulated_shop_holds_in_level_rank_and_interval(
    shop: tuple[pl.DataFrame, SpendHistory], model: ClvModel
) -> None:
    frame, history = shop
    buyers = history.buyers(day(240))
    features = kernel_features(frame, history)(buyers, day(240))
    found = model.predict(features)
    actual = history.spend_between(day(240), day(330))[buyers]
    figures = evaluate_clv(actual, found.expected_minor, found.low_minor, found.high_minor, seed=1)
    assert abs(figures["bias"]) < 0.1
    assert figures["normalized_gini"] > 0.75
    assert figures["interval_coverage_80"] >= 0.78
    assert figures["interval_coverage_80_buyers"] == pytest.approx(0.8, abs=0.1)
    assert ((found.low_minor <= found.expected_minor) & (found.expected_minor <= found.high_minor)).all()
    assert model.level.total_minor == pytest.approx(found.expected_minor.sum())


def test_a_model_of_purchases_alone_says_so_and_gives_them_all_the_value(
    shop: tuple[pl.DataFrame, SpendHistory], model: ClvModel
) -> None:
    frame, history = shop
    found = model.predict(kernel_features(frame, history)(history.buyers(day(240)), day(240)))
    assert model.missing_events == ("interaction", "referral")
    assert (model.values.interaction_minor, model.values.referral_minor) == (0.0, 0.0)
    assert (found.purchase_minor == found.expected_minor).all()
    assert not found.interaction_minor.any()
    assert not found.referral_minor.any()


def test_the_model_survives_json_and_text_bit_for_bit(
    shop: tuple[pl.DataFrame, SpendHistory], model: ClvModel
) -> None:
    frame, history = shop
    features = kernel_features(frame, history)(history.buyers(day(250)), day(250))
    content = json.loads(json.dumps(model.content(), allow_nan=False))
    again = from_pieces(model.models(), content, threads=1)
    before, after = model.predict(features), again.predict(features)
    for name, values in vars(before).items():
        assert (values == vars(after)[name]).all(), name
    assert again.level == model.level


def test_one_customer_is_predicted_as_among_many(
    shop: tuple[pl.DataFrame, SpendHistory], model: ClvModel
) -> None:
    frame, history = shop
    features = kernel_features(frame, history)(history.buyers(day(240)), day(240))
    alone = np.array([model.predict(features.take(np.array([row]))).expected_minor[0] for row in range(20)])
    assert (alone == model.predict(features).expected_minor[:20]).all()


def test_what_happened_after_the_instant_does_not_matter(
    shop: tuple[pl.DataFrame, SpendHistory], model: ClvModel
) -> None:
    frame, _ = shop
    cut = frame.filter(pl.col("event_time").dt.epoch("us") <= day(240))
    history = spend_history(cut)
    again = train_clv(
        history, kernel_features(cut, history), as_of_us=day(240), horizon_days=90, seed=1, threads=1
    )
    assert again.content() == model.content()
    assert again.models() == model.models()


def test_a_horizon_longer_than_the_history_is_reached_from_the_longest_closed_one(
    shop: tuple[pl.DataFrame, SpendHistory], model: ClvModel
) -> None:
    frame, history = shop
    features_at = kernel_features(frame, history)
    long = train_clv(history, features_at, as_of_us=day(240), horizon_days=365, seed=1, threads=1)
    assert long.trained_horizon_days < 365
    features = features_at(history.buyers(day(240)), day(240))
    year, quarter = long.predict(features), model.predict(features)
    assert 2.5 < year.expected_minor.sum() / quarter.expected_minor.sum() < 4.5
    assert (year.high_minor >= year.expected_minor).all()


def made_rows(seed: int, count: int = 600, *, bought_once: bool = False) -> tuple[ClvInputs, np.ndarray]:
    """Features of customers whose spend is half from purchases and half from interactions and referrals."""
    generator = np.random.default_rng(seed)
    orders = np.ones(count) if bought_once else generator.integers(1, 10, count)
    age = generator.uniform(100, 200, count)
    interactions, referrals = generator.poisson(3, count), generator.poisson(0.5, count)
    known = {
        "order_count_lifetime": orders,
        "spend_lifetime_minor": orders * 2000,
        "refund_lifetime_minor": np.zeros(count),
        "seconds_since_first_purchase": age * 86400,
        "seconds_since_last_purchase": np.where(orders > 1, age * 0.1, age) * 86400,
        "interaction_count_90d": interactions,
        "referral_count_90d": referrals,
    }
    rate = orders / age * 90 * 2000
    return ClvInputs.of(known, list(known)), rate + 400 * interactions + 1500 * referrals


def test_the_worth_of_interactions_and_referrals_is_learnt_and_the_parts_add_up() -> None:
    features, spend = made_rows(1)
    rows = TrainingRows(0, np.arange(len(spend)), features, spend)
    level = Level("run_rate", float(spend.sum()), "made", {})
    model = fit_clv([rows], features, level, 90, 90, seed=1, threads=1)
    assert model.missing_events == ()
    assert model.values.interaction_minor == pytest.approx(400, rel=0.15)
    assert model.values.referral_minor == pytest.approx(1500, rel=0.15)
    found = model.predict(features)
    total = found.purchase_minor + found.interaction_minor + found.referral_minor
    assert total == pytest.approx(found.expected_minor)
    idle = features.column("interaction_count_90d") == 0
    assert not found.interaction_minor[idle].any()


def test_without_repeat_buyers_the_boosted_model_ranks_alone() -> None:
    features, spend = made_rows(2, bought_once=True)
    rows = TrainingRows(0, np.arange(len(spend)), features, spend)
    model = fit_clv([rows], features, Level("ranker", None, "made", {}), 90, 90, seed=1, threads=1)
    assert model.classic is None
    # no level: the total is that of the latest closed window, which is this one
    assert model.predict(features).expected_minor.sum() == pytest.approx(spend.sum(), rel=0.1)
    again = from_pieces(model.models(), json.loads(json.dumps(model.content())), threads=1)
    assert (again.predict(features).expected_minor == model.predict(features).expected_minor).all()


def test_a_history_that_teaches_nothing_is_told() -> None:
    frame = shoppers(50, 200, seed=12)
    history = spend_history(frame)
    features_at = kernel_features(frame, history)
    with pytest.raises(TrainingDataError, match="none was known"):
        train_clv(history, features_at, as_of_us=day(-1), horizon_days=90, seed=1, threads=1)
    with pytest.raises(TrainingDataError, match="60 days of history"):
        train_clv(history, features_at, as_of_us=day(50), horizon_days=90, seed=1, threads=1)
    with pytest.raises(TrainingDataError, match="one closed outcome window"):
        fit_clv([], made_rows(3)[0], Level("ranker", None, "", {}), 90, 90, seed=1, threads=1)


def learnt(frame: pl.DataFrame, at: float = 240, horizon_days: int = 90) -> tuple[ClvModel, np.ndarray]:
    """Train on a shop's events and return the model with everybody's expected value."""
    history = spend_history(frame)
    features_at = kernel_features(frame, history)
    model = train_clv(history, features_at, as_of_us=day(at), horizon_days=horizon_days, seed=1, threads=1)
    buyers = history.known_by(day(at)).buyers(day(at))
    return model, model.predict(features_at(buyers, day(at))).expected_minor


def test_a_single_customer_is_refused_with_the_numbers() -> None:
    frame = shoppers(1, 330, seed=13, dropout=0)
    assert frame.height > 0
    with pytest.raises(TrainingDataError, match="at least 100 customers with a closed outcome window, got 1"):
        learnt(frame)


def test_refunds_of_everything_leave_nothing_to_learn_and_of_some_are_taken_off() -> None:
    frame = shoppers(200, 330, seed=14)
    refunds = frame.with_columns(
        event_type=pl.lit("refund", frame.schema["event_type"]),
        event_id=pl.col("event_id") + "-r",
        event_time=pl.col("event_time") + timedelta(seconds=1),
        ingested_at=pl.col("ingested_at") + timedelta(seconds=1),
    )
    with pytest.raises(TrainingDataError, match=r"at least 20 customers who spent something.* got 0 of 200"):
        learnt(pl.concat([frame, refunds]).sort("event_time"))
    half = refunds.with_columns(amount_minor=pl.col("amount_minor") // 2)
    _, net = learnt(pl.concat([frame, half]).sort("event_time"))
    _, gross = learnt(frame)
    assert net.sum() / gross.sum() == pytest.approx(0.5, abs=0.03)


def test_customers_who_all_pay_the_same_are_told_apart_by_how_often() -> None:
    frame = shoppers(200, 330, seed=15).with_columns(amount_minor=pl.lit(500, pl.Int64))
    model, expected = learnt(frame)
    assert np.isfinite(expected).all()
    assert expected.std() > 0
    assert expected.sum() == pytest.approx(model.level.total_minor)


def cdnow(folder: Path) -> pl.DataFrame:
    """Read CDNOW as events at the end of their days."""
    rows = []
    for line in (folder / "cdnow" / "CDNOW_sample.txt").read_text().splitlines():
        _, customer, bought, _, value = line.split()
        number = (date(int(bought[:4]), int(bought[4:6]), int(bought[6:])) - date(2020, 1, 1)).days
        rows.append((customer, number + 1 - 1e-6 / 86400, round(100 * float(value)), "purchase"))
    return events(rows).select(list(EVENT_SCHEMA))


def test_the_total_of_an_ageing_cohort_is_met_and_the_ranking_beats_both_baselines(data_folder: Path) -> None:
    frame = cdnow(data_folder)
    history = spend_history(frame)
    as_of = datetime(1998, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    at = as_of // timedelta(microseconds=1)
    features_at = kernel_features(frame, history)
    model = train_clv(history, features_at, as_of_us=at, horizon_days=180, seed=1, threads=1)
    buyers = history.buyers(at)
    found = model.predict(features_at(buyers, at))
    actual = history.spend_between(at, at + 180 * DAY_US)[buyers]
    figures = evaluate_clv(actual, found.expected_minor, seed=1)
    closed = ClosedWindow(history.summary(at, buyers), actual.astype(float), 180)
    baselines = evaluate_clv_baselines(actual, history.summary(at, buyers), 180, closed, seed=1)
    assert len(buyers) == 2357
    assert abs(figures["bias"]) <= 0.15
    for baseline in baselines.values():
        assert figures["normalized_gini"] > baseline["normalized_gini"]
