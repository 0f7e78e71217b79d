from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from configs.settings import load_settings
from features.tags import load_catalogue
from features.windows import from_us
from tests.training.made_spend import START_US, day, kernel_features, shoppers
from training.artifact import load_bundle, save_bundle
from training.clv import train_clv
from training.clv_bundle import (
    JoinedFeatures,
    clv_instants,
    load_model,
    measure_clv,
    measured_at,
    train_bundle,
)
from training.clv_cutoffs import closed_cutoffs
from training.datasets import customer_snapshot
from training.errors import TrainingDataError
from training.model_inputs import customer_inputs
from training.spend_history import spend_history
from training.workbench import Budget, Workbench

HORIZON = 45


@pytest.fixture(scope="module")
def shopping():
    return shoppers(250, 200, seed=5)


@pytest.fixture(scope="module")
def bench(shopping, tmp_path_factory):
    settings = load_settings(tmp_path_factory.mktemp("home"), {"TAGTIDE_THREADS": "1"}).settings
    return Workbench(shopping, from_us(day(200)), settings, load_catalogue(), Budget())


@pytest.fixture(scope="module")
def joined(bench):
    """The feature service's answer, computed on the spot, in no particular order."""
    frame = customer_snapshot(bench.history, bench.clv_rows(HORIZON))
    return frame.sample(fraction=1, shuffle=True, seed=1)


@pytest.fixture(scope="module")
def bundle(bench, joined):
    return train_bundle(bench, bench.spend, joined, HORIZON)


def test_features_are_wanted_at_the_instant_at_the_measured_one_and_at_the_cutoffs_of_both(bench):
    first = bench.spend.first_us
    instants = clv_instants(bench.spend, day(200), HORIZON)
    assert instants == sorted(
        {
            day(200),
            day(200 - HORIZON),
            *closed_cutoffs(first, day(200), HORIZON),
            *closed_cutoffs(first, day(200 - HORIZON), HORIZON),
        }
    )


def test_a_history_too_short_to_be_measured_can_still_train(bench):
    assert measured_at(bench.spend, day(200), HORIZON) == day(200 - HORIZON)
    assert measured_at(bench.spend, day(80), HORIZON) is None
    assert day(80) in clv_instants(bench.spend, day(80), HORIZON)
    with pytest.raises(TrainingDataError, match="needs at least 60 days"):
        clv_instants(bench.spend, day(50), HORIZON)
    with pytest.raises(TrainingDataError, match="none was known"):
        clv_instants(bench.spend, START_US - 1, HORIZON)


def test_joined_features_are_found_by_customer_and_instant(bench, joined, shopping):
    features_at = JoinedFeatures(joined, bench.spend.customers)
    directly = kernel_features(shopping, bench.spend)
    for instant in clv_instants(bench.spend, day(200), HORIZON):
        buyers = bench.spend.known_by(instant).buyers(instant)
        some = buyers[::-7]
        found, expected = features_at(some, instant), directly(some, instant)
        assert found.names == expected.names
        np.testing.assert_array_equal(found.matrix, expected.matrix)


def test_the_bundle_is_the_model_trained_directly_and_survives_the_disk(bench, bundle, shopping, tmp_path):
    direct = train_clv(
        bench.spend,
        kernel_features(shopping, bench.spend),
        as_of_us=day(200),
        horizon_days=HORIZON,
        seed=bench.settings.seed,
        threads=1,
    )
    save_bundle(tmp_path / "bundle", bundle)
    loaded = load_model(load_bundle(tmp_path / "bundle"), threads=1)
    buyers = bench.spend.buyers(day(200))
    matrix = kernel_features(shopping, bench.spend)(buyers, day(200))
    expected, found = direct.predict(matrix), loaded.predict(matrix)
    for name in ("expected_minor", "low_minor", "high_minor", "purchase_minor", "interaction_minor"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert loaded.horizon_days == HORIZON
    assert loaded.inputs == tuple(customer_inputs("clv"))
    assert bundle.features == dict.fromkeys(bundle.models, loaded.inputs)
    assert bundle.dtypes["order_count_lifetime"] == "int"
    assert bundle.dtypes.keys() == set(loaded.inputs)


def test_its_figures_are_a_backtest_one_horizon_back(bench, bundle, joined):
    assert bundle.content["measured_at_us"] == day(200 - HORIZON)
    again = measure_clv(
        bench.spend,
        JoinedFeatures(joined, bench.spend.customers),
        day(200 - HORIZON),
        HORIZON,
        day(200),
        seed=bench.settings.seed,
        threads=1,
    )
    assert bundle.metrics == again
    assert {"bias", "normalized_gini", "baseline_bgnbd_gg", "baseline_past_rate"} <= set(again)
    buyers = bench.spend.known_by(day(200 - HORIZON)).buyers(day(200 - HORIZON))
    assert again["customers"] == len(buyers)


def test_what_was_not_known_at_the_measured_instant_does_not_train_the_measured_model(
    bench, joined, shopping
):
    """Spending after it is doubled: outcomes change, predictions do not."""
    at = day(200 - HORIZON)
    doubled = shopping.with_columns(
        amount_minor=pl.when(pl.col("event_time") > from_us(at))
        .then(2 * pl.col("amount_minor"))
        .otherwise("amount_minor")
    )
    predicted = []
    for rows in (shopping, doubled):
        history = spend_history(rows)
        model = train_clv(
            history,
            JoinedFeatures(joined, history.customers),
            as_of_us=at,
            horizon_days=HORIZON,
            seed=1,
            threads=1,
        )
        buyers = history.known_by(at).buyers(at)
        predicted.append(model.predict(JoinedFeatures(joined, history.customers)(buyers, at)).expected_minor)
    np.testing.assert_array_equal(*predicted)


def test_without_a_closed_window_the_bundle_has_no_figures(tmp_path):
    rows = shoppers(400, 80, seed=6)
    settings = load_settings(tmp_path, {"TAGTIDE_THREADS": "1"}).settings
    bench = Workbench(rows, from_us(day(80)), settings, load_catalogue(), Budget())
    made = train_bundle(bench, bench.spend, customer_snapshot(bench.history, bench.clv_rows(90)), 90)
    assert made.metrics == {}
    assert made.content["measured_at_us"] is None
