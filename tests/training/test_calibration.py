"""Scores that become probabilities."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from training.calibration import SLICE_LUCK, Calibrator, fit_calibrator, fit_isotonic, fit_tempered

FloatArray = npt.NDArray[np.float64]

SAMPLES = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60)


def arrays(sample: list[tuple[int, bool]]) -> tuple[FloatArray, FloatArray]:
    scores = np.array([score / 12 for score, _ in sample])
    return scores, np.array([float(outcome) for _, outcome in sample])


def pooled_by_hand(scores: FloatArray, outcomes: FloatArray) -> dict[float, float]:
    """Pool adjacent violators as it is taught: merge a block into the one before while it is no higher."""
    blocks: list[tuple[float, float, list[float]]] = []
    for score in sorted(set(scores.tolist())):
        inside = outcomes[scores == score]
        blocks.append((float(inside.sum()), float(len(inside)), [score]))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            hits, count, members = blocks.pop()
            before = blocks.pop()
            blocks.append((before[0] + hits, before[1] + count, before[2] + members))
    margin = 1 / (len(scores) + 2)
    return {
        score: min(max(hits / count, margin), 1 - margin)
        for hits, count, members in blocks
        for score in members
    }


@given(SAMPLES)
def test_the_fit_is_what_pooling_adjacent_violators_by_hand_gives(sample: list[tuple[int, bool]]) -> None:
    scores, outcomes = arrays(sample)
    pooled = pooled_by_hand(scores, outcomes)
    expected = [pooled[score] for score in scores.tolist()]
    np.testing.assert_allclose(fit_isotonic(scores, outcomes)(scores), expected, atol=1e-12)


@given(SAMPLES)
def test_the_map_answers_as_scikit_learn_does_between_and_beyond_the_knots(
    sample: list[tuple[int, bool]],
) -> None:
    scores, outcomes = arrays(sample)
    margin = 1 / (len(scores) + 2)
    reference = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip").fit(scores, outcomes)
    asked = np.linspace(-0.5, 1.5, 201)
    np.testing.assert_allclose(fit_isotonic(scores, outcomes)(asked), reference.predict(asked), atol=1e-12)


@given(SAMPLES)
def test_a_higher_score_never_means_a_lower_probability_and_none_is_certain(
    sample: list[tuple[int, bool]],
) -> None:
    scores, outcomes = arrays(sample)
    answers = fit_isotonic(scores, outcomes)(np.linspace(-1, 2, 301))
    assert (np.diff(answers) >= 0).all()
    assert answers.min() >= 1 / (len(scores) + 2)
    assert answers.max() <= 1 - 1 / (len(scores) + 2)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_a_sample_of_one_class_keeps_its_distance_from_certainty(outcome: float) -> None:
    answers = fit_isotonic(np.linspace(0, 1, 8), np.full(8, outcome))(np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(answers, abs(outcome - 0.1))


def test_one_score_for_everybody_becomes_the_share_of_positives() -> None:
    fitted = fit_isotonic(np.full(10, 0.7), np.r_[np.ones(4), np.zeros(6)])
    np.testing.assert_allclose(fitted(np.array([0.0, 0.7, 1.0])), 0.4)


def test_calibrated_probabilities_come_true_as_often_as_they_say_on_fresh_data() -> None:
    rng = np.random.default_rng(3)
    scores, fresh = rng.random(20_000), rng.random(20_000)
    fitted = fit_isotonic(scores, (rng.random(20_000) < scores**2).astype(float))
    answers = fitted(fresh)
    # the true probability of a score is its square; a tenth of the answers is within 4 standard errors
    for part in np.array_split(np.argsort(answers), 10):
        assert abs(answers[part].mean() - (fresh[part] ** 2).mean()) < 4 * np.sqrt(0.25 / 2000)
    # a single answer is off by the order of n^(-1/3), as isotonic regression is
    assert np.abs(answers - fresh**2).mean() < 20_000 ** (-1 / 3)


def test_a_missing_score_stays_missing() -> None:
    fitted = Calibrator(np.array([0.0, 1.0]), np.array([0.1, 0.9]))
    assert np.isnan(fitted(np.array([np.nan]))).all()


def test_the_knots_survive_json_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    fitted = fit_isotonic(rng.random(300), rng.integers(0, 2, 300).astype(float))
    again = Calibrator.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.scores, fitted.scores)
    np.testing.assert_array_equal(again.probabilities, fitted.probabilities)


@given(st.lists(st.tuples(st.floats(0, 1, allow_subnormal=False), st.booleans()), min_size=2, max_size=60))
def test_centred_calibration_rises_and_keeps_each_steps_probability_at_its_mean_score(
    pairs: list[tuple[float, bool]],
) -> None:
    scores = np.array([score for score, _ in pairs])
    outcomes = np.array([float(outcome) for _, outcome in pairs])
    steps, centred = fit_isotonic(scores, outcomes), fit_calibrator(scores, outcomes)
    assert (np.diff(centred.scores) > 0).all() or len(centred.scores) <= 2
    assert (np.diff(centred.probabilities) >= 0).all()
    margin = 1 / (len(scores) + 2)
    assert centred.probabilities.min() >= margin - 1e-12
    assert centred.probabilities.max() <= 1 - margin + 1e-12
    levels = steps(scores)
    if len(np.unique(levels)) > 1:
        for level in np.unique(levels):
            centre = scores[levels == level].mean()
            np.testing.assert_allclose(centred(np.array([centre])), level, atol=1e-9)


def test_centred_calibration_tells_scores_of_one_step_apart_and_stays_calibrated_on_fresh_data() -> None:
    rng = np.random.default_rng(11)
    truth = rng.uniform(0.05, 0.95, 20_000)
    outcomes = (rng.uniform(size=20_000) < truth).astype(float)
    centred = fit_calibrator(truth[:10_000] ** 2, outcomes[:10_000])
    fresh = centred(truth[10_000:] ** 2)
    assert len(np.unique(fresh)) > 9_900
    assert abs(fresh.mean() - outcomes[10_000:].mean()) < 0.02
    np.testing.assert_allclose(fresh, truth[10_000:], atol=0.08)


def test_an_unlucky_slice_moves_tempered_probabilities_half_as_far() -> None:
    scores = np.repeat([0.2, 0.8], 500)
    unlucky = np.r_[np.arange(500) < 90, np.arange(500) < 390].astype(float)
    tempered = fit_tempered(scores, unlucky, np.arange(1000))
    np.testing.assert_allclose(tempered(np.array([0.2, 0.8])), [0.19, 0.79], atol=1e-9)


def test_what_luck_cannot_explain_is_believed_as_far_as_it_goes_beyond_it() -> None:
    scores = np.repeat([0.2, 0.8], 500)
    outcomes = np.r_[np.arange(500) < 100, np.arange(500) < 300].astype(float)
    # 0.2 off, where luck of the slice and of 500 customers has a variance of 0.0004 and 0.28 / 500
    beyond = 1 - (SLICE_LUCK**2 + (300 * 0.2**2 + 200 * 0.8**2) / 500**2) / 0.2**2
    alone = fit_tempered(scores, outcomes, np.arange(1000))(np.array([0.8]))
    np.testing.assert_allclose(alone, 0.8 - 0.2 * beyond, atol=1e-9)
    # of two customers in all, nothing certain is learnt
    two = fit_tempered(scores, outcomes, np.arange(1000) % 2)(np.array([0.8]))
    assert alone[0] < two[0] <= 0.7


def test_tempered_probabilities_never_fall_as_scores_rise() -> None:
    rng = np.random.default_rng(4)
    scores = rng.uniform(0.05, 0.95, 2000)
    tempered = fit_tempered(scores, (rng.random(2000) < scores**2).astype(float), rng.integers(0, 90, 2000))
    assert (np.diff(tempered(np.linspace(0, 1, 301))) >= 0).all()
