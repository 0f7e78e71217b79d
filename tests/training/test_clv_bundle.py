from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from configs.settings import load_settings
from features.tags import load_catalogue
from features.windows import DAY_US, from_us, to_us
from tests.training.made_spend import START_US, day, kernel_features, shoppers
from training.artifact import load_bundle, save_bundle
from training.clv import train_clv
from training.clv_bundle import (
    JoinedFeatures,
    clv_instants,
    load_models,
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

HORIZON, LONGER = 45, 90


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
    frame = customer_snapshot(bench.history, bench.clv_rows(HORIZON, LONGER))
    return frame.sample(fraction=1, shuffle=True, seed=1)


@pytest.fixture(scope="module")
def bundle(bench, joined):
    return train_bundle(bench, bench.spend, joined, (HORIZON, LONGER, 365))


def test_features_are_wanted_at_the_instant_at_the_measured_one_and_at_the_cutoffs_of_both(bench):
    first = bench.spend.first_us
    both = clv_instants(bench.spend, day(200), HORIZON, LONGER)
    assert set(both) == {at for days in (HORIZON, LONGER) for at in clv_instants(bench.spend, day(200), days)}
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
    loaded = load_models(load_bundle(tmp_path / "bundle"), threads=1)
    buyers = bench.spend.buyers(day(200))
    matrix = kernel_features(shopping, bench.spend)(buyers, day(200))
    expected, found = direct.predict(matrix), loaded.predict(matrix)[HORIZON]
    for name in ("expected_minor", "low_minor", "high_minor", "purchase_minor", "interaction_minor"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert [model.horizon_days for model in loaded.models] == [HORIZON, LONGER]
    assert set(bundle.models) == {"any_spend", "amount", f"any_spend_{LONGER}", f"amount_{LONGER}"}
    assert loaded.inputs == tuple(customer_inputs("clv"))
    assert bundle.features == dict.fromkeys(bundle.models, loaded.inputs)
    assert bundle.dtypes["order_count_lifetime"] == "int"
    assert bundle.dtypes.keys() == set(loaded.inputs)


def test_its_figures_are_a_backtest_one_horizon_back(bench, bundle, joined):
    assert bundle.content["measured_at_us"] == {"45": day(200 - HORIZON), "90": day(200 - LONGER)}
    again = measure_clv(
        bench.spend,
        JoinedFeatures(joined, bench.spend.customers),
        day(200 - HORIZON),
        HORIZON,
        day(200),
        seed=bench.settings.seed,
        threads=1,
    )
    assert {name: bundle.metrics[name] for name in again} == again
    assert set(bundle.metrics) - set(again) == {"90d", "skipped_horizons"}
    assert bundle.metrics["90d"].keys() == again.keys()
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
    made = train_bundle(bench, bench.spend, customer_snapshot(bench.history, bench.clv_rows(90)), (90,))
    assert made.metrics == {}
    assert made.content["measured_at_us"] == {"90": None}


def test_a_horizon_that_the_span_does_not_allow_is_skipped_by_name_with_the_numbers(bundle):
    first = datetime.fromisoformat(bundle.fingerprint["first_event"])
    span = (day(200) - to_us(first)) // DAY_US
    told = f"365 days: needs 547 days of history before the as-of instant, has {span}"
    assert bundle.content["skipped_horizons"] == bundle.metrics["skipped_horizons"] == {"365": told}


def test_a_longer_horizon_is_worth_no_less_to_anybody_and_meets_its_level(bench, bundle, shopping):
    loaded = load_models(bundle, threads=1)
    buyers = bench.spend.buyers(day(200))
    found = loaded.predict(kernel_features(shopping, bench.spend)(buyers, day(200)))
    short, long = found[HORIZON], found[LONGER]
    for name in ("expected_minor", "low_minor", "high_minor"):
        assert (getattr(long, name) >= getattr(short, name)).all()
    assert long.expected_minor.sum() == pytest.approx(loaded.models[1].level.total_minor)
    parts = long.purchase_minor + long.interaction_minor + long.referral_minor
    np.testing.assert_allclose(parts, long.expected_minor)


def test_the_figures_say_which_level_and_ranking_were_chosen_and_why(bundle):
    figures = bundle.metrics
    assert figures["level"] in figures["level_reason"]
    assert figures["ranking"] in figures["ranking_reason"]
    assert set(figures["ranking_ginis"]) == {"boosted", "even", "classic"}
    assert sum(figures["split_shares"].values()) == pytest.approx(1)
    assert figures["split_values_minor"] == {"interaction": 0, "referral": 0}
    assert figures["split_reasons"]["referral"] == "0: the data has no referral events"
    assert sum(row["count"] for row in figures["deciles"]) == figures["customers"]
    shown = {name for name, value in figures["baseline_past_rate"].items() if value is not None}
    assert {"bias_top_decile_order_value", "deciles", "interval_coverage_80_buyers"} <= shown
