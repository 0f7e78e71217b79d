"""The blend that ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from training.clv_blend import Blend, Scores, choose_blend, log_blend

FloatArray = npt.NDArray[np.float64]


def origin(seed: int, *, informative: str, count: int = 1500) -> tuple[Scores, FloatArray]:
    """Scores of which some follow what is spent and the others are noise."""
    generator = np.random.default_rng(seed)
    expected = np.exp(generator.normal(7, 1.2, count))
    spent = expected * generator.gamma(0.5, 2.0, count)
    noise = np.exp(generator.normal(7, 1.2, (2, count)))
    if informative == "boosted":
        return Scores(expected, noise[0], noise[1]), spent
    return Scores(noise[0], expected, expected), spent


def test_the_blend_is_the_weighted_geometric_mean() -> None:
    scores = Scores(np.array([8.0]), np.array([2.0]), np.array([1.0]))
    assert np.exp(log_blend("boosted", scores)) == pytest.approx(8**0.6 * 2**0.2)
    assert np.exp(log_blend("even", scores)) == pytest.approx(16 ** (1 / 3))
    alone = Scores(np.array([8.0]), None, np.array([1.0]))
    assert np.exp(log_blend("boosted", alone)) == pytest.approx(8**0.75)


def test_a_score_of_nothing_ranks_last_and_stays_finite() -> None:
    scores = Scores(np.array([8.0, 8.0]), None, np.array([0.0, 1.0]))
    low, high = Blend("even", 1.2, "made", {}).score(scores)
    assert 0 < low < high


@pytest.mark.parametrize(("informative", "chosen"), [("boosted", "boosted"), ("classic", "classic")])
def test_what_ranked_best_at_the_closed_origins_is_chosen(informative: str, chosen: str) -> None:
    blend = choose_blend([origin(seed, informative=informative) for seed in range(4)])
    assert blend.name == chosen
    assert "4 closed origins" in blend.reason
    assert max(blend.ginis, key=lambda name: blend.ginis[name]) == chosen


def test_on_few_origins_the_rule_decides() -> None:
    blend = choose_blend([origin(seed, informative="classic") for seed in range(2)])
    assert blend.name == "boosted"
    assert blend.reason == "boosted by rule: 2 closed origins are too few to choose by backtest"


def test_predictions_drawn_together_are_spread_again() -> None:
    generator = np.random.default_rng(5)
    expected = np.exp(generator.normal(7, 1.0, 5000))
    spent = expected * generator.gamma(2.0, 0.5, 5000)
    narrow = expected**0.7
    blend = choose_blend([(Scores(narrow, narrow, narrow), spent)])
    assert blend.spread == pytest.approx(1 / 0.7, rel=0.05)
    score = blend.score(Scores(narrow, narrow, narrow))
    assert np.corrcoef(np.log(score), np.log(expected))[0, 1] == pytest.approx(1)
    assert np.std(np.log(score)) == pytest.approx(np.std(np.log(expected)), rel=0.05)


def test_customers_all_alike_have_no_spread() -> None:
    alike = np.full(50, 3.0)
    blend = choose_blend([(Scores(alike, alike, alike), np.full(50, 10.0))])
    assert (blend.spread, blend.ginis) == (1.0, {})
