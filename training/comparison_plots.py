"""Pictures of a comparison: differences with their intervals, reliability, and how well each model ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.comparison import BundleComparison
from training.metrics import share_ties
from training.training_plots import draw_reliability, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]

COLOURS = {"better": "C2", "worse": "C3", "no difference shown": "0.45"}


def differences_figure(compared: BundleComparison) -> Figure:
    """Draw each figure's difference with its interval: right of 0 is better, whatever the figure."""
    figures = [figure for part in compared.parts for figure in part.figures]
    figure, (axis,) = panels(1, height=1.2 + 0.4 * len(figures))
    figure.set_figwidth(8)
    for row, one in enumerate(reversed(figures)):
        sign = 1 if one.better == "higher" else -1
        bounds = sorted((sign * one.low, sign * one.high))
        # Figures have scales of their own: what counts is where 0 lies in the interval.
        scale = max(abs(bounds[0]), abs(bounds[1]), 1e-12)
        axis.plot([bound / scale for bound in bounds], [row, row], color=COLOURS[one.verdict], linewidth=3)
        axis.plot([sign * one.difference / scale], [row], "o", color=COLOURS[one.verdict])
        axis.text(1.08, row, f"{one.difference:+.3g}", va="center", fontsize=8)
    axis.set_yticks(range(len(figures)), [one.metric for one in reversed(figures)])
    axis.axvline(0, color="0.6", linewidth=1)
    axis.set_xlim(-1.05, 1.35)
    axis.set_xticks([-1, 0, 1], ["worse", "0", "better"])
    axis.set_title(f"{compared.second} against {compared.first}, 90 % intervals", fontsize=10)
    return figure


def reliability_of_both(compared: BundleComparison) -> Figure | None:
    """Draw what each model said against what was seen; None where they say no probability."""
    parts = [part for part in compared.parts if part.scored.outcome.dtype == np.bool_]
    if not parts:
        return None
    figure, axes = panels(len(parts))
    for axis, part in zip(axes, parts, strict=True):
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        draw_reliability(axis, part.scored.outcome, part.scored.first, compared.first, "C0")
        draw_reliability(axis, part.scored.outcome, part.scored.second, compared.second, "C1")
        axis.set_title(part.name or compared.task)
        axis.legend(fontsize=8)
    return figure


def ranking_of_both(compared: BundleComparison) -> Figure:
    """Draw the share of all outcomes, or of all spend, among the rows ranked highest by each model."""
    figure, axes = panels(len(compared.parts))
    for axis, part in zip(axes, compared.parts, strict=True):
        outcome = np.maximum(part.scored.outcome.astype(np.float64), 0.0)
        for scores, name, colour in (
            (part.scored.first, compared.first, "C0"),
            (part.scored.second, compared.second, "C1"),
        ):
            axis.plot(*_gains(outcome, scores), color=colour, label=name)
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        axis.set_title(part.name or compared.task)
        axis.set_xlabel("share of rows, ranked highest first")
        axis.set_ylabel("share of outcomes among them")
        axis.legend(fontsize=8)
    return figure


def comparison_figures(compared: BundleComparison) -> dict[str, Figure]:
    """Return every picture of a comparison by its file's name, without extension."""
    drawn = {
        "differences": differences_figure(compared),
        "reliability": reliability_of_both(compared),
        "ranking": ranking_of_both(compared),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _gains(outcome: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    shared, _ = share_ties(outcome, -scores)
    points = np.unique(np.linspace(0, len(shared), 101).astype(np.int64))
    held = np.concatenate([[0.0], np.cumsum(shared)])
    return points / max(len(shared), 1), held[points] / max(held[-1], 1e-300)
