"""Who carries a tag, against what every customer's own tags say."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from features.life_cycle import Evidence, TagRecord
from features.redis_packed_store import RedisPackedStore
from features.sqlite_packed_store import SqlitePackedStore
from serving.carriers import INDEXED_MARK, view_of
from serving.live_tags import LiveTags
from tests.features.redis_database import empty_redis_database

TAGS = ("interest:牛奶/乳制品 类", "high_intent")
CUSTOMERS = ("1", "10", "2", "ä 商", "pos:7/8")


def record(tag_id, state="assigned", at_us=0, expires_at_us=1000):
    evidence = Evidence(tag_id, "interest", None, 0.5, 0.8, 0.7, 0.8, 3.0, "1", True, True)
    return TagRecord(evidence, state, at_us, at_us, expires_at_us)


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "sqlite":
        opened = SqlitePackedStore(tmp_path / "online.db")
        yield opened
        opened.close()
    else:
        with empty_redis_database() as url:
            opened = RedisPackedStore(url, "tagtide")
            yield opened
            opened.close()


def everybody(tags, tag_id, now_us, limit):
    found, after = [], ""
    while after is not None:
        page, after = tags.who(tag_id, after=after, limit=limit, now_us=now_us)
        assert len(page) <= limit
        found += [customer for customer, _ in page]
    return found


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_hold_every_carrier_once_and_nobody_else(store, limit):
    tags = LiveTags(store)
    carrying = {one: {TAGS[0]: record(TAGS[0])} for one in CUSTOMERS}
    carrying["other"] = {TAGS[1]: record(TAGS[1])}
    carrying["was"] = {TAGS[0]: record(TAGS[0], "withdrawn")}
    tags.write(carrying, 1, None)
    assert everybody(tags, TAGS[0], 1, limit) == sorted(CUSTOMERS)
    assert everybody(tags, TAGS[1], 1, limit) == ["other"]
    assert everybody(tags, "unknown", 1, limit) == []
    assert tags.tag_ids() == sorted(TAGS)


def test_expiry_is_kept_to_the_microsecond(store):
    tags = LiveTags(store)
    tags.write({"1": {TAGS[0]: record(TAGS[0], at_us=10, expires_at_us=100)}}, 10, None)
    assert [len(everybody(tags, TAGS[0], now, 9)) for now in (9, 10, 99, 100)] == [0, 1, 1, 0]


def test_a_walk_meets_those_who_stay_once_whatever_is_written_meanwhile(store):
    tags = LiveTags(store)
    tags.write({f"c{number:02}": {TAGS[0]: record(TAGS[0])} for number in range(20)}, 1, None)
    page, after = tags.who(TAGS[0], after="", limit=8, now_us=1)
    gone = {one: {TAGS[0]: record(TAGS[0])} for one in ("c03", "c12")}
    tags.write({one: {} for one in gone}, 2, None, gone)
    tags.write({one: {TAGS[0]: record(TAGS[0], expires_at_us=2000)} for one in ("c01", "a", "c15")}, 2, None)
    rest = []
    while after is not None:
        more, after = tags.who(TAGS[0], after=after, limit=8, now_us=2)
        rest += more
    seen = [customer for customer, _ in [*page, *rest]]
    assert seen == [f"c{number:02}" for number in range(20) if number != 12]


def test_an_index_with_customers_too_many_gives_out_none_of_them(store):
    tags = LiveTags(store)
    tags.write({one: {TAGS[0]: record(TAGS[0])} for one in CUSTOMERS}, 1, None)
    # A crash between the tags and the index leaves it like that.
    tags.write({one: {} for one in CUSTOMERS[:4]}, 2, None, None)
    assert everybody(tags, TAGS[0], 2, 1) == [CUSTOMERS[4]]


def test_an_erased_customer_is_in_no_index(store):
    tags = LiveTags(store)
    tags.write({"1": {one: record(one) for one in TAGS}}, 1, None)
    assert store.erase("1") == 3
    assert [store.count(view_of(one)) for one in TAGS] == [0, 0]


def test_a_store_older_than_the_index_is_taken_in_once(store):
    tags = LiveTags(store)
    tags.write({one: {TAGS[0]: record(TAGS[0])} for one in CUSTOMERS}, 1, None)
    store.drop(view_of(TAGS[0]))
    tags.complete_index(1)
    assert store.mark(INDEXED_MARK) == 1
    assert everybody(tags, TAGS[0], 1, 2) == sorted(CUSTOMERS)


def test_pruning_clears_what_has_expired_and_nothing_else(store):
    tags = LiveTags(store)
    tags.write({"1": {TAGS[0]: record(TAGS[0], expires_at_us=100)}}, 1, None)
    tags.write({"2": {TAGS[0]: record(TAGS[0], expires_at_us=200)}}, 1, None)
    tags.prune(100)
    assert list(store.keys(view_of(TAGS[0]))) == ["2"]
    assert everybody(tags, TAGS[0], 100, 9) == ["2"]
    assert tags.count_carriers(TAGS[0], 199) == 1
    assert tags.count_carriers(TAGS[0], 200) == 0


class Writes(RuleBasedStateMachine):
    """Any writes in any order: the index agrees with the tags themselves."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = SqlitePackedStore(Path(self.folder.name) / "online.db")
        self.tags = LiveTags(self.store)
        self.now_us = 1
        self.kept = {}

    @rule(
        customer=st.sampled_from(CUSTOMERS),
        tag_id=st.sampled_from(TAGS),
        state=st.sampled_from(["assigned", "renewed", "withdrawn", None]),
        life_us=st.integers(1, 50),
    )
    def write(self, customer, tag_id, state, life_us):
        before = self.kept.get(customer, {})
        after = {one: kept for one, kept in before.items() if one != tag_id}
        if state is not None:
            after[tag_id] = record(tag_id, state, self.now_us, self.now_us + life_us)
        self.tags.write({customer: after}, self.now_us, None, {customer: before})
        self.kept[customer] = after

    @rule(step_us=st.integers(1, 30))
    def wait(self, step_us):
        self.now_us += step_us

    @rule(customer=st.sampled_from(CUSTOMERS))
    def erase(self, customer):
        self.store.erase(customer)
        self.kept.pop(customer, None)

    @rule()
    def prune(self):
        self.tags.prune(self.now_us)

    @invariant()
    def the_index_and_the_tags_agree(self):
        for tag_id in TAGS:
            expected = sorted(
                one
                for one, records in self.kept.items()
                if tag_id in records and records[tag_id].is_live(self.now_us)
            )
            assert everybody(self.tags, tag_id, self.now_us, 2) == expected

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


TestWrites = Writes.TestCase
TestWrites.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
