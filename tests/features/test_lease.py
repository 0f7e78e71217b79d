from contextlib import nullcontext

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.database import open_engine
from features.errors import LeaseLostError
from features.lease import LEASES, Lease
from tests.features.postgres_database import empty_postgres_schema

LIFE_US = 15


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(home, request):
    with empty_postgres_schema() if request.param == "postgresql" else nullcontext() as url:
        made = open_engine(url, home)
        yield made
        made.dispose()


def test_one_holds_it_until_it_is_over(engine):
    lease = Lease(engine, "stream")
    assert lease.row() is None
    assert lease.take("a", 100, LIFE_US) == 1
    assert lease.take("b", 114, LIFE_US) is None
    assert lease.take("b", 115, LIFE_US) == 2
    assert (lease.row().holder, lease.row().expires_at_us) == ("b", 130)


def test_renewed_in_time_it_is_held_on_and_by_nobody_else(engine):
    lease = Lease(engine, "stream")
    first = lease.take("a", 100, LIFE_US)
    assert lease.renew(first, 110, LIFE_US)
    assert lease.take("b", 120, LIFE_US) is None
    second = lease.take("b", 125, LIFE_US)
    assert not lease.renew(first, 126, LIFE_US)
    assert lease.renew(second, 126, LIFE_US)


def test_given_back_it_is_free_at_once_and_by_its_holder_only(engine):
    lease = Lease(engine, "stream")
    first = lease.take("a", 100, LIFE_US)
    lease.give_back(first - 1)
    assert lease.take("b", 101, LIFE_US) is None
    lease.give_back(first)
    assert not lease.renew(first, 101, LIFE_US)
    assert lease.take("b", 101, LIFE_US) == 2


def test_of_a_holder_known_to_be_dead_it_is_taken_at_once(engine):
    lease = Lease(engine, "stream")
    lease.take("a", 100, LIFE_US)
    assert lease.take("b", 101, LIFE_US, is_gone=lambda holder: holder == "c") is None
    assert lease.take("b", 101, LIFE_US, is_gone=lambda holder: holder == "a") == 2


def test_its_number_is_above_what_was_used_elsewhere(engine):
    lease = Lease(engine, "stream")
    assert lease.take("a", 100, LIFE_US, above=41) == 42
    assert lease.take("a", 101, LIFE_US, above=50) == 51


def test_leases_of_different_names_have_nothing_to_do_with_each_other(engine):
    assert Lease(engine, "stream").take("a", 100, LIFE_US) == 1
    assert Lease(engine, "other").take("b", 100, LIFE_US) == 1


def test_what_is_checked_at_the_end_of_a_transaction_is_undone_once_it_is_lost(engine):
    lease = Lease(engine, "stream")
    first = lease.take("a", 100, LIFE_US)
    other = sa.insert(LEASES).values(name="witness", holder="x", number=1, expires_at_us=0)
    lease.take("b", 200, LIFE_US)

    def write_by(number):
        with engine.begin() as connection:
            connection.execute(other)
            lease.check(connection, number)

    with pytest.raises(LeaseLostError):
        write_by(first)
    assert Lease(engine, "witness").row() is None
    write_by(first + 1)
    assert Lease(engine, "witness").row() is not None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["take", "renew", "give back"]), st.integers(0, 9)),
        max_size=25,
    )
)
def test_at_no_instant_two_hold_it_and_numbers_only_grow(home, steps):
    engine = open_engine(None, home)
    lease = Lease(engine, "stream")
    with engine.begin() as connection:
        connection.execute(sa.delete(LEASES))
    now, numbers, expiry, highest = 0, {}, {}, 0
    for who, what, passed in steps:
        now += passed
        holders = [one for one in numbers if expiry[one] > now and numbers[one] == highest]
        if what == "take":
            number = lease.take(who, now, LIFE_US)
            if number is not None:
                assert set(holders) <= {who}
                assert number > highest
                highest, numbers[who], expiry[who] = number, number, now + LIFE_US
            else:
                assert holders
        elif who in numbers and what == "renew":
            is_held = lease.renew(numbers[who], now, LIFE_US)
            assert is_held == (numbers[who] == highest and expiry[who] != -1)
            if is_held:
                expiry[who] = now + LIFE_US
        elif who in numbers:
            lease.give_back(numbers[who])
            if numbers[who] == highest:
                expiry[who] = -1
    engine.dispose()
