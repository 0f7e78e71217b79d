"""Points of reliability diagrams and lift curves, against the figures they draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curve_points import LIFT_SHARES, lift_curve, reliability
from training.metrics import ece, lift_top_decile

scored = st.lists(st.tuples(st.booleans(), st.integers(0, 20).map(lambda step: step / 20)), max_size=60)


@given(scored, st.integers(1, 12))
def test_the_mean_gap_of_a_reliability_diagram_is_the_calibration_error(
    rows: list[tuple[bool, float]], bins: int
) -> None:
    labels, said = [row[0] for row in rows], [row[1] for row in rows]
    points = reliability(labels, said, bins)
    assert sum(point["count"] for point in points) == len(rows)
    if not rows:
        assert points == []
        return
    gap = sum(point["count"] * abs(point["predicted"] - point["observed"]) for point in points) / len(rows)
    assert gap == pytest.approx(ece(labels, said, bins), abs=1e-12)
    told = [point["predicted"] for point in points]
    assert told == sorted(told)


@given(scored)
def test_a_lift_curve_ends_with_everybody_and_never_falls(rows: list[tuple[bool, float]]) -> None:
    labels, scores = [row[0] for row in rows], [row[1] for row in rows]
    points = lift_curve(labels, scores)
    if not any(labels):
        assert points == []
        return
    assert [point["share"] for point in points] == list(LIFT_SHARES)
    assert (points[-1]["gain"], points[-1]["lift"]) == (pytest.approx(1), pytest.approx(1))
    gains = [point["gain"] for point in points]
    assert gains == sorted(gains)
    assert points[1]["lift"] == pytest.approx(lift_top_decile(labels, scores))


def test_a_ranking_that_is_always_right_holds_every_positive_in_their_share() -> None:
    labels = np.r_[np.ones(25), np.zeros(75)]
    points = {point["share"]: point for point in lift_curve(labels, np.arange(100, 0, -1))}
    assert points[0.25] == {"share": 0.25, "lift": 4.0, "gain": 1.0}
    assert points[0.1]["gain"] == pytest.approx(0.4)
    assert points[0.5]["lift"] == pytest.approx(2.0)
