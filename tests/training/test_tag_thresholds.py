"""From which probability on a tag is given out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.outcomes import UNOBSERVED
from tests.training.made_claims import CONTRACT, claims_of, joined, outcomes
from training.datasets import AFTER_EVENT, CENSUS, RANDOM_HOUR
from training.tag_prior import Prior
from training.tag_thresholds import LIFT_MARGIN, choose_thresholds


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 6), st.sampled_from([1, 1, 0, -1])),
        min_size=1,
        max_size=40,
    ),
    # shares that no small counts have exactly, so that rounding decides nothing
    st.sampled_from([0.5237, 0.7131]),
)
def test_a_familys_threshold_is_the_lowest_above_which_its_probabilities_reach_the_aim(
    rows: list[tuple[int, int, int]], aim: float
) -> None:
    tags, grades, outcome = (np.array([row[column] for row in rows], int) for column in range(3))
    claims = claims_of(0.4 + grades / 10, outcome, tag=tags)
    found = choose_thresholds(claims, 3, CONTRACT, np.array([0.1, 0.1, 0.45]), Prior(20.0, 0.0), aim)
    told = (outcome != UNOBSERVED) & (tags < 2)
    reaching = [
        threshold
        for threshold in sorted(set(claims.probability[told].tolist()))
        if claims.probability[told & (claims.probability >= threshold)].mean() >= aim
    ]
    lowest = min(reaching, default=np.nan)
    # what the third would need for its lift is more than the aim, and it has too few claims to show it
    np.testing.assert_equal(found.values, [lowest, lowest, np.nan])
    assert not found.alone.any()


def test_a_tag_with_claims_enough_gets_a_higher_threshold_where_its_outcomes_ask_for_it() -> None:
    good = claims_of(np.repeat([0.9, 0.7], 200), outcomes(400, 0), tag=0)
    poor = claims_of(np.repeat([0.9, 0.7], 200), np.r_[outcomes(180, 20), outcomes(80, 120)], tag=1)
    found = choose_thresholds(joined(good, poor), 2, CONTRACT, np.array([0.1, 0.1]), Prior(20.0, 0.0), 0.8)
    assert found.values.tolist() == [0.7, 0.9]
    assert found.alone.all()
    assert found.worth.tolist() == [400, 200]
    assert found.expected == pytest.approx([(400 + 20 * 0.8) / 420, 0.9])


def test_a_tag_that_everybody_buys_has_to_reach_what_its_lift_asks_for() -> None:
    claims = claims_of(np.repeat([0.95, 0.85], 200), np.r_[outcomes(190, 10), outcomes(170, 30)])
    rare = choose_thresholds(claims, 1, CONTRACT, np.array([0.2]), Prior(20.0, 0.0), 0.8)
    common = choose_thresholds(claims, 1, CONTRACT, np.array([0.92 / 2 / LIFT_MARGIN]), Prior(20.0, 0.0), 0.8)
    assert (rare.values[0], common.values[0]) == (0.85, 0.95)


def test_a_large_tag_that_misses_the_aim_does_not_hide_in_the_pool() -> None:
    bad = claims_of(0.8, outcomes(100, 100), tag=0)
    small = claims_of(0.85, outcomes(20, 4), tag=1)
    found = choose_thresholds(joined(bad, small), 2, CONTRACT, np.array([0.1, 0.1]), Prior(20.0, 0.0), 0.8)
    assert found.alone.tolist() == [True, False]
    assert np.isnan(found.values[0])
    assert found.values[1] == 0.8


def test_a_threshold_never_cuts_through_claims_of_one_score() -> None:
    claims = claims_of([0.9, 0.9, 0.9, 0.5, 0.5], [1, 1, 0, 0, 0])
    found = choose_thresholds(claims, 1, CONTRACT, np.array([0.1]), Prior(20.0, 0.0), 0.78)
    assert found.values[0] == 0.9


def test_claims_that_nobody_could_observe_choose_nothing() -> None:
    found = choose_thresholds(
        claims_of(0.95, outcomes(0, 0, 5)), 3, CONTRACT, np.full(3, 0.1), Prior(20.0, 0.0), 0.8
    )
    assert np.isnan(found.values).all()
    assert found.values.shape == (3,)


@pytest.mark.parametrize(("of_each_kind", "threshold"), [(False, 0.7), (True, 0.9)])
def test_a_tag_may_have_to_reach_the_aim_at_each_kind_of_instants(
    of_each_kind: bool, threshold: float
) -> None:
    midnight = claims_of(np.repeat([0.9, 0.7], 200), np.r_[outcomes(170, 30), outcomes(120, 80)], kind=CENSUS)
    after = claims_of(np.repeat([0.9, 0.7], 200), outcomes(400, 0), kind=AFTER_EVENT)
    # Too few of a kind to say anything about it.
    rare = claims_of(0.9, outcomes(0, 9), kind=RANDOM_HOUR)
    found = choose_thresholds(
        joined(midnight, after, rare), 1, CONTRACT, np.array([0.1]), Prior(0.0, 0.0), 0.8, of_each_kind
    )
    assert found.values.tolist() == [threshold]


def test_a_tag_that_reaches_the_aim_at_one_kind_of_instants_alone_has_no_threshold() -> None:
    never = claims_of(np.repeat([0.9, 0.75], 200), outcomes(100, 300), kind=CENSUS)
    always = claims_of(np.repeat([0.9, 0.75], 2000), outcomes(4000, 0), kind=AFTER_EVENT)
    claims, rates, prior = joined(never, always), np.array([0.1]), Prior(0.0, 0.0)
    assert choose_thresholds(claims, 1, CONTRACT, rates, prior, 0.8).values.tolist() == [0.75]
    assert np.isnan(choose_thresholds(claims, 1, CONTRACT, rates, prior, 0.8, True).values).all()
