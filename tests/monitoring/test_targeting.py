from __future__ import annotations

import numpy as np
import pytest

from features.windows import DAY_US, to_us
from monitoring.campaign_lift import Comparison
from monitoring.campaigns import Campaign
from monitoring.roi import Assumptions, Judged, returns_of
from monitoring.targeting import RANDOM, SHARES, HeldOut, cumulated, customer_returns, targeting_curves
from tests.monitoring.campaign_shop import START

ASSUMED = Assumptions(cost_per_contact_minor=10, margin=0.5, window_days=7)
SPENT = np.array([400, 0, 0, 200, 0, 0, 0, 0, 0, 0])


def held_out(scores, spent=SPENT, comparison=None):
    size = len(spent)
    one = np.ones(size, np.int64)
    campaign = Campaign(
        "c", np.arange(size), np.full(size, to_us(START) + DAY_US), one, one, one, np.asarray(spent)
    )
    return HeldOut(Judged(campaign, comparison, None, one), scores)


def roi_at(curves, ranking, share, outcome="redeemed"):
    curve = next(one for one in curves if (one.ranking, one.outcome) == (ranking, outcome))
    return next(point for point in curve.points if point.share == share)


def test_a_perfect_ranking_and_a_random_choice_in_closed_form():
    curves = targeting_curves(
        [held_out({"perfect": SPENT.astype(float)})], ASSUMED, 10, seed=0, repetitions=20
    )
    first = roi_at(curves, "perfect", 0.1)
    assert first.profit_minor.value == 0.5 * 400 - 10
    assert first.roi.value == 19.0
    two = roi_at(curves, "perfect", 0.2)
    assert two.roi.value == (0.5 * 600 - 20) / 20
    random = roi_at(curves, RANDOM, 0.2)
    assert random.roi.value == (0.5 * 600 - 100) / 100
    assert random.profit_minor.value == 0.2 * 200
    assert two.profit_over_random_minor.value == 280 - 40


def test_everybody_is_everybody_however_ranked():
    rng = np.random.default_rng(0)
    curves = targeting_curves(
        [held_out({"noise": rng.random(10), "none": np.full(10, np.nan)})],
        ASSUMED,
        10,
        seed=0,
        repetitions=20,
    )
    whole = {roi_at(curves, name, 1.0).profit_minor.value for name in ("noise", "none", RANDOM)}
    assert whole == {200}
    assert [point.share for point in curves[0].points] == list(SHARES)


def test_a_worthless_ranking_is_random_on_average():
    rng = np.random.default_rng(1)
    over = []
    for seed in range(200):
        curves = targeting_curves(
            [held_out({"noise": rng.random(10)})], ASSUMED, 10, seed=seed, repetitions=1
        )
        over.append(roi_at(curves, "noise", 0.3).profit_over_random_minor.value)
    assert np.mean(over) == pytest.approx(0.0, abs=3 * np.std(over) / np.sqrt(200))


def test_customers_of_several_campaigns_are_ranked_in_each():
    rows = [held_out({"s": SPENT.astype(float)}), held_out({"s": -SPENT.astype(float)})]
    curves = targeting_curves(rows, ASSUMED, 10, seed=0, repetitions=5)
    assert roi_at(curves, "s", 0.2).profit_minor.value == (0.5 * 600 - 20) + (0 - 20)


def test_weights_count_a_customer_as_often_as_drawn():
    values, order = np.array([5.0, 1.0, 2.0]), np.array([0, 1, 2])
    weight = np.array([2.0, 0.0, 1.0])
    repeated = cumulated(np.array([5.0, 5.0, 2.0]), np.ones(3), order, [1 / 3, 2 / 3, 1.0])
    assert cumulated(values, weight, order, [1 / 3, 2 / 3, 1.0]) == pytest.approx(repeated)


def test_the_matched_outcome_is_the_gain_over_the_strata_and_where_unknown_its_mean():
    comparison = Comparison(
        np.arange(3),
        np.array([0, 0, -1]),
        np.array([30, 50, 7]),
        np.array([3, 4]),
        np.array([0, 0]),
        np.array([10, 20]),
    )
    one = held_out({}, [1, 2, 3], comparison)
    assert customer_returns(one, "matched").tolist() == [15.0, 35.0, 25.0]
    assert customer_returns(one, "redeemed").tolist() == [1.0, 2.0, 3.0]
    assert customer_returns(held_out({}, [1, 2, 3]), "matched") is None


def test_a_random_choice_of_everybody_is_the_campaign_itself_interval_included():
    rng = np.random.default_rng(3)
    comparison = Comparison(
        np.arange(10),
        np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, -1]),
        rng.integers(-500, 900, 10),
        np.arange(10, 40),
        np.repeat([0, 1], 15),
        rng.integers(-600, 600, 30),
    )
    one = held_out({}, SPENT, comparison)
    returned = returns_of([one.judged], 40, ASSUMED, seed=2, repetitions=60)[0]
    curves = targeting_curves([one], ASSUMED, 40, seed=2, repetitions=60)
    for outcome in ("redeemed", "matched"):
        assert roi_at(curves, RANDOM, 1.0, outcome).profit_minor == returned.returns[outcome].profit_minor


def test_without_a_held_out_campaign_there_is_no_curve():
    assert targeting_curves([], ASSUMED, 10, seed=0) == []
