from __future__ import annotations

import io
import json
import re
import shutil
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from rich.console import Console

from configs.errors import TagtideError
from configs.settings import load_settings
from features.database import open_engine
from features.event_log import EventLog
from features.lake import Lake
from pipelines.backtest import as_table
from pipelines.backtest_runs import Asked, backtest
from pipelines.errors import CommandError, MissingStepError
from pipelines.stages import Stages
from tests.features.made_events import events
from tests.made_backtests import made_tags, made_value
from tests.small_shop import tagtide

RUN = {"as_of", "decided_by", "source", "currency", "rows", "customers", "seconds", "peak_gb"}
TAGS = {
    *("precision_observed", "precision_strict", "precision_wilson_low", "useful_tags_per_customer_day"),
    *("customers_tagged_share", "distinct_tags", "lift_median", "rule_precision_observed", "auc", "ece"),
    *("n_assigned", "n_customer_days"),
}
PROPENSITY = {"auc", "pr_auc", "brier", "ece", "lift_top_decile"}
CLV = {
    *("bias", "bias_low", "bias_high", "bias_winsorized", "mae_over_mean", "spearman", "normalized_gini"),
    *("decile_mae_over_mean", "top_decile_capture", "bias_top_decile_order_value", "deciles"),
    *("interval_coverage_80", "interval_coverage_80_buyers", "interval_coverage_80_non_buyers"),
}


def unheard() -> Stages:
    return Stages(lambda *_: None)


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
        assert json.loads(out.read_text(encoding="utf-8")) == run.json
        assert f"page: {out.with_suffix('.html')}" in run.err
        assert (out.parent / f"{task}.html").is_file()
    return results


def test_tags_are_measured_on_the_days_the_mapping_names(shop, found):
    tags = found["tags"]
    assert set(tags) == RUN | {"interest", "test_days"}
    assert set(tags["interest"]) == TAGS | {
        *("certified", "suspended", "certifying", "coverage_curve", "contract"),
    }
    assert tags["test_days"] == {
        "first": "2024-05-20T00:00:00+00:00",
        "last": "2024-05-28T00:00:00+00:00",
        "count": 3,
    }
    assert tags["currency"] == "GBP"
    assert (tags["decided_by"], tags["as_of"], tags["source"]) == (
        "mapping",
        "2024-05-20T00:00:00+00:00",
        "shop",
    )
    assert (tags["rows"], tags["customers"]) == (shop.known.height, 160)
    assert tags["interest"]["n_customer_days"] == active(shop, [20, 24, 28])
    assert 0.6 < tags["interest"]["precision_observed"] <= 1
    assert tags["interest"]["precision_observed"] > 2 * tags["interest"]["rule_precision_observed"]


def test_a_family_that_the_data_cannot_carry_is_told_and_does_not_keep_the_others_from_it(shop):
    families = "cart_abandoner,deal_seeker,slipping_away,high_intent"
    run = shop.run("backtest", "tags", "--families", families, "--json")
    assert run.code == 0, run.err
    assert run.json["cart_abandoner"] == {"skipped": "the data has no add_to_cart"}
    assert run.json["deal_seeker"] == {"skipped": "the data has no coupon_minor or discount_minor"}
    assert set(run.json["high_intent"]) >= TAGS | {"certified", "suspended"}
    refused = run.json["slipping_away"]["skipped"]
    assert re.search(r"'slipping_away': slice '\w+' has \d+ confirmed and \d+ refuted claims", refused)
    assert refused.endswith("expected 200 of each")

    alone = shop.run("backtest", "tags", "--families", "slipping_away")
    assert alone.code == 2
    assert refused in alone.err.replace("\n", " ")


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
    assert set(propensity) >= RUN | {"72h", "7d", "30d"}
    assert "720 h" in propensity["30d"]["skipped"]
    assert (propensity["decided_by"], propensity["as_of"]) == ("option", "2024-05-14T00:00:00+00:00")
    for horizon in ("72h", "7d"):
        figures = propensity[horizon]
        assert set(figures) >= PROPENSITY | {"base_rate", "auc_gain_lower"}
        assert set(figures["baseline_logistic"]) >= PROPENSITY
        assert set(figures["baseline_logistic_same_features"]) >= PROPENSITY
        assert figures["test_days"]["first"] == figures["as_of"] == "2024-05-14T00:00:00+00:00"
        assert figures["auc"] > 0.6
        assert figures["scored"] == figures["eligible"] >= figures["rows"]
        assert {"reliability", "lift_curve", "cold_start", "slices"} <= set(figures)
    assert propensity["72h"]["base_rate"] < propensity["7d"]["base_rate"]


def test_value_is_measured_beside_the_classic_models(found):
    value = found["clv"]
    assert set(value) >= RUN | CLV | {"horizon_days", "level_reason", "ranking_reason", "split_values_minor"}
    assert set(value["baseline_bgnbd_gg"]) >= CLV
    assert set(value["baseline_past_rate"]) >= CLV
    assert (value["decided_by"], value["as_of"], value["horizon_days"]) == (
        "mapping",
        "2024-03-02T00:00:00+00:00",
        90,
    )
    assert abs(value["bias"]) < 0.5
    assert value["bias_low"] <= value["bias"] <= value["bias_high"]


