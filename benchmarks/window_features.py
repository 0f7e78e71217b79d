"""How fast window features are made, against what one would write by hand, and against featuretools.

    python benchmarks/window_features.py [--quick] [--out FILE] [--rounds N]

2.7 million events of 300 000 customers in the order in which they happened, most of them of few customers
(one each, the rest drawn by a Zipf law of exponent 1.5), and 500 000 rows (customer, instant), half of
customers drawn evenly and half of those of events. Customers are texts of nine digits. Each side makes 24
features of every row, the sums of three measures over eight windows (instant - W, instant], from the same
frame of texts, times and amounts. Numbering customers and sorting is part of each side's work; all have the
same two cores.

  ours           `features.window_sums.window_sums`
  duckdb_asof    running sums and an ASOF join a window, on one integer of customer and time
  polars         the same in polars: the fastest of those tried (joins by customer, searches and lists of each
                 customer's events took longer)
  range_join     DuckDB, every row joined with the events of its longest window, on a slice
  featuretools   cutoff times and training windows, one process, on a slice; in an environment of its own,
                 which is made at the first run in the folder of temporary files

Every cell of every side is compared with ours.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import measurement

CORES = measurement.use_cores()

import numpy as np  # noqa: E402 (libraries count the cores when they are imported)
import polars as pl  # noqa: E402 (as above)
from window_peers import (  # noqa: E402 (as above)
    LENGTHS,
    MEASURES,
    WINDOWS,
    duckdb_asof,
    polars_asof,
    range_join,
)

from features.window_sums import window_sums  # noqa: E402 (as above)
from features.windows import DAY_US, IntArray  # noqa: E402 (as above)

TYPES = {"view": 0.70, "add_to_cart": 0.15, "purchase": 0.10, "refund": 0.05}
BEGIN_US = 1_700_000_000_000_000
YEAR_US = 365 * DAY_US
INSTANT = pl.Datetime("us", "UTC")
FEATURETOOLS = (
    "featuretools==1.31.0",
    "woodwork==0.31.0",
    "pandas==2.2.3",
    "numpy==2.2.6",
    "scipy==1.15.3",
    "scikit-learn==1.9.1",
    "holidays==0.109",
)


@dataclass(frozen=True)
class Size:
    """How much there is of everything."""

    events: int
    customers: int
    rows: int

    def over(self, divisor: int) -> Size:
        """Return a part of it."""
        return Size(self.events // divisor, self.customers // divisor, self.rows // divisor)


FULL = Size(2_700_000, 300_000, 500_000)
RANGE_JOIN = FULL.over(100)
CUTOFF_TIMES = Size(2_700, 300, 50)
GROWTH_MEMORY_GB = 12
NUMBERS_AN_EVENT = 8
"""Besides its result a call takes about as many numbers of eight bytes at once."""


def made(size: Size, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return events in the order in which they happened, and rows in no order."""
    random = np.random.default_rng(seed)
    ids = 100_000_000 + random.choice(900_000_000, size.customers, replace=False, shuffle=False)
    names = pl.Series(ids).cast(pl.String)
    weights = np.arange(1, size.customers + 1) ** -1.5
    drawn = random.choice(size.customers, size.events - size.customers, p=weights / weights.sum())
    customer = random.permutation(np.r_[np.arange(size.customers), random.permutation(size.customers)[drawn]])
    events = pl.DataFrame(
        {
            "customer_id": names.gather(customer),
            "event_type": pl.Series(list(TYPES)).gather(
                random.choice(4, size.events, p=list(TYPES.values()))
            ),
            "event_time": _times(np.sort(random.integers(0, YEAR_US, size.events))),
            "amount_minor": random.integers(1, 100_000, size.events),
        }
    )
    half = size.rows // 2
    asked = np.r_[random.integers(0, size.customers, half), random.choice(customer, size.rows - half)]
    rows = pl.DataFrame(
        {
            "customer_id": names.gather(random.permutation(asked)),
            "instant": _times(random.integers(YEAR_US // 8, YEAR_US, size.rows)),
        }
    )
    return events, rows


def _times(since_begin_us: IntArray) -> pl.Series:
    return pl.Series(BEGIN_US + since_begin_us).cast(INSTANT)


def ours(events: pl.DataFrame, rows: pl.DataFrame) -> dict[str, IntArray]:
    """Make the features by the kernel."""
    return window_sums(events, rows, MEASURES, WINDOWS)


def featuretools_python() -> Path:
    """Return the Python of an environment with featuretools, made if there is none yet."""
    folder = Path(tempfile.gettempdir()) / f"tagtide-{FEATURETOOLS[0].replace('==', '-')}-{os.getuid()}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        with measurement.ERR.status(f"making an environment for featuretools in {folder}"):
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *FEATURETOOLS],
                check=True,
            )
        (folder / "ready").touch()
    return python


