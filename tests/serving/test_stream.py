import json
from datetime import timedelta

import pytest

from features.packed_memory import decode_memory, pack_memories
from features.packed_store import CUSTOMER_MEMORY
from serving.errors import NotReady, TooManyRequests
from serving.intake import Intake, read_events
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.stream import STREAM_MARK, Writer
from serving.tagging import Tagging
from tests.serving.parts import DAY_US, START_US, Parts, event


@pytest.fixture
def parts(home):
    made = Parts(home)
    yield made
    made.close()


def intake(*events) -> Intake:
    body = json.dumps({"events": list(events)}).encode()
    return read_events(body, arrival_us=0, clock="replay", most=1000, future_skew=timedelta(minutes=5))


def writer_of(parts, *, log=None, ledger=None, queue_rows=20_000):
    tagging = Tagging(LiveTags(parts.store), ledger or parts.ledger, parts.holder, renew_after_us=DAY_US)
    return Writer(log or parts.log, parts.store, tagging, parts.clock, Measures(), queue_rows=queue_rows)


def write(writer, *batches):
    writer.start()
    try:
        return [writer.submit(intake(*batch)).result(20) for batch in batches]
    finally:
        writer.stop()


def remembered(parts, customer):
    row = parts.store.get(CUSTOMER_MEMORY, customer, now_us=parts.clock.now_us(), ttl_us=None)
    return [] if row is None else [key.split("\x1f")[1] for key in decode_memory(row.value).event_key]


class Crash(BaseException):
    """The process dies: nothing may catch it."""


class CrashingLedger:
    def record(self, claims, transitions=()):
        raise Crash


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

    def read_after(self, seq, limit):
        return self.log.read_after(seq, limit)


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


def test_a_crash_between_memory_and_tags_leads_to_one_claim(parts):
    writer = writer_of(parts, ledger=CrashingLedger())
    stored = parts.log.append(intake(event(1)).admitted).stored
    with pytest.raises(Crash):
        writer._evaluate(writer._remember(stored))
    assert remembered(parts, "c1") == ["e1"]
    assert parts.store.mark(STREAM_MARK) is None
    write(writer_of(parts))
    write(writer_of(parts))
    assert remembered(parts, "c1") == ["e1"]
    assert parts.claims().height == 1


def test_a_crash_between_ledger_and_store_writes_no_claim_twice(parts):
    class CrashingTags(LiveTags):
        def write(self, changed, now_us, mark):
            raise Crash

    stored = parts.log.append(intake(event(1)).admitted).stored
    writer = writer_of(parts)
    writer._tagging = Tagging(CrashingTags(parts.store), parts.ledger, parts.holder, renew_after_us=DAY_US)
    with pytest.raises(Crash):
        writer._evaluate(writer._remember(stored))
    assert parts.claims().height == 1
    write(writer_of(parts))
    assert parts.claims().height == 1
    assert list(LiveTags(parts.store).live(["c1"], parts.clock.now_us())) == ["c1"]


def test_a_write_that_failed_after_the_commit_is_repaired_by_sending_again(parts):
    writer = writer_of(parts, log=FailingLog(parts.log))
    writer.start()
    with pytest.raises(NotReady, match="nothing doubles"):
        writer.submit(intake(event(1))).result(20)
    again = writer.submit(intake(event(1))).result(20)
    writer.stop()
    assert (again.accepted, again.duplicates) == (0, 1)
    assert remembered(parts, "c1") == ["e1"]


def test_more_rows_than_the_queue_holds_are_sent_back_and_none_is_lost(parts):
    writer = writer_of(parts, queue_rows=3)
    writer.start()
    with writer.lock:
        first = writer.submit(intake(event(1)))
        second = writer.submit(intake(event(2), event(3)))
        with pytest.raises(TooManyRequests) as refused:
            writer.submit(intake(event(4)))
    assert refused.value.headers["retry-after"] == "1"
    assert (first.result(20).accepted, second.result(20).accepted) == (1, 2)
    assert writer.submit(intake(event(4))).result(20).accepted == 1
    writer.stop()


def test_a_stopped_writer_has_written_what_waited_and_takes_nothing(parts):
    writer = writer_of(parts)
    writer.start()
    waiting = [writer.submit(intake(event(n))) for n in range(20)]
    writer.stop()
    assert all(one.result(0).accepted == 1 for one in waiting)
    with pytest.raises(NotReady):
        writer.submit(intake(event(99)))


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
