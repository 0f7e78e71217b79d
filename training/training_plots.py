"""Pictures of one training run: what the model looks at, and whether its probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.artifact import Bundle
from training.metrics import share_ties
from training.model_card import metric_tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]

FEATURES_SHOWN = 20
BINS = 10
INCHES_PER_PANEL = 5.0

Scored = Mapping[str, tuple[npt.NDArray[np.bool_], FloatArray]]
"""Per name of a probability its outcomes and its values on the slice nothing was chosen on, shape (n,)."""


def importance_figure(bundle: Bundle) -> Figure:
    """Draw the inputs that gain each model most, as shares of its whole gain."""
    boosters = bundle.boosters()
    figure, axes = panels(len(boosters), height=6.0)
    for axis, (role, booster) in zip(axes, boosters.items(), strict=True):
        gain = np.asarray(booster.feature_importance("gain"), np.float64)
        names = [*bundle.features[role]]
        # a model may derive further inputs of its own from the features
        names += [f"derived input {number + 1}" for number in range(len(gain) - len(names))]
        order = np.argsort(-gain, kind="stable")[:FEATURES_SHOWN][::-1]
        axis.barh([names[number] for number in order], gain[order] / max(gain.sum(), 1e-300), color="C0")
        axis.set_title(role)
        axis.set_xlabel("share of gain")
        axis.tick_params(axis="y", labelsize=7)
    return figure


def reliability_figure(scored: Scored) -> Figure:
    """Draw what was said against what was seen, over ten groups of equal size."""
    figure, axes = panels(len(scored))
    for axis, (name, (outcome, probability)) in zip(axes, scored.items(), strict=True):
        draw_reliability(axis, outcome, probability, name, "C0")
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        axis.set_title(name)
    return figure


def baselines_figure(bundle: Bundle, metric: str) -> Figure | None:
    """Draw one figure of the model beside its baselines; None where it was not measured."""
    tables = {
        title or bundle.task: {name: column[metric] for name, column in columns.items() if metric in column}
        for title, columns in metric_tables(bundle.metrics).items()
    }
    tables = {title: columns for title, columns in tables.items() if columns}
    if not tables:
        return None
    figure, axes = panels(len(tables), height=3.5)
    for axis, (title, columns) in zip(axes, tables.items(), strict=True):
        axis.barh(list(columns)[::-1], list(columns.values())[::-1], color="C0")
        axis.set_title(title)
        axis.set_xlabel(metric)
    return figure


def draw_reliability(
    axis: Axes, outcome: npt.NDArray[np.bool_], probability: FloatArray, label: str, colour: str
) -> None:
    """Draw one model's reliability into a panel; rows of equal probability share their mean outcome."""
    seen, said = share_ties(outcome.astype(np.float64), np.asarray(probability, np.float64))
    groups = min(BINS, max(len(said), 1))
    means = [
        (part.mean(), true.mean())
        for part, true in zip(np.array_split(said, groups), np.array_split(seen, groups), strict=True)
        if len(part)
    ]
    axis.plot(*np.array(means).reshape(-1, 2).T, marker="o", markersize=4, color=colour, label=label)
    axis.set_xlabel("probability said")
    axis.set_ylabel("share seen")


def panels(count: int, height: float = 4.5) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels side by side, made without any state of the plotting library."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(INCHES_PER_PANEL * max(count, 1), height), layout="constrained")
    axes = figure.subplots(1, max(count, 1), squeeze=False)[0]
    return figure, list(axes)
