import json
import threading
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from features.packed_memory import decode_memory, pack_memories
from features.packed_store import CUSTOMER_MEMORY
from serving.clock import WallClock
from serving.errors import NotReady, TooManyRequests
from serving.intake import Intake, Posted, admit_posted, read_posted
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.stream import STREAM_MARK, Writer
from serving.tag_queue import TAGGED_MARK, TagQueue
from serving.tagging import Tagging
from tests.features.postgres_database import empty_postgres_schema
from tests.serving.parts import DAY_US, START_US, Parts, event


@pytest.fixture(params=["sqlite", "postgresql"])
def parts(home, request):
    with empty_postgres_schema() if request.param == "postgresql" else nullcontext() as url:
        made = Parts(home, database_url=url)
        yield made
        made.close()


def posted(*events) -> Posted:
    body = json.dumps({"events": list(events)}).encode()
    return read_posted(body, arrival_us=0, clock="replay", most=1000)


def intake(*events) -> Intake:
    return admit_posted([posted(*events)], future_skew=timedelta(minutes=5))


def writer_of(parts, *, log=None, tags=None, ledger=None, **options):
    measures = Measures()
    tagging = Tagging(
        tags or LiveTags(parts.store), ledger or parts.ledger, parts.holder, renew_after_us=DAY_US
    )
    waiting = TagQueue(tagging, parts.store, parts.clock, measures)
    return Writer(log or parts.log, parts.store, waiting, parts.clock, measures, **options)


def write(writer, *batches):
    writer.start()
    try:
        return [writer.submit(posted(*batch), with_tags=True).result(20) for batch in batches]
    finally:
        writer.stop()


def remembered(parts, customer):
    row = parts.store.get(CUSTOMER_MEMORY, customer, now_us=parts.clock.now_us(), ttl_us=None)
    return [] if row is None else [key.split("\x1f")[1] for key in decode_memory(row.value).event_key]


class Crash(BaseException):
    """The process dies: nothing may catch it."""


class Dying:
    """Passes everything on, but dies where it is told to."""

    def __init__(self, inner, method):
        self._inner = inner
        self._method = method

    def __getattr__(self, name):
        if name == self._method:
            raise Crash
        return getattr(self._inner, name)


class FailingLog:
    def __init__(self, log):
        self.log = log
        self.failures = 1

    def append(self, events):
        receipt = self.log.append(events)
        if self.failures:
            self.failures -= 1
            raise OSError("disk full after the commit")
        return receipt

    def __getattr__(self, name):
        return getattr(self.log, name)


def test_events_are_remembered_in_any_order_of_arrival_with_the_same_bytes(parts, tmp_path):
    events = [event(n, "c1", at=n) for n in range(6)]
    write(writer_of(parts), events[:2], events[4:], events[2:4])
    whole = pack_memories(parts.log.read_after(0, 100), parts.clock.now_us())
    row = parts.store.get(CUSTOMER_MEMORY, "c1", now_us=parts.clock.now_us(), ttl_us=None)
    assert row.value == whole["c1"]


def test_the_mark_is_the_last_row_applied(parts):
    write(writer_of(parts), [event(1)], [event(2), event(3)])
    assert parts.store.mark(STREAM_MARK) == parts.log.last_seq() == 3


def test_a_crash_between_log_and_memory_is_made_good_at_the_next_start(parts):
    parts.log.append(intake(event(1), event(2, "c2")).admitted)
    assert remembered(parts, "c1") == []
    write(writer_of(parts))
    assert (remembered(parts, "c1"), remembered(parts, "c2")) == (["e1"], ["e2"])
    assert parts.claims().height == 2
    assert parts.clock.now_us() == START_US


