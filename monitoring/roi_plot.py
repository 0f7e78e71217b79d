"""Returns of campaigns and targeting curves as a picture, PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from monitoring.roi import WAYS, CampaignReturn
from monitoring.targeting import RANDOM, TargetingCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WAY_COLOURS = {"redeemed": "#0072b2", "before": "#767676", "matched": "#d55e00"}
WAY_MARKS = {"redeemed": "o", "before": "s", "matched": "D"}
LINES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#cc79a7", ":"))
"""Of Okabe and Ito; the dashes are for those who do not see the colour."""


def plot_roi(
    returns: Sequence[CampaignReturn], curves: Sequence[TargetingCurve], directory: Path, title: str
) -> list[Path]:
    """Write ``roi.png`` and ``roi.svg``.

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

    judged = [one for one in returns if not one.not_judged]
    outcomes = list(dict.fromkeys(curve.outcome for curve in curves))
    panels = 1 + len(outcomes)
    paths = [directory / "roi.png", directory / "roi.svg"]
    # Without a salt of its own an SVG names its parts anew each time.
    with rc_context({"svg.hashsalt": "roi", "font.size": 9}):
        height = max(4.2, 1.5 + 0.28 * len(judged))
        figure = Figure(figsize=(4.6 * panels, height), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _campaigns(axes[0], judged, height)
        for panel, outcome in zip(axes[1:], outcomes, strict=True):
            _curves(panel, [curve for curve in curves if curve.outcome == outcome], outcome)
        figure.suptitle(title)
        figure.savefig(paths[0], dpi=130)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def _campaigns(axes: Axes, judged: Sequence[CampaignReturn], height: float) -> None:
    for number, one in enumerate(judged):
        for shift, (way, colour) in zip((-0.25, 0.0, 0.25), WAY_COLOURS.items(), strict=True):
            roi = one.returns[way].roi
            if roi.value is None:
                continue
            at = number + shift
            if roi.low is not None and roi.high is not None:
                axes.plot([roi.low, roi.high], [at, at], color=colour, linewidth=1.2)
            label = way if number == len(judged) - 1 else None
            mark = WAY_MARKS[way]
            axes.plot([roi.value], [at], mark, color=colour, markersize=3.5, label=label)
    axes.axvline(0.0, color="#333333", linewidth=0.8)
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_yticks(range(len(judged)), [f"{one.name} ({one.customers:,})" for one in judged])
    axes.set_ylim(max(len(judged), 1) - 0.4, -0.6)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("return on investment (profit ÷ cost), 90 % interval")
    axes.set_title("Campaigns (customers contacted)", loc="left")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if judged:
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.5 / height), ncols=len(WAYS))


def _curves(axes: Axes, curves: Sequence[TargetingCurve], outcome: str) -> None:
    styles = iter(LINES * (1 + len(curves) // len(LINES)))
    for curve in curves:
        colour, dash = ("#767676", "-") if curve.ranking == RANDOM else next(styles)
        known = [
            (100 * point.share, roi.value, roi.low, roi.high)
            for point in curve.points
            if (roi := point.roi).value is not None and roi.low is not None and roi.high is not None
        ]
        shares, value, low, high = (
            (list(column) for column in zip(*known, strict=True)) if known else [[]] * 4
        )
        axes.plot(shares, value, dash, color=colour, label=curve.ranking, linewidth=1.6)
        if curve.ranking != RANDOM:
            axes.fill_between(shares, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.axhline(0.0, color="#333333", linewidth=0.8)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the contacted, best ranked first")
    axes.set_ylabel("return on investment")
    axes.set_title(f"Targeting, held-out campaigns ({outcome})", loc="left")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
