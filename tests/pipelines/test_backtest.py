from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from rich.console import Console

from configs.settings import load_settings
from features.lake import Lake
from pipelines.backtest import Asked, _days, as_table, backtest
from pipelines.errors import CommandError, MissingStepError
from tests.features.made_events import MONDAY, events
from tests.pipelines.test_build_features import silently

RUN = {"as_of", "decided_by", "source", "rows", "customers", "seconds", "peak_gb"}
TAGS = {
    *("precision_observed", "precision_strict", "precision_wilson_low", "useful_tags_per_customer_day"),
    *("customers_tagged_share", "distinct_tags", "lift_median", "rule_precision_observed", "auc", "ece"),
    *("n_assigned", "n_customer_days"),
}
PROPENSITY = {"auc", "pr_auc", "brier", "ece", "lift_top_decile"}
CLV = {
    *("bias", "bias_low", "bias_high", "bias_winsorized", "mae_over_mean", "spearman", "normalized_gini"),
    *("decile_mae_over_mean", "top_decile_capture"),
}


@pytest.fixture(scope="module")
def shop(small_shop, tmp_path_factory):
    return small_shop.copy(tmp_path_factory.mktemp("backtested"))


@pytest.fixture(scope="module")
def found(shop, tmp_path_factory):
    """Each task once, by its command."""
    folder = tmp_path_factory.mktemp("out")
    asked = {
        "tags": ["--families", "interest"],
        "propensity": ["--as-of", "2024-05-14"],
        "clv": [],
    }
    results = {}
    for task, options in asked.items():
        out = folder / "deep" / f"{task}.json"
        run = shop.run("backtest", task, *options, "--out", str(out), "--json")
        assert run.code == 0, run.err
        results[task] = run.json
        assert json.loads(out.read_text()) == run.json
    return results


def test_tags_are_measured_on_the_days_the_mapping_names(shop, found):
    tags = found["tags"]
    assert set(tags) == RUN | {"interest"}
    assert set(tags["interest"]) == TAGS | {"certified", "suspended", "certifying", "coverage_curve"}
    assert (tags["decided_by"], tags["as_of"], tags["source"]) == (
        "mapping",
        "2024-05-20T00:00:00+00:00",
        "shop",
    )
    assert (tags["rows"], tags["customers"]) == (shop.known.height, 160)
    assert tags["interest"]["n_customer_days"] == active(shop, [20, 24, 28])
    assert 0.6 < tags["interest"]["precision_observed"] <= 1
    assert tags["interest"]["precision_observed"] > 2 * tags["interest"]["rule_precision_observed"]


def active(shop, days):
    """Customers with an event other than a contact in the 72 h before each midnight of May."""
    moments = [datetime(2024, 5, day, tzinfo=UTC) for day in days]
    own = shop.known.filter(pl.col("event_type") != "contact")
    return sum(
        own.filter((pl.col("event_time") <= at) & (pl.col("event_time") > at - timedelta(hours=72)))[
            "customer_id"
        ].n_unique()
        for at in moments
    )


def test_propensity_is_measured_beside_its_baselines(found):
    propensity = found["propensity"]
    assert set(propensity) == RUN | {"72h", "7d"}
    assert (propensity["decided_by"], propensity["as_of"]) == ("option", "2024-05-14T00:00:00+00:00")
    for horizon in ("72h", "7d"):
        figures = propensity[horizon]
        assert set(figures) >= PROPENSITY | {"base_rate", "auc_gain_lower"}
        assert set(figures["baseline_logistic"]) == PROPENSITY
        assert set(figures["baseline_logistic_same_features"]) == PROPENSITY
        assert figures["auc"] > 0.6
    assert propensity["72h"]["base_rate"] < propensity["7d"]["base_rate"]


def test_value_is_measured_beside_the_classic_models(found):
    value = found["clv"]
    assert set(value) >= RUN | CLV | {"interval_coverage_80", "interval_coverage_80_buyers", "horizon_days"}
    assert set(value["baseline_bgnbd_gg"]) == set(value["baseline_past_rate"]) == CLV
    assert (value["decided_by"], value["as_of"], value["horizon_days"]) == (
        "mapping",
        "2024-03-02T00:00:00+00:00",
        90,
    )
    assert abs(value["bias"]) < 0.5
    assert value["bias_low"] <= value["bias"] <= value["bias_high"]


def test_value_can_be_measured_over_another_horizon(shop):
    value = backtest(shop.home, shop.settings, "clv", silently, Asked(None, 30))
    assert (value["horizon_days"], value["decided_by"]) == (30, "option")
    assert datetime.fromisoformat(value["as_of"]) == shop.as_of - timedelta(days=30)


def test_a_table_has_a_column_for_each_model(found):
    for task, columns in (
        ("tags", ["interest"]),
        ("propensity", ["72h", "7d", "logistic_same_features"]),
        ("clv", ["model", "past_rate", "bias_winsorized"]),
    ):
        console = Console(width=250, file=io.StringIO())
        console.print(as_table(task, found[task]))
        shown = console.file.getvalue()
        assert all(column in shown for column in columns)
        assert "decided by" in shown


def test_the_days_asked_for_end_with_the_last_closed_window(home):
    settings = load_settings(home.root, {}).settings
    rows = events(24 * 20)
    found = _days(rows, settings, None, MONDAY + timedelta(days=3), 72)
    last = MONDAY + timedelta(hours=24 * 20 - 1)
    assert found.decided_by == "option"
    assert found.days == [MONDAY + timedelta(days=day) for day in (3, 5, 7, 9, 11, 13, 15)]
    assert found.days[-1] + timedelta(hours=72) <= last
    with pytest.raises(CommandError, match="no outcome window of 72 h closes before the data ends"):
        _days(rows, settings, None, last, 72)


def test_contacts_alone_cannot_be_backtested(home):
    settings = load_settings(home.root, {}).settings
    Lake(home.lake).append(events(5, event_type="contact"))
    for task in ("tags", "propensity"):
        with pytest.raises(CommandError, match="contacts only"):
            backtest(home, settings, task, silently, Asked())


def test_a_short_history_is_told_how_much_is_needed(home):
    settings = load_settings(home.root, {}).settings
    Lake(home.lake).append(events(24 * 50))
    with pytest.raises(Exception, match="90 days before its first test day") as short:
        backtest(home, settings, "tags", silently, Asked())
    assert short.value.next_step == "import more history"


def test_a_home_without_events_names_the_step_before(home):
    with pytest.raises(MissingStepError, match="has no events"):
        backtest(home, load_settings(home.root, {}).settings, "tags", silently, Asked())
