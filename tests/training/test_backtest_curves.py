from __future__ import annotations

import pytest

from tests.made_backtests import coverage_point, made_propensity, made_tags, made_value
from training.backtest_curves import Curve, curves_of, money_unit


def by_stem(found) -> dict[str, Curve]:
    return {curve.file_stem: curve for curve in curves_of(found).curves}


def test_coverage_is_drawn_from_the_least_to_the_most_with_the_contract_and_what_is_given_out():
    curve = by_stem(made_tags())["precision-coverage-interest"]
    observed, strict, given = curve.series
    assert (observed.style, strict.style, given.style) == ("line", "dashed", "dots")
    points = [coverage_point(number) for number in range(8, -1, -1)]
    assert observed.x == tuple(point["useful_tags_per_customer_day"] for point in points)
    assert observed.y == tuple(point["precision_observed"] for point in points)
    assert strict.y == tuple(point["precision_strict"] for point in points)
    assert (given.x, given.y) == ((0.153,), (0.812,))
    (contract,) = curve.guides
    assert (contract.name, contract.y, contract.x) == ("contract 80%", (0.8, 0.8), curve.x_range)
    assert "90 distinct tags" in observed.words[-1]


def test_every_point_lies_inside_its_axes_which_end_at_round_marks():
    for found in (made_tags(), made_propensity(), made_value(), made_value(None)):
        for curve in curves_of(found).curves:
            low, high = curve.y_ticks[0], curve.y_ticks[-1]
            for series in curve.series:
                assert len(series.x) == len(series.y) == len(series.words) > 0
                assert all(curve.x_range[0] <= x <= curve.x_range[1] for x in series.x)
                assert all(low <= y <= high for y in series.y)
            steps = {
                round(after - before, 9)
                for before, after in zip(curve.y_ticks, curve.y_ticks[1:], strict=False)
            }
            assert len(steps) == 1


def test_strict_precision_is_not_drawn_twice_where_everything_is_observed():
    found = made_tags()
    for point in found["interest"]["coverage_curve"]:
        point["precision_strict"] = point["precision_observed"]
    assert [one.name for one in by_stem(found)["precision-coverage-interest"].series] == [
        "of observed claims",
        "as given out",
    ]


def test_reliability_is_held_against_the_diagonal():
    curve = by_stem(made_propensity())["reliability-72h"]
    line = curve.series[0]
    assert line.x[0] == pytest.approx(0.05)
    assert line.y[0] == pytest.approx(0.07)
    (guide,) = curve.guides
    assert guide.x == guide.y == (0.0, 1.0)
    assert line.words[0] == "stated 5.0%, came true 7.0% of 5,000"


def test_lift_begins_with_the_best_scored_and_ends_with_everyone():
    curve = by_stem(made_propensity())["lift-72h"]
    line = curve.series[0]
    assert (line.x[0], line.y[0]) == (0.05, 2.5)
    assert (line.x[-1], line.y[-1]) == (1.0, pytest.approx(1.0))
    assert curve.guides[0].y == (1.0, 1.0)


def test_deciles_are_shown_in_money_and_may_fall_below_nothing():
    curve = by_stem(made_value())["deciles-2011-09-09-90d"]
    predicted, actual = curve.series
    assert predicted.y[:2] == (10.0, 100.0)
    assert actual.y[:2] == (-5.0, 90.0)
    assert curve.y_label == "mean net spend, GBP"
    assert curve.y_ticks[0] <= -5
    assert actual.words[1] == "tenth 2 of 10 (246 customers): actual 90.00"


@pytest.mark.parametrize(
    ("currency", "divisor"), [("CNY", 100.0), ("JPY", 1.0), ("KWD", 1000.0), (None, 1.0)]
)
def test_money_is_divided_as_its_currency_is(currency, divisor):
    assert money_unit(currency)[0] == divisor


def test_what_the_json_does_not_hold_is_said():
    assert [str(one) for one in curves_of(made_tags()).absent] == [
        "no precision–coverage curve of high_intent: the JSON has no 'coverage_curve'"
    ]
    assert [str(one) for one in curves_of(made_propensity()).absent] == [
        "no lift curve of 7d: the JSON has no 'lift_curve'"
    ]
    value = made_value() | {"deciles": []}
    assert [one.key for one in curves_of(value).absent] == ["deciles"]


def test_one_point_alone_and_points_all_alike_have_axes():
    found = made_tags()
    found["interest"]["coverage_curve"] = [coverage_point(0) | {"useful_tags_per_customer_day": 0.0}]
    found["interest"] |= {"useful_tags_per_customer_day": 0.0, "precision_observed": 1.0}
    curve = by_stem(found)["precision-coverage-interest"]
    assert curve.x_range[0] < curve.x_range[1]
    assert curve.y_ticks[-1] == 1.0
