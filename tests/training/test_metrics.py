"""Metrics, against scikit-learn, SciPy, closed forms and brute force."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from training import metrics

LABELLED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=40)
AMOUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 8)), min_size=2, max_size=40)


@given(LABELLED)
def test_auc_pr_auc_and_brier_agree_with_scikit_learn_ties_included(rows: list[tuple[int, int]]) -> None:
    labels, scores = np.array(rows).T
    if 0 < labels.sum() < labels.size:
        assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    if labels.any():
        assert metrics.pr_auc(labels, scores) == pytest.approx(average_precision_score(labels, scores))
    if 0 < labels.sum() < labels.size:
        assert metrics.brier(labels, scores / 6) == pytest.approx(brier_score_loss(labels, scores / 6))


@given(LABELLED, st.integers(0, 2**32 - 1))
def test_a_weighted_auc_is_the_auc_of_rows_repeated(rows: list[tuple[int, int]], seed: int) -> None:
    labels, scores = np.array(rows).T
    weights = np.random.default_rng(seed).integers(0, 4, labels.size)
    expected = metrics.auc(np.repeat(labels, weights), np.repeat(scores, weights))
    assert metrics.auc(labels, scores, weights) == pytest.approx(expected, nan_ok=True)


def test_one_class_gives_nan_where_two_are_needed_and_a_number_where_not() -> None:
    assert math.isnan(metrics.auc([1, 1, 1], [0.1, 0.2, 0.3]))
    assert math.isnan(metrics.auc([0, 0], [0.1, 0.2]))
    assert math.isnan(metrics.pr_auc([0, 0], [0.1, 0.2]))
    assert math.isnan(metrics.lift_top_decile([0, 0], [0.1, 0.2]))
    assert metrics.pr_auc([1, 1], [0.1, 0.2]) == 1.0
    assert metrics.ece([1, 1], [1.0, 1.0]) == 0.0
    assert math.isnan(metrics.auc_gain_lower([1, 1], [0.1, 0.2], [0.2, 0.1], ["a", "b"], seed=1))


def test_no_rows_give_nan() -> None:
    for figure in (metrics.auc, metrics.pr_auc, metrics.brier, metrics.ece, metrics.bias, metrics.spearman):
        assert math.isnan(figure([], []))
    assert math.isnan(metrics.normalized_gini([], []))
    assert math.isnan(metrics.interval_coverage([], [], []))
    assert all(math.isnan(bound) for bound in metrics.bias_interval([], [], seed=1))


def test_missing_values_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="missing values"):
        metrics.auc([0, 1], [0.2, math.nan])
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        metrics.auc([0, 1], [0.2, 0.1, 0.3])


def test_ece_of_distinct_probabilities_equals_a_loop_over_sorted_bins() -> None:
    generator = np.random.default_rng(7)
    probabilities = generator.random(1003)
    labels = (generator.random(1003) < probabilities**2).astype(float)
    order = np.argsort(probabilities)
    expected = 0.0
    for rows in np.array_split(order, 10):
        expected += len(rows) / 1003 * abs(labels[rows].mean() - probabilities[rows].mean())
    assert metrics.ece(labels, probabilities) == pytest.approx(expected)


def test_ece_of_one_plateau_is_the_gap_of_the_means_however_many_bins_it_crosses() -> None:
    labels = np.array([1.0] * 30 + [0.0] * 70)
    assert metrics.ece(labels, np.full(100, 0.5)) == pytest.approx(0.2)
    assert metrics.ece(labels[::-1], np.full(100, 0.5), bins=7) == pytest.approx(0.2)


@given(AMOUNTS, st.randoms(use_true_random=False))
def test_no_ranking_figure_depends_on_the_order_of_rows(rows: list[tuple[int, int]], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    actual, predicted = np.array(rows, dtype=float).T
    again, predicted_again = np.array(shuffled, dtype=float).T
    for figure in (metrics.normalized_gini, metrics.top_decile_capture, metrics.decile_mae_over_mean):
        assert figure(actual, predicted) == pytest.approx(figure(again, predicted_again), nan_ok=True)
    labels = np.minimum(actual, 1)
    labels_again = np.minimum(again, 1)
    assert metrics.ece(labels, predicted / 8) == pytest.approx(metrics.ece(labels_again, predicted_again / 8))
    assert metrics.lift_top_decile(labels, predicted) == pytest.approx(
        metrics.lift_top_decile(labels_again, predicted_again), nan_ok=True
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=2, max_size=6))
def test_a_tied_gini_is_the_mean_over_all_orders_of_the_ties(rows: list[tuple[int, int]]) -> None:
    actual, predicted = np.array(rows, dtype=float).T
    if np.ptp(actual) == 0:
        assert math.isnan(metrics.normalized_gini(actual, predicted))
        return
    ginis = []
    for order in itertools.permutations(range(len(rows))):
        chosen = np.array(order)
        if (np.diff(predicted[chosen]) > 0).any():
            continue
        held = np.cumsum(actual[chosen]) / actual.sum()
        ginis.append((held - np.arange(1, len(rows) + 1) / len(rows)).sum())
    best = np.cumsum(np.sort(actual)[::-1]) / actual.sum()
    perfect = (best - np.arange(1, len(rows) + 1) / len(rows)).sum()
    assert metrics.normalized_gini(actual, predicted) == pytest.approx(np.mean(ginis) / perfect)


def test_a_perfect_ranking_has_gini_one_and_a_constant_one_zero() -> None:
    actual = np.random.default_rng(1).gamma(0.5, 100, 500)
    assert metrics.normalized_gini(actual, actual**3) == pytest.approx(1.0)
    assert metrics.normalized_gini(actual, np.ones(500)) == pytest.approx(0.0, abs=1e-12)
    assert metrics.normalized_gini(actual, -actual) == pytest.approx(-1.0)


def test_net_refunds_count_as_nothing_in_a_gini() -> None:
    assert metrics.normalized_gini([-50, 10, 20], [1, 2, 3]) == metrics.normalized_gini(
        [0, 10, 20], [1, 2, 3]
    )


@given(AMOUNTS)
def test_spearman_agrees_with_scipy(rows: list[tuple[int, int]]) -> None:
    actual, predicted = np.array(rows, dtype=float).T
    if np.ptp(actual) == 0 or np.ptp(predicted) == 0:
        assert math.isnan(metrics.spearman(actual, predicted))
    else:
        assert metrics.spearman(actual, predicted) == pytest.approx(
            stats.spearmanr(actual, predicted).statistic
        )


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (3, 7), (50, 50), (812, 1000)])
def test_wilson_agrees_with_scipy(successes: int, trials: int, confidence: float) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert metrics.wilson_interval(successes, trials, confidence) == pytest.approx(tuple(expected))


def test_each_one_sided_wilson_bound_solves_its_score_equation() -> None:
    low, high = metrics.wilson_interval(40, 50, 0.9, one_sided=True)
    z = stats.norm.ppf(0.9)
    for bound, sign in ((low, 1), (high, -1)):
        assert (0.8 - bound) / math.sqrt(bound * (1 - bound) / 50) == pytest.approx(sign * z)


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1.0)])
def test_impossible_counts_and_confidences_are_refused(
    successes: int, trials: int, confidence: float
) -> None:
    with pytest.raises(ValueError, match="must lie"):
        metrics.wilson_interval(successes, trials, confidence)


def test_lift_and_capture_of_a_known_ranking() -> None:
    actual = np.zeros(100)
    actual[:5], actual[50:55] = 1.0, 1.0
    scores = np.arange(100, 0, -1)
    assert metrics.lift_top_decile(actual, scores) == pytest.approx(5.0)
    assert metrics.top_decile_capture(actual, scores) == pytest.approx(0.5)
    assert metrics.lift_top_decile(actual, np.zeros(100)) == pytest.approx(1.0)


def test_decile_error_of_distinct_predictions_equals_a_loop() -> None:
    generator = np.random.default_rng(3)
    predicted = generator.gamma(1, 10, 997)
    actual = predicted * generator.gamma(1, 1, 997)
    order = np.argsort(predicted)
    gaps = [abs(actual[rows].mean() - predicted[rows].mean()) for rows in np.array_split(order, 10)]
    assert metrics.decile_mae_over_mean(actual, predicted) == pytest.approx(np.mean(gaps) / actual.mean())


def test_the_bias_interval_is_as_wide_as_the_delta_method_says() -> None:
    generator = np.random.default_rng(5)
    actual = generator.gamma(2, 10, 4000)
    predicted = np.full(4000, 22.0)
    low, high = metrics.bias_interval(actual, predicted, seed=1)
    assert low < metrics.bias(actual, predicted) < high
    ratio = predicted.sum() / actual.sum()
    standard_error = ratio * actual.std() / actual.mean() / math.sqrt(4000)
    assert high - low == pytest.approx(2 * 1.645 * standard_error, rel=0.1)
    assert metrics.bias_interval(actual, predicted, seed=1) == (low, high)


def test_a_bias_over_no_spend_is_not_a_number() -> None:
    assert math.isnan(metrics.bias([0, 0], [1, 2]))
    assert math.isnan(metrics.bias([-5, 2], [1, 2]))
    assert math.isnan(metrics.mae_over_mean([0, 0], [1, 2]))
    assert math.isnan(metrics.decile_mae_over_mean([0, 0], [1, 2]))
    assert math.isnan(metrics.top_decile_capture([0, 0], [1, 2]))
    assert all(math.isnan(bound) for bound in metrics.bias_interval([0, 0], [1, 2], seed=1))


def test_winsorizing_takes_the_whale_out_of_the_bias() -> None:
    actual = np.array([10.0] * 999 + [100_000.0])
    predicted = np.full(1000, 11.0)
    assert metrics.bias(actual, predicted) < -0.8
    assert metrics.bias_winsorized(actual, predicted) == pytest.approx(0.0, abs=0.1)


def test_resampling_draws_whole_customers() -> None:
    clusters = np.array(["c", "a", "b", "a", "c", "c"])
    for weights in metrics.cluster_weights(clusters, repetitions=20, seed=3):
        assert weights[0] == weights[4] == weights[5]
        assert weights[1] == weights[3]
        assert weights[0] + weights[1] + weights[2] == 3


def test_rows_copied_within_a_customer_do_not_narrow_the_gain() -> None:
    generator = np.random.default_rng(11)
    labels = generator.integers(0, 2, 300)
    better, worse = labels + generator.normal(0, 1, 300), labels + generator.normal(0, 1.3, 300)
    customers = np.arange(300)
    alone = metrics.auc_gain_lower(labels, better, worse, customers, seed=2, repetitions=200)
    copied = metrics.auc_gain_lower(
        *(np.tile(column, 5) for column in (labels, better, worse, customers)), seed=2, repetitions=200
    )
    assert copied == pytest.approx(alone)
    gain = metrics.auc(labels, better) - metrics.auc(labels, worse)
    assert alone < gain
