"""Renew the page of results: ``python docs/refresh_results.py``.

Imports each data set into a temporary home, runs its backtests by the shipped mapping's dates, and writes
results/NAME-TASK.json, images/results/ and results.md. A data set that is not on this machine keeps its
earlier JSON. With ``--page`` nothing is run: page and pictures are written from the JSON that is here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from results_page import PICTURES, Result, results_page

from training.backtest_curves import curves_of
from training.plots import write_plot

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS / "results"
ENVIRONMENTS = "environments.json"
PAGE = DOCS / "results.md"

BACKTESTS = (
    ("completejourney", ("tags", "propensity", "clv")),
    ("online_retail_ii", ("clv",)),
    ("cdnow", ("clv",)),
)

VERSIONS_OF = ("lightgbm", "scikit-learn", "numpy", "polars", "feast", "duckdb")


def read_results() -> list[Result]:
    """Return every backtest that the page shows, with the JSON that is here."""
    environments: dict[str, Any] = {}
    if (RESULTS / ENVIRONMENTS).is_file():
        environments = json.loads((RESULTS / ENVIRONMENTS).read_text(encoding="utf-8"))
    results = []
    for data_set, tasks in BACKTESTS:
        for task in tasks:
            path = RESULTS / f"{data_set}-{task}.json"
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
            results.append(Result(data_set, task, found, environments.get(path.stem, {})))
    return results


def write_page() -> None:
    """Write pictures and page from the JSON that is here."""
    results = read_results()
    folder = DOCS / PICTURES
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        for one in results:
            for curve in curves_of(one.found or {}).curves:
                plot = write_plot(curve, Path(scratch))
                (folder / one.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(plot.svg, folder / one.name / plot.svg.name)
    PAGE.write_text(results_page(results), encoding="utf-8")


def environment() -> dict[str, Any]:
    """Describe machine and versions in general terms."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "machine": f"{cores} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}",
        "versions": {
            "Python": platform.python_version(),
            **{name: metadata.version(name) for name in VERSIONS_OF},
        },
    }


def tagtide(home: Path, *arguments: str) -> int:
    """Run a command on a home and return its exit code; its progress is shown as it comes."""
    line = [sys.executable, "-m", "pipelines.cli", "--home", str(home), *arguments]
    done = subprocess.run(line, cwd=DOCS.parent, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - ours
    return done.returncode


def run_backtests(homes: Path | None, only: Sequence[str], results: Path = RESULTS) -> Iterator[str]:
    """Run what is wanted, and yield a line for each: what was done, or why not.

    Parameters
    ----------
    homes
        A folder of homes by data set, imported before; they are copied. None: import anew.
    only
        Names as in ``completejourney`` or ``completejourney-tags``; all if empty.
    results
        Where the JSON goes.
    """
    results.mkdir(exist_ok=True)
    for data_set, tasks in BACKTESTS:
        wanted = [task for task in tasks if not only or data_set in only or f"{data_set}-{task}" in only]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            home = Path(scratch) / "home"
            if homes is not None and (homes / data_set).is_dir():
                shutil.copytree(homes / data_set, home)
            elif tagtide(home, "import", data_set) != 0:
                yield f"{data_set}: left as it was, its data is not here"
                continue
            for task in wanted:
                begun = time.perf_counter()
                out = Path(scratch) / f"{data_set}-{task}.json"
                if tagtide(home, "backtest", task, "--out", str(out), "--no-plots") != 0:
                    yield f"{out.stem}: left as it was, the backtest was refused"
                    continue
                shutil.copyfile(out, results / out.name)
                _note_environment(results / ENVIRONMENTS, out.stem)
                yield f"{out.stem}: {time.perf_counter() - begun:.0f} s"


def _note_environment(path: Path, name: str) -> None:
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[name] = environment()
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Renew what can be renewed and say what was."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="run nothing: write page and pictures only")
    parser.add_argument("--homes", type=Path, metavar="DIR", help="folder of homes imported before; copied")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="completejourney, completejourney-tags, …"
    )
    asked = parser.parse_args(arguments)
    if not asked.page:
        for line in run_backtests(asked.homes, asked.only):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    write_page()
    sys.stdout.write(f"{PAGE}: written from {RESULTS}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
