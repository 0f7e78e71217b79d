"""The figures of a CLV forecast."""

from __future__ import annotations

import numpy as np
import pytest

from training.clv_evaluation import (
    ClosedWindow,
    decile_table,
    evaluate_clv,
    evaluate_clv_baselines,
    top_decile,
)
from training.metrics import decile_mae_over_mean
from training.spend_history import PurchaseSummary

KEYS = {
    "bias", "bias_low", "bias_high", "bias_winsorized", "mae_over_mean", "spearman", "normalized_gini",
    "decile_mae_over_mean", "top_decile_capture", "deciles",
}  # fmt: skip
COVERAGES = {"interval_coverage_80", "interval_coverage_80_buyers", "interval_coverage_80_non_buyers"}
OF_VALUE = {"bias_top_decile_order_value"}


def test_a_forecast_that_comes_true_has_no_error() -> None:
    actual = np.random.default_rng(1).gamma(0.5, 100, 300)
    figures = evaluate_clv(actual, actual, actual * 0.5, actual * 2, seed=1)
    assert set(figures) == KEYS | COVERAGES
    errors = ("bias", "bias_low", "bias_high", "bias_winsorized", "mae_over_mean", "decile_mae_over_mean")
    assert all(figures[name] == 0 for name in errors)
    assert figures["normalized_gini"] == figures["interval_coverage_80"] == 1.0


def test_coverage_is_told_for_everybody_and_for_buyers() -> None:
    figures = evaluate_clv([0, 0, 0, 50], [1, 1, 1, 10], [0, 0, 0, 0], [2, 2, 2, 20], seed=1)
    assert figures["interval_coverage_80"] == 0.75
    assert figures["interval_coverage_80_buyers"] == 0.0
    assert figures["interval_coverage_80_non_buyers"] == 1.0


def test_the_deciles_tell_what_the_decile_error_is_made_of() -> None:
    generator = np.random.default_rng(3)
    predicted = generator.gamma(1, 100, 203)
    actual = predicted * generator.gamma(1, 1, 203)
    table = decile_table(actual, predicted)
    assert sum(row["count"] for row in table) == 203
    gaps = [abs(row["predicted_mean_minor"] - row["actual_mean_minor"]) for row in table]
    assert np.mean(gaps) / actual.mean() == pytest.approx(decile_mae_over_mean(actual, predicted))
    order = np.argsort(predicted)
    assert table[0]["actual_mean_minor"] == pytest.approx(actual[order[:21]].mean())


def test_the_bias_of_those_who_buy_for_most_is_that_of_the_top_tenth_by_order_value() -> None:
    value = np.arange(100.0)
    actual = np.where(value >= 90, 200.0, 10.0)
    figures = evaluate_clv(actual, np.full(100, 50.0), order_value=value, seed=1)
    assert figures["bias_top_decile_order_value"] == pytest.approx(50 / 200 - 1)
    assert sorted(top_decile(value).tolist()) == list(range(90, 100))
    assert top_decile([3.0]).tolist() == [0]


def test_net_refunds_count_in_the_level_and_as_nothing_in_the_ranking() -> None:
    figures = evaluate_clv([-100, 50, 150], [1, 2, 3], seed=1)
    assert figures["bias"] == 6 / 100 - 1
    assert figures["normalized_gini"] == 1.0


def test_both_baselines_are_judged_by_the_same_figures_where_they_can_be_fitted() -> None:
    generator = np.random.default_rng(2)
    orders = generator.integers(1, 6, 200).astype(float)
    age = generator.uniform(60, 200, 200)
    history = PurchaseSummary(orders, np.where(orders > 1, age / 2, 0.0), age, orders * 1500)
    actual = generator.gamma(1, 1000, 200)
    closed = ClosedWindow(history, generator.gamma(1, 1000, 200), 90)
    found = evaluate_clv_baselines(actual, history, 90, closed, seed=1)
    assert set(found) == {"baseline_bgnbd_gg", "baseline_past_rate"}
    assert all(set(figures) == KEYS | COVERAGES | OF_VALUE for figures in found.values())
    once = PurchaseSummary(np.ones(200), np.zeros(200), age, orders * 1500)
    assert found["baseline_past_rate"]["interval_coverage_80"] >= 0.78
    assert set(evaluate_clv_baselines(actual, once, 90, closed, seed=1)) == {"baseline_past_rate"}
