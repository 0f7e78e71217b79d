"""What follows of an evaluation is written with it or not at all: messages, tag triggers, crossings."""

import contextlib
import json

import pytest

from configs.home import open_home
from features.database import open_engine
from features.life_cycle import advance
from serving.outbox import Outbox
from serving.pending import PendingTriggers
from serving.scores import CustomerScores
from serving.tag_news import TagNews, tell_erased
from serving.tagging import Move
from serving.triggers import Cause, Trigger
from tests.features.postgres_database import empty_postgres_schema
from tests.features.test_life_cycle import DAY, HOUR, evidence, step

RULES = (
    Trigger(trigger="milk", on=Cause(tag="interest:MILK")),
    Trigger(trigger="any", on=Cause(tag="interest")),
    Trigger(trigger="rising", on=Cause(propensity="72h", above=0.6, again_below=0.4)),
)


class World:
    def __init__(self, engine, has_receiver=True):
        self.engine = engine
        self.outbox = Outbox(engine)
        self.pending = PendingTriggers(engine)
        self.woken = []
        self.news = TagNews(
            self.outbox if has_receiver else None,
            self.pending,
            RULES,
            now_us=lambda: 77,
            wake_outbox=lambda: self.woken.append("outbox"),
            wake_triggers=lambda: self.woken.append("triggers"),
        )

    def tell(self, moves, scores=None, now_us=0, is_kept=True):
        write = self.news.of(moves, scores or {}, now_us)
        if write is None:
            return False
        with self.engine.connect() as connection:
            write(connection)
            connection.commit() if is_kept else connection.rollback()
        return True

    def messages(self):
        found = []
        while leased := self.outbox.turn([], owner="w", now_us=99, lease_us=1, most=1):
            found.append(json.loads(leased[0].message.body))
            self.outbox.forget([leased[0].message.customer_id])
        return found

    def set_off(self):
        return {(one.trigger, one.customer_id, one.about) for one in self.pending.due(10**18, 99)}


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request, tmp_path):
    with contextlib.ExitStack() as stack:
        url = None if request.param == "sqlite" else stack.enter_context(empty_postgres_schema())
        engine = open_engine(url, open_home(tmp_path / "home", create=True))
        yield World(engine)
        engine.dispose()


def move(before, after, customer="c1"):
    return Move(customer, {} if before is None else before.records, after)


def scored(value, status="ok"):
    return CustomerScores({"72h": value}, None, "new", (), status, {})


def test_an_assignment_is_told_and_sets_off_the_triggers_about_it(world):
    first = step(None, 5, evidence(), evidence("interest:TEA"))
    assert world.tell([move(None, first)], now_us=5)
    assert world.set_off() == {
        ("milk", "c1", "interest:MILK"),
        ("any", "c1", "interest:MILK"),
        ("any", "c1", "interest:TEA"),
    }
    assert world.outbox.standing().waiting == 2
    assert world.messages()[0]["tag_id"] == "interest:MILK"


def test_what_is_not_kept_with_the_ledger_never_was(world):
    first = step(None, 5, evidence())
    assert world.tell([move(None, first)], {"c1": scored(0.9)}, is_kept=False)
    assert world.outbox.standing().waiting == 0
    assert world.set_off() == set()
    assert world.pending.above(["c1"]) == set()


def test_a_renewal_and_a_comeback_are_told_and_set_nothing_off(world):
    first = step(None, 0, evidence())
    renewed = step(first, DAY, evidence())
    gone = step(renewed, DAY + 1)
    back = step(gone, DAY + 2, evidence())
    for before, after in ((first, renewed), (renewed, gone), (gone, back)):
        assert world.tell([move(before, after)])
    assert world.set_off() == set()
    assert world.outbox.standing().waiting == 3


def test_an_end_and_a_beginning_in_one_step_speak_of_their_own_claims(world):
    first = step(None, 0, evidence())
    later = 80 * HOUR
    second = advance(first.records, [evidence()], later, renew_after_us=DAY)
    world.tell([move(first, second)])
    assert [change.to_state for change in second.changes] == ["expired", "assigned"]
    rows = world.outbox.listed(["first", "queued"], 9)
    assert [row["state"] for row in rows] == ["first", "queued"]
    assert world.messages()[0]["expires_at"] == "1970-01-04T00:00:00Z"


def test_a_probability_sets_off_when_it_rises_and_again_only_after_it_fell(world):
    told = []
    for number, value in enumerate([0.5, 0.6, 0.7, 0.5, 0.65, 0.39, 0.61]):
        world.tell([], {"c1": scored(value)}, now_us=number)
        told.append(len(world.set_off()))
        with world.pending.transaction() as connection:
            world.pending.take(world.pending.due(10**18, 9), connection)
    assert told == [0, 1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("status", ["cold_start", "stale_profile"])
def test_the_populations_probability_sets_nothing_off(world, status):
    assert not world.tell([], {"c1": scored(0.9, status)})


def test_without_a_receiver_no_message_waits(world):
    other = World(world.engine, has_receiver=False)
    assert other.tell([move(None, step(None, 5, evidence()))])
    assert other.outbox.standing().waiting == 0
    assert len(other.set_off()) == 2


def test_both_are_woken_once_it_is_written(world):
    world.news.told()
    assert world.woken == ["outbox", "triggers"]


def test_an_erasure_tells_of_live_tags_alone(world):
    first = step(None, 0, evidence(), evidence("interest:TEA"))
    gone = step(first, 1, evidence())
    assert tell_erased(world.outbox, {"c1": gone.records}, 2, 99) == 1
    (content,) = world.messages()
    assert (content["tag_id"], content["to_state"]) == ("interest:MILK", "erased")
