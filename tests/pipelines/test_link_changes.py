from __future__ import annotations

import contextlib
import sqlite3
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.home import Home, open_home
from features.database import open_engine
from features.event_log import EventLog
from features.file_lock import SharedLock
from features.history import History
from features.identities import Space
from features.identity_log import Identities
from features.lake import Lake
from features.life_cycle import Evidence, TagRecord
from features.live import KeyProfiles, LiveCustomers
from features.memory import KEY_COLUMNS
from features.packed_store import (
    CUSTOMER_MEMORY,
    CUSTOMER_PROFILE,
    KEY_PROFILE,
    PackedStore,
    open_packed_store,
)
from features.parked import Parked
from features.profile_refresh import PROFILE_STATE, refresh_from_lake
from features.publishing import memory_rows
from features.sqlite_packed_store import SqlitePackedStore
from features.windows import HOUR_US, profile_boundary, to_us
from pipelines.current_lake import lake_up_to_date, open_lake
from pipelines.link_changes import LINKS_MARK, change_links
from serving.live_tags import CUSTOMER_TAGS, LiveTags
from serving.merges import move
from serving.upkeep import BOUNDARY_MARK
from tests.features.made_events import event, frame
from tests.features.paths import bulk_answers, live_answers
from tests.pipelines.two_shops import settings_of

PEOPLE = ["1", "2", "3", "pos:1", "pos:2"]
START_US = 1_714_550_400_000_000
NOW_US = START_US + 20 * 24 * HOUR_US
AT = pl.Series([NOW_US]).cast(pl.Datetime("us", "UTC"))[0]
VIEWS = (CUSTOMER_MEMORY, CUSTOMER_TAGS, CUSTOMER_PROFILE, KEY_PROFILE, PROFILE_STATE)


def moment(us: int) -> Any:
    return pl.Series([us]).cast(pl.Datetime("us", "UTC"))[0]


def history_of_everybody() -> pl.DataFrame:
    """Twenty days of purchases and views, so many that everybody has some in the last hours."""
    made = []
    for number in range(300):
        at = moment(NOW_US - (number * 5_741_377 % (19 * 24 * 3600)) * 1_000_000)
        made.append(
            event(
                number,
                customer_id=PEOPLE[number * 7 % 5],
                event_type=["purchase", "view", "add_to_cart", "search"][number % 4],
                event_time=at,
                category=["TEA", "MILK", "RICE"][number % 3],
                brand=["A", None][number % 2],
                item_id=f"i{number % 11}",
            )
        )
    return frame(made)


def tag(name: str, claimed_us: int) -> TagRecord:
    evidence = Evidence(name, "interest", "TEA", 0.6, 0.9, 0.5, 0.85, 3.0, "1", True, True)
    return TagRecord(evidence, "assigned", claimed_us, claimed_us, claimed_us + 72 * HOUR_US)


def boundary_us(home: Home) -> int:
    loaded = settings_of(home)
    return int(profile_boundary(np.array([NOW_US]), loaded.zone, loaded.publication_lag)[0])


def fill(home: Home) -> None:
    """Make a home as if the service had run: lake, memories, profiles and tags."""
    Lake(home.lake).append(history_of_everybody())
    loaded = settings_of(home)
    with contextlib.closing(open_packed_store(home, loaded)) as store:
        store.put_many(CUSTOMER_MEMORY, memory_rows(Lake(home.lake).read(), NOW_US))
        refresh_from_lake(store, Lake(home.lake), boundary_us(home), loaded.zone, loaded.publication_lag)
        store.put_mark(BOUNDARY_MARK, boundary_us(home))
        tags = LiveTags(store)
        for number, name in enumerate(PEOPLE[:4]):
            both = [tag("interest:TEA", NOW_US - (3 - number) * HOUR_US), tag(f"interest:{name}", NOW_US)]
            tags.write({name: {one.evidence.tag_id: one for one in both}}, NOW_US - number, None)
    engine = open_engine(None, home)
    identities = Identities(engine)
    identities.settle(Space("web", "", is_source=True))
    identities.settle(Space("pos", "pos:", is_source=True))
    engine.dispose()


@pytest.fixture
def filled(home: Home) -> Home:
    fill(home)
    return home


def online(home: Home) -> dict[str, Any]:
    """Everything the online store holds, but for how far it has followed the log of links."""
    with contextlib.closing(open_packed_store(home, settings_of(home))) as store:
        rows = {view: store.get_many(view, sorted(store.keys(view)), now_us=0, ttl_us=None) for view in VIEWS}
        return rows | {"boundary": store.mark(BOUNDARY_MARK)}


