"""What a backtest leaves behind: its JSON, its pictures, and one page to read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.home import Home
from pipelines.errors import CommandError
from pipelines.invocation import plain
from pipelines.stages import Stages

PICTURES = "-plots"

NEEDED = ("as_of", "customers", "rows", "seconds", "source")
"""Without these a JSON is no backtest's."""

NAME_ONE = "name a JSON of `tagtide backtest`"


@dataclass(frozen=True)
class Places:
    """Where a backtest's files go: ``x.json``, ``x.html`` and the folder ``x-plots``.

    Attributes
    ----------
    figures
        The JSON.
    """

    figures: Path

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.figures.with_name(f"{self._stem}.html")

    @property
    def pictures(self) -> Path:
        """Folder of PNG and SVG files."""
        return self.figures.with_name(self._stem + PICTURES)

    @property
    def _stem(self) -> str:
        return self.figures.stem if self.figures.suffix == ".json" else self.figures.name


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    page
        None where only the JSON was asked for.
    remarks
        Pictures that could not be drawn, or not as they should be, and why.
    """

    figures: Path
    page: Path | None = None
    pictures: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def places_asked(out: Path) -> Places:
    """Return where ``--out`` sends the files, checked before the work begins rather than after.

    Raises
    ------
    CommandError
        If it cannot be written there.
    """
    if out.suffix.lower() in {".html", ".htm", ".png", ".svg"}:
        raise CommandError(
            f"--out is {str(out)!r}; expected the name of a JSON file",
            f"for example --out {out.with_suffix('.json')}; the page and the plots are written beside it",
        )
    if out.is_dir():
        raise CommandError(
            f"--out {out} is a folder; expected a file", f"for example --out {out / 'tags.json'}"
        )
    existing = next(folder for folder in out.absolute().parents if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise CommandError(f"--out {out}: cannot write into {existing}", "choose another --out")
    return Places(out)


def places_in(home: Home, task: str, found: Mapping[str, Any]) -> Places:
    """Return where the files go when nothing else was said: the home's reports, named for task and date."""
    instants = str(found["as_of"]).split(", ")
    parts = ["backtest", task, *([instants[0][:10]] if len(instants) == 1 else [])]
    if "horizon_days" in found:
        parts.append(f"{found['horizon_days']}d")
    return Places(home.reports / f"{'-'.join(parts)}.json")


def write_figures(places: Places, found: Mapping[str, Any]) -> Written:
    """Write the JSON alone."""
    places.figures.parent.mkdir(parents=True, exist_ok=True)
    _replace(places.figures, json.dumps(plain(found), indent=2, ensure_ascii=False) + "\n")
    return Written(places.figures)


def write_pictures(places: Places, task: str, found: Mapping[str, Any], stages: Stages) -> Written:
    """Draw what the JSON holds, as PNG and SVG and on a page; earlier pictures of ours there are removed.

    Parameters
    ----------
    found
        As it stands in the JSON, so that the file alone gives the same pictures.
    """
    from monitoring.backtest_page import render_backtest
    from training.backtest_curves import KINDS, curves_of
    from training.plots import write_plot

    stages.plan(1)
    stages("drawing")
    curves = curves_of(found)
    for kind in KINDS:
        for old in places.pictures.glob(f"{kind}-*"):
            if old.suffix in {".png", ".svg"}:
                old.unlink()
    plots = [write_plot(curve, places.pictures) for curve in curves.curves]
    missing = "".join(dict.fromkeys("".join(plot.undrawable for plot in plots)))
    remarks = [str(one) for one in curves.absent]
    if missing:
        remarks.append(
            f"no font of this machine has {missing}: the PNGs show a question mark instead; the SVGs and the "
            "page hold the letters"
        )
    places.page.parent.mkdir(parents=True, exist_ok=True)
    _replace(places.page, render_backtest(task, found))
    stages.finish()
    pictures = [path for plot in plots for path in (plot.png, plot.svg)]
    return Written(places.figures, places.page, pictures, remarks)


def read_figures(path: Path, task: str) -> dict[str, Any]:
    """Read the JSON of an earlier backtest.

    Raises
    ------
    CommandError
        If it is none, or of another task.
    """
    from training.backtest_figures import parts_of

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"--from {path} cannot be read: {error}", NAME_ONE) from None
    lacking = set(NEEDED) - set(found if isinstance(found, dict) else ())
    if lacking:
        raise CommandError(
            f"--from {path} is no backtest: it has no {', '.join(sorted(lacking))}",
            NAME_ONE,
        )
    if task != task_of(found):
        raise CommandError(
            f"--from {path} is a backtest of {task_of(found)}, not of {task}: it holds "
            f"{', '.join(parts_of(found))}",
            f"run `tagtide backtest {task_of(found)} --from {path}`",
        )
    return dict(found)


def task_of(found: Mapping[str, Any]) -> str:
    """Tell a backtest's task by the figures it holds.

    >>> task_of({"72h": {"auc": 0.7, "brier": 0.2}, "as_of": "2017-10-31"})
    'propensity'
    """
    from training.backtest_figures import parts_of

    keys = {key for part in parts_of(found).values() for key in part}
    if "bias" in keys:
        return "clv"
    return "propensity" if "brier" in keys else "tags"


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
