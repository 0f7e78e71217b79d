"""Whatever is posted, the event door refuses or stores what fits its schema, and never fails."""

import pytest

from features.database import open_engine
from features.event_log import EventLog
from tests.reliability.bodies import broken, fuzz

REFUSALS = {"202", "400", "413", "422"}


def holds(service, count, seed):
    with service.client() as client:
        found = fuzz(client, count, seed, f"fuzz-{seed}")
    assert found["statuses"].keys() <= REFUSALS, found
    assert found["statuses"]["202"] > count // 10
    assert found["statuses"]["422"] > count // 100
    engine = open_engine(None, service.home)
    try:
        rows = EventLog(engine).read_after(0, 10**7).drop("seq").to_dicts()
    finally:
        engine.dispose()
    assert len(rows) > count // 10
    assert [(row, broken(row)) for row in rows if broken(row)] == []


def test_thousands_of_random_bodies_meet_no_defect_and_leave_nothing_that_is_no_event(service):
    holds(service, 2000, 1)


@pytest.mark.slow
def test_so_do_fifty_thousand(service):
    holds(service, 50_000, 2)


def test_the_check_finds_what_is_no_event():
    event = dict.fromkeys(("item_id", "category", "brand", "quantity", "order_id"))
    event |= {"event_id": "", "customer_id": "a\x00", "event_type": "gaze", "event_time": None}
    event |= {"ingested_at": None, "source": "x" * 129, "amount_minor": 2.5}
    event |= {"discount_minor": 10**16, "coupon_minor": True, "brand": "b" * 257}
    assert set(broken(event)) == {
        *("event_id", "customer_id", "event_type", "event_time", "ingested_at", "source", "amount_minor"),
        *("discount_minor", "coupon_minor", "brand"),
    }
