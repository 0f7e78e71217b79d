"""What the benchmarks share: sides measured in turn, peak memory, and results with the machine named.

Run by itself it prints the machine.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ROUNDS = 5
THREADS = 2
ERR = Console(stderr=True)

# A benchmark may have the name of the package it measures: from now on packages go first.
sys.path = [*(place for place in sys.path if place != str(HERE)), str(HERE)]


def options(name: str, description: str | None, epilog: str = "") -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes: ``--out``, ``--quick`` and ``--rounds``.

    Parameters
    ----------
    name
        Of the benchmark: its result is ``benchmarks/results/NAME.json``.
    description
        The benchmark's docstring.
    epilog
        How to read the result, after the options.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"where to write the result (default {RESULTS / name}.json)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small run of seconds to see that everything works; its figures mean nothing, and are written "
        "only where --out says",
    )
    parser.add_argument(
        "--rounds", type=_positive, metavar="N", help=f"rounds, all sides in each (default {ROUNDS})"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def use_cores(count: int = THREADS) -> int:
    """Keep this process, and those it starts, to some cores, so that all sides have the same ones.

    polars reads ``POLARS_MAX_THREADS`` at its first import: call this before.

    Returns
    -------
    How many cores there are for it: fewer on a smaller machine.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
        count = min(count, len(os.sched_getaffinity(0)))
    os.environ["POLARS_MAX_THREADS"] = str(count)
    return count


def in_turn(
    sides: Mapping[str, Callable[[], object]], rounds: int = ROUNDS, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Time every side once a round, for some rounds, so that what disturbs the machine disturbs all sides.

    Parameters
    ----------
    sides
        What to call, by name. What is returned is dropped before the next call.
    warm_up
        Whether every side is called once before without being timed.

    Returns
    -------
    Seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=ERR) as progress:
        task = progress.add_task("measuring", total=len(sides) * (rounds + warm_up))
        for turn in range(rounds + warm_up):
            for name, side in sides.items():
                is_warm_up = warm_up and turn == 0
                label = "warming up" if is_warm_up else f"round {turn + (not warm_up)} of {rounds}"
                progress.update(task, description=f"{label}: {name}")
                gc.collect()
                begun = time.perf_counter()
                side()
                taken = time.perf_counter() - begun
                if not is_warm_up:
                    seconds[name].append(taken)
                progress.advance(task)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each side."""
    return {name: statistics.median(times) for name, times in seconds.items()}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return how many times as long theirs takes: the median of the rounds' ratios, two digits.

    Both sides of a round met the same disturbance, so their ratio varies less than their times.

    >>> ratio([1.0, 2.0, 1.0], [3.0, 6.0, 9.0])
    3.0
    """
    return round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2)


def peak_gb(side: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
    """Run a side in a process of its own.

    Parameters
    ----------
    side
        A function of a module, with arguments that can be pickled.

    Returns
    -------
    The most memory that process held at once, in GiB, all that it loaded included; and what the side
    returned.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (side, arguments))


def _measured(side: Callable[..., Any], arguments: Sequence[object]) -> tuple[float, Any]:
    found = side(*arguments)
    return _most_held_gb(), found


def _most_held_gb() -> float:
    """Return the most memory this process held at once, in GiB.

    Linux's getrusage tells of the process that started it as well, so there its own page is read.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def available_gb() -> float:
    """Return how much memory, in GiB, new work could have now; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def machine() -> dict[str, Any]:
    """Describe the machine."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name, cores = cpu(), os.cpu_count()
    return {
        "name": f"{name}, {cores} cores, {memory_gb:.0f} GiB",
        "cpu": name,
        "cores": cores,
        "memory_gb": round(memory_gb, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu() -> str:
    """Return the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions(*packages: str) -> dict[str, str]:
    """Return the versions installed."""
    return {name: importlib.metadata.version(name) for name in packages}


def publish(
    name: str, result: Mapping[str, Any], packages: Sequence[str], arguments: argparse.Namespace
) -> None:
    """Print a result with machine and versions, and write it; that of a quick run only where told to."""
    text = json.dumps({**result, "machine": machine(), "versions": versions(*packages)}, indent=2) + "\n"
    print(text, end="")
    out: Path | None = arguments.out or (None if arguments.quick else RESULTS / f"{name}.json")
    if out is None:
        ERR.print("quick run: nothing written; give --out FILE to keep it", style="yellow")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    ERR.print(f"written to {out}", style="green")


if __name__ == "__main__":
    print(json.dumps(machine(), indent=2))
