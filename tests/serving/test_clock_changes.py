"""The machine's clock is set back and forward, under a service that runs on or is started anew."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.packed_memory import pack_memories
from features.packed_store import CUSTOMER_MEMORY, PackedRow
from serving.clock import AHEAD_SECONDS, WallClock
from serving.intake import admit_posted
from serving.live_tags import LiveTags
from serving.tagging import Tagging
from tests.serving.parts import DAY_US, START_US, Parts, event
from tests.serving.test_stream import posted
from tests.serving.test_upkeep import upkeep_of

HOUR_US = DAY_US // 24
LIFE_US = 72 * HOUR_US


class Machine:
    """A clock that is set as one likes, beside time that only passes."""

    def __init__(self):
        self.us, self.passed_us = START_US, 0

    def pass_us(self, microseconds):
        self.us += microseconds
        self.passed_us += microseconds

    def clock(self):
        return WallClock(lambda: self.us, lambda: self.passed_us)


moves = st.lists(
    st.tuples(st.integers(0, 40 * HOUR_US), st.sampled_from((0, 0, 0, 1, -1, 30, -30, 500, -500))),
    max_size=30,
)


@given(moves)
def test_time_goes_on_at_least_at_its_own_pace_and_never_back(steps):
    machine = Machine()
    clock = machine.clock()
    before = clock.now_us()
    for passed_us, set_hours in steps:
        machine.pass_us(passed_us)
        machine.us += set_hours * HOUR_US
        now = clock.now_us()
        assert now >= before + passed_us
        assert now >= machine.us
        before = now


def test_a_clock_that_was_never_set_is_followed_exactly_and_one_set_back_is_told_of():
    machine = Machine()
    clock = machine.clock()
    for _ in range(100):
        machine.pass_us(HOUR_US)
        assert clock.now_us() == machine.us
    assert clock.problem == ""
    machine.us -= (AHEAD_SECONDS + 1) * 1_000_000
    clock.now_us()
    assert f"{AHEAD_SECONDS + 1} s" in clock.problem
    machine.us += HOUR_US
    clock.now_us()
    assert clock.problem == ""


customers = (f"c{number}" for number in itertools.count())


class Shop:
    """Tags of one customer under a clock that is set, in a service that is now and then started anew."""

    def __init__(self, parts, machine):
        self.parts, self.machine, self.customer = parts, machine, next(customers)
        self.start()

    def start(self):
        self.clock = self.machine.clock()
        self.tags = LiveTags(self.parts.store)
        self.tagging = Tagging(self.tags, self.parts.ledger, self.parts.holder, renew_after_us=DAY_US)
        self.tagging.recover(self.clock.now_us())

    def knows(self, *categories):
        rows = [
            event(f"{self.customer}{category}", self.customer, category=category) for category in categories
        ]
        admitted = admit_posted([posted(*rows)], future_skew=timedelta(minutes=5)).admitted
        far = self.machine.us + 1000 * DAY_US
        packed = pack_memories(admitted, START_US)
        self.parts.store.put_many(
            CUSTOMER_MEMORY, [PackedRow(name, far, value) for name, value in packed.items()]
        )

    def evaluate(self):
        self.tagging.evaluate([self.customer], self.clock.now_us(), origin="event")

    def live(self):
        now = self.clock.now_us()
        return now, self.tags.live([self.customer], now).get(self.customer, [])


@pytest.fixture
def parts(home):
    made = Parts(home)
    yield made
    made.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 30 * HOUR_US), st.sampled_from((0, 0, 1, -1, 50, -50)), st.sampled_from("ers")
        ),
        max_size=15,
    )
)
def test_no_tag_is_ever_shown_with_more_than_72_hours_to_live_nor_for_longer(parts, steps):
    machine = Machine()
    shop = Shop(parts, machine)
    # Memories are as of the beginning for ever: only what becomes of the tag is of interest.
    shop.knows("MILK")
    was_restarted, seen_at = False, None
    for passed_us, set_hours, what in steps:
        machine.pass_us(passed_us)
        machine.us += set_hours * HOUR_US
        if what == "e":
            shop.evaluate()
            seen_at, was_restarted = None, False
        elif what == "r":
            shop.start()
            was_restarted = True
        now, live = shop.live()
        for one in live:
            assert now < one.expires_at_us <= now + LIFE_US
            assert one.expires_at_us <= one.claimed_at_us + LIFE_US
        if live and seen_at is None:
            seen_at = machine.passed_us
        if live and not was_restarted:
            assert machine.passed_us - seen_at < LIFE_US


def test_tags_that_come_after_the_clock_was_set_back_over_a_restart_are_claimed_once_and_kept(parts):
    machine = Machine()
    shop = Shop(parts, machine)
    shop.knows("MILK")
    machine.pass_us(2 * HOUR_US)
    shop.evaluate()
    machine.us -= HOUR_US
    shop.start()
    shop.knows("MILK", "BREAD")
    for _ in range(3):
        machine.pass_us(1_000_000)
        shop.evaluate()
    assert sorted(parts.claims()["tag_id"]) == ["interest:BREAD", "interest:MILK"]
    assert [one.evidence.tag_id for one in shop.live()[1]] == ["interest:BREAD"]
    machine.pass_us(HOUR_US)
    assert {one.evidence.tag_id for one in shop.live()[1]} == {"interest:BREAD", "interest:MILK"}


def test_the_sweep_does_not_wait_until_a_clock_that_was_ahead_is_caught_up_with(parts):
    upkeep = upkeep_of(parts)
    swept = []
    upkeep.sweep = lambda now_us, last_us: swept.append(now_us) or 0
    upkeep.run(START_US + 500 * HOUR_US)
    upkeep.run(START_US + 501 * HOUR_US)
    assert len(swept) == 1
    upkeep.run(START_US)
    upkeep.run(START_US + HOUR_US)
    assert swept[1:] == [START_US + HOUR_US]
