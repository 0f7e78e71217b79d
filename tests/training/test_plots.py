from __future__ import annotations

import re
import struct
import sys

import numpy as np
import pytest

from tests.made_backtests import made_propensity, made_tags, made_value
from tests.monitoring.test_report_page import Page
from training.backtest_curves import curves_of
from training.plots import DOTS_PER_INCH, SIZE_INCHES, draw, undrawable_letters, write_plot

LETTERS = frozenset(range(0x2500))


def all_curves():
    return [
        curve for found in (made_tags(), made_propensity(), made_value()) for curve in curves_of(found).curves
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots") / "deep"
    return {curve.file_stem: (curve, write_plot(curve, folder)) for curve in all_curves()}


def test_every_kind_of_curve_becomes_a_picture_of_the_stated_size(written):
    assert {curve.kind for curve, _ in written.values()} == {
        "precision-coverage",
        "reliability",
        "lift",
        "deciles",
    }
    for _, plot in written.values():
        head = plot.png.read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", head[16:24])
        assert (width, height) == tuple(round(side * DOTS_PER_INCH) for side in SIZE_INCHES)
        assert plot.undrawable == ""


def test_an_svg_is_well_formed_and_its_words_are_text(written):
    for curve, plot in written.values():
        text = plot.svg.read_text(encoding="utf-8")
        Page(text)
        assert curve.title.split(":")[0] in re.sub(r"<[^>]+>", "", text)
        assert "<image" not in text
        assert not re.search(r'href="https?:', text)


def test_the_same_curve_gives_the_same_bytes(written, tmp_path):
    curve, plot = written["lift-72h"]
    again = write_plot(curve, tmp_path)
    assert again.png.read_bytes() == plot.png.read_bytes()
    assert again.svg.read_bytes() == plot.svg.read_bytes()


def test_a_point_lies_in_the_picture_where_its_figures_say():
    curve = next(one for one in all_curves() if one.file_stem == "reliability-72h")
    figure = draw(curve)
    (axes,) = figure.axes
    drawn = axes.get_lines()[1]
    assert np.allclose(drawn.get_xdata(), curve.series[0].x)
    assert np.allclose(drawn.get_ydata(), curve.series[0].y)
    assert axes.get_xlim() == curve.x_range
    bars = draw(next(one for one in all_curves() if one.kind == "deciles")).axes[0].patches
    assert [bar.get_height() for bar in bars[:2]] == [10.0, 100.0]


def test_a_letter_without_a_font_is_a_question_mark_in_the_png_and_itself_in_the_svg(tmp_path):
    found = made_tags()
    found["茶"] = found.pop("interest")
    (curve,) = curves_of(found).curves
    plot = write_plot(curve, tmp_path, LETTERS)
    assert plot.undrawable == "茶"
    assert "茶" in plot.svg.read_text(encoding="utf-8")
    plain = made_tags()
    plain["?"] = plain.pop("interest")
    (same,) = curves_of(plain).curves
    assert write_plot(same, tmp_path / "plain").png.read_bytes() == plot.png.read_bytes()


def test_letters_that_no_font_has_are_named_once():
    assert undrawable_letters("tea 茶 and 茶 叶", LETTERS) == "茶叶"
    assert undrawable_letters("precision–coverage, 2.5×, −3") == ""


def test_drawing_leaves_no_global_state(written):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    curve, plot = written["lift-72h"]
    write_plot(curve, plot.png.parent)
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
