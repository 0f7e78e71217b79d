from __future__ import annotations

import dataclasses

import pytest

from monitoring.claims import Measurement
from monitoring.key_numbers import CLV_MEASUREMENT, LATENCY_MEASUREMENT, four_numbers
from tests.monitoring.report_parts import precision_row, propensity_row

NAMES = ["Tag precision", "Trigger latency", "Propensity lift", "CLV error"]


def test_nothing_measured_is_said_plainly_with_the_next_step() -> None:
    numbers = four_numbers(None, None, [], None)
    assert [number.name for number in numbers] == NAMES
    for number in numbers:
        assert (number.value, number.shown, number.verdict) == (None, "not measured", "not measured")
        assert "run" in number.how


def test_each_number_is_held_against_its_target() -> None:
    met = four_numbers(
        precision_row(confirmed=80, refuted=20),
        Measurement(LATENCY_MEASUREMENT, 999.0, 0, "a replay"),
        [propensity_row(lift=1.3)],
        Measurement(CLV_MEASUREMENT, -0.10, 0, "a backtest"),
    )
    assert [number.verdict for number in met] == ["met"] * 4
    assert [number.shown for number in met] == ["80.0%", "999 ms", "1.30×", "−10.0%"]
    missed = four_numbers(
        precision_row(confirmed=79, refuted=21),
        Measurement(LATENCY_MEASUREMENT, 1_000.0, 0, "a replay"),
        [propensity_row(lift=1.29)],
        Measurement(CLV_MEASUREMENT, 0.101, 0, "a backtest"),
    )
    assert [number.verdict for number in missed] == ["missed"] * 4
    assert [number.how for number in missed[1::2]] == ["a replay", "a backtest"]


def test_72_hours_is_the_headline_and_the_shortest_stands_in() -> None:
    rows = [propensity_row("24h", 1.5), propensity_row("72h", 2.0), propensity_row("7d", 3.0)]
    assert four_numbers(None, None, rows, None)[2].value == 2.0
    assert four_numbers(None, None, [rows[0], rows[2]], None)[2].value == 1.5
    unmeasured = dataclasses.replace(rows[1], lift_top_decile=None, auc=None)
    assert four_numbers(None, None, [unmeasured], None)[2].value is None


def test_the_precision_names_both_kinds_and_its_interval() -> None:
    number = four_numbers(precision_row(confirmed=80, refuted=20, unobserved=100), None, [], None)[0]
    assert "80 of 100 observed claims" in number.how
    assert "40.0% of all 200 claims" in number.how
    assert number.value == pytest.approx(0.8)
