from __future__ import annotations

import io
from datetime import timedelta

import polars as pl
import pytest
from rich.console import Console

from configs.settings import load_settings
from features.event_log import EventLog, open_engine
from features.lake import Lake
from features.packed_store import CUSTOMER_PROFILE, open_packed_store
from features.store import training_frame
from features.tags import load_catalogue
from features.windows import from_us
from pipelines.build_features import (
    FeaturesReport,
    as_table,
    asked_or_latest,
    build_features,
    latest_known,
    open_workbench,
    write_snapshots,
)
from pipelines.errors import CommandError, MissingStepError
from serving.upkeep import BOUNDARY_MARK
from tests.features.made_events import MONDAY, events
from tests.training.rhythmic_shop import join_directly
from training.datasets import CENSUS, SamplingBudget
from training.errors import TrainingDataError
from training.workbench import Budget

SMALL = Budget(SamplingBudget(fit=400, calibrate=200, certify=200), propensity_rows=400)


def silently(step):
    """Nothing is shown."""


@pytest.fixture
def settings(home):
    return load_settings(home.root, {}).settings


def test_a_home_without_events_names_the_step_before(home, settings):
    for act in (latest_known, lambda *given: open_workbench(*given, MONDAY, silently)):
        with pytest.raises(MissingStepError, match="has no events") as missing:
            act(home, settings)
        assert "tagtide import" in missing.value.next_step
    assert not home.database.exists()


def test_the_latest_instant_is_that_of_arrival_where_events_came_late(home, settings):
    late = events(3).with_columns(ingested_at=pl.col("event_time") + timedelta(days=2))
    Lake(home.lake).append(late)
    assert latest_known(home, settings) == MONDAY + timedelta(days=2, hours=2)
    early = events(1, event_id="early", event_time=MONDAY + timedelta(days=3), ingested_at=MONDAY)
    Lake(home.lake).append(early)
    assert latest_known(home, settings) == MONDAY + timedelta(days=3)


def test_what_was_posted_counts_although_nothing_was_imported(home, settings):
    engine = open_engine(None, home)
    EventLog(engine).append(events(5))
    engine.dispose()
    assert latest_known(home, settings) == MONDAY + timedelta(hours=4)
    assert Lake(home.lake).row_count() == 5


def test_an_instant_asked_for_is_meant_in_the_business_zone(home):
    settings = load_settings(home.root, {"TAGTIDE_TIME_ZONE": "Asia/Shanghai"}).settings
    assert asked_or_latest(home, settings, "2024-05-01").isoformat() == "2024-04-30T16:00:00+00:00"
    with pytest.raises(CommandError, match="'soon'"):
        asked_or_latest(home, settings, "soon")


def test_an_instant_before_the_data_is_refused(home, settings):
    Lake(home.lake).append(events(3))
    with pytest.raises(TrainingDataError, match="nothing is known by 2017-04-30"):
        build_features(home, settings, MONDAY - timedelta(days=1), silently)


def test_what_feast_joins_is_what_the_kernel_computes(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    bench = open_workbench(shop.home, shop.settings, shop.as_of, silently, SMALL)
    said = []
    counts = write_snapshots(shop.home, shop.settings, bench, [bench.tag_rows], said.append)
    assert counts["customer_snapshot"] == len(bench.tag_rows)
    assert said == ["computing customer features", "computing features of customers and each category"]
    family = load_catalogue()["interest"]
    claims = bench.claims(family).frame
    assert counts["category_snapshot"] == claims.height > 1000
    joined = training_frame(shop.home, shop.settings, "interest_v1", claims)
    expected = join_directly(bench.history, family)(claims)
    assert joined.equals(expected.select(joined.columns), null_equal=True)


def test_customers_alone_need_no_pairs(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    bench = open_workbench(shop.home, shop.settings, shop.as_of, silently, SMALL)
    rows = bench.tag_rows.take(bench.tag_rows.kind == CENSUS)
    counts = write_snapshots(shop.home, shop.settings, bench, [rows], silently, with_pairs=False)
    assert counts == {"customer_snapshot": len(rows)}


def test_features_of_an_earlier_day_leave_the_newer_profiles_and_their_day(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    store = open_packed_store(shop.home, shop.settings)
    boundary = store.mark(BOUNDARY_MARK)
    before = store.ages(CUSTOMER_PROFILE)
    report = build_features(shop.home, shop.settings, shop.as_of - timedelta(days=2), silently, SMALL)
    assert (store.mark(BOUNDARY_MARK), store.ages(CUSTOMER_PROFILE)) == (boundary, before)
    store.close()
    assert report.customers == 160
    assert from_us(boundary) == shop.as_of.replace(hour=0, minute=0, second=0, microsecond=0)


def test_the_table_lists_each_view():
    console = Console(width=100, file=io.StringIO())
    console.print(
        as_table(FeaturesReport("2024-05-31", 160, {"customer_snapshot": 35_914}, {"key_profile": 8}))
    )
    shown = console.file.getvalue()
    assert "35,914" in shown
    assert "key_profile" in shown