def link(home: Home, one: str, other: str) -> None:
    change_links(home, settings_of(home), lambda _, log: log.link(one, other, why="test", at=AT))


def unlink(home: Home, one: str, other: str) -> None:
    change_links(home, settings_of(home), lambda _, log: log.unlink(one, other, why="test", at=AT))


def tags_of(home: Home, customer: str) -> dict[str, TagRecord]:
    with contextlib.closing(open_packed_store(home, settings_of(home))) as store:
        return LiveTags(store).read([customer], NOW_US).get(customer, {})


def test_a_merge_moves_history_memory_profile_and_tags_to_the_survivor(filled: Home) -> None:
    before = online(filled)
    link(filled, "pos:1", "2")
    after = online(filled)
    for view in (CUSTOMER_MEMORY, CUSTOMER_PROFILE, CUSTOMER_TAGS):
        assert set(after[view]) == set(before[view]) - {"pos:1"}
        unconcerned = set(after[view]) - {"2"}
        assert {name: after[view][name] for name in unconcerned} == {
            name: before[view][name] for name in unconcerned
        }
        assert after[view]["2"] != before[view]["2"]
    lake = open_lake(filled, settings_of(filled))
    assert "pos:1" not in lake.read()["customer_id"].to_list()
    assert set(tags_of(filled, "2")) == {"interest:TEA", "interest:2", "interest:pos:1"}
    assert tags_of(filled, "2")["interest:TEA"].claimed_at_us == NOW_US


def test_online_features_after_a_merge_are_those_of_the_joined_history(filled: Home) -> None:
    link(filled, "pos:1", "2")
    link(filled, "3", "pos:1")
    loaded = settings_of(filled)
    history = History(open_lake(filled, loaded).read(), loaded.zone, loaded.publication_lag)
    names = ["1", "2", "pos:2"]
    with contextlib.closing(open_packed_store(filled, loaded)) as store:
        found = live(store, names, boundary_us(filled), loaded.zone)
    bulk = bulk_answers(history, names, [NOW_US] * 3)
    assert str(found) == str(bulk)


def live(store: PackedStore, names: list[str], boundary: int, zone: Any) -> list[Any]:
    memories = store.get_many(CUSTOMER_MEMORY, names, now_us=NOW_US, ttl_us=None)
    profiles = store.get_many(CUSTOMER_PROFILE, names, now_us=NOW_US, ttl_us=None)
    stored = store.get_many(KEY_PROFILE, list(store.keys(KEY_PROFILE)), now_us=NOW_US, ttl_us=None)
    keys = {
        column: KeyProfiles.unpack(
            {key.split("\x1f")[1]: row for key, row in stored.items() if key.startswith(column)}
        )
        for column in KEY_COLUMNS
    }
    values = [memories[name].value if name in memories else None for name in names]
    made = LiveCustomers(names, values, [profiles.get(name) for name in names], NOW_US, boundary, keys, zone)
    return live_answers(made)


def test_undoing_restores_lake_and_online_store_byte_for_byte(filled: Home) -> None:
    before, events = online(filled), open_lake(filled, settings_of(filled)).read()
    link(filled, "pos:1", "2")
    link(filled, "2", "pos:2")
    middle = online(filled)
    link(filled, "1", "3")
    unlink(filled, "3", "1")
    assert online(filled) == middle
    unlink(filled, "pos:2", "2")
    unlink(filled, "2", "pos:1")
    assert online(filled) == before
    assert open_lake(filled, settings_of(filled)).read().equals(events)


pairs = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PEOPLE)).filter(lambda pair: pair[0] < pair[1]),
    unique=True,
    min_size=1,
    max_size=5,
)


@settings(max_examples=8)
@given(pairs, st.randoms(use_true_random=False))
def test_links_taken_back_in_any_order_leave_everything_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[str, str]], random: Any
) -> None:
    home = open_home(tmp_path_factory.mktemp("undone") / "home", create=True)
    fill(home)
    before = online(home)
    for pair in links:
        link(home, *pair)
    random.shuffle(links)
    for pair in links:
        unlink(home, *pair)
    assert online(home) == before