def featuretools(
    python: Path, folder: Path, events: pl.DataFrame, rows: pl.DataFrame
) -> tuple[float, pl.DataFrame]:
    """Return the seconds featuretools takes, without reading and writing, and the features it makes."""
    naive = pl.col(INSTANT).dt.replace_time_zone(None)
    events.with_columns(naive).write_csv(folder / "events.csv")
    rows.with_columns(naive).write_csv(folder / "rows.csv")
    hours = {name: length * 24 // DAY_US for name, length in LENGTHS.items()}
    (folder / "windows.json").write_text(json.dumps(hours), encoding="utf-8")
    script = Path(__file__).resolve().parent / "featuretools_windows.py"
    subprocess.run([python, script, folder], check=True)
    seconds = float(json.loads((folder / "seconds.json").read_text(encoding="utf-8")))
    return seconds, pl.read_csv(folder / "sums.csv").select(pl.all().fill_null(0).cast(pl.Int64))


def cells_differing(found: dict[str, IntArray], other: Any) -> int:
    """Return how many cells two sides disagree about; a null agrees with nothing."""
    theirs = other if isinstance(other, pl.DataFrame) else pl.from_arrow(other)
    if not isinstance(theirs, pl.DataFrame) or sorted(theirs.columns) != sorted(found):
        raise RuntimeError(f"features {sorted(found)} expected, got {theirs}")
    return sum(int((pl.Series(found[name]).ne_missing(theirs[name])).sum()) for name in found)


def grown(folder: str, rounds: int) -> dict[str, float]:
    """Return our seconds for the frames in a folder; runs in a process of its own.

    The host of a virtual machine takes back what has been free for two seconds, and charges up to two seconds
    a gigabyte to give it again, which only calls that last longer pay. So each call is made with about as
    much memory at hand as it takes, and beside it without: ``fetching_s``.
    """
    events, rows = (
        pl.read_parquet(Path(folder) / f"{name}.parquet").rechunk() for name in ("events", "rows")
    )
    at_hand = rows.height * len(MEASURES) * len(WINDOWS) + NUMBERS_AN_EVENT * events.height
    ours(events, rows)
    taken: dict[str, list[float]] = {"seconds": [], "fetching_s": []}
    for _ in range(rounds):
        for name, times in taken.items():
            gc.collect()
            if name == "seconds":
                np.ones(at_hand)
            begun = time.perf_counter()
            ours(events, rows)
            times.append(time.perf_counter() - begun)
    return measurement.medians(taken)


def growth(sizes: Sequence[Size], rounds: int) -> dict[str, dict[str, float]]:
    """Return our seconds and most memory for each size, each in a process of its own."""
    found = {}
    for size in sizes:
        with (
            measurement.ERR.status(f"growth: {size.events:,} events"),
            tempfile.TemporaryDirectory() as folder,
        ):
            for name, frame in zip(("events", "rows"), made(size), strict=True):
                frame.write_parquet(Path(folder) / f"{name}.parquet")
            del frame
            gc.collect()
            peak, taken = measurement.peak_gb(grown, folder, rounds)
        found[str(size.events)] = {
            name: round(number, 4) for name, number in (taken | {"peak_gb": peak}).items()
        }
    return found


def on_everything(size: Size, rounds: int) -> tuple[dict[str, dict[str, list[float]]], dict[str, int]]:
    """Measure the sides that can finish, each in turn with ours.

    One pair after the other: DuckDB gives gigabytes back after each call, and on a virtual machine whoever
    asks for memory next waits until the host has it again.

    Returns
    -------
    By side the seconds of each round, ours and theirs; and the cells that differ.
    """
    events, rows = made(size)
    arrow = events.to_arrow(), rows.with_row_index("row").to_arrow()
    theirs: dict[str, Callable[[], Any]] = {
        "polars": lambda: polars_asof(events, rows),
        "duckdb_asof": lambda: duckdb_asof(*arrow),
    }
    seconds = {
        name: measurement.in_turn({"ours": lambda: ours(events, rows), name: side}, rounds)
        for name, side in theirs.items()
    }
    found = ours(events, rows)
    return seconds, {name: cells_differing(found, side()) for name, side in theirs.items()}


def on_slice(size: Size, side: Callable[..., Any], rounds: int) -> dict[str, Any]:
    """Measure a side against ours on a smaller size."""
    events, rows = made(size)
    arrow = events.to_arrow(), rows.with_row_index("row").to_arrow()
    seconds = measurement.in_turn(
        {"ours on the slice": lambda: ours(events, rows), side.__name__: lambda: side(*arrow)}, rounds
    )
    of_ours, of_theirs = seconds.values()
    return {
        "ratio": measurement.ratio(of_ours, of_theirs),
        "seconds": measurement.medians(seconds)[side.__name__],
        "differing": cells_differing(ours(events, rows), side(*arrow)),
    }


def with_cutoff_times(size: Size, rounds: int) -> dict[str, Any]:
    """Measure featuretools against ours on a smaller size."""
    events, rows = made(size)
    python, theirs, differing = featuretools_python(), [], 0
    mine = measurement.in_turn({"ours on the slice": lambda: ours(events, rows)}, rounds)["ours on the slice"]
    with measurement.ERR.status("featuretools"), tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            seconds, found = featuretools(python, Path(folder), events, rows)
            theirs.append(seconds)
            differing = max(differing, cells_differing(ours(events, rows), found))
    return {
        "ratio": measurement.ratio(mine, theirs),
        "seconds": float(np.median(theirs)),
        "differing": differing,
    }


def result_of(arguments: Namespace) -> dict[str, Any]:
    """Run everything."""
    size, cutoffs = (FULL.over(50), Size(500, 60, 5)) if arguments.quick else (FULL, CUTOFF_TIMES)
    rounds = arguments.rounds or (2 if arguments.quick else measurement.ROUNDS)
    seconds, differing = on_everything(size, rounds)
    with_polars, with_duckdb = seconds["polars"], seconds["duckdb_asof"]
    median = measurement.medians(with_duckdb) | measurement.medians(with_polars)
    joined = on_slice(size.over(20) if arguments.quick else RANGE_JOIN, range_join, rounds)
    cut = with_cutoff_times(cutoffs, rounds)
    differing |= {"range_join": joined["differing"], "featuretools": cut["differing"]}
    sizes = [size.over(10), size]
    if not arguments.quick and measurement.available_gb() >= GROWTH_MEMORY_GB:
        sizes.append(Size(FULL.events * 10, FULL.customers * 10, FULL.rows * 10))
    grew = growth(sizes, rounds)
    return {
        "events": size.events,
        "customers": size.customers,
        "rows": size.rows,
        "features": len(MEASURES) * len(WINDOWS),
        "cores_used": CORES,
        "rounds": rounds,
        "ours_s": round(median["ours"], 3),
        "duckdb_asof_s": round(median["duckdb_asof"], 3),
        "polars_s": round(median["polars"], 3),
        "ratio_vs_duckdb": measurement.ratio(with_duckdb["ours"], with_duckdb["duckdb_asof"]),
        "ratio_vs_polars": measurement.ratio(with_polars["ours"], with_polars["polars"]),
        "ratio_vs_range_join": joined["ratio"],
        "ratio_vs_featuretools": cut["ratio"],
        "rows_per_second": round(size.rows / median["ours"]),
        "peak_gb": grew[str(size.events)]["peak_gb"],
        "cells_differing": sum(differing.values()),
        "cells_differing_by_side": differing,
        "range_join_slice": {
            "events": RANGE_JOIN.events,
            "rows": RANGE_JOIN.rows,
            "seconds": round(joined["seconds"], 3),
        },
        "featuretools_slice": {
            "events": cutoffs.events,
            "rows": cutoffs.rows,
            "seconds": round(cut["seconds"], 3),
        },
        "growth": grew,
    }


def main() -> None:
    """Run the benchmark."""
    epilog = (
        "ratio_vs_SIDE says how many times as long that side takes: the median of the rounds' ratios, both\n"
        "on the same data, range_join and featuretools on slices that they can finish. cells_differing is 0\n"
        "if all sides agree. peak_gb is what a process of our own held, the frames included. growth gives\n"
        "our seconds and memory by number of events; customers and rows grow with them; fetching_s is the\n"
        "same without memory at hand, which a virtual machine has to get from its host. All sides share the\n"
        "machine with whatever else runs: the ratios are steadier than the seconds."
    )
    arguments = measurement.options("window_features", __doc__, epilog).parse_args()
    packages = ("tagtide", "numpy", "polars", "duckdb", "pyarrow")
    measurement.publish("window_features", result_of(arguments), packages, arguments)


if __name__ == "__main__":
    main()
