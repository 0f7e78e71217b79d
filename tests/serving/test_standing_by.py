"""Two writers on the same stores: one applies events, the other stands by and takes over."""

import time
from contextlib import contextmanager

import pytest

from features.errors import LeaseLostError
from serving.clock import WallClock
from serving.errors import NotReady
from serving.live_tags import LiveTags
from serving.stream import STREAM_MARK
from serving.tag_queue import TAGGED_MARK
from tests.serving.parts import START_US, Parts
from tests.serving.test_stream import remembered, wall_event, wall_post, writer_of


class Lead:
    def __init__(self, is_ours):
        self.is_ours = is_ours

    def lose(self):
        self.is_ours = False


@pytest.fixture
def parts(home):
    made = Parts(home, clock=WallClock())
    yield made
    made.close()


@contextmanager
def writers(parts, *leads, **options):
    made = [writer_of(parts, lead=lead, **options) for lead in leads]
    for one in made:
        one.start()
    try:
        yield made
    finally:
        for one in made:
            one.stop()


def test_what_is_posted_to_who_stands_by_is_remembered_once_by_who_applies(parts):
    with writers(parts, Lead(True), Lead(False)) as (leading, other):
        first = other.submit(wall_post(parts, wall_event(1, "c1"))).result(20)
        assert remembered(parts, "c1") == ["e1"]
        second = leading.submit(wall_post(parts, wall_event(2, "c1"))).result(20)
        again = other.submit(wall_post(parts, wall_event(2, "c1"))).result(20)
    assert (first.accepted, second.accepted, again.duplicates) == (1, 1, 1)
    assert sorted(remembered(parts, "c1")) == ["e1", "e2"]


def test_who_waits_for_tags_is_answered_once_the_other_has_evaluated_them(parts):
    with writers(parts, Lead(True), Lead(False)) as (_, other):
        written = other.submit(wall_post(parts, wall_event(1, "c1")), with_tags=True).result(20)
        assert written.customers == ["c1"]
        assert list(LiveTags(parts.store).live(["c1"], parts.clock.now_us())) == ["c1"]
    assert parts.claims().height == 1


def test_both_at_once_lose_and_double_nothing(parts):
    with writers(parts, Lead(True), Lead(False)) as pair:
        waiting = [
            pair[number % 2].submit(
                wall_post(parts, *(wall_event(5 * number + row, f"c{row}") for row in range(5))),
                with_tags=number % 3 == 0,
            )
            for number in range(60)
        ]
        assert sum(one.result(30).accepted for one in waiting) == 300
    assert sum(len(remembered(parts, f"c{row}")) for row in range(5)) == 300
    assert parts.store.mark(STREAM_MARK) == parts.store.mark(TAGGED_MARK) == parts.log.last_seq() == 300
    assert parts.claims().height == 5


def test_where_nobody_applies_the_sender_hears_that_it_is_stored_and_may_send_again(parts):
    lead = Lead(False)
    with writers(parts, lead, patience_seconds=0.2) as (other,):
        with pytest.raises(NotReady, match=r"stored.*nothing doubles"):
            other.submit(wall_post(parts, wall_event(1, "c1"))).result(20)
        assert parts.log.last_seq() == 1
        assert remembered(parts, "c1") == []
        lead.is_ours = True
        assert other.submit(wall_post(parts, wall_event(1, "c1"))).result(20).duplicates == 1
        assert remembered(parts, "c1") == ["e1"]


def test_who_takes_over_answers_those_who_waited_for_the_other(parts):
    lead = Lead(False)
    with writers(parts, lead) as (other,):
        plain = other.submit(wall_post(parts, wall_event(1, "c1")))
        tagged = other.submit(wall_post(parts, wall_event(2, "c2")), with_tags=True)
        while parts.log.last_seq() < 2:
            time.sleep(0.001)
        assert not plain.done()
        lead.is_ours = True
        assert plain.result(20).accepted == tagged.result(20).accepted == 1
        assert other.is_leading
    assert parts.claims().height == 2


class Fenced:
    """A store that lets nothing be written once another process has begun to."""

    def __init__(self, store):
        self._store, self.is_shut = store, False

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put_many(self, view, rows, mark=None):
        if self.is_shut:
            raise LeaseLostError("number 2 writes by now")
        return self._store.put_many(view, rows, mark)


def test_who_loses_the_lease_in_mid_write_has_stored_the_events_and_the_other_applies_them(parts):
    mine, theirs = Lead(True), Lead(False)
    inner = parts.store
    parts.store = fenced = Fenced(inner)
    with writers(parts, mine) as (losing,):
        assert losing.submit(wall_post(parts, wall_event(1, "c1"))).result(20).accepted == 1
        parts.store = inner
        with writers(parts, theirs) as (winning,):
            fenced.is_shut = True
            theirs.is_ours = True
            assert losing.submit(wall_post(parts, wall_event(2, "c1"))).result(20).accepted == 1
            # It has applied them; that it leads it notes right afterwards.
            while not winning.is_leading:
                time.sleep(0.001)
            assert not losing.is_leading
    assert sorted(remembered(parts, "c1")) == ["e1", "e2"]
    assert parts.claims().height == 1


def test_in_a_replay_who_stands_by_takes_no_events(home):
    parts = Parts(home)
    with writers(parts, Lead(False)) as (other,):
        post = wall_post(parts, wall_event(1, "c1"))
        with pytest.raises(NotReady, match="another process"):
            other.submit(post).result(20)
        assert parts.log.last_seq() == 0
    assert parts.clock.now_us() == START_US
    parts.close()
