"""Renew the README's figures and picture from a demo's home: ``python docs/refresh_readme.py HOME``.

Copies the demo's summary to demo-summary.json, writes the README's table from it, asks a service on a copy of
the home what the README shows, and takes a picture of the report where a Chromium is installed. Without HOME
only the table is written, from the summary that is here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from generate_reference import replaced
from readme_replies import replies_block

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
SUMMARY = DOCS / "demo-summary.json"
PICTURE = DOCS / "images" / "report.png"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURE_SIZE = (1280, 1050)
PICTURE_SECONDS = 60
AFTERWARDS = timedelta(hours=8)
"""From the end of the replay to the event that the README posts."""


def percent(value: float) -> str:
    """Return a share as a percentage of one decimal.

    >>> percent(0.8378)
    '83.8 %'
    """
    return f"{value:.1%}".replace("%", " %")


def signed_percent(value: float) -> str:
    """Return an error as a percentage of one decimal, its direction shown.

    >>> signed_percent(-0.034)
    '−3.4 %'
    """
    return ("−" if value < 0 else "+") + percent(abs(value))


def figures_block(summary: Mapping[str, Any]) -> str:
    """Return the README's table of what the demo measured.

    Raises
    ------
    ValueError
        If the demo could not measure one of the figures: such a run is no showpiece.
    """
    unmeasured = [name for name, value in leaves(summary) if value is None]
    if unmeasured:
        raise ValueError(f"the demo did not measure {', '.join(unmeasured)}")
    tags, propensity, clv = summary["tags"], summary["propensity"], summary["clv"]
    seen = (
        f"**{percent(tags['precision_observed'])}** of claims whose outcome was seen (90 % interval from "
        f"{percent(tags['precision_wilson_low'])}), "
        f"{percent(tags['precision_strict'])} of all {tags['claims']:,}"
    )
    bought = (
        f"AUC {propensity['auc_72h']:.3f}, calibration error {propensity['ece_72h']:.3f}, "
        f"top tenth buys {propensity['lift_top_decile_72h']:.1f}× as often as everyone"
    )
    worth = (
        f"total off by {signed_percent(clv['bias'])}, Gini {clv['normalized_gini']:.2f}, "
        f"80 % interval holds {percent(clv['interval_coverage_80'])}"
    )
    rule = f"bought it in the last 72 h: {percent(tags['rule_precision_observed'])}"
    rows = [
        (f"Tag precision, family `{tags['family']}`", seen, rule),
        ("Lift over each tag's base rate", f"{tags['lift']:.1f}×", "by chance: 1×"),
        ("Useful tags per customer and day", f"{tags['useful_tags_per_customer_day']:.3f}", ""),
        ("Purchase within 72 h", bought, "by chance: AUC 0.5, 1×"),
        ("Lifetime value, 90 days", worth, ""),
        ("Posted event to its tags", milliseconds(summary, "event_to_tag_p50_ms", "event_to_tag_p99_ms"), ""),
        ("Answer for one customer", milliseconds(summary["serving"], "p50_ms", "p99_ms"), ""),
        ("Import", f"{summary['rows_imported']:,} rows, {summary['quarantined']:,} refused", ""),
        ("All of it", f"{summary['total_seconds']:.0f} s on 2 cores", ""),
    ]
    lines = ["| | measured | for comparison |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} | {beside} |" for name, value, beside in rows)])


def milliseconds(figures: Mapping[str, float], median: str, tail: str) -> str:
    """Return a latency's median and 99th percentile.

    >>> milliseconds({"a": 7.28, "b": 113.1}, "a", "b")
    '7.3 ms, p99 113.1 ms'
    """
    return f"{figures[median]:.1f} ms, p99 {figures[tail]:.1f} ms"


def leaves(summary: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """Return every value of a summary with its dotted path.

    >>> leaves({"clv": {"bias": 0.1}})
    [('clv.bias', 0.1)]
    """
    found: list[tuple[str, Any]] = []
    for name, value in summary.items():
        dotted = f"{path}.{name}" if path else name
        found += leaves(value, dotted) if isinstance(value, Mapping) else [(dotted, value)]
    return found


def take_picture(report: Path, picture: Path) -> bool:
    """Write the first screen of a report as PNG; false where no browser is installed."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return False
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            f"--screenshot={picture}",
            f"--window-size={PICTURE_SIZE[0]},{PICTURE_SIZE[1]}",
            report.resolve().as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=PICTURE_SECONDS)  # noqa: S603 - ours
    return True


def main() -> int:
    """Renew what can be renewed and say what was."""
    page = README.read_text(encoding="utf-8")
    if len(sys.argv) > 1:
        reports = Path(sys.argv[1]) / "reports" / "demo"
        if not (reports / "summary.json").is_file():
            sys.stderr.write(f"error: {reports} has no summary.json; run `tagtide demo` first\n")
            return 2
        shutil.copyfile(reports / "summary.json", SUMMARY)
        taken = take_picture(reports / "index.html", PICTURE)
        sys.stdout.write(f"{PICTURE}: {'taken' if taken else 'left, no Chromium here'}\n")
        replayed_until = datetime.fromisoformat(
            json.loads(SUMMARY.read_text(encoding="utf-8"))["replayed_until"]
        )
        page = replaced(page, "replies", "\n" + replies_block(Path(sys.argv[1]), replayed_until + AFTERWARDS))
        sys.stdout.write(f"{README}: replies of a service on {sys.argv[1]}\n")
    summary = json.loads(SUMMARY.read_text(encoding="utf-8"))
    README.write_text(replaced(page, "figures", figures_block(summary)), encoding="utf-8")
    sys.stdout.write(f"{README}: figures from {SUMMARY.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
