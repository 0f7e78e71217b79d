from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from configs.settings import load_settings
from features.consent import Consent
from features.database import open_engine
from features.packed_store import open_packed_store
from features.windows import to_us
from pipelines.errors import CommandError, MissingStepError
from pipelines.score import CUSTOMERS_SCHEMA, REASONS_SCHEMA, TAGS_SCHEMA, score
from serving.scorer import BundleScorer
from tests.features.made_events import MONDAY
from training.artifact import load_bundle, save_bundle
from training.publication import published


@pytest.fixture(scope="module")
def scored(small_shop):
    report = small_shop.runs["score"].json
    return report, pl.read_parquet(report["customers_file"]), pl.read_parquet(report["tags_file"])


def test_the_files_say_what_the_service_would_say(small_shop, scored):
    _, customers, tags = scored
    bundles = published(small_shop.home)
    store = open_packed_store(small_shop.home, small_shop.settings)
    scorer = BundleScorer(
        store,
        small_shop.settings,
        {task: load_bundle(one.directory) for task, one in bundles.items()},
        {task: one.model_version for task, one in bundles.items()},
    )
    now_us = to_us(small_shop.as_of)
    names = customers["customer_id"].to_list()
    online = scorer.score_many(names, now_us, with_tags=True, with_reasons=False)
    store.close()
    assert names == sorted(small_shop.known["customer_id"].unique())
    for row in customers.iter_rows(named=True):
        one = online[row["customer_id"]]
        assert (row["propensity_72h"], row["propensity_7d"]) == (one.propensity["72h"], one.propensity["7d"])
        # Five months are too short a history for 30 days.
        assert row["propensity_30d"] is None
        assert "30d" not in one.propensity
        assert (row["clv_expected_minor"], row["life_cycle_stage"]) == (
            one.clv["expected_minor"],
            one.life_cycle_stage,
        )
        assert row["segment"] == one.segment is not None
        assert row["is_high_value"] == any(tag.tag_id == "high_value" for tag in one.static_tags)
    expected = {
        (name, tag.tag_id): tag.probability
        for name in names
        for tag in online[name].tags
        if tag.certified and tag.above
    }
    assert {(row["customer_id"], row["tag_id"]): row["probability"] for row in tags.to_dicts()} == expected
    assert len(expected) > 20


def test_the_files_have_their_schema_and_the_report_counts_them(small_shop, scored):
    report, customers, tags = scored
    assert dict(customers.schema) == CUSTOMERS_SCHEMA
    assert dict(tags.schema) == TAGS_SCHEMA
    assert (report["customers"], report["tags"]) == (customers.height, tags.height)
    assert report["statuses"] == {"ok": customers.height}
    assert set(customers["as_of"]) == {small_shop.as_of}
    assert tags["precision"].min() >= 0.75
    assert tags.filter(pl.col("family") == "interest")["lift"].min() >= 2


def test_reasons_are_a_third_file_on_request_and_add_up(small_shop, scored, tmp_path):
    out = tmp_path / "out"
    run = small_shop.run("score", "--reasons", "--out", str(out), "--json")
    reasons = pl.read_parquet(run.json["reasons_file"])
    assert dict(reasons.schema) == REASONS_SCHEMA
    assert (run.json["reasons"], run.json["tags"]) == (reasons.height, scored[0]["tags"])
    by_claim = reasons.group_by("customer_id", "about").agg(
        pl.first("base", "rest", "score"), pl.sum("contribution"), pl.len()
    )
    total = by_claim["base"] + by_claim["contribution"] + by_claim["rest"]
    assert (total - by_claim["score"]).abs().max() < 1e-9
    assert by_claim["len"].is_between(1, 3).all()
    tags = set(scored[2].select("customer_id", "tag_id").iter_rows())
    told = by_claim.filter(pl.col("about").str.contains("interest:|high_intent"))
    assert set(told.select("customer_id", "about").iter_rows()) == tags
    about = set(reasons["about"])
    assert {"propensity_72h", "propensity_7d", "clv_amount", "interest:牛奶"} <= about
    assert reasons.filter(pl.col("about") == "interest:牛奶")["words"].str.contains("牛奶").any()
    assert reasons["words"].str.contains(" GBP").any()
    assert set(reasons["direction"]) == {"speaks for", "speaks against"}
    again = small_shop.run("score", "--out", str(out), "--json")
    assert (again.json["reasons"], again.json["reasons_file"]) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["customers.parquet", "tags.parquet"]


def test_without_options_the_files_lie_by_instant(small_shop, scored):
    assert scored[0]["customers_file"].endswith("/scores/2024-05-31T23-17-14Z/customers.parquet")
    assert [path.name for path in sorted(small_shop.home.scores.rglob("*.*"))] == [
        "customers.parquet",
        "tags.parquet",
    ]


def test_the_folder_can_be_chosen_and_three_days_later_all_is_stale(small_shop, tmp_path):
    later = (small_shop.as_of + timedelta(hours=73)).isoformat()
    run = small_shop.run("score", "--as-of", later, "--out", str(tmp_path / "out"), "--json")
    assert run.json["statuses"] == {"stale_profile": 160}
    assert run.json["tags"] == 0
    assert pl.read_parquet(tmp_path / "out" / "tags.parquet").schema == TAGS_SCHEMA


def test_an_instant_before_the_profiles_is_refused(small_shop, tmp_path):
    with pytest.raises(CommandError, match="lies before the profiles'"):
        score(small_shop.home, small_shop.settings, small_shop.as_of - timedelta(days=1), tmp_path)


def test_a_published_model_that_reads_a_bygone_feature_stops_the_run_and_names_it(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    serving = published(shop.home)["propensity"].directory
    old = load_bundle(serving)
    renamed = {
        horizon: ["order_count_29d" if name == "order_count_30d" else name for name in names]
        for horizon, names in old.features.items()
    }
    save_bundle(serving, replace(old, features=renamed))
    run = shop.run("score", "--out", str(tmp_path / "out"))
    assert run.code == 2
    error, next_step = run.err.splitlines()[-2:]
    assert "bundle propensity" in error
    assert "'order_count_29d' does not exist (did you mean 'order_count_90d'?)" in error
    assert next_step.startswith("next step: run `tagtide train` and `tagtide promote`")
    assert not (tmp_path / "out").exists()


def test_a_home_that_serves_nothing_names_the_steps(home, tmp_path):
    settings = load_settings(home.root, {}).settings
    with pytest.raises(MissingStepError, match="serves no model") as missing:
        score(home, settings, MONDAY, tmp_path)
    assert "tagtide promote" in missing.value.next_step


def test_who_may_not_be_profiled_is_listed_and_not_scored(small_shop, scored, tmp_path):
    engine = open_engine(None, small_shop.home)
    consent = Consent(engine)
    _, customers, tags = scored
    barred = tags["customer_id"][0]
    try:
        consent.change(barred, {"profiling": False}, at_us=1, said_by="test")
        report = score(small_shop.home, small_shop.settings, small_shop.as_of, tmp_path)
    finally:
        consent.forget([barred])
        engine.dispose()
    found = pl.read_parquet(report.customers_file)
    assert report.statuses == {"consent_required": 1, "ok": customers.height - 1}
    row = found.row(by_predicate=pl.col("customer_id") == barred, named=True)
    told = {"customer_id": barred, "as_of": small_shop.as_of, "status": "consent_required"}
    assert {name: value for name, value in row.items() if value is not None} == told
    others = pl.col("customer_id") != barred
    assert found.filter(others).equals(customers.filter(others))
    assert pl.read_parquet(report.tags_file).equals(tags.filter(others))
