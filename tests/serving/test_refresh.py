from datetime import timedelta

import polars as pl
import pytest

from configs.home import open_home
from configs.settings import load_settings
from features.database import open_engine
from features.event_log import EventLog
from features.history import History
from features.lake import Lake
from features.packed_profile import unpack_customer
from features.packed_store import (
    CUSTOMER_MEMORY,
    CUSTOMER_PROFILE,
    KEY_PROFILE,
    PackedRow,
    open_packed_store,
    profile_key,
)
from features.publishing import key_rows, profile_rows
from features.windows import HOUR_US, from_us, to_us
from monitoring.ledger import Claim, Ledger
from serving.refresh import close_claims, refresh_profiles
from tests.features.made_events import events as made_events
from tests.serving.parts import DAY_US, START_US, Parts, event
from tests.serving.test_stream import intake
from tests.small_shop import KNOWN_UNTIL


@pytest.fixture
def parts(home):
    made = Parts(home)
    yield made
    made.close()


def profiles(parts, view):
    keys = list(parts.store.keys(view))
    return parts.store.get_many(view, keys, now_us=START_US, ttl_us=None)


def test_what_was_posted_is_in_the_profiles_of_the_next_boundary_and_in_the_lake(parts):
    lake = Lake(parts.home.lake)
    parts.log.append(
        intake(event(1, "c1"), event(2, "c2", category="BREAD"), event(3, "c3", at=86_401.0)).admitted
    )
    first = refresh_profiles(parts.settings, parts.store, parts.log, lake, START_US + DAY_US)
    assert (first.how, first.customers) == ("full", 2)
    rows = profiles(parts, CUSTOMER_PROFILE)
    assert sorted(rows) == ["c1", "c2"]
    assert {row.event_us for row in rows.values()} == {START_US + DAY_US}
    assert lake.row_count() == 3
    assert set(profiles(parts, KEY_PROFILE)) == {profile_key("category", one) for one in ("BREAD", "MILK")}
    second = refresh_profiles(parts.settings, parts.store, parts.log, lake, START_US + 2 * DAY_US)
    assert (second.how, second.customers, second.computed) == ("incremental", 3, 1)


def test_an_event_that_came_late_is_in_no_profile_of_a_boundary_before_it_came(parts):
    lake = Lake(parts.home.lake)
    late = event(1, "c1", at=0, ingested_at=(START_US + 3 * DAY_US) / 1e6)
    parts.log.append(intake(late).admitted)
    for days, customers in ((1, 0), (3, 1)):
        done = refresh_profiles(parts.settings, parts.store, parts.log, lake, START_US + days * DAY_US)
        assert done.customers == customers


def test_an_empty_home_has_no_profiles(parts):
    lake = Lake(parts.home.lake)
    assert refresh_profiles(parts.settings, parts.store, parts.log, lake, START_US).customers == 0
    assert profiles(parts, CUSTOMER_PROFILE) == {}


def test_an_older_refresh_does_not_undo_a_newer_one(parts):
    lake = Lake(parts.home.lake)
    parts.log.append(intake(event(1, "c1"), event(2, "c1", at=90_000)).admitted)
    for boundary in (START_US + 2 * DAY_US, START_US + DAY_US):
        refresh_profiles(parts.settings, parts.store, parts.log, lake, boundary)
    assert profiles(parts, CUSTOMER_PROFILE)["c1"].event_us == START_US + 2 * DAY_US
    assert unpack_customer(profiles(parts, CUSTOMER_PROFILE)["c1"].value, 0) is not None


@pytest.mark.parametrize(("days", "how"), [(2, "incremental"), (3, "full")])
def test_profiles_of_a_later_day_are_those_made_in_bulk_of_all_that_was_known_by_then(
    small_shop, tmp_path, days, how
):
    shop = small_shop.copy(tmp_path)
    settings, lake = shop.settings, Lake(shop.home.lake)
    store, engine = open_packed_store(shop.home, settings), open_engine(None, shop.home)
    boundary = to_us(KNOWN_UNTIL) + days * DAY_US
    came_late = pl.when(pl.int_range(pl.len()) % 9 == 0).then(pl.col("event_time") + timedelta(days=2))
    later = shop.later.with_columns(ingested_at=came_late.otherwise("event_time"))
    EventLog(engine).append(later)
    done = refresh_profiles(settings, store, EventLog(engine), lake, boundary)
    assert done.how == how
    known = pl.concat([small_shop.known, later]).filter(
        pl.max_horizontal("event_time", "ingested_at") <= from_us(boundary)
    )
    assert small_shop.known.height < known.height < lake.row_count()
    history = History(known.sample(fraction=1, shuffle=True, seed=1), settings.zone, settings.publication_lag)
    customers, keys = profile_rows(history, boundary), key_rows(history, boundary)
    stored = store.get_many(CUSTOMER_PROFILE, [row.key for row in customers], now_us=boundary, ttl_us=None)
    of_keys = store.get_many(KEY_PROFILE, [row.key for row in keys], now_us=boundary, ttl_us=None)
    store.close()
    engine.dispose()
    assert done.customers == len(customers) == known["customer_id"].n_unique()
    assert stored == {row.key: row for row in customers}
    assert of_keys == {row.key: row for row in keys}
    assert len(keys) == 8


def test_memories_in_which_nothing_is_left_are_cleared_away(parts):
    lake = Lake(parts.home.lake)
    boundary = START_US + 10 * DAY_US
    ages = {"lately": boundary, "just": boundary - 96 * HOUR_US + 1, "gone": boundary - 96 * HOUR_US}
    parts.store.put_many(CUSTOMER_MEMORY, [PackedRow(key, age, b"x") for key, age in ages.items()])
    refresh_profiles(parts.settings, parts.store, parts.log, lake, boundary)
    assert sorted(parts.store.keys(CUSTOMER_MEMORY)) == ["just", "lately"]


def test_claims_are_judged_once_their_window_has_closed(tmp_path):
    home = open_home(tmp_path / "home", create=True)
    settings = load_settings(home.root, {}).settings
    lake = Lake(home.lake)
    engine = open_engine(None, home)
    ledger = Ledger(engine)
    at = from_us(START_US + 30 * HOUR_US)
    lake.append(made_events(1, customer_id="ann", event_time=at, ingested_at=at))
    claims = [
        Claim(
            customer_id=customer,
            family="interest",
            tag_id="interest:TEA",
            key="TEA",
            probability=0.7,
            probability_if_observed=0.9,
            threshold=0.8,
            model_version="tags-interest/1",
            features_hash="0",
            assigned_at_us=START_US,
            expires_at_us=START_US + 72 * HOUR_US,
            origin="event",
            kind="assigned",
            certified_precision=0.85,
            certified_lift=3.0,
        )
        for customer in ("ann", "bob")
    ]
    ledger.record(claims, [])
    assert close_claims(settings, lake, ledger, START_US + 71 * HOUR_US) == 0
    assert close_claims(settings, lake, ledger, START_US + 73 * HOUR_US) == 2
    assert close_claims(settings, lake, ledger, START_US + 74 * HOUR_US) == 0
    judged = ledger.read().sort("customer_id")
    assert judged["outcome"].to_list() == ["confirmed", "unobserved"]
    engine.dispose()
