"""Retention as a picture: newcomers by month as a heat map, life-cycle stages as lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from training.retention import Retention
from training.stages import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "new": "#56b4e9",
    "activated": "#e69f00",
    "repeat": "#009e73",
    "loyal": "#0072b2",
    "dormant": "#767676",
}
"""Of Okabe and Ito, which those who see red and green alike can tell apart."""
MARKS = {"new": "o", "activated": "s", "repeat": "^", "loyal": "D", "dormant": "v"}

LEAST_DRAWN = 30
"""A line begins and ends where it stands for at least so many customers."""


def plot_retention(found: Retention, directory: Path, title: str) -> list[Path]:
    """Write ``retention.png`` and ``retention.svg``.

    Parameters
    ----------
    directory
        Exists.

    Returns
    -------
    The two files.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    paths = [directory / "retention.png", directory / "retention.svg"]
    cohorts = found.by_first_purchase["cohort"].n_unique()
    # Without a salt of its own an SVG names its parts anew each time.
    with rc_context({"svg.hashsalt": "retention", "font.size": 9}):
        figure = Figure(figsize=(13, max(4.2, 1.6 + 0.30 * cohorts)), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _heat_map(left, found.by_first_purchase)
        _lines(right, found.pooled())
        figure.suptitle(title)
        figure.savefig(paths[0], dpi=130)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _heat_map(axes: Axes, rows: pl.DataFrame) -> None:
    import numpy as np

    cohorts = rows["cohort"].unique().sort().to_list()
    width = int(rows["months_later"].to_numpy().max())
    shares = np.full((len(cohorts), width), np.nan)
    place = {cohort: number for number, cohort in enumerate(cohorts)}
    for cohort, later, share in rows.select("cohort", "months_later", "share").iter_rows():
        shares[place[cohort], later - 1] = share
    top = max(float(np.nanmax(shares)), 0.01)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=top, aspect="auto")
    for row, column in np.argwhere(~np.isnan(shares)).tolist():
        share = shares[row, column]
        colour = "white" if share > 0.6 * top else "#222222"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7)
    sizes = dict(rows.select("cohort", "customers").unique().iter_rows())
    axes.set_yticks(range(len(cohorts)), [f"{one:%b %Y} ({sizes[one]:,})" for one in cohorts])
    axes.set_xticks(range(width), [str(number + 1) for number in range(width)])
    axes.set_xlabel("months after the month of the first purchase")
    axes.set_title("Newcomers by month: % who buy", loc="left")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _lines(axes: Axes, pooled: pl.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    for stage in STAGES:
        rows: Any = pooled.filter((pl.col("stage") == stage) & (pl.col("customers") >= LEAST_DRAWN))
        if rows.is_empty():
            continue
        axes.plot(
            rows["months_later"].to_list(),
            (100 * rows["share"]).to_list(),
            color=COLOURS[stage],
            marker=MARKS[stage],
            markersize=4,
            label=stage,
        )
    axes.set_ylim(0, 102)
    axes.set_xlabel("month after the stage was taken")
    axes.set_ylabel("% who buy")
    axes.set_title("By life-cycle stage at the beginning of a month", loc="left")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.lines:
        axes.legend(frameon=False, title="stage")
