"""kill -9 in mid-stream: every acknowledged event is there afterwards, and counts once."""

import pytest

from tests.features.postgres_database import empty_postgres_schema
from tests.features.redis_database import empty_redis_database
from tests.reliability.kills import kill_in_mid_stream

NOTHING_LOST = {
    "lost": 0,
    "doubled": 0,
    "claims_doubled": 0,
    "claims_and_tags_differ": 0,
    "exit_codes": [0, 0],
}


def stands(found):
    assert found["tried"] == found["survived"] > 0, found
    assert {name: found[name] for name in NOTHING_LOST} == NOTHING_LOST, found


def test_the_service_that_stands_by_takes_over_within_seconds_and_nothing_is_lost_or_doubled(home):
    found = kill_in_mid_stream(home, kills=1)
    stands(found)
    assert found["longest_takeover_seconds"] < 15


@pytest.mark.slow
def test_so_it_is_with_postgresql_and_redis(home):
    with empty_postgres_schema() as database_url, empty_redis_database() as redis_url:
        found = kill_in_mid_stream(home, kills=1, database_url=database_url, redis_url=redis_url)
    stands(found)
    assert found["longest_takeover_seconds"] < 15


@pytest.mark.slow
def test_so_it_is_after_many_deaths_and_when_a_holder_wakes_up_after_its_lease_is_over(home):
    stands(kill_in_mid_stream(home, kills=9, pauses=1))


@pytest.mark.slow
def test_so_it_is_with_postgresql_and_redis_after_many_deaths(home):
    with empty_postgres_schema() as database_url, empty_redis_database() as redis_url:
        stands(kill_in_mid_stream(home, kills=6, pauses=1, database_url=database_url, redis_url=redis_url))
