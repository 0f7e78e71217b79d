import threading
import time

import pytest

from features.errors import FeatureStoreError
from serving.clock import ReplayClock
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.tag_queue import LATE_SECONDS, TAGGED_MARK, TagQueue
from serving.tagging import Tagging
from tests.serving.parts import DAY_US, START_US, Parts


class Evaluations:
    """Stands for the tagging: writes down who was evaluated, and may be held up or fail."""

    def __init__(self, store):
        self.store = store
        self.chunks = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.fails = False
        self.outages = 0

    def evaluate(self, customers, now_us, *, origin, mark):
        self.began.set()
        assert self.gate.wait(20)
        if self.fails:
            raise RuntimeError("broke")
        if self.outages:
            self.outages -= 1
            raise FeatureStoreError("no answer")
        self.chunks.append(list(customers))
        self.store.put_mark(*mark)

    def recover(self, now_us):
        return 0


@pytest.fixture
def parts(home):
    made = Parts(home)
    made.tagging = Evaluations(made.store)
    made.measures = Measures()
    made.queue = TagQueue(made.tagging, made.store, ReplayClock(START_US), made.measures, chunk=3)
    yield made
    made.tagging.gate.set()
    made.queue.stop()
    made.close()


def held_up(parts):
    """Start the thread and let it be busy with ``first``."""
    parts.tagging.gate.clear()
    parts.queue.add(["first"], 1, 1)
    parts.queue.start()
    assert parts.tagging.began.wait(20)


def test_a_customer_is_evaluated_once_however_many_events_wait(parts):
    for seq in range(1, 10):
        parts.queue.add(["a", f"b{seq % 2}"], seq, seq)
    assert parts.queue.waiting_customers == 3
    parts.queue.drain()
    assert parts.tagging.chunks == [["a", "b1", "b0"]]
    assert parts.store.mark(TAGGED_MARK) == 9
    assert parts.queue.waiting_customers == 0


def test_the_mark_never_passes_a_row_whose_customer_still_waits(parts):
    parts.queue.add([f"c{n}" for n in range(5)], 1, 10)
    parts.queue.add(["d", "c0"], 11, 12)
    marks = []
    while parts.queue._step():
        marks.append(parts.store.mark(TAGGED_MARK))
    assert parts.tagging.chunks == [["c0", "c1", "c2"], ["c3", "c4", "d"]]
    assert marks == [0, 12]


def test_whoever_is_waited_for_goes_first_and_the_mark_stays_behind_the_others(parts):
    parts.queue.add([f"c{n}" for n in range(6)], 1, 6)
    parts.queue.add(["late"], 7, 7)
    done = parts.queue.evaluated(["late", "c5"])
    assert parts.queue._step()
    assert parts.tagging.chunks == [["late", "c5", "c0"]]
    assert done.done()
    assert parts.store.mark(TAGGED_MARK) == 0
    parts.queue.drain()
    assert parts.store.mark(TAGGED_MARK) == 7


def test_nobody_waits_for_customers_whose_evaluation_is_not_outstanding(parts):
    assert parts.queue.evaluated(["a", "b"]).done()
    assert parts.queue.evaluated([]).done()
    parts.queue.add(["a"], 1, 1)
    parts.queue.drain()
    assert parts.queue.evaluated(["a"]).done()


def test_an_evaluation_that_began_before_the_event_does_not_count_for_it(parts):
    held_up(parts)
    under_way = parts.queue.evaluated(["first"])
    parts.queue.add(["first"], 2, 2)
    again = parts.queue.evaluated(["first"])
    assert not under_way.done()
    parts.tagging.gate.set()
    assert again.result(20) is None
    assert under_way.done()
    assert parts.tagging.chunks == [["first"], ["first"]]


def test_an_end_leaves_nobody_waiting_and_the_rest_for_the_next_start(parts):
    held_up(parts)
    parts.queue.add([f"c{n}" for n in range(9)], 2, 10)
    waiting = parts.queue.evaluated(["c8"])
    threading.Timer(0.3, parts.tagging.gate.set).start()
    parts.queue.stop(timeout_seconds=0.0)
    assert waiting.done()
    assert parts.tagging.chunks == [["first"]]
    assert parts.store.mark(TAGGED_MARK) == 1


def test_an_orderly_end_evaluates_what_it_can(parts):
    held_up(parts)
    parts.queue.add([f"c{n}" for n in range(9)], 2, 10)
    parts.tagging.gate.set()
    parts.queue.stop()
    assert sum(len(chunk) for chunk in parts.tagging.chunks) == 10
    assert parts.store.mark(TAGGED_MARK) == 10


def test_a_failed_evaluation_is_told_and_does_not_hold_up_the_rest(parts):
    parts.tagging.fails = True
    parts.queue.add(["a"], 1, 1)
    done = parts.queue.evaluated(["a"])
    parts.queue.drain()
    assert done.done()
    assert "RuntimeError" in parts.queue.problem
    assert parts.store.mark(TAGGED_MARK) == 1
    parts.tagging.fails = False
    parts.queue.add(["a"], 2, 2)
    parts.queue.drain()
    assert parts.queue.problem == ""


def test_where_a_part_did_not_answer_the_same_customers_are_evaluated_once_it_does(parts):
    parts.tagging.outages = 2
    parts.queue.add(["a", "b"], 1, 2)
    parts.queue.start()
    deadline = time.monotonic() + 20
    while parts.store.mark(TAGGED_MARK) != 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert parts.store.mark(TAGGED_MARK) == 2
    assert parts.tagging.chunks == [["a", "b"]]
    assert parts.queue.problem == ""


def test_tags_that_are_late_are_told_in_words_and_figures(parts):
    parts.queue.add(["a", "b"], 1, 1)
    assert parts.queue.problem == ""
    parts.queue._dirty = {
        name: since._replace(moment=since.moment - LATE_SECONDS - 1)
        for name, since in parts.queue._dirty.items()
    }
    assert parts.queue.problem == f"2 customers wait for their tags, the first for {LATE_SECONDS + 1:.0f} s"
    text = parts.measures.text().decode()
    assert "tagtide_waiting_customers 2.0" in text
    assert f"tagtide_tagging_lag_seconds {LATE_SECONDS + 1:.0f}" in text
    parts.queue.drain()
    assert parts.queue.lag_seconds == 0.0


def test_a_sweep_and_the_queue_take_turns(home):
    parts = Parts(home)
    tagging = Tagging(LiveTags(parts.store), parts.ledger, parts.holder, renew_after_us=DAY_US)
    queue = TagQueue(tagging, parts.store, parts.clock, Measures(), chunk=1)
    queue.add(["a", "b"], 1, 1)
    with queue.turns:
        queue.start()
        assert parts.scorer.calls == []
    queue.stop()
    assert [customers for customers, _ in parts.scorer.calls] == [("a",), ("b",)]
    parts.close()
