"""Conformal intervals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.clv_interval import COVERAGE, DRIFT, RARE, IntervalKnots, fit_interval
from training.metrics import interval_coverage

FloatArray = npt.NDArray[np.float64]


def made(count: int, seed: int, idle: float) -> tuple[FloatArray, FloatArray]:
    generator = np.random.default_rng(seed)
    predicted = generator.gamma(1.5, 2000, count) + 1
    buys = generator.random(count) >= idle
    return predicted, np.where(buys, predicted * generator.gamma(2, 0.5, count) / max(1 - idle, 0.01), 0.0)


@pytest.mark.parametrize("idle", [0.0, 0.02, 0.08, 0.3, 0.7])
def test_four_in_five_of_those_who_buy_fall_inside_and_at_least_as_many_of_all(idle: float) -> None:
    knots = fit_interval(*made(3000, 1, idle))
    predicted, actual = made(20_000, 2, idle)
    low, high = knots.around(predicted)
    bought = actual > 0
    assert interval_coverage(actual[bought], low[bought], high[bought]) == pytest.approx(
        COVERAGE + DRIFT, abs=0.03
    )
    assert interval_coverage(actual, low, high) > COVERAGE - 0.02
    if idle > RARE + 0.02:
        assert (low == 0).all()
        assert interval_coverage(actual[~bought], low[~bought], high[~bought]) == 1.0


def test_where_nearly_all_are_idle_the_interval_still_holds_the_expectation() -> None:
    knots = fit_interval(*made(3000, 3, 0.95))
    predicted, actual = made(3000, 4, 0.95)
    low, high = knots.around(predicted)
    assert (low == 0).all()
    assert (high >= predicted).all()
    assert interval_coverage(actual, low, high) > 0.8


@given(st.lists(st.floats(0.01, 1e9), min_size=1, max_size=30))
def test_low_expected_and_high_are_in_order(expected: list[float]) -> None:
    knots = fit_interval(*made(500, 5, 0.4))
    values = np.array(expected)
    low, high = knots.around(values)
    assert ((low >= 0) & (low <= values) & (values <= high)).all()


def test_each_bin_holds_as_many_buyers_as_the_next_however_few_buy() -> None:
    predicted, actual = made(4000, 6, 0.9)
    predicted = np.sort(predicted)
    knots = fit_interval(predicted, actual)
    assert len(knots.log_predicted) == int((actual > 0).sum()) // 50
    assert (np.diff(knots.log_predicted) > 0).all()


def test_without_any_buyer_the_interval_ends_at_the_expectation() -> None:
    low, high = fit_interval(np.full(10, 5.0), np.zeros(10)).around(np.array([5.0]))
    assert (low.tolist(), high.tolist()) == ([0.0], [5.0])


def test_few_customers_and_equal_predictions_give_one_knot() -> None:
    knots = fit_interval(np.full(40, 100.0), np.linspace(0.0, 195.0, 40))
    assert knots.log_predicted.tolist() == [pytest.approx(np.log(100))]
    many = fit_interval(np.full(400, 100.0), np.linspace(0.0, 199.5, 400))
    assert len(many.log_predicted) == 1


def test_between_knots_the_multiples_change_smoothly() -> None:
    knots = IntervalKnots(np.log([10.0, 1000.0]), np.array([0.0, 0.5]), np.array([3.0, 2.0]))
    low, high = knots.around(np.array([100.0]))
    assert low[0] == pytest.approx(25.0)
    assert high[0] == pytest.approx(250.0)
