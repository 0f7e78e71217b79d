"""Curves drawn with matplotlib: PNG to paste, SVG to print.

Drawing goes through figures of our own, never through pyplot's state. In an SVG words stay text, which any
viewer sets in a font it has. A PNG needs the letters here: where no font of this machine has one, it is drawn
as a question mark and the caller is told.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.backtest_curves import Curve, Guide, Series, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCHES = (6.4, 4.2)
DOTS_PER_INCH = 120

BLUE, ORANGE, RED, INK, SOFT, LINE = "#1f5fd0", "#c77700", "#b3261e", "#16202e", "#55606f", "#dfe4ea"

FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
)
"""Tried in this order. The first ships with matplotlib; the others bring Chinese, Japanese and Korean."""

UNDRAWABLE = "?"


@dataclass(frozen=True)
class WrittenPlot:
    """One curve's files.

    Attributes
    ----------
    png, svg
        Where they lie.
    undrawable
        Letters that the PNG shows as question marks, because no font of this machine has them.
    """

    png: Path
    svg: Path
    undrawable: str


def write_plot(curve: Curve, folder: Path, letters: frozenset[int] | None = None) -> WrittenPlot:
    """Draw a curve as ``NAME.png`` and ``NAME.svg``; the same curve gives the same bytes on one machine.

    Parameters
    ----------
    folder
        Made if missing.
    letters
        Code points that can be drawn; None for those of the installed fonts.
    """
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{curve.file_stem}.png", folder / f"{curve.file_stem}.svg"
    settings: Any = {
        "font.family": [*installed_fonts(), "sans-serif"],
        "svg.fonttype": "none",
        "svg.hashsalt": curve.file_stem,
    }
    with rc_context(settings), _without_remarks_on_weights():
        drawable, missing = _drawable(curve, letters)
        draw(drawable).savefig(png, dpi=DOTS_PER_INCH, metadata={"Software": None})
        with warnings.catch_warnings():
            # Only measured here, not drawn: the viewer's fonts may well have the letter.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            draw(curve).savefig(svg, metadata={"Date": None, "Creator": "Tagtide"})
    return WrittenPlot(png, svg, missing)


def draw(curve: Curve) -> Figure:
    """Draw a curve on a figure of its own.

    Returns
    -------
    A figure with an Agg canvas; the caller saves it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _frame(axes, curve)
    for guide in curve.guides:
        _draw_guide(axes, guide)
    for number, series in enumerate(curve.series):
        _draw_series(axes, series, number, sum(one.style == "bars" for one in curve.series))
    if any(_names(curve)):
        axes.legend(frameon=False, fontsize=9, labelcolor=SOFT)
    return figure


def _frame(axes: Axes, curve: Curve) -> None:
    axes.set_title(curve.title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=10)
    axes.set_xlabel(curve.x_label, color=SOFT, fontsize=9.5)
    axes.set_ylabel(curve.y_label, color=SOFT, fontsize=9.5)
    axes.set_xlim(*curve.x_range)
    axes.set_ylim(curve.y_ticks[0], curve.y_ticks[-1])
    axes.set_xticks(curve.x_ticks, [written(mark, curve.x_form) for mark in curve.x_ticks])
    axes.set_yticks(curve.y_ticks, [written(mark, curve.y_form) for mark in curve.y_ticks])
    axes.tick_params(colors=SOFT, labelsize=9, length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)


def _draw_guide(axes: Axes, guide: Guide) -> None:
    colour = RED if guide.name.startswith("contract") else SOFT
    axes.plot(guide.x, guide.y, color=colour, linewidth=1.3, linestyle=(0, (5, 3)), label=guide.name)


def _draw_series(axes: Axes, series: Series, number: int, bars: int) -> None:
    label = series.name or "_nolegend_"
    if series.style == "bars":
        width = 0.8 / bars
        left = [x - 0.4 + (number + 0.5) * width for x in series.x]
        axes.bar(left, series.y, width=width * 0.94, color=(BLUE, ORANGE)[number % 2], label=label)
    elif series.style == "dots":
        # An end of the axis may hold a point: it is drawn whole.
        axes.plot(
            series.x,
            series.y,
            "o",
            color=BLUE,
            markersize=6,
            markeredgecolor="white",
            label=label,
            clip_on=False,
        )
    else:
        style, colour = ("-", BLUE) if series.style == "line" else ((0, (2, 2)), ORANGE)
        axes.plot(series.x, series.y, color=colour, linewidth=2, linestyle=style, label=label)


@contextmanager
def _without_remarks_on_weights() -> Iterator[None]:
    """Keep matplotlib from remarking that a fallback font has one weight only."""
    logger = logging.getLogger("matplotlib.font_manager")

    def keep(record: logging.LogRecord) -> bool:
        return "font weight" not in record.getMessage()

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


@cache
def installed_fonts() -> tuple[str, ...]:
    """Return those of `FONTS` that this machine has, at least the one that ships with matplotlib."""
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    return tuple(name for name in FONTS if name in known) or FONTS[:1]


@cache
def _letters() -> frozenset[int]:
    """Return the code points that some installed font has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    found: set[int] = set()
    for name in installed_fonts():
        found |= set(FT2Font(font_manager.findfont(name)).get_charmap())
    return frozenset(found)


def undrawable_letters(text: str, letters: frozenset[int] | None = None) -> str:
    """Return the letters of a text that no installed font has, each once, in order.

    Parameters
    ----------
    letters
        Code points that can be drawn; None for those of the installed fonts.
    """
    known = _letters() if letters is None else letters
    return "".join(dict.fromkeys(letter for letter in text if ord(letter) not in known))


def _names(curve: Curve) -> list[str]:
    return [*(one.name for one in curve.series), *(one.name for one in curve.guides)]


def _words(curve: Curve) -> str:
    return "".join((curve.title, curve.x_label, curve.y_label, *_names(curve)))


def _drawable(curve: Curve, letters: frozenset[int] | None) -> tuple[Curve, str]:
    missing = undrawable_letters(_words(curve), letters)
    if not missing:
        return curve, ""
    table = str.maketrans(dict.fromkeys(missing, UNDRAWABLE))
    return (
        replace(
            curve,
            title=curve.title.translate(table),
            x_label=curve.x_label.translate(table),
            y_label=curve.y_label.translate(table),
            series=tuple(replace(one, name=one.name.translate(table)) for one in curve.series),
            guides=tuple(replace(one, name=one.name.translate(table)) for one in curve.guides),
        ),
        missing,
    )
