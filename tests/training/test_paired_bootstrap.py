from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import metrics
from training.paired_bootstrap import (
    FigurePair,
    PairedFigure,
    calibration_error,
    lift_of_top_decile,
    numbered,
    paired_figures,
    probability_pairs,
    ranking_auc,
    ranking_gini,
    ratio_of_sums,
    relative_bias,
)


def made_rows(seed: int, rows: int = 400, customers: int = 60):
    """Draw outcomes, scores with ties, spend and owners."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random(rows), 2)
    labels = (rng.random(rows) < scores).astype(float)
    spend = np.where(labels > 0, rng.gamma(2.0, 500.0, rows), 0.0).round()
    member, count = numbered(rng.integers(0, customers, rows))
    return labels, scores, spend, member, count


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_with_everybody_counted_once_each_figure_is_the_metric_itself(seed: int):
    labels, scores, spend, member, count = made_rows(seed)
    once = np.ones(count)
    expected = scores * 900
    assert ranking_auc(labels, scores, member)(once) == pytest.approx(metrics.auc(labels, scores))
    assert calibration_error(labels, scores, member, count)(once) == pytest.approx(
        metrics.ece(labels, scores)
    )
    lift = lift_of_top_decile(labels, scores, member, count)
    assert lift(once) == pytest.approx(metrics.lift_top_decile(labels, scores))
    gini = ranking_gini(spend, expected, member)
    assert gini(once) == pytest.approx(metrics.normalized_gini(spend, expected))
    bias = relative_bias(expected, spend, member, count)
    assert bias(once) == pytest.approx(metrics.bias(spend, expected))
    brier = ratio_of_sums((scores - labels) ** 2, np.ones(len(labels)), member, count)
    assert brier(once) == pytest.approx(metrics.brier(labels, scores))


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_a_customer_drawn_several_times_counts_as_if_their_rows_stood_there_several_times(seed: int):
    labels, scores, spend, member, count = made_rows(seed, rows=120, customers=20)
    weight = np.random.default_rng(seed).integers(0, 4, count).astype(float)
    again = np.repeat(np.arange(len(labels)), weight[member].astype(int))
    assert ranking_auc(labels, scores, member)(weight) == pytest.approx(
        metrics.auc(labels[again], scores[again]), nan_ok=True
    )
    bias = relative_bias(scores, spend, member, count)
    assert bias(weight) == pytest.approx(metrics.bias(spend[again], scores[again]), nan_ok=True)


def test_a_figure_that_does_not_exist_on_a_resample_is_no_number():
    member = np.array([0, 1])
    assert math.isnan(ranking_auc(np.array([1.0, 0.0]), np.array([0.5, 0.4]), member)(np.array([2.0, 0.0])))
    assert math.isnan(ratio_of_sums(np.ones(2), np.array([1.0, 0.0]), member, 2)(np.array([0.0, 2.0])))
    assert math.isnan(ranking_gini(np.array([5.0, 0.0]), np.arange(2.0), member)(np.array([0.0, 1.0])))


def mean_pair(first: np.ndarray, second: np.ndarray, member: np.ndarray, count: int) -> FigurePair:
    ones = np.ones(len(first))
    return FigurePair(
        "mean",
        "higher",
        ratio_of_sums(first, ones, member, count),
        ratio_of_sums(second, ones, member, count),
    )


def test_the_interval_of_a_difference_of_means_is_the_normal_one():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, 2000), rng.normal(0.1, 1, 2000)
    (found,) = paired_figures(
        [mean_pair(first, second, np.arange(2000), 2000)], 2000, seed=1, repetitions=2000
    )
    error = (second - first).std(ddof=1) / math.sqrt(2000)
    assert found.difference == pytest.approx((second - first).mean())
    assert found.low == pytest.approx(found.difference - 1.645 * error, abs=0.15 * error)
    assert found.high == pytest.approx(found.difference + 1.645 * error, abs=0.15 * error)


def test_rows_of_one_customer_are_no_independent_draws():
    rng = np.random.default_rng(2)
    customer = np.repeat(np.arange(100), 25)
    shift = rng.normal(0, 1, 100)[customer]
    flat = np.zeros(len(customer))
    (clustered,) = paired_figures([mean_pair(flat, shift, customer, 100)], 100, seed=1)
    (naive,) = paired_figures([mean_pair(flat, shift, np.arange(2500), 2500)], 2500, seed=1)
    # Kish: the variance is inflated by the number of rows that say the same.
    assert (clustered.high - clustered.low) / (naive.high - naive.low) == pytest.approx(5, rel=0.15)


def test_what_both_models_err_in_alike_does_not_widen_the_interval():
    rng = np.random.default_rng(3)
    common = rng.normal(0, 10, 500)
    (found,) = paired_figures([mean_pair(common, common + 0.01, np.arange(500), 500)], 500, seed=1)
    assert (found.low, found.high) == (pytest.approx(0.01), pytest.approx(0.01))


def test_the_same_seed_gives_the_same_interval():
    labels, scores, _, member, count = made_rows(5)
    pairs = probability_pairs("", labels > 0, {"first": scores, "second": scores**2}, member, count)
    once, again = (paired_figures(pairs, count, seed=9, repetitions=50) for _ in range(2))
    assert once == again
    assert [one.metric for one in once] == ["auc", "brier", "ece", "lift_top_decile"]


def test_of_two_models_one_of_which_guesses_the_other_is_better_in_every_figure():
    rng = np.random.default_rng(6)
    truth = rng.random(3000)
    labels = rng.random(3000) < truth
    member, count = numbered(np.arange(3000))
    pairs = probability_pairs("72h.", labels, {"first": rng.random(3000), "second": truth}, member, count)
    found = {one.metric: one for one in paired_figures(pairs, count, seed=1, repetitions=100)}
    assert {name: one.verdict for name, one in found.items()} == dict.fromkeys(
        ["72h.auc", "72h.brier", "72h.ece", "72h.lift_top_decile"], "better"
    )


@pytest.mark.parametrize(
    ("better", "low", "high", "expected"),
    [
        ("higher", 0.1, 0.2, "better"),
        ("higher", -0.2, -0.1, "worse"),
        ("lower", 0.1, 0.2, "worse"),
        ("nearer_zero", -0.2, -0.1, "better"),
        ("higher", -0.1, 0.1, "no difference shown"),
        ("lower", math.nan, math.nan, "no difference shown"),
    ],
)
def test_an_interval_that_holds_zero_shows_nothing(better, low, high, expected):
    assert PairedFigure("x", better, 0.0, 0.0, (low + high) / 2, low, high).verdict == expected


def test_of_a_bias_the_distance_from_zero_is_compared():
    above, below = (lambda weight: 0.3), (lambda weight: -0.1)
    (found,) = paired_figures([FigurePair("bias", "nearer_zero", above, below)], 3, seed=1, repetitions=5)
    assert (found.first, found.second, found.difference) == (0.3, -0.1, pytest.approx(-0.2))
    assert found.verdict == "better"
