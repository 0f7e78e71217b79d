"""The outbox, told beside a plain list: order for each customer, leases, back-off, dead letters."""

import contextlib

import pytest
import sqlalchemy as sa
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from configs.home import open_home
from features.database import open_engine
from serving.outbox import (
    DEAD_KEPT_US,
    WAITS_AT_MOST_US,
    Message,
    Outbox,
    Outcome,
    message_key,
)
from tests.features.postgres_database import empty_postgres_schema

LEASE_US = 10


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    with contextlib.ExitStack() as stack:
        url = None if request.param == "sqlite" else stack.enter_context(empty_postgres_schema())
        made = open_engine(url, open_home(tmp_path / "home", create=True))
        yield made
        made.dispose()


@pytest.fixture
def outbox(engine):
    return Outbox(engine)


def message(number, customer="a"):
    return Message(message_key(number), "tag.changed", customer, b'{"n":%d}' % number)


def turn(outbox, outcomes=(), owner="w1", now_us=0, most=100):
    return outbox.turn(outcomes, owner=owner, now_us=now_us, lease_us=LEASE_US, most=most)


def numbers(leased):
    return [int(one.message.body[5:-1]) for one in leased]


def test_a_customers_messages_go_out_one_after_the_other_and_others_meanwhile(outbox):
    outbox.add([message(1), message(2), message(3, "b"), message(4)], 0)
    first = turn(outbox)
    assert numbers(first) == [1, 3]
    second = turn(outbox, [Outcome(one) for one in first], now_us=1)
    assert numbers(second) == [2]
    assert numbers(turn(outbox, [Outcome(one) for one in second], now_us=1)) == [4]
    assert outbox.standing().delivered == 3


def test_the_same_key_is_stored_once_while_it_waits(outbox):
    outbox.add([message(1), message(1)], 0)
    outbox.add([message(1)], 5)
    assert outbox.standing().waiting == 1


def test_what_is_stored_in_a_transaction_that_fails_was_never_stored(outbox, engine):
    with engine.connect() as connection:
        outbox.add([message(1)], 0, connection)
        connection.rollback()
    assert outbox.standing().waiting == 0


def test_a_lease_keeps_others_off_until_it_ends_and_can_be_prolonged(outbox):
    outbox.add([message(1), message(2, "b")], 0)
    assert numbers(turn(outbox, most=1)) == [1]
    assert numbers(turn(outbox, owner="w2")) == [2]
    outbox.renew("w1", 5, LEASE_US)
    assert numbers(turn(outbox, owner="w3", now_us=12)) == [2]
    assert numbers(turn(outbox, owner="w3", now_us=15)) == [1]
    assert outbox.next_due_us() == 22


def test_a_failure_told_after_the_lease_went_to_another_changes_nothing(outbox):
    outbox.add([message(1)], 0)
    (late,) = turn(outbox, now_us=0)
    (current,) = turn(outbox, owner="w2", now_us=LEASE_US)
    assert turn(outbox, [Outcome(late, "no reply in time")], now_us=LEASE_US + 1) == []
    assert turn(outbox, [Outcome(current)], owner="w2", now_us=LEASE_US + 1) == []
    assert (outbox.standing().waiting, outbox.standing().dead) == (0, 0)


def test_a_failed_message_waits_for_its_time_and_its_customer_with_it(outbox):
    outbox.add([message(1), message(2), message(3, "b")], 0)
    first, other = turn(outbox)
    assert turn(outbox, [Outcome(first, "HTTP 500", 50), Outcome(other)], now_us=1) == []
    outbox.add([message(4), message(5, "b")], 2)
    (meanwhile,) = turn(outbox, now_us=2)
    assert numbers([meanwhile]) == [5]
    (again,) = turn(outbox, [Outcome(meanwhile)], now_us=50)
    assert (numbers([again]), again.attempts) == ([1], 1)


def test_a_dead_letter_lets_its_customers_next_message_go_and_can_be_tried_again(outbox):
    outbox.add([message(1), message(2), message(3)], 0)
    (first,) = turn(outbox)
    (second,) = turn(outbox, [Outcome(first, "HTTP 400")], now_us=1)
    assert numbers([second]) == [2]
    standing = outbox.standing()
    assert (standing.waiting, standing.dead) == (2, 1)
    assert [row["problem"] for row in outbox.listed(["dead"], 9)] == ["HTTP 400"]
    assert outbox.retry(["0" * 32], 9) == 0
    assert outbox.retry([first.message.key], 9) == 1
    # Behind the one under way, before the one behind that.
    (third,) = turn(outbox, [Outcome(second)], now_us=9)
    assert (numbers([third]), third.attempts) == ([1], 0)
    assert numbers(turn(outbox, [Outcome(third)], now_us=9)) == [3]