def test_value_can_be_measured_over_another_horizon(shop, tmp_path):
    out = tmp_path / "F"
    run = shop.run("backtest", "clv", "--horizon-days", "30", "--out", str(out), "--no-plots")
    assert run.code == 0, run.err
    value = json.loads(out.read_text(encoding="utf-8"))
    assert (value["horizon_days"], value["decided_by"]) == (30, "option")
    midnight = (shop.as_of - timedelta(days=30)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert datetime.fromisoformat(value["as_of"]) == midnight
    assert [path.name for path in tmp_path.iterdir()] == ["F"]
    assert "… 0:0" in run.err
    assert "0/1 reading the lake" in run.err


def test_one_horizon_of_propensity_can_be_asked_for_and_another_is_refused(shop):
    run = shop.run("backtest", "propensity", "--horizon-days", "12")
    assert run.code == 2
    assert "--horizon-days is 12; propensity is predicted over 3, 7" in run.err


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


def test_contacts_alone_cannot_be_backtested(home):
    settings = load_settings(home.root, {}).settings
    Lake(home.lake).append(events(5, event_type="contact"))
    for task in ("tags", "propensity"):
        with pytest.raises(CommandError, match="contacts only"):
            backtest(home, settings, task, unheard(), Asked())


def test_a_short_history_is_told_how_much_is_needed(home):
    settings = load_settings(home.root, {}).settings
    Lake(home.lake).append(events(24 * 50))
    with pytest.raises(Exception, match="90 days before its first test day") as short:
        backtest(home, settings, "tags", unheard(), Asked())
    assert short.value.next_step == "import more history"


def test_a_home_without_events_names_the_step_before(home):
    with pytest.raises(MissingStepError, match="has no events"):
        backtest(home, load_settings(home.root, {}).settings, "tags", unheard(), Asked())


def test_a_family_that_the_data_cannot_carry_is_skipped_by_name_and_alone_it_is_refused(shop):
    run = shop.run("backtest", "tags", "--families", "brand_preference", "--no-plots")
    assert (run.code, run.out) == (2, "")
    assert "brand_preference: the data has no events with a brand" in run.err


def test_a_home_of_posted_events_chooses_its_days_from_their_span(shop, tmp_path):
    copy = shop.copy(tmp_path)
    shutil.rmtree(copy.home.sources)
    found = copy.run("backtest", "clv", "--no-plots", "--json").json
    end = copy.known["event_time"].max()
    midnight = (end - timedelta(days=90)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert (found["source"], found["currency"], found["decided_by"]) == ("posted events", None, "span")
    assert datetime.fromisoformat(found["as_of"]) == midnight
    assert list(copy.home.reports.glob("backtest-clv-*-90d.json")) != []


def test_what_was_posted_and_not_yet_moved_to_the_lake_counts(home):
    settings = load_settings(home.root, {}).settings
    engine = open_engine(settings.database_url, home)
    EventLog(engine).append(events(24 * 5))
    engine.dispose()
    with pytest.raises(TagtideError, match=r"5\.0 days, where 121 are needed"):
        backtest(home, settings, "tags", unheard(), Asked())


def test_an_earlier_backtest_is_drawn_anew_without_any_data(tmp_path):
    source = tmp_path / "earlier.json"
    source.write_text(json.dumps(made_tags()), encoding="utf-8")
    run = tagtide(tmp_path / "nowhere", "backtest", "tags", "--from", str(source), "--json")
    assert run.code == 0, run.err
    assert run.json == made_tags() == json.loads(source.read_text(encoding="utf-8"))
    assert "cart_abandoner was not measured" in (tmp_path / "earlier.html").read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "earlier-plots").iterdir()} == {
        "precision-coverage-interest.png",
        "precision-coverage-interest.svg",
    }
    assert "note: no precision–coverage curve of high_intent" in run.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tags", "--out", "."], "is a folder; expected a file"),
        (["tags", "--out", "x.html"], "expected the name of a JSON file"),
        (["tags", "--out", "README/x.json"], "cannot write into"),
        (["clv", "--families", "interest"], "--families is for `backtest tags`"),
        (["tags", "--horizon-days", "90"], "a tag lives 72 hours"),
        (["tags", "--from", "nothing.json"], "cannot be read"),
        (["tags", "--from", "list.json"], "is no backtest: it has no as_of"),
        (["tags", "--from", "value.json"], "is a backtest of clv, not of tags"),
        (["clv", "--from", "value.json", "--as-of", "2017-10-01"], "--from draws an earlier backtest"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README").write_text("a file", encoding="utf-8")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    (tmp_path / "value.json").write_text(json.dumps(made_value()), encoding="utf-8")
    run = tagtide(tmp_path / "nowhere", "backtest", *arguments)
    assert (run.code, run.out) == (2, "")
    assert message in run.err
    assert "Traceback" not in run.err
