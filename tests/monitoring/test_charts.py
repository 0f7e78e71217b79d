from __future__ import annotations

import re

import pytest

from monitoring.charts import axis_floor, precision_chart
from tests.monitoring.report_parts import day_precision


def test_a_value_lies_where_the_axis_says() -> None:
    chart = precision_chart([day_precision(2, 60, 40), day_precision(4, 80, 20)], 0.8, 0.4)
    assert [(dot.left, dot.top) for dot in chart.dots] == [
        (3.0, pytest.approx(66.67)),
        (97.0, pytest.approx(33.33)),
    ]
    assert [(tick.words, tick.at) for tick in chart.rows] == [
        ("40%", 100.0),
        ("60%", pytest.approx(66.67)),
        ("80%", pytest.approx(33.33)),
        ("100%", 0.0),
    ]
    assert chart.contract_top == pytest.approx(33.33)


def test_a_day_without_outcomes_breaks_the_line() -> None:
    days = [day_precision(2, 6, 4), day_precision(3, 0, 0), day_precision(4, 8, 2), day_precision(5, 7, 3)]
    chart = precision_chart(days, None, 0.2)
    assert chart.line.count("M") == 2
    assert chart.band.count("Z") == 2
    assert (len(chart.dots), chart.contract_top) == (3, None)


def test_a_lone_day_stands_in_the_middle_and_has_a_band_to_see() -> None:
    chart = precision_chart([day_precision(2, 6, 4)], 0.8, 0.2)
    assert chart.dots[0].left == 50
    xs = {float(x) for x in re.findall(r"[ML](\S+) ", chart.band)}
    assert max(xs) - min(xs) == 2


def test_no_outcome_at_all_is_said_in_words() -> None:
    chart = precision_chart([day_precision(2, 0, 0)], 0.8, 0.6)
    assert (chart.line, chart.band, chart.dots) == ("", "", ())
    assert chart.summary == "interest: no observed claims yet"


def test_the_summary_tells_what_the_eye_sees() -> None:
    chart = precision_chart([day_precision(2, 9, 1), day_precision(3, 7, 3)], 0.8, 0.2)
    assert chart.summary == (
        "interest: observed precision by day, 02 Mar 2026 to 03 Mar 2026, "
        "between 70.0% and 90.0%, last 70.0%; the contract demands 80%"
    )


def test_charts_share_an_axis_that_holds_every_interval_and_contract() -> None:
    days = [day_precision(2, 99, 1), day_precision(2, 30, 20, "high_intent")]
    low = min(day.wilson_low for day in days if day.wilson_low is not None)
    assert axis_floor(days, [0.8]) == pytest.approx(0.4)
    assert 0.4 <= low < 0.6
    assert axis_floor([day_precision(2, 10_000, 1)], [0.95]) == pytest.approx(0.8)
    assert axis_floor([], []) == 0


def test_many_days_get_few_labels() -> None:
    days = [day_precision(day, 8, 2) for day in range(1, 31)]
    assert len(precision_chart(days, None, 0.0).columns) <= 7
