from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
import sqlalchemy.dialects.mysql
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from configs.home import Home, open_home
from features.database import open_engine
from features.errors import EventLogError
from features.event_log import EVENT_LOG, EventLog
from features.events import EVENT_SCHEMA
from features.lake import Lake
from features.stored_ids import StoredIds
from tests.features.made_events import MONDAY, event, events, frame
from tests.features.postgres_database import empty_postgres_schema


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(home: Home, request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    with database(request.param) as url:
        opened = open_engine(url, home)
        yield opened
        opened.dispose()


def database(kind: str) -> AbstractContextManager[str | None]:
    return empty_postgres_schema() if kind == "postgresql" else nullcontext(None)


sqlite_only = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def log(engine: sa.Engine) -> EventLog:
    return EventLog(engine)


def test_appended_events_are_numbered_and_read_back_whole(log: EventLog) -> None:
    made = events(7, brand=None, item_id="牛奶/é", ingested_at=MONDAY + timedelta(days=9, microseconds=1))
    receipt = log.append(made)
    assert receipt.stored["seq"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    assert receipt.duplicates == []
    assert receipt.conflicts == []
    assert_frame_equal(receipt.stored.drop("seq"), made)
    assert_frame_equal(log.read_after(0, 100), receipt.stored)
    assert log.last_seq() == 7


def test_reading_goes_on_where_it_stopped(log: EventLog) -> None:
    log.append(events(10))
    first = log.read_after(0, 4)
    rest = log.read_after(first["seq"][-1], 100)
    assert first["event_id"].to_list() == ["e0", "e1", "e2", "e3"]
    assert rest["event_id"].to_list() == ["e4", "e5", "e6", "e7", "e8", "e9"]
    assert log.read_after(10, 100).is_empty()
    assert log.read_after(10, 100).schema == EVENT_SCHEMA | {"seq": pl.Int64}


def test_the_same_event_again_is_a_duplicate_even_if_it_arrives_later(log: EventLog) -> None:
    log.append(events(3))
    again = frame([event(1, ingested_at=MONDAY + timedelta(days=30)), event(5)])
    receipt = log.append(again)
    assert receipt.duplicates == [0]
    assert receipt.stored["event_id"].to_list() == ["e5"]
    assert log.read_after(0, 100).height == 4


def test_another_content_under_the_same_id_is_a_conflict(log: EventLog) -> None:
    log.append(events(3))
    receipt = log.append(frame([event(1, amount_minor=None), event(2, source="other"), event(0)]))
    assert receipt.conflicts == [0]
    assert receipt.duplicates == [2]
    assert receipt.stored["source"].to_list() == ["other"]


def test_within_one_append_the_first_of_an_id_counts(log: EventLog) -> None:
    receipt = log.append(frame([event(1), event(1), event(1, quantity=2), event(2)]))
    assert receipt.stored["event_id"].to_list() == ["e1", "e2"]
    assert receipt.duplicates == [1]
    assert receipt.conflicts == [2]


def test_nothing_appended_changes_nothing(log: EventLog) -> None:
    receipt = log.append(events(0))
    assert receipt.stored.is_empty()
    assert receipt.stored.schema == EVENT_SCHEMA | {"seq": pl.Int64}
    assert log.last_seq() == 0


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.sampled_from("ab")), max_size=15))
def test_every_row_is_stored_or_a_duplicate_or_a_conflict(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, str]]
) -> None:
    home = open_home(tmp_path_factory.mktemp("log") / "home", create=True)
    engine = open_engine(None, home)
    log = EventLog(engine)
    made = frame([event(n, quantity=quantity, source=source) for n, quantity, source in rows])
    half = len(rows) // 2
    kept: dict[tuple[str, int], int] = {}
    for part in (range(half), range(half, len(rows))):
        expected: dict[str, list[int]] = {"stored": [], "duplicates": [], "conflicts": []}
        for place, number in enumerate(part):
            n, quantity, source = rows[number]
            if (source, n) not in kept:
                kept[source, n] = quantity
                expected["stored"].append(place)
            elif kept[source, n] == quantity:
                expected["duplicates"].append(place)
            else:
                expected["conflicts"].append(place)
        given_rows = made[part.start : part.stop]
        receipt = log.append(given_rows)
        assert receipt.duplicates == expected["duplicates"]
        assert receipt.conflicts == expected["conflicts"]
        assert_frame_equal(receipt.stored.drop("seq"), given_rows[expected["stored"]])
    engine.dispose()


