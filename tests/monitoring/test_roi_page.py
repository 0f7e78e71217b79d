from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pytest

from features.windows import DAY_US, to_us
from monitoring.campaigns import Campaign
from monitoring.roi import Assumptions, Judged, returns_of, unjudged
from monitoring.roi_page import RoiFigures, render_roi, roi_chart
from monitoring.roi_plot import plot_roi
from monitoring.targeting import HeldOut, targeting_curves
from tests.monitoring.campaign_shop import START

ASSUMED = Assumptions(10, 0.5, 7)


def made(with_curves=True):
    size = 40
    one, spent = np.ones(size, np.int64), np.arange(size) * 10
    campaign = Campaign(
        "<b>c1</b>", np.arange(size), np.full(size, to_us(START) + DAY_US), one, one, one, spent
    )
    judged = Judged(campaign, None, None, one)
    returns = returns_of([judged], size, ASSUMED, seed=0, repetitions=20)
    returns.append(unjudged(campaign, ASSUMED, "its window is open until 2024-03-01"))
    ranked = [HeldOut(judged, {"propensity": spent.astype(float), "spend in 90 days": -spent.astype(float)})]
    curves = targeting_curves(ranked if with_curves else [], ASSUMED, size, seed=0, repetitions=20)
    return RoiFigures(
        as_of=datetime(2024, 3, 1, tzinfo=UTC),
        time_zone="Europe/London",
        source="shop",
        currency="GBP",
        assumptions=ASSUMED,
        returns=tuple(returns),
        held_out=(("c1", datetime(2024, 1, 2, tzinfo=UTC)),) if with_curves else (),
        curves=tuple(curves),
        notes=("No ranking by high_intent.",),
    )


@pytest.fixture(scope="module")
def figures():
    return made()


def test_the_page_says_figures_assumptions_and_what_cannot_be_known(figures):
    page = render_roi(figures, version="9.9")
    roi = figures.returns[0].returns["redeemed"].roi
    assert f"{roi.value:.2f} ({roi.low:.2f} to {roi.high:.2f})" in page
    profit = next(one for one in figures.curves if one.ranking == "propensity").points[3].profit_minor
    assert f"{profit.value / 100:,.2f} GBP" in page
    assert "0.10 GBP a contact" in re.sub(r"\s+", " ", page)
    assert "no randomised control group" in page
    assert "not judged: its window is open until 2024-03-01" in page
    assert "No ranking by high_intent." in page
    assert "Tagtide 9.9" in page


def test_names_from_the_data_are_escaped_and_nothing_is_loaded(figures):
    page = render_roi(figures, version="1")
    assert "<b>c1</b>" not in page
    assert "&lt;b&gt;c1&lt;/b&gt;" in page
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", page) == []
    assert "<script" not in page


def test_without_a_held_out_campaign_the_page_says_what_it_would_need():
    page = render_roi(made(with_curves=False), version="1")
    assert "No campaign could be held out" in page


def test_a_chart_places_the_highest_value_highest_and_zero_on_its_line(figures):
    redeemed = [curve for curve in figures.curves if curve.outcome == "redeemed"]
    chart = roi_chart(redeemed)
    assert [line.name for line in chart.lines] == ["random", "propensity", "spend in 90 days"]
    tops = {tick.words: tick.at for tick in chart.rows}
    assert tops["0"] == chart.zero_top
    values = [float(words) for words in tops]
    assert values == sorted(values)
    assert list(tops.values()) == sorted(tops.values(), reverse=True)
    best = next(curve for curve in redeemed if curve.ranking == "propensity").points[0].roi.value
    drawn = float(chart.lines[1].path.removeprefix("M").split("L")[0].split()[1])
    low, high = values[0], values[-1]
    assert drawn == pytest.approx(100 * (1 - (best - low) / (high - low)), abs=0.01)
    assert "propensity" in chart.summary


def test_the_pictures_are_the_same_each_time(figures, tmp_path):
    first = [path.read_bytes() for path in plot_roi(figures.returns, figures.curves, tmp_path, "shop")]
    assert first == [
        path.read_bytes() for path in plot_roi(figures.returns, figures.curves, tmp_path, "shop")
    ]
    assert first[0].startswith(b"\x89PNG")
    assert b"<svg" in first[1]
