"""Who applies events, when it changes, and that who does no more writes nothing."""

import pytest

from features.database import open_engine
from features.errors import LeaseLostError
from features.lease import Lease
from features.packed_store import CUSTOMER_MEMORY, FENCE_MARK, PackedRow
from features.sqlite_packed_store import SqlitePackedStore
from monitoring.ledger import Ledger, Transition
from serving.leadership import LIFE_SECONDS, LOOK_SECONDS, STREAM_LEASE, Leadership

SECOND_US = 1_000_000
STEP = Transition("c1", "interest:MILK", 5, "absent", "assigned", "evidence found")


class Time:
    def __init__(self):
        self.us = 10**15

    def pass_seconds(self, seconds):
        self.us += round(seconds * SECOND_US)

    def now_us(self):
        return self.us

    def monotonic(self):
        return self.us / SECOND_US


class Process:
    """One of several services, as far as the lease is concerned."""

    def __init__(self, home, time, processes="processes"):
        self.store = SqlitePackedStore(home.online_store)
        self.engine = open_engine(None, home)
        self.ledger = Ledger(self.engine)
        self.leadership = Leadership(
            Lease(self.engine, STREAM_LEASE),
            self.store,
            home.root / processes,
            now_us=time.now_us,
            monotonic=time.monotonic,
        )
        self.ledger.before_commit = self.leadership.check

    def write(self, value):
        self.store.put_many(CUSTOMER_MEMORY, [PackedRow("c1", 1, value)])

    def close(self):
        self.leadership.end()
        self.store.close()
        self.engine.dispose()


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def pair(home, time):
    made = [Process(home, time, "one-machine"), Process(home, time, "another-machine")]
    yield made
    for one in made:
        one.close()


def test_the_first_leads_and_the_other_stands_by_and_says_who_leads(pair):
    first, second = (one.leadership for one in pair)
    assert first.tick() == LIFE_SECONDS / 3
    assert second.tick() == LOOK_SECONDS
    assert (first.is_ours, second.is_ours) == (True, False)
    assert first.role.startswith("this process")
    assert second.role.endswith(first.holder.rpartition(":")[0])


def test_who_is_not_heard_of_is_succeeded_when_the_lease_is_over(pair, time):
    first, second = (one.leadership for one in pair)
    first.tick()
    time.pass_seconds(LIFE_SECONDS - 1)
    second.tick()
    assert (first.is_ours, second.is_ours) == (True, False)
    time.pass_seconds(1)
    assert not first.is_ours
    second.tick()
    assert second.is_ours
    assert first.tick() == LOOK_SECONDS
    assert not first.is_ours


def test_who_ends_is_succeeded_at_once(pair):
    first, second = (one.leadership for one in pair)
    first.tick()
    first.end()
    second.tick()
    assert second.is_ours


def test_what_is_written_after_the_lease_was_lost_is_refused_by_store_and_ledger(pair, time):
    first, second = pair
    first.leadership.tick()
    first.write(b"first")
    time.pass_seconds(LIFE_SECONDS)
    second.leadership.tick()
    second.write(b"second")
    second.ledger.record([], [STEP])
    # It has not noticed yet: as if it had been stopped between asking and writing.
    first.leadership._good_until = time.monotonic() + 1
    assert first.leadership.is_ours
    with pytest.raises(LeaseLostError):
        first.write(b"late")
    with pytest.raises(LeaseLostError):
        first.store.put_mark("stream_seq", 7)
    late = Transition("c2", "interest:MILK", 5, "absent", "assigned", "evidence found")
    with pytest.raises(LeaseLostError):
        first.ledger.record([], [late])
    row = second.store.get(CUSTOMER_MEMORY, "c1", now_us=1, ttl_us=None)
    assert row.value == b"second"
    assert second.store.mark("stream_seq") is None
    assert second.ledger.read_transitions()["customer_id"].to_list() == ["c1"]


def test_who_never_led_may_not_write(pair):
    first, second = pair
    first.leadership.tick()
    with pytest.raises(LeaseLostError):
        second.write(b"by the second")


def test_a_database_that_was_made_anew_counts_on_from_what_the_store_knows(home, time):
    before = Process(home, time)
    before.store.fence = None
    before.store.put_mark(FENCE_MARK, 7)
    before.store.fence = before.leadership.number
    before.leadership.tick()
    before.write(b"value")
    assert before.store.mark(FENCE_MARK) == 8
    before.close()


def test_after_a_renewal_that_failed_it_goes_on_by_the_same_number(pair, time):
    first, second = (one.leadership for one in pair)
    first.tick()
    number = first.number()
    time.pass_seconds(LIFE_SECONDS + 1)
    with pytest.raises(LeaseLostError):
        first.number()
    first.tick()
    assert first.number() == number
    second.tick()
    assert not second.is_ours
