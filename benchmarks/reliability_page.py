"""The table of figures in docs/reliability.md, made from the result of `reliability.py`.

Run by itself it writes the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from figures_page import with_figures

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"

STREAMS = {
    "kill_one_home": "two services on one home, `kill -9`",
    "kill_hosts": "the same with PostgreSQL and Redis",
    "redis_outage": "Redis stopped and started",
    "file_quota": "files may not grow",
    "disk_full": "disk full",
}


def read() -> Mapping[str, Any]:
    """Return the result, or nothing where there is none yet."""
    if not RESULT.is_file():
        return {}
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name not in ("machine", "versions")}


def table(result: Mapping[str, Any]) -> str:
    """Lay the figures out."""
    lines = [
        "| trial | how often | events tried | survived | lost | doubled | back after |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, title in STREAMS.items():
        one = result.get(name, {})
        if "tried" not in one:
            lines.append(f"| {title} | not tried: {one.get('not_tried', 'no result')} | | | | | |")
            continue
        times = one.get("kills", 0) + one.get("pauses", 0) or one.get("outages", 1)
        back = next(
            one[key]
            for key in ("longest_takeover_seconds", "longest_recovery_seconds", "recovery_seconds")
            if key in one
        )
        doubled = one["doubled"] + one["claims_doubled"]
        lines.append(
            f"| {title} | {times} | {one['tried']:,} | {one['survived']:,} | {one['lost']:,} | {doubled:,} "
            f"| {back} s |"
        )
    lines += ["", "| trial | figures |", "|---|---|"]
    lines += [f"| {title} | {said} |" for title, said in _others(result)]
    return "\n".join(lines)


def _others(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if "overload" in result:
        for kind in ("writes", "reads"):
            one = result["overload"][kind]
            accepted = sum(count for status, count in one["replies"].items() if status in ("200", "202"))
            rows.append(
                (
                    f"overload by {kind}",
                    (
                        f"{accepted:,} accepted, p99 {one['accepted_p99_seconds']} s; "
                        f"{one['replies'].get('429', 0):,} refused with 429, "
                        f"p99 {one['refused_p99_seconds']} s; "
                        f"{one['refused_without_retry_after']} without Retry-After; "
                        f"normal again after {one['normal_again_seconds']} s"
                    ),
                )
            )
    if "sigterm" in result:
        one = result["sigterm"]
        rows.append(
            (
                "SIGTERM",
                (
                    f"{one['under_way']} requests under way, {one['statuses'].get('202', 0)} "
                    f"answered 202; exit code "
                    f"{one['exit_code']} after {one['seconds']} s; {one['orphans']} processes left"
                ),
            )
        )
    if "random_bodies" in result:
        one = result["random_bodies"]
        rows.append(
            (
                "random bodies",
                (
                    f"{one['bodies']:,} posted, {one['failed']} answered 5xx; "
                    f"{one['events_stored']:,} events stored, "
                    f"{one['events_that_are_none']} of them break the schema"
                ),
            )
        )
    if "soak" in result:
        one = result["soak"]
        rows.append(
            (
                "long service",
                (
                    f"{one['seconds']} s, {one['requests']:,} requests, "
                    f"{sum(one['errors'].values())} errors; "
                    f"memory {one['rss_mb_first']} → {one['rss_mb_last']} MB "
                    f"({one['rss_growth_share']:+.1%})"
                ),
            )
        )
    return rows


def page() -> str:
    """Return the page with the table of the result that is here."""
    return with_figures(PAGE, table(read()))


def write() -> None:
    """Write the table into the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
