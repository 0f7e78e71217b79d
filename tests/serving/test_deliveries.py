"""Deliveries to a real receiver: one that fails, one that is slow, one that comes back."""

import threading
import time

import pytest

from configs.home import open_home
from features.database import open_engine
from serving.deliveries import Deliveries, pause_seconds
from serving.measures import Measures
from serving.outbox import Message, Outbox, message_key
from serving.webhooks import webhook_of
from tests.serving.parts import settings_of
from tests.serving.receiver import SECRET, receiving


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


class Clock:
    """The present, in microseconds, however the machine's own clock is set meanwhile."""

    def __init__(self):
        self.ahead_us = 0
        self._zero_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def __call__(self):
        return self._zero_us + time.monotonic_ns() // 1000 + self.ahead_us


class Running:
    def __init__(self, home, receiver, attempts_max=3):
        self.clock = Clock()
        self.engine = open_engine(None, home)
        self.outbox = Outbox(self.engine)
        settings = settings_of(home, webhook_url=receiver.url, webhook_secret=SECRET)
        self.dead = []
        self.measures = Measures()
        self.deliveries = Deliveries(
            self.outbox,
            webhook_of(settings),
            self.measures,
            attempts_max=attempts_max,
            on_dead=self.dead.extend,
            now_us=self.clock,
        )

    def add(self, *messages):
        self.outbox.add(messages, self.clock())
        self.deliveries.wake()

    def close(self):
        self.deliveries.stop()
        self.engine.dispose()


@pytest.fixture
def running(tmp_path, receiver):
    made = Running(open_home(tmp_path / "home", create=True), receiver)
    made.deliveries.start()
    yield made
    made.close()


def message(number, customer="a"):
    return Message(message_key(number), "tag.changed", customer, b'{"n":%d}' % number)


def taken(receiver):
    return [got.content["n"] for got in receiver.taken]


def test_whatever_is_enqueued_arrives_in_order_for_each_customer(running, receiver):
    running.add(*(message(number, f"c{number % 7}") for number in range(100)))
    receiver.wait_for(100)
    assert sorted(taken(receiver)) == list(range(100))
    for residue in range(7):
        mine = [number for number in taken(receiver) if number % 7 == residue]
        assert mine == sorted(mine)


def test_one_customer_who_cannot_be_delivered_holds_up_nobody_else(running, receiver):
    receiver.answer = lambda got: 500 if got.content["n"] == 0 else 204
    running.add(message(0, "dead"), message(1, "dead"), *(message(n, f"c{n}") for n in range(2, 40)))
    receiver.wait_for(38)
    assert sorted(taken(receiver)) == list(range(2, 40))
    # Three attempts, then a dead letter: and the customer's next message goes out.
    receiver.wait_for(39)
    assert [got.content["n"] for got in receiver.refused] == [0, 0, 0]
    assert taken(receiver)[-1] == 1
    assert running.dead == [message_key(0)]
    assert running.outbox.standing().dead == 1


def test_a_receiver_that_comes_back_gets_everything(tmp_path, receiver):
    port = receiver.server.server_port
    receiver.close()
    running = Running(open_home(tmp_path / "home", create=True), receiver, attempts_max=20)
    running.deliveries.start()
    try:
        running.add(message(1), message(2, "b"))
        deadline = time.monotonic() + 20
        while not all(row["attempts"] for row in running.outbox.listed(["first"], 9)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with receiving(port) as back:
            back.wait_for(2)
            running.close()
            assert running.outbox.standing().waiting == 0
            assert sorted(taken(back)) == [1, 2]
    finally:
        running.close()


def test_what_is_under_way_when_it_stops_is_neither_lost_nor_doubled(tmp_path, receiver):
    home = open_home(tmp_path / "home", create=True)
    release = threading.Event()
    receiver.answer = lambda got: 204 if release.wait(10) else 500
    first = Running(home, receiver)
    first.deliveries.start()
    first.add(*(message(number, f"c{number}") for number in range(30)))
    threading.Timer(0.3, release.set).start()
    first.close()
    second = Running(home, receiver)
    second.deliveries.start()
    try:
        receiver.wait_for(30)
    finally:
        second.close()
    assert sorted(taken(receiver)) == list(range(30))
    assert second.outbox.standing().waiting == 0


def test_two_deliverers_send_each_message_once(tmp_path, receiver):
    home = open_home(tmp_path / "home", create=True)
    both = [Running(home, receiver) for _ in range(2)]
    for one in both:
        one.deliveries.start()
    try:
        for number in range(200):
            both[number % 2].add(message(number, f"c{number % 50}"))
        receiver.wait_for(200)
    finally:
        for one in both:
            one.close()
    assert sorted(taken(receiver)) == list(range(200))


def test_a_dead_letter_and_old_messages_show_in_the_status(running, receiver):
    receiver.answer = lambda got: 500
    running.add(message(0))
    deadline = time.monotonic() + 20
    while running.deliveries.problem != "1 dead letters: see `tagtide outbox ls`":
        assert time.monotonic() < deadline, running.deliveries.problem
        time.sleep(0.05)
    wanted = (
        'tagtide_deliveries_total{result="failed"} 2.0',
        'tagtide_deliveries_total{result="dead"} 1.0',
        "tagtide_outbox_dead 1.0",
    )
    # Counted just after it was written down.
    while missing := [one for one in wanted if one not in running.measures.text().decode()]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.05)


def test_what_is_under_way_is_not_sent_again_when_the_clock_is_set_forward(running, receiver):
    release = threading.Event()
    asked = threading.Event()

    def answer(got):
        if got.content["n"] == 0:
            asked.set()
            assert release.wait(20)
        return 204

    receiver.answer = answer
    running.add(message(0))
    assert asked.wait(20)
    running.clock.ahead_us = 3_600_000_000
    running.add(*(message(n, f"c{n}") for n in range(1, 20)))
    receiver.wait_for(19)
    release.set()
    receiver.wait_for(20)
    running.close()
    assert sorted(taken(receiver)) == list(range(20))
    assert running.outbox.standing().waiting == 0
    assert 'tagtide_deliveries_total{result="delivered"} 20.0' in running.measures.text().decode()


@pytest.mark.parametrize("attempts", range(1, 20))
def test_pauses_double_up_to_an_hour_and_are_half_chance(attempts):
    longest = min(2 ** (attempts - 1), 3600)
    assert pause_seconds(attempts, 0.0) == longest / 2
    assert pause_seconds(attempts, 0.999999) == pytest.approx(longest, rel=1e-3)