def test_what_came_in_meanwhile_stays_with_whom_it_came_in_for(filled: Home) -> None:
    link(filled, "pos:1", "2")
    later = moment(NOW_US + HOUR_US)
    engine = open_engine(None, filled)
    posted = event(999, customer_id="pos:1", event_type="view", event_time=later, source="api")
    EventLog(engine).append(frame([posted]))
    engine.dispose()
    with contextlib.closing(open_packed_store(filled, settings_of(filled))) as store:
        tags = LiveTags(store)
        now = tags.read(["2"], NOW_US)["2"] | {"interest:NEW": tag("interest:NEW", NOW_US + HOUR_US)}
        tags.write({"2": now}, NOW_US + HOUR_US, None)
    unlink(filled, "2", "pos:1")
    found = online(filled)
    assert found[CUSTOMER_MEMORY]["pos:1"].event_us == to_us(later)
    assert found[CUSTOMER_MEMORY]["2"].event_us < to_us(later)
    assert set(tags_of(filled, "2")) == {"interest:2", "interest:NEW", "interest:TEA"}
    assert tags_of(filled, "2")["interest:TEA"].claimed_at_us == NOW_US - 2 * HOUR_US
    assert set(tags_of(filled, "pos:1")) == {"interest:TEA", "interest:pos:1"}


def test_posted_events_that_are_not_in_the_lake_yet_move_too(filled: Home) -> None:
    engine = open_engine(None, filled)
    at = moment(NOW_US + HOUR_US)
    EventLog(engine).append(frame([event(999, customer_id="pos:1", event_time=at, source="api")]))
    engine.dispose()
    link(filled, "pos:1", "2")
    assert online(filled)[CUSTOMER_MEMORY]["2"].event_us == to_us(at)
    read = lake_up_to_date(filled, settings_of(filled)).read(customers=["2"])
    assert to_us(read["event_time"].max()) == to_us(at)


def test_a_change_that_was_cut_short_is_finished_by_the_next(filled: Home) -> None:
    engine = open_engine(None, filled)
    with contextlib.closing(open_packed_store(filled, settings_of(filled))) as store:
        store.put_mark(LINKS_MARK, 0)
    # The line was written, and then the process died.
    Identities(engine).link("pos:1", "2", why="test", at=AT)
    engine.dispose()
    link(filled, "1", "3")
    assert {"pos:1", "3"}.isdisjoint(online(filled)[CUSTOMER_MEMORY])


class Dying(SqlitePackedStore):
    """A store whose process dies in its nth write."""

    def __init__(self, path: Path, writes: int) -> None:
        super().__init__(path)
        self.left = writes

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the process died")
        return super()._transaction()


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_move_that_was_cut_short_in_the_store_loses_nothing(
    filled: Home, tmp_path: Path, writes: int
) -> None:
    before = online(filled)
    whole = open_home(tmp_path / "whole", create=True)
    fill(whole)
    link(whole, "pos:1", "2")
    engine = open_engine(None, filled)
    identities = Identities(engine)
    unlinked = identities.resolution()
    with contextlib.closing(Dying(filled.online_store, writes + 1)) as store:
        store.put_mark(LINKS_MARK, 0)
        identities.link("pos:1", "2", why="test", at=AT)
        with pytest.raises(RuntimeError, match="died"):
            move(store, Lake(filled.lake), Parked(engine), unlinked, identities.resolution(), ["2", "pos:1"])
    engine.dispose()
    link(filled, "1", "3")
    unlink(filled, "1", "3")
    assert online(filled) == online(whole)
    unlink(filled, "pos:1", "2")
    assert online(filled) == before


def test_a_home_without_an_online_store_of_its_own_only_notes_the_link(home: Home) -> None:
    done = change_links(home, settings_of(home), lambda _, log: log.link("a", "b", why="", at=AT))
    assert (done.customers, done.events) == (1, 0)
    assert done.resolution.members("b") == ("a", "b")
    assert online(home)[CUSTOMER_MEMORY] == {}


def test_a_link_waits_for_whoever_reads_customers_and_for_the_stream(filled: Home) -> None:
    waited = threading.Event()
    done = threading.Event()

    def run() -> None:
        change_links(
            filled, settings_of(filled), lambda _, log: log.link("1", "3", why="", at=AT), waited.set
        )
        done.set()

    for lock in (filled.jobs_lock, filled.online_lock):
        waited.clear()
        done.clear()
        with SharedLock(lock).together():
            thread = threading.Thread(target=run)
            thread.start()
            assert waited.wait(10)
            assert not done.is_set()
        thread.join(30)
        assert done.is_set()
        unlink(filled, "1", "3")


def test_tags_of_three_are_joined_the_same_in_whatever_order(filled: Home) -> None:
    found = []
    for order in (["pos:1", "1"], ["1", "pos:1"]):
        for one in order:
            link(filled, "2", one)
        found.append(online(filled)[CUSTOMER_TAGS]["1"])
        for one in order:
            unlink(filled, "2", one)
    assert found[0] == found[1]
    records = msgspec.msgpack.decode(found[0].value, type=list[TagRecord])
    assert [one.evidence.tag_id for one in records] == [
        "interest:1",
        "interest:2",
        "interest:TEA",
        "interest:pos:1",
    ]
