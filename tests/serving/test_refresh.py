import pytest

from features.lake import Lake
from features.packed_store import CUSTOMER_PROFILE, KEY_PROFILE, profile_key
from features.profile import unpack_customer
from serving.refresh import refresh_profiles
from tests.serving.parts import DAY_US, START_US, Parts, event
from tests.serving.test_stream import intake


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
    assert refresh_profiles(parts.settings, parts.store, parts.log, lake, START_US + DAY_US) == 2
    rows = profiles(parts, CUSTOMER_PROFILE)
    assert sorted(rows) == ["c1", "c2"]
    assert {row.event_us for row in rows.values()} == {START_US + DAY_US}
    assert lake.row_count() == 3
    assert set(profiles(parts, KEY_PROFILE)) == {profile_key("category", one) for one in ("BREAD", "MILK")}
    assert refresh_profiles(parts.settings, parts.store, parts.log, lake, START_US + 2 * DAY_US) == 3


def test_an_event_that_came_late_is_in_no_profile_of_a_boundary_before_it_came(parts):
    lake = Lake(parts.home.lake)
    late = event(1, "c1", at=0, ingested_at=(START_US + 3 * DAY_US) / 1e6)
    parts.log.append(intake(late).admitted)
    assert refresh_profiles(parts.settings, parts.store, parts.log, lake, START_US + DAY_US) == 0
    assert refresh_profiles(parts.settings, parts.store, parts.log, lake, START_US + 3 * DAY_US) == 1


def test_an_empty_home_has_no_profiles(parts):
    assert refresh_profiles(parts.settings, parts.store, parts.log, Lake(parts.home.lake), START_US) == 0


def test_an_older_refresh_does_not_undo_a_newer_one(parts):
    lake = Lake(parts.home.lake)
    parts.log.append(intake(event(1, "c1"), event(2, "c1", at=90_000)).admitted)
    for boundary in (START_US + 2 * DAY_US, START_US + DAY_US):
        refresh_profiles(parts.settings, parts.store, parts.log, lake, boundary)
    assert profiles(parts, CUSTOMER_PROFILE)["c1"].event_us == START_US + 2 * DAY_US
    assert unpack_customer(profiles(parts, CUSTOMER_PROFILE)["c1"].value) is not None