def test_several_dead_letters_of_one_customer_come_back_one_by_one(outbox):
    outbox.add([message(1), message(2)], 0)
    for _ in range(2):
        turn(outbox, [Outcome(one, "HTTP 400") for one in turn(outbox)], most=0)
    assert outbox.standing().dead == 2
    assert outbox.retry(None, 5) == 2
    assert numbers(turn(outbox, now_us=5)) == [1]


def test_what_waits_too_long_dies_and_what_is_dead_too_long_goes(outbox):
    outbox.add([message(1)], 0)
    outbox.add([message(2)], 1)
    outbox.prune(WAITS_AT_MOST_US)
    assert (outbox.standing().waiting, outbox.standing().dead) == (1, 1)
    assert numbers(turn(outbox, now_us=5)) == [2]
    outbox.prune(DEAD_KEPT_US)
    assert outbox.standing().dead == 1
    assert outbox.listed(["dead"], 9)[0]["problem"] == "waited for too long"


def test_forgetting_a_customer_leaves_the_others(outbox, engine):
    outbox.add([message(1), message(2), message(3, "b")], 0)
    leased = turn(outbox)
    assert outbox.forget(["a", "z"]) == 2
    assert turn(outbox, [Outcome(one) for one in leased], now_us=1) == []
    with engine.connect() as connection:
        assert connection.execute(sa.text("select count(*) from outbox")).scalar() == 0


class Story(RuleBasedStateMachine):
    """Two deliverers, a receiver that fails as it likes, crashes, and a clock that only goes on."""

    def __init__(self):
        super().__init__()
        self.engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
        self.outbox = Outbox(self.engine)
        self.now = 0
        self.count = 0
        self.under_way = {"w1": [], "w2": []}
        self.until = {}
        self.received = []
        self.dead = set()
        self.sent_at = {}

    @rule(customer=st.sampled_from("abc"), count=st.integers(1, 3))
    def enqueue(self, customer, count):
        messages = [message(self.count + one, customer) for one in range(count)]
        self.count += count
        self.outbox.add(messages, self.now)

    @rule(owner=st.sampled_from(["w1", "w2"]), most=st.integers(0, 4), data=st.data())
    def act(self, owner, most, data):
        outcomes = []
        for one in self.under_way[owner]:
            number = numbers([one])[0]
            said = data.draw(st.sampled_from(["ok", "again", "dead"]))
            if said == "ok":
                self.received.append((one.message.customer_id, number))
                outcomes.append(Outcome(one))
            else:
                again = self.now + data.draw(st.integers(0, 20)) if said == "again" else None
                outcomes.append(Outcome(one, "HTTP 500", again))
                if again is None:
                    self.dead.add(number)
        leased = turn(self.outbox, outcomes, owner, self.now, most)
        assert len(leased) <= most
        assert len({one.message.customer_id for one in leased}) == len(leased)
        others = [one.seq for name, listed in self.under_way.items() if name != owner for one in listed]
        assert not {one.seq for one in leased} & {seq for seq in others if self.until[seq] > self.now}
        self.under_way[owner] = leased
        self.until |= {one.seq: self.now + LEASE_US for one in leased}

    @rule(owner=st.sampled_from(["w1", "w2"]))
    def crash(self, owner):
        """What was sent, or not, is not written down; the other one must wait for the lease's end."""
        self.received += [(one.message.customer_id, *numbers([one])) for one in self.under_way[owner]]
        self.under_way[owner] = []

    # A lease that ends while its owner lives is prolonged in time: here that owner has crashed.
    @precondition(lambda self: not any(self.under_way.values()))
    @rule(by=st.integers(1, 30))
    def wait(self, by):
        self.now += by

    @invariant()
    def each_customers_messages_were_first_received_in_order(self):
        for customer in "abc":
            first = list(dict.fromkeys(number for of, number in self.received if of == customer))
            assert first == sorted(first)

    def teardown(self):
        for _ in range(3 * self.count + 10):
            self.now += 100
            leased = turn(self.outbox, now_us=self.now)
            self.received += [(one.message.customer_id, *numbers([one])) for one in leased]
            turn(self.outbox, [Outcome(one) for one in leased], now_us=self.now, most=0)
        everything = {number for _, number in self.received} | self.dead
        assert everything == set(range(self.count))
        assert self.outbox.standing().waiting == 0
        self.engine.dispose()


TestStory = Story.TestCase
TestStory.settings = hypothesis_settings(max_examples=25, stateful_step_count=30, deadline=None)
