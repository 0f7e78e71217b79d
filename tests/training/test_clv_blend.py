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
    origins = [origin(seed, informative=informative) for seed in range(4)]
    blend = choose_blend(origins, origins[0][0])
    assert blend.name == chosen
    assert "4 closed origins" in blend.reason
    assert max(blend.ginis, key=lambda name: blend.ginis[name]) == chosen


def test_on_few_origins_the_rule_decides() -> None:
    origins = [origin(seed, informative="classic") for seed in range(2)]
    blend = choose_blend(origins, origins[0][0])
    assert blend.name == "boosted"
    assert blend.reason == "boosted by rule: 2 closed origins are too few to choose by backtest"


def drawn_together(seed: int, power: float, count: int = 5000) -> tuple[Scores, FloatArray]:
    """Scores that are all some power of what is expected, and what is spent."""
    generator = np.random.default_rng(seed)
    expected = np.exp(generator.normal(7, 1.0, count))
    narrow = expected**power
    return Scores(narrow, narrow, narrow), expected * generator.gamma(2.0, 0.5, count)


def test_predictions_drawn_together_are_spread_again() -> None:
    scores, spent = drawn_together(5, 0.7)
    alone = Scores(scores.boosted, None, scores.past_rate)
    blend = choose_blend([(alone, spent)], alone)
    assert blend.spread == pytest.approx(1 / 0.7, rel=0.05)
    score, expected = blend.score(alone), scores.boosted ** (1 / 0.7)
    assert np.corrcoef(np.log(score), np.log(expected))[0, 1] == pytest.approx(1)
    assert np.std(np.log(score)) == pytest.approx(np.std(np.log(expected)), rel=0.05)


def test_the_spread_is_the_mean_of_latest_origin_all_origins_and_bgnbd_forecast() -> None:
    origins = [drawn_together(seed, power) for seed, power in ((5, 1.0), (6, 0.8), (7, 0.8))]
    # log blend = 0.8 x + 0.2 x 1.6 = 1.12 of the unit in which the BG/NBD forecast is 1.6
    base = origins[0][0].boosted
    aged = Scores(base, base**1.6, base)
    latest, every, forecast = 1.0, np.mean([1.0, 1 / 0.8, 1 / 0.8]), 1.6 / 1.12
    assert choose_blend(origins, aged).spread == pytest.approx(np.mean([latest, every, forecast]), rel=0.02)


def test_without_bgnbd_today_the_spread_is_that_of_the_origins() -> None:
    origins = [drawn_together(seed, power) for seed, power in ((5, 1.0), (6, 0.8))]
    scores = origins[0][0]
    alone = Scores(scores.boosted, None, scores.past_rate)
    assert choose_blend(origins, alone).spread == pytest.approx(np.mean([1.0, 1.125]), rel=0.02)


def test_customers_all_alike_have_no_spread() -> None:
    alike = np.full(50, 3.0)
    scores = Scores(alike, alike, alike)
    blend = choose_blend([(scores, np.full(50, 10.0))], scores)
    assert (blend.spread, blend.ginis) == (1.0, {})
