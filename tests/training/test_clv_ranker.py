"""The two-part ranker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from training.clv_ranker import CrossFit, fit_ranker
from training.errors import TrainingDataError
from training.metrics import auc, normalized_gini, spearman

FloatArray = npt.NDArray[np.float64]


def made(count: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Features of which the first says who buys and the second how much."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 4))
    buys = generator.random(count) < 1 / (1 + np.exp(-2 * features[:, 0]))
    return features, np.where(buys, np.exp(8 + features[:, 1] + 0.3 * generator.normal(size=count)), 0.0)


def fitted(features: FloatArray, spend: FloatArray, seed: int = 1) -> CrossFit:
    rows = len(spend)
    return fit_ranker(features, spend, np.arange(rows), np.ones(rows, dtype=bool), seed=seed, threads=1)


def test_it_ranks_new_customers_by_both_parts() -> None:
    ranker = fitted(*made(2000, 1)).ranker
    features, spend = made(3000, 2)
    truth = np.exp(features[:, 1]) / (1 + np.exp(-2 * features[:, 0]))
    assert spearman(truth, ranker.predict(features)) > 0.95
    assert ranker.predict(features).mean() == pytest.approx(spend.mean(), rel=0.15)


def test_held_out_scores_were_made_without_the_customer() -> None:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(600, 3))
    spend = generator.gamma(1, 100, 600) * (generator.random(600) < 0.5)
    twice = np.vstack([features, features])
    result = fit_ranker(
        twice, np.tile(spend, 2), np.tile(np.arange(600), 2), np.arange(1200) < 600, seed=1, threads=1
    )
    assert result.held_out.shape == (1200,)
    for scores in np.split(result.held_out, 2):
        assert abs(auc(spend > 0, scores) - 0.5) < 0.06
        assert abs(normalized_gini(spend, scores)) < 0.12


def test_the_same_seed_gives_the_same_model() -> None:
    features, spend = made(400, 4)
    first, again = fitted(features, spend), fitted(features, spend)
    assert (first.ranker.predict(features) == again.ranker.predict(features)).all()
    assert (first.held_out == again.held_out).all()


def test_where_everyone_buys_only_the_amount_is_modelled() -> None:
    features, spend = made(400, 5)
    ranker = fitted(features, spend + 100).ranker
    assert ranker.any_spend is None
    assert (ranker.predict(features) > 0).all()


def test_net_refunds_count_as_nothing() -> None:
    features, spend = made(400, 6)
    with_refunds = np.where(spend == 0, -500.0, spend)
    assert (fitted(features, spend).held_out == fitted(features, with_refunds).held_out).all()


def test_too_few_customers_or_no_spend_at_all_is_told() -> None:
    features, spend = made(99, 7)
    with pytest.raises(TrainingDataError, match="100 customers with a closed outcome window, got 99"):
        fitted(features, spend)
    with pytest.raises(TrainingDataError, match=r"20 customers who spent something.* got 0 of 150"):
        fitted(np.zeros((150, 2)), np.zeros(150))
    with pytest.raises(TrainingDataError, match="got 19 of 150"):
        fitted(np.zeros((150, 2)), (np.arange(150) < 19) * 100.0)


def test_rows_of_one_customer_at_several_cutoffs_are_one_customer() -> None:
    features, spend = made(300, 8)
    with pytest.raises(TrainingDataError, match="got 50"):
        fit_ranker(features, spend, np.arange(300) % 50, np.arange(300) < 50, seed=1, threads=1)


def test_customers_who_all_spend_the_same_are_ranked_by_whether_they_spend() -> None:
    features, spend = made(800, 9)
    same = np.where(spend > 0, 1000.0, 0.0)
    scores = fitted(features, same).ranker.predict(features)
    assert auc(same > 0, scores) > 0.75
    assert np.isfinite(scores).all()
