from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from configs.home import Home, open_home
from features.errors import EventLogError
from features.event_log import EVENT_LOG, EventLog, open_engine
from features.events import EVENT_SCHEMA
from features.lake import Lake
from tests.features.made_events import MONDAY, event, events, frame


@pytest.fixture
def engine(home: Home) -> Iterator[sa.Engine]:
    opened = open_engine(None, home)
    yield opened
    opened.dispose()


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


def test_in_postgresql_too_the_table_numbers_its_rows_by_itself() -> None:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    dialect = postgresql.dialect()
    assert "BIGSERIAL" in str(CreateTable(EVENT_LOG).compile(dialect=dialect))
