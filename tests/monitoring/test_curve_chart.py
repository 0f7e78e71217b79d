from __future__ import annotations

import pytest

from monitoring.curve_chart import curve_chart
from tests.made_backtests import made_propensity, made_tags, made_value
from training.backtest_curves import curves_of


def charts(found) -> dict[str, object]:
    return {curve.file_stem: curve_chart(curve) for curve in curves_of(found).curves}


def test_a_point_lies_where_the_axes_say() -> None:
    chart = charts(made_propensity())["reliability-72h"]
    assert (chart.dots[0].left, chart.dots[0].top) == (pytest.approx(5.0), pytest.approx(93.0))
    assert chart.dots[0].words == "stated 5.0%, came true 7.0% of 5,000"
    assert [tick.words for tick in chart.rows] == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert [line.role for line in chart.lines] == ["guide", "trend"]
    assert chart.lines[0].path == "M0 100L100 0"


def test_the_contract_is_a_line_across_the_plot() -> None:
    chart = charts(made_tags())["precision-coverage-interest"]
    contract = next(line for line in chart.lines if line.role == "contract")
    low, high = chart.curve.y_ticks[0], chart.curve.y_ticks[-1]
    top = round(100 * (high - 0.8) / (high - low), 2)
    assert contract.path == f"M0 {top:g}L100 {top:g}"
    assert [role for role, _ in chart.legend] == ["trend", "strict", "dots", "contract"]


def test_bars_stand_on_the_ground_beside_each_other_and_hang_below_it() -> None:
    chart = charts(made_value())["deciles-2011-09-09-90d"]
    low, high = chart.curve.y_ticks[0], chart.curve.y_ticks[-1]
    ground = 100 * high / (high - low)
    predicted, actual = chart.bars[:10], chart.bars[10:]
    assert {bar.role for bar in predicted} == {"first"}
    assert {bar.role for bar in actual} == {"second"}
    for bar in predicted:
        assert bar.top + bar.height == pytest.approx(ground, abs=0.02)
    assert actual[0].top == pytest.approx(ground, abs=0.02)
    assert actual[0].height == pytest.approx(100 * 5 / (high - low), abs=0.02)
    assert actual[0].left == pytest.approx(predicted[0].left + predicted[0].width, abs=0.02)
    assert actual[-1].left + actual[-1].width <= 100
