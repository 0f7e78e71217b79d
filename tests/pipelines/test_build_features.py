from __future__ import annotations

import io
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console

from configs.settings import load_settings
from features.database import open_engine
from features.event_log import EventLog
from features.feast_objects import ONLINE_VIEWS, VIEWS
from features.lake import Lake
from features.packed_store import CUSTOMER_PROFILE, KEY_PROFILE, open_packed_store
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
    publish_profiles,
    write_snapshots,
)
from pipelines.errors import CommandError, MissingStepError
from serving.upkeep import BOUNDARY_MARK
from tests.features.made_events import MONDAY, events
from tests.small_shop import KNOWN_UNTIL
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
    family = load_catalogue()["interest"]
    counts = write_snapshots(shop.home, shop.settings, bench, [bench.rows_of(family)], said.append, [family])
    assert counts["customer_snapshot"] == len(bench.rows_of(family))
    assert said == ["computing customer features", "computing features of customers and each category"]
    claims = bench.claims(family).frame
    assert counts["category_snapshot"] == claims.height > 1000
    joined = training_frame(shop.home, shop.settings, "interest_v1", claims)
    expected = join_directly(bench.history, family)(claims)
    assert joined.equals(expected.select(joined.columns), null_equal=True)


def test_customers_alone_need_no_pairs(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    bench = open_workbench(shop.home, shop.settings, shop.as_of, silently, SMALL)
    whole = bench.rows_of(bench.families["high_intent"])
    rows = whole.take(whole.kind == CENSUS)
    counts = write_snapshots(shop.home, shop.settings, bench, [rows], silently)
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


def online_rows(shop):
    store = open_packed_store(shop.home, shop.settings)
    rows = {
        view: store.get_many(view, list(store.keys(view)), now_us=0, ttl_us=None) for view in ONLINE_VIEWS
    }
    store.close()
    return rows


def published_day_by_day(shop, days, *, full):
    """Import some later days, then publish as of each midnight; what was done, and what is online."""
    Lake(shop.home.lake).append(shop.later)
    for day in range(1, days + 1):
        as_of = KNOWN_UNTIL + timedelta(days=day)
        bench = open_workbench(shop.home, shop.settings, as_of, silently, SMALL)
        done = publish_profiles(
            shop.home, shop.settings, bench.events, bench.history, as_of, silently, full=full
        )
        yield done, online_rows(shop)


def test_from_day_to_day_the_same_goes_online_as_if_everything_were_computed(small_shop, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    shop, other = small_shop.copy(tmp_path / "one"), small_shop.copy(tmp_path / "other")
    found = published_day_by_day(shop, 2, full=False)
    expected = published_day_by_day(other, 2, full=True)
    for (done, rows), (computed, all_rows) in zip(found, expected, strict=True):
        assert (done.refreshed.how, computed.refreshed.how) == ("incremental", "full")
        assert rows == all_rows
        assert done.online == computed.online
        assert all(done.online[view] == len(rows[view]) for view in (CUSTOMER_PROFILE, KEY_PROFILE))
    for view in ONLINE_VIEWS:
        keys = list(VIEWS[view].join_keys)
        files = [pl.read_parquet(VIEWS[view].path(one.home)).sort(keys) for one in (shop, other)]
        assert_frame_equal(files[0], files[1], check_column_order=False)


def test_features_of_the_same_instant_again_change_nothing_and_say_so(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    before = online_rows(shop)
    report = build_features(shop.home, shop.settings, shop.as_of, silently, SMALL)
    assert report.profiles == {
        "how": "unchanged",
        "why_full": "",
        "customers_computed": 0,
        "keys_computed": 0,
        "removed": 0,
        "memories_written": 0,
    }
    assert online_rows(shop) == before
    assert report.online == small_shop.runs["features"].json["online"]
    asked = build_features(shop.home, shop.settings, shop.as_of, silently, SMALL, full=True)
    assert (asked.profiles["how"], asked.profiles["why_full"]) == ("full", "it was asked for")
    assert online_rows(shop) == before


def test_the_first_build_says_why_every_profile_was_computed(small_shop):
    done = small_shop.runs["features"].json["profiles"]
    assert (done["how"], done["why_full"]) == ("full", "no earlier refresh is on record")
    assert done["customers_computed"] == 160


@pytest.mark.parametrize(
    ("profiles", "said"),
    [
        ({"how": "unchanged", "memories_written": 3}, "profiles were up to date; 3 memories written"),
        (
            {"how": "full", "why_full": "it was asked for", "customers_computed": 1_160, "keys_computed": 8},
            "full refresh, because it was asked for: 1,160 customers and 8 keys computed, 0 removed",
        ),
        (
            {"how": "incremental", "why_full": "", "customers_computed": 12, "keys_computed": 3},
            "incremental refresh: 12 customers and 3 keys computed, 0 removed",
        ),
    ],
)
def test_the_table_says_what_was_done_with_the_profiles(profiles, said):
    done = {"removed": 0, "memories_written": 0} | profiles
    console = Console(width=150, file=io.StringIO())
    console.print(as_table(FeaturesReport("2024-05-31", 160, {"a": 1}, {"b": 1}, done)))
    assert said in " ".join(console.file.getvalue().split())


def test_the_table_lists_each_view():
    console = Console(width=100, file=io.StringIO())
    console.print(
        as_table(FeaturesReport("2024-05-31", 160, {"customer_snapshot": 35_914}, {"key_profile": 8}))
    )
    shown = console.file.getvalue()
    assert "35,914" in shown
    assert "key_profile" in shown