@pytest.mark.parametrize(
    ("method", "of", "remembered_before", "claims_before"),
    [("record", "ledger", ["e1"], 0), ("write", "tags", ["e1"], 1)],
)
def test_a_crash_between_memory_and_tags_leads_to_one_claim(
    parts, method, of, remembered_before, claims_before
):
    inner = parts.ledger if of == "ledger" else LiveTags(parts.store)
    writer = writer_of(parts, **{of: Dying(inner, method)})
    parts.log.append(intake(event(1)).admitted)
    with pytest.raises(Crash):
        writer.start()
    assert remembered(parts, "c1") == remembered_before
    assert parts.claims().height == claims_before
    assert (parts.store.mark(STREAM_MARK), parts.store.mark(TAGGED_MARK)) == (1, 0)
    parts.clock.seen(START_US + DAY_US // 24)
    write(writer_of(parts))
    write(writer_of(parts))
    assert remembered(parts, "c1") == ["e1"]
    assert parts.claims().height == 1
    assert parts.ledger.read_transitions().height == 1
    assert parts.store.mark(TAGGED_MARK) == 1
    assert list(LiveTags(parts.store).live(["c1"], parts.clock.now_us())) == ["c1"]


def test_a_write_that_failed_after_the_commit_is_repaired_by_sending_again(parts):
    writer = writer_of(parts, log=FailingLog(parts.log))
    writer.start()
    with pytest.raises(NotReady, match="nothing doubles"):
        writer.submit(posted(event(1))).result(20)
    again = writer.submit(posted(event(1))).result(20)
    writer.stop()
    assert (again.accepted, again.duplicates) == (0, 1)
    assert remembered(parts, "c1") == ["e1"]


def test_more_rows_than_the_queue_holds_are_sent_back_and_none_is_lost(parts):
    writer = writer_of(parts, queue_rows=3)
    writer.start()
    with writer.lock:
        first = writer.submit(posted(event(1)))
        second = writer.submit(posted(event(2), event(3)))
        with pytest.raises(TooManyRequests) as refused:
            writer.submit(posted(event(4)))
    assert refused.value.headers["retry-after"] == "1"
    assert (first.result(20).accepted, second.result(20).accepted) == (1, 2)
    assert writer.submit(posted(event(4))).result(20).accepted == 1
    writer.stop()


def test_a_stopped_writer_has_written_what_waited_and_takes_nothing(parts):
    writer = writer_of(parts)
    writer.start()
    waiting = [writer.submit(posted(event(n))) for n in range(20)]
    writer.stop()
    assert all(one.result(0).accepted == 1 for one in waiting)
    with pytest.raises(NotReady):
        writer.submit(posted(event(99)))


def test_an_event_ahead_of_its_arrival_is_kept_until_its_time_comes(parts):
    ahead = event(1, event_time=START_US / 1e6 + 240)
    write(writer_of(parts), [ahead], [event(2, at=1)])
    assert remembered(parts, "c1") == ["e2", "e1"]


def test_events_older_than_a_memory_are_logged_and_forgotten(parts):
    write(writer_of(parts), [event(1)], [event(2, at=97 * 3600)])
    assert remembered(parts, "c1") == ["e2"]
    assert parts.log.last_seq() == 2


def test_uncertain_or_unlikely_tags_are_not_claimed(parts):
    write(writer_of(parts), [event(1, category="UNPROVEN"), event(2, category="UNLIKELY"), event(3)])
    assert parts.claims()["tag_id"].to_list() == ["interest:MILK"]


def test_transitions_are_written_with_the_claims(parts):
    write(writer_of(parts), [event(1)], [event(2, at=86_400.0)])
    steps = parts.ledger.read_transitions().sort("at_us")
    assert steps["to_state"].to_list() == ["assigned", "renewed"]
    assert parts.claims().sort("assigned_at_us")["kind"].to_list() == ["assigned", "renewed"]


def test_what_is_due_is_done_between_the_rows_before_and_after_it(parts):
    writer = writer_of(parts)
    seen = []

    def upkeep(arrival_us):
        seen.append(((arrival_us - START_US) // 1_000_000, parts.log.last_seq()))
        return START_US + 10_000_000 if arrival_us < START_US + 10_000_000 else START_US + DAY_US

    writer.before_rows = upkeep
    write(writer, [event(1, at=0), event(2, at=11), event(3, at=5), event(4, at=10)])
    assert seen == [(0, 0), (10, 2)]


class Joined:
    """Knows that ``c2`` is ``c1``, and that ``gone`` was erased."""

    def resolve(self, events):
        return events.with_columns(pl.col("customer_id").replace({"c2": "c1"}))

    def erased(self, events):
        return events["customer_id"] == "gone"


def test_a_merged_customers_events_go_to_the_survivors_memory_and_stay_as_given_in_the_log(parts):
    writer = writer_of(parts, identities=Joined())
    (written,) = write(writer, [event(1, "c1"), event(2, "c2", at=1)])
    assert (written.accepted, written.customers) == (2, ["c1"])
    assert remembered(parts, "c1") == ["e1", "e2"]
    assert remembered(parts, "c2") == []
    assert parts.log.read_after(0, 10)["customer_id"].to_list() == ["c1", "c2"]
    assert set(parts.claims()["customer_id"]) == {"c1"}


def test_after_a_crash_too_a_merged_customers_events_go_to_the_survivor(parts):
    parts.log.append(intake(event(1, "c2")).admitted)
    write(writer_of(parts, identities=Joined()))
    assert (remembered(parts, "c1"), remembered(parts, "c2")) == (["e1"], [])


def test_events_of_who_was_erased_are_counted_and_leave_no_trace(parts):
    writer = writer_of(parts, identities=Joined())
    all_erased, mixed = write(
        writer, [event(1, "gone")], [event(2, "gone"), event(3, "c1"), event(3, "c1"), event(4, "gone")]
    )
    assert (all_erased.accepted, all_erased.erased, all_erased.errors) == (0, 1, [])
    assert (mixed.accepted, mixed.duplicates, mixed.erased) == (1, 1, 2)
    assert mixed.customers == ["c1"]
    assert parts.log.read_after(0, 10)["customer_id"].to_list() == ["c1"]
    assert sorted(parts.store.keys(CUSTOMER_MEMORY)) == ["c1"]


def test_requests_written_together_are_answered_each_for_itself(parts):
    writer = writer_of(parts)
    writer.start()
    with writer.lock:
        waiting = [
            writer.submit(posted(event(1), event(2, brand="b" * 300), event(3, "c3")), with_tags=True),
            writer.submit(posted(event(3, "c3"), event(1, amount_minor=7))),
            writer.submit(posted(event(4, event_type="gaze"))),
        ]
    first, second, third = (one.result(20) for one in waiting)
    writer.stop()
    assert (first.accepted, first.duplicates, first.customers) == (2, 0, ["c1", "c3"])
    assert [(one.index, one.field) for one in first.errors] == [(1, "brand")]
    assert (second.accepted, second.duplicates) == (0, 1)
    assert [(one.index, one.field) for one in second.errors] == [(1, "event_id")]
    assert (third.accepted, [(one.index, one.field) for one in third.errors]) == (0, [(0, "event_type")])


def test_a_sender_is_told_when_to_come_back_by_how_fast_rows_were_written(parts):
    writer = writer_of(parts, queue_rows=40)
    writer.start()
    writer._posts._rows_per_second = 8.0
    with writer.lock:
        waiting = [writer.submit(posted(*(event(10 * n + i) for i in range(10)))) for n in range(4)]
        with pytest.raises(TooManyRequests) as refused:
            writer.submit(posted(event(99)))
    assert refused.value.headers["retry-after"] == "5"
    assert sum(one.result(20).accepted for one in waiting) == 40
    writer.stop()


class GatedScorer:
    """Scores only while its gate is open."""

    def __init__(self, scorer):
        self.inner = scorer
        self.versions = scorer.versions
        self.quiet_families = frozenset()
        self.gate, self.entered = threading.Event(), threading.Event()

    def score_many(self, customers, now_us, **asked):
        self.entered.set()
        assert self.gate.wait(20)
        return self.inner.score_many(customers, now_us, **asked)


@pytest.fixture
def gated(home):
    made = Parts(home, clock=WallClock())
    made.holder.scorer = made.gated = GatedScorer(made.scorer)
    yield made
    made.gated.gate.set()
    made.close()


def wall_event(number, customer):
    return {
        "event_id": f"e{number}",
        "customer_id": customer,
        "event_type": "view",
        "event_time": START_US / 1e6,
        "category": "MILK",
    }


def wall_post(parts, *events):
    body = json.dumps({"events": list(events)}).encode()
    return read_posted(body, arrival_us=parts.clock.now_us(), clock="wall", most=1000)


def test_events_wait_for_no_model_unless_the_sender_wants_the_tags(gated):
    writer = writer_of(gated)
    writer.start()
    plain = writer.submit(wall_post(gated, wall_event(1, "c1"), wall_event(2, "c2")))
    assert plain.result(20).accepted == 2
    assert remembered(gated, "c1") == ["e1"]
    wanting = writer.submit(wall_post(gated, wall_event(3, "c1")), with_tags=True)
    assert writer.submit(wall_post(gated, wall_event(4, "c3"))).result(20).accepted == 1
    assert not wanting.done()
    assert gated.claims().height == 0
    gated.gated.gate.set()
    assert wanting.result(20).customers == ["c1"]
    assert "c1" in LiveTags(gated.store).live(["c1"], gated.clock.now_us())
    writer.stop()
    assert set(gated.claims()["customer_id"]) == {"c1", "c2", "c3"}
    assert gated.store.mark(STREAM_MARK) == gated.store.mark(TAGGED_MARK) == 4


def test_what_was_remembered_and_not_evaluated_before_an_end_is_evaluated_after_it(gated):
    lead = SimpleNamespace(is_ours=True, lose=lambda: None)
    writer = writer_of(gated, lead=lead)
    writer.start()
    writer.submit(wall_post(gated, wall_event(1, "c1"))).result(20)
    # From here on what scores for the first is the closed gate, whatever the other is given.
    assert gated.gated.entered.wait(20)
    lead.is_ours = False  # the process dies, as far as the stores can tell
    assert (gated.store.mark(STREAM_MARK), gated.store.mark(TAGGED_MARK)) == (1, 0)
    gated.holder.scorer = gated.scorer
    again = writer_of(gated)
    again.start()
    assert again.submit(wall_post(gated, wall_event(1, "c1")), with_tags=True).result(20).duplicates == 1
    again.stop()
    assert gated.claims()["customer_id"].to_list() == ["c1"]
    assert gated.store.mark(TAGGED_MARK) == 1
    gated.gated.gate.set()
    writer.stop()


def test_senders_at_once_under_the_wall_clock_lose_and_double_nothing(home):
    parts = Parts(home, clock=WallClock())
    writer = writer_of(parts)
    writer.start()
    posts = [[wall_event(10 * n + i, f"c{i % 4}") for i in range(10)] for n in range(40)]
    waiting = [
        writer.submit(wall_post(parts, *rows), with_tags=n % 3 == 0) for n, rows in enumerate(posts * 2)
    ]
    results = [one.result(60) for one in waiting]
    writer.stop()
    assert sum(one.accepted for one in results) == sum(one.duplicates for one in results) == 400
    assert sum(len(remembered(parts, f"c{n}")) for n in range(4)) == 400
    assert parts.claims().height == 4
    parts.close()
