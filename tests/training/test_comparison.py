from __future__ import annotations

import numpy as np
import pytest

from training.comparison import BundleComparison, ComparedPart, ScoredRows, verdict
from training.comparison_plots import comparison_figures
from training.paired_bootstrap import PairedFigure


def figure(metric: str, low: float, high: float, better: str = "higher") -> PairedFigure:
    return PairedFigure(metric, better, 0.7, 0.7 + (low + high) / 2, (low + high) / 2, low, high)


def test_better_and_worse_figures_are_named_in_one_sentence():
    said = verdict(
        "propensity",
        "propensity/1",
        "propensity/2",
        [
            figure("72h.auc", 0.01, 0.03),
            figure("7d.auc", 0.001, 0.003),
            figure("72h.ece", 0.004, 0.006, "lower"),
        ],
    )
    assert said == (
        "propensity/2 is better than propensity/1 in 72h.auc (+0.02, 90 % interval +0.01 to +0.03) and "
        "7d.auc (+0.002, 90 % interval +0.001 to +0.003), but worse in 72h.ece (+0.005, 90 % interval "
        "+0.004 to +0.006)."
    )


def test_a_model_that_is_only_worse_is_said_to_be():
    said = verdict("clv", "clv/1", "clv/2", [figure("normalized_gini", -0.2, -0.1), figure("bias", -1, 1)])
    assert said.startswith("clv/2 is worse than clv/1 in normalized_gini (-0.15,")


def test_where_every_interval_holds_zero_no_difference_is_claimed():
    said = verdict(
        "propensity", "a", "b", [figure("72h.auc", -0.1, 0.1), figure("72h.ece", -0.1, 0.1, "lower")]
    )
    assert said == (
        "No difference between b and a is shown in 72h.auc and 72h.ece: every 90 % interval holds 0."
    )


def test_the_verdict_looks_at_what_the_gate_looks_at_and_at_nothing_else():
    said = verdict(
        "propensity", "a", "b", [figure("72h.brier", 0.1, 0.2, "lower"), figure("72h.auc", -0.1, 0.1)]
    )
    assert "brier" not in said


def compared(outcome: np.ndarray) -> BundleComparison:
    rng = np.random.default_rng(0)
    truth = rng.random(len(outcome))
    figures = [
        figure("auc", 0.01, 0.03),
        figure("brier", 0.01, 0.03, "lower"),
        figure("ece", -0.1, 0.1, "lower"),
    ]
    part = ComparedPart(
        "72h",
        "some rows",
        "2024-05-01",
        "2024-05-02",
        len(outcome),
        10,
        figures,
        {"first": {}, "second": {}},
        ScoredRows(outcome, truth, truth[::-1]),
    )
    return BundleComparison("propensity", "propensity/1", "propensity/2", [part], "")


def test_the_picture_of_differences_puts_what_is_better_to_the_right():
    (axis,) = comparison_figures(compared(np.arange(200) % 3 == 0))["differences"].axes
    bars = [
        line.get_xdata() for line in axis.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 3
    ]
    names = [label.get_text() for label in axis.get_yticklabels()]
    sides = {name: int(min(bar) > 0) - int(max(bar) < 0) for name, bar in zip(names, bars, strict=True)}
    assert sides == {"auc": 1, "brier": -1, "ece": 0}


def test_probabilities_get_reliability_and_spend_does_not():
    assert set(comparison_figures(compared(np.arange(200) % 3 == 0))) == {
        "differences",
        "reliability",
        "ranking",
    }
    assert set(comparison_figures(compared(np.arange(200.0)))) == {"differences", "ranking"}


def test_the_ranking_curve_ends_at_everything_and_a_perfect_one_is_steepest():
    outcome = np.arange(100) < 20
    made = compared(outcome)
    scored = ScoredRows(outcome, outcome.astype(float), np.zeros(100))
    part = made.parts[0]
    perfect = BundleComparison("x", "x/1", "x/2", [type(part)(**{**vars(part), "scored": scored})], "")
    (axis,) = comparison_figures(perfect)["ranking"].axes
    best, guess = (np.array(line.get_data()) for line in axis.lines[:2])
    assert best[:, -1] == pytest.approx([1, 1])
    assert best[1, np.argmin(abs(best[0] - 0.2))] == pytest.approx(1.0)
    np.testing.assert_allclose(guess[0], guess[1], atol=1e-9)
