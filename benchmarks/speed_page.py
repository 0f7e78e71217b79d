"""The tables of docs/speed.md, from the results that are here: ``python benchmarks/speed_page.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures_page import with_figures

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "speed.md"

Results = Mapping[str, Mapping[str, Any]]
Row = tuple[str, ...]


def read() -> Results:
    """Return every result that is here, by name."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    }


def table(titles: Row, rows: Sequence[Row]) -> str:
    """Return a Markdown table; all columns but the first are numbers.

    >>> print(table(("what", "s"), [("ours", "1")]))
    | what | s |
    |---|--:|
    | ours | 1 |
    """
    rule = "|".join(["---", *("--:" for _ in titles[1:])])
    return "\n".join([f"| {' | '.join(titles)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)])


def window_rows(result: Mapping[str, Any]) -> list[Row]:
    """Return each side's seconds, and how many times as long as ours they are."""
    return [
        ("Tagtide", f"{result['ours_s']:.2f} s", "1"),
        (
            "hand-written polars, ASOF joins",
            f"{result['polars_s']:.2f} s",
            f"{result['ratio_vs_polars']:.1f}",
        ),
        ("DuckDB, ASOF joins", f"{result['duckdb_asof_s']:.2f} s", f"{result['ratio_vs_duckdb']:.1f}"),
        ("DuckDB, range join (on a slice)", "", f"{result['ratio_vs_range_join']:.0f}"),
        ("featuretools, cutoff times (on a slice)", "", f"{result['ratio_vs_featuretools']:.0f}"),
    ]


def growth_rows(result: Mapping[str, Any]) -> list[Row]:
    """Return our seconds and memory by number of events."""
    return [
        (f"{int(events):,}", f"{one['seconds']:.3f} s", f"{one['peak_gb']:.1f} GB")
        for events, one in result["growth"].items()
    ]


def serving_rows(result: Mapping[str, Any]) -> list[Row]:
    """Return each service's requests a second, and their processor time where it was taken."""
    return [
        (
            "Tagtide: online read, features, all models, tags",
            f"{result['ours_rps']:,.0f}",
            f"{result['cpu_ms_per_request']:.2f} ms",
        ),
        (
            "the same with reasons",
            f"{result['with_reasons_rps']:,.0f}",
            f"{result['with_reasons_cpu_ms']:.2f} ms",
        ),
        (
            "BentoML, one scikit-learn model on a DataFrame",
            f"{result['naive_bento_rps']:,.0f}",
            f"{result['naive_bento_cpu_ms']:.2f} ms",
        ),
        (
            "`mlflow models serve`, one model",
            f"{result['mlflow_rps']:,.0f}",
            f"{result['mlflow_cpu_ms']:.2f} ms",
        ),
        (
            "FastAPI, one booster, features sent along",
            f"{result['fastapi_rps']:,.0f}",
            f"{result['fastapi_cpu_ms']:.2f} ms",
        ),
    ]


def other_rows(results: Results) -> list[Row]:
    """Return what is said in one figure or two."""
    serving, live, stream, online = (results[name] for name in ("serving", "live", "stream", "online_read"))
    frames, loaded = results["training_set"], results["import_events"]
    apart = live["each_event_another_customer"]
    rows = [
        (
            f"One customer's answer at {serving['asked_per_second']:.0f} requests/s",
            f"p50 {serving['p50_ms']:.1f} ms, p99 {serving['p99_ms']:.1f} ms",
        ),
        ("500 customers in one request", f"{serving['batch500_ms']:.0f} ms"),
        (
            f"Posted event to its tag, {live['per_second']:,} events/s",
            f"p50 {live['event_to_tag_p50_ms']:.0f} ms, p99 {live['event_to_tag_p99_ms']:.0f} ms",
        ),
        (
            "The same, each event of another customer",
            f"p50 {apart['event_to_tag_p50_ms']:,.0f} ms, p99 {apart['event_to_tag_p99_ms']:,.0f} ms",
        ),
        (
            f"Posted event to the webhook's receiver, {live['per_second']:,} events/s",
            f"p50 {live['event_to_webhook_p50_ms']:.0f} ms, p99 {live['event_to_webhook_p99_ms']:.0f} ms",
        ),
        (
            "Its events sent, readable at the end, lost, doubled",
            f"{live['sent']:,}, {live['received']:,}, {live['lost']}, {live['duplicated']}",
        ),
    ]
    for store in ("sqlite", "redis"):
        name = {"sqlite": "SQLite", "redis": "Redis"}[store]
        taken, asked = stream[store], online[store]
        rows.append(
            (
                f"Events into memory, {name}",
                f"{taken['events_per_second']:,}/s; acknowledged to readable p99 {taken['p99_ms']:.0f} ms",
            )
        )
        rows.append(
            (
                f"All {online['features']} features of a customer, {name}",
                f"{asked['ours']['p50_ms']:.1f} ms; Feast's own read {asked['feast']['p50_ms']:.1f} ms",
            )
        )
    rows.append(
        (
            f"Training set of {frames['rows']:,} rows through Feast",
            f"{frames['ours_s']:.1f} s; hand-written polars {frames['polars_s']:.1f} s",
        )
    )
    rows.append((f"Import of {loaded['rows']:,} rows", f"{loaded['seconds'] + loaded['load_seconds']:.1f} s"))
    return rows


def machine_rows(results: Results) -> list[Row]:
    """Return which machine each result is of, in the order of the names."""
    return [
        (f"`{name}`", result["machine"]["name"])
        for name, result in results.items()
        if "name" in result.get("machine", {})
    ]


def figures(results: Results) -> str:
    """Return all tables."""
    windows = results["window_features"]
    size = f"{windows['rows']:,} rows over {windows['events']:,} events"
    return "\n\n".join(
        [
            f"**{windows['features']} window features of {size}**",
            table(("side", "time", "times as long"), window_rows(windows)),
            "**The same kernel by number of events; customers and rows grow with them**",
            table(("events", "time", "most memory"), growth_rows(windows)),
            "**Services, eight callers without a pause**",
            table(("service", "requests/s", "processor time a request"), serving_rows(results["serving"])),
            "**The rest**",
            table(("what", "measured"), other_rows(results)),
            "**Measured on**",
            table(("result", "machine"), machine_rows(results)),
        ]
    )


def page() -> str:
    """Return the page with the tables of the results that are here."""
    return with_figures(PAGE, figures(read()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