def test_compaction_copies_each_event_into_the_lake_once(log: EventLog, home: Home) -> None:
    lake = Lake(home.lake)
    log.append(events(30))
    assert log.compact(lake) == 30
    assert log.compact(lake) == 0
    log.append(events(40))
    assert log.compact(lake) == 10
    assert_frame_equal(lake.read(), events(40))
    assert log.read_after(0, 100).height == 40


def test_a_compaction_that_died_before_it_was_noted_is_not_repeated(
    log: EventLog, engine: sa.Engine, home: Home
) -> None:
    lake = Lake(home.lake)
    log.append(events(12))
    log.compact(lake)
    with engine.begin() as connection:
        connection.execute(sa.update(EVENT_LOG).values(compacted=False))
    assert log.compact(lake) == 0
    assert lake.row_count() == 12


def test_an_event_that_the_lake_has_already_stays_as_it_is_there(log: EventLog, home: Home) -> None:
    lake = Lake(home.lake)
    lake.append(events(2))
    log.append(frame([event(0, amount_minor=1), event(0, source="other"), event(5)]))
    assert log.compact(lake) == 2
    amounts = lake.read().filter(event_id="e0", source="shop")["amount_minor"].to_list()
    assert amounts == [100]


def test_writers_at_the_same_time_store_each_event_once(engine: sa.Engine) -> None:
    receipts = []

    def write() -> None:
        log = EventLog(engine)
        receipts.extend(log.append(events(50)[start : start + 5]) for start in range(0, 50, 5))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(receipt.stored.height for receipt in receipts) == 50
    assert sum(len(receipt.duplicates) for receipt in receipts) == 150
    assert EventLog(engine).read_after(0, 1000)["event_id"].n_unique() == 50


def _append_and_die(root: Path) -> None:
    log = EventLog(open_engine(None, open_home(root, create=False)))
    log.append(events(5))
    os.kill(os.getpid(), 9)


def test_what_was_appended_survives_the_death_of_its_process(home: Home) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_append_and_die, args=(home.root,))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    engine = open_engine(None, home)
    assert EventLog(engine).last_seq() == 5
    engine.dispose()


def _append_slowly(url: str, root: Path, source: str, ready: Any) -> None:
    log = EventLog(open_engine(url, open_home(root, create=False)))
    ready.wait()
    for start in range(0, 60, 3):
        log.append(events(60)[start : start + 3].with_columns(source=pl.lit(source)))


def test_in_postgresql_a_reader_meets_every_row_though_several_processes_append(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    with empty_postgres_schema() as url:
        engine = open_engine(url, home)
        log = EventLog(engine)
        ready = context.Barrier(2)
        processes = [
            context.Process(target=_append_slowly, args=(url, home.root, source, ready)) for source in "ab"
        ]
        for process in processes:
            process.start()
        found: list[tuple[str, str]] = []
        seq = 0
        while len(found) < 120 and any(process.is_alive() for process in processes):
            rows = log.read_after(seq, 1000)
            seq = max([seq, *rows["seq"].to_list()])
            found += rows.select("source", "event_id").rows()
        for process in processes:
            process.join(60)
        found += log.read_after(seq, 1000).select("source", "event_id").rows()
        engine.dispose()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(found) == len(set(found)) == 120


@sqlite_only
def test_sqlite_writes_ahead_and_syncs_every_commit(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_number_is_never_given_twice(log: EventLog, engine: sa.Engine) -> None:
    log.append(events(3))
    with engine.begin() as connection:
        connection.execute(sa.delete(EVENT_LOG).where(EVENT_LOG.c.seq == 3))
    assert log.append(frame([event(9)])).stored["seq"][0] > 3


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "TAGTIDE_DATABASE_URL is no database URL"),
        ("nosuch://u:secret@h/d", "TAGTIDE_DATABASE_URL needs a driver that is not installed"),
    ],
)
def test_a_wrong_database_url_is_refused_without_showing_it(home: Home, url: str, message: str) -> None:
    with pytest.raises(EventLogError, match=message) as caught:
        open_engine(url, home)
    assert "secret" not in str(caught.value)


