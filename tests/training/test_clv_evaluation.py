"""The figures of a CLV forecast."""

from __future__ import annotations

import numpy as np

from training.clv_evaluation import evaluate_clv, evaluate_clv_baselines
from training.spend_history import PurchaseSummary

KEYS = {
    "bias", "bias_low", "bias_high", "bias_winsorized", "mae_over_mean", "spearman", "normalized_gini",
    "decile_mae_over_mean", "top_decile_capture",
}  # fmt: skip
COVERAGES = {"interval_coverage_80", "interval_coverage_80_buyers"}


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
    found = evaluate_clv_baselines(actual, history, 90, seed=1)
    assert set(found) == {"baseline_bgnbd_gg", "baseline_past_rate"}
    assert all(set(figures) == KEYS for figures in found.values())
    once = PurchaseSummary(np.ones(200), np.zeros(200), age, orders * 1500)
    assert set(evaluate_clv_baselines(actual, once, 90, seed=1)) == {"baseline_past_rate"}
