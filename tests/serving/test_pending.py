"""What is pending: the newest cause counts, cancelling spares what came later, levels and the cursor hold."""

import contextlib

import pytest

from configs.home import open_home
from features.database import open_engine
from serving.pending import RECORDS_KEPT_US, Pending, PendingTriggers, Record
from tests.features.postgres_database import empty_postgres_schema


@pytest.fixture(params=["sqlite", "postgresql"])
def pending(request, tmp_path):
    with contextlib.ExitStack() as stack:
        url = None if request.param == "sqlite" else stack.enter_context(empty_postgres_schema())
        engine = open_engine(url, open_home(tmp_path / "home", create=True))
        yield PendingTriggers(engine)
        engine.dispose()


def one(since_us, customer="a", trigger="cart", about=""):
    return Pending(trigger, customer, about, f"{since_us:032x}", since_us, since_us + 100, '{"n":1}')


def put(pending, *ones):
    with pending.transaction() as connection:
        pending.put(ones, connection)


def test_a_later_cause_takes_the_place_of_an_earlier_one_whatever_their_order(pending):
    put(pending, one(5), one(9), one(7))
    put(pending, one(6), one(3, "b"), one(4, about="interest:茶"))
    assert [(found.customer_id, found.since_us) for found in pending.due(500, 9)] == [
        ("b", 3),
        ("a", 4),
        ("a", 9),
    ]
    assert pending.next_due_us() == 103


def test_cancelling_spares_what_was_set_off_later(pending):
    put(pending, one(5), one(9, "b"), one(5, trigger="browse"))
    with pending.transaction() as connection:
        pending.cancel([("cart", "a", 5), ("cart", "b", 8), ("cart", "c", 8)], connection)
    assert {(found.trigger, found.customer_id) for found in pending.due(500, 9)} == {
        ("cart", "b"),
        ("browse", "a"),
    }


def test_what_was_looked_at_is_taken_once(pending):
    put(pending, one(5))
    with pending.transaction() as connection:
        assert pending.take([one(4)], connection) == set()
        assert pending.take([one(5), one(6, "b")], connection) == {one(5).key}
        assert pending.take([one(5)], connection) == set()
    assert pending.next_due_us() is None


def test_what_is_put_off_is_due_later(pending):
    put(pending, one(5))
    with pending.transaction() as connection:
        pending.postpone(one(5), 700, connection)
    assert (pending.due(699, 9), pending.next_due_us()) == ([], 700)


def test_a_probability_is_above_until_it_fell(pending):
    with pending.transaction() as connection:
        pending.set_levels([("p", "a"), ("p", "b"), ("p", "a")], [], connection)
        pending.set_levels([("p", "a")], [("p", "b")], connection)
    assert pending.above(["a", "b", "c"]) == {("p", "a")}


def test_only_one_process_moves_the_cursor_on_from_a_place(pending):
    assert pending.cursor() is None
    pending.begin_after(7)
    pending.begin_after(9)
    assert pending.cursor() == 7
    with pending.transaction() as connection:
        assert pending.advance(7, 12, connection)
        assert not pending.advance(7, 12, connection)
    assert pending.cursor() == 12


def test_records_are_kept_once_counted_and_dropped_in_time(pending):
    records = [Record(f"{n:032x}", "cart", "a", "", n, "sent" if n else "blocked", "") for n in range(3)]
    with pending.transaction() as connection:
        pending.record([*records, records[0]], connection)
    assert pending.records() == records[::-1]
    assert pending.counts() == {"sent": 2, "blocked": 1, "pending": 0}
    pending.prune(RECORDS_KEPT_US)
    assert pending.counts() == {"sent": 2, "pending": 0}


def test_forgetting_a_customer_leaves_the_others(pending):
    put(pending, one(5), one(5, "b"))
    with pending.transaction() as connection:
        pending.record([Record("0" * 32, "cart", "a", "", 5, "sent", "")], connection)
        pending.set_levels([("p", "a"), ("p", "b")], [], connection)
    assert pending.forget(["a", "z"]) == 3
    assert [found.customer_id for found in pending.due(500, 9)] == ["b"]
    assert pending.above(["a", "b"]) == {("p", "b")}
    assert pending.records() == []