def test_a_database_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    engine = open_engine(None, Home(tmp_path / "nowhere"))
    with pytest.raises(EventLogError, match="unable to open database file") as caught:
        EventLog(engine)
    assert "\n" not in caught.value.message


def test_another_kind_of_database_is_refused(home: Home) -> None:
    class Elsewhere:
        dialect = sa.dialects.mysql.dialect()

    with pytest.raises(EventLogError, match="database is 'mysql'; expected one of sqlite, postgresql"):
        EventLog(Elsewhere())  # type: ignore[arg-type]  # all that is asked of it here is its dialect


def test_an_event_the_lake_holds_is_a_duplicate_or_a_conflict_and_is_not_stored_again(
    engine: sa.Engine, home: Home
) -> None:
    lake = Lake(home.lake)
    lake.append(events(4))
    log = EventLog(engine, StoredIds(lake))
    later = MONDAY + timedelta(days=40)
    given = frame(
        [event(1, ingested_at=later), event(2, quantity=7), event(2, source="other"), event(9), event(1)]
    )
    receipt = log.append(given)
    assert receipt.stored.select("source", "event_id").rows() == [("other", "e2"), ("shop", "e9")]
    assert (receipt.duplicates, receipt.conflicts) == ([0, 4], [1])
    again = log.append(given)
    assert (again.stored.height, again.duplicates, again.conflicts) == (0, [0, 2, 3, 4], [1])
    assert log.read_after(0, 100).height == 2


def test_an_event_in_the_log_is_judged_by_the_log_after_its_compaction_too(
    engine: sa.Engine, home: Home
) -> None:
    lake = Lake(home.lake)
    log = EventLog(engine, StoredIds(lake))
    log.append(events(5))
    for _ in range(2):
        receipt = log.append(frame([event(3), event(4, quantity=9)]))
        assert (receipt.duplicates, receipt.conflicts) == ([0], [1])
        log.compact(lake)
    assert lake.row_count() == 5


def test_what_is_forgotten_is_gone_and_its_numbers_are_not_given_again(log: EventLog) -> None:
    log.append(frame([event(n, customer_id=name, source=source) for n, (name, source) in enumerate(OWNERS)]))
    assert log.forget([("shop", "ann"), ("till", "bob")]) == 3
    assert log.read_after(0, 100).select("source", "customer_id").rows() == [("shop", "bob"), ("till", "ann")]
    assert log.forget([("shop", "ann")]) == 0
    assert log.append(frame([event(9)])).stored["seq"].to_list()[0] > len(OWNERS)


OWNERS = [("ann", "shop"), ("bob", "shop"), ("ann", "till"), ("bob", "till"), ("ann", "shop")]


def test_only_what_happened_by_then_is_forgotten(log: EventLog) -> None:
    log.append(frame([event(n, customer_id="ann", event_time=MONDAY + timedelta(hours=n)) for n in range(6)]))
    assert log.forget([("shop", "ann")], MONDAY + timedelta(hours=2)) == 3
    assert log.read_after(0, 100)["event_id"].to_list() == ["e3", "e4", "e5"]


@sqlite_only
def test_no_file_of_sqlite_holds_a_byte_of_who_was_forgotten(log: EventLog, home: Home) -> None:
    rows = [
        event(n, customer_id=f"customer-{n % 97:03}", event_id=f"{n * 7919 % 100_003:06}-{n}")
        for n in range(3000)
    ]
    for start in range(0, 3000, 100):
        log.append(frame(rows[start : start + 100]))
    erased = [f"customer-{n:03}" for n in range(0, 97, 8)]
    log.forget([("shop", name) for name in erased])
    files = list(home.root.glob("tagtide.db*"))
    content = b"".join(file.read_bytes() for file in files)
    assert files
    assert [name for name in erased if name.encode() in content] == []
    assert b"customer-001" in content
