from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.errors import EventLogError
from features.events import EVENT_SCHEMA
from features.lake import Lake
from tests.features.made_events import MONDAY, event, events, frame

HOUR = timedelta(hours=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_a_lake_without_events_is_empty_and_has_no_folder(lake: Lake) -> None:
    assert lake.is_empty()
    assert lake.span() is None
    assert lake.row_count() == 0
    assert lake.read().schema == EVENT_SCHEMA
    assert lake.append(events(0)) == 0
    assert lake.tidy() == 0
    assert not lake.root.exists()


def test_what_is_appended_is_read_back_in_the_order_of_time(lake: Lake) -> None:
    made = events(60)
    assert lake.append(made.sample(fraction=1.0, shuffle=True, seed=1)) == 60
    assert_frame_equal(lake.read(), made)
    assert lake.row_count() == 60
    assert lake.span() == (MONDAY, MONDAY + 59 * HOUR)
    assert not lake.is_empty()


def test_each_utc_day_has_a_folder(lake: Lake) -> None:
    lake.append(events(60))
    assert [path.name for path in sorted(lake.root.iterdir())] == [
        "day=2017-05-01",
        "day=2017-05-02",
        "day=2017-05-03",
    ]
    last_of_day = MONDAY + timedelta(days=1, microseconds=-1)
    lake.append(frame([event(99, event_time=last_of_day)]))
    part = pl.concat(pl.read_parquet(path) for path in (lake.root / "day=2017-05-01").glob("*.parquet"))
    assert part["event_time"].max() == last_of_day


def test_a_folder_that_need_not_be_read_is_not_opened(lake: Lake) -> None:
    lake.append(events(24 * 5))
    for day in ("2017-05-01", "2017-05-02", "2017-05-05"):
        for part in (lake.root / f"day={day}").glob("*.parquet"):
            part.write_bytes(b"no parquet")
    found = lake.read(since=MONDAY + timedelta(days=2), until=MONDAY + timedelta(days=4, microseconds=-1))
    assert found.height == 47
    with pytest.raises(EventLogError, match="cannot be read"):
        lake.read()


bounds = st.none() | st.integers(-3, 80).map(lambda hours: MONDAY + hours * HOUR)


@given(known_by=bounds, since=bounds, until=bounds)
def test_bounds_keep_what_a_plain_filter_keeps(
    tmp_path_factory: pytest.TempPathFactory,
    known_by: datetime | None,
    since: datetime | None,
    until: datetime | None,
) -> None:
    lake = Lake(tmp_path_factory.getbasetemp() / "bounded")
    made = frame([event(n, ingested_at=MONDAY + n * HOUR + (n * 7 % 30) * HOUR) for n in range(75)])
    if lake.is_empty():
        lake.append(made)
    expected = [
        row["event_id"]
        for row in made.iter_rows(named=True)
        if (known_by is None or (row["ingested_at"] <= known_by and row["event_time"] <= known_by))
        and (since is None or row["event_time"] > since)
        and (until is None or row["event_time"] <= until)
    ]
    found = lake.read(known_by=known_by, since=since, until=until, columns=["event_id"])
    assert found["event_id"].to_list() == expected


def test_an_event_stamped_ahead_of_its_arrival_is_known_only_when_it_happened(lake: Lake) -> None:
    lake.append(frame([event(0, event_time=MONDAY + timedelta(minutes=3), ingested_at=MONDAY)]))
    assert lake.read(known_by=MONDAY + timedelta(minutes=2)).is_empty()
    assert lake.read(known_by=MONDAY + timedelta(minutes=3)).height == 1


def test_existing_finds_the_ids_of_that_source_only(lake: Lake) -> None:
    lake.append(events(30))
    lake.append(events(30, source="other", amount_minor=5))
    found = lake.existing("shop", pl.Series(["e3", "e7", "e3", "nobody"]))
    assert found["event_id"].to_list() == ["e3", "e7"]
    assert found["source"].unique().to_list() == ["shop"]
    assert lake.existing("shop", pl.Series(["nobody"])).is_empty()
    assert lake.existing("third", pl.Series(["e3"])).is_empty()


def test_tidying_leaves_one_part_a_day_and_every_event(lake: Lake) -> None:
    made = events(48)
    for number in range(48):
        lake.append(made[number : number + 1])
    assert lake.tidy(many_parts=30) == 0
    assert lake.tidy(many_parts=5) == 2
    assert all(len(list(folder.iterdir())) == 1 for folder in lake.root.glob("day=*"))
    assert_frame_equal(lake.read(), made)
    assert lake.tidy(many_parts=5) == 0


def test_a_merge_cut_short_before_its_rename_leaves_the_old_parts_valid(lake: Lake) -> None:
    made = events(4)
    for number in range(4):
        lake.append(made[number : number + 1])
    folder = lake.root / "day=2017-05-01"
    old = [path.name for path in folder.glob("*.parquet")]
    (folder / "merged-a.replaces").write_text("\n".join(old))
    assert_frame_equal(lake.read(), made)
    lake.tidy(many_parts=10)
    assert not list(folder.glob("*.replaces"))
    assert_frame_equal(lake.read(), made)


def test_a_merge_cut_short_after_its_rename_shows_each_event_once(lake: Lake) -> None:
    made = events(4)
    for number in range(4):
        lake.append(made[number : number + 1])
    folder = lake.root / "day=2017-05-01"
    old = [path.name for path in folder.glob("*.parquet")]
    (folder / "merged-a.replaces").write_text("\n".join(old))
    made.write_parquet(folder / "merged-a.parquet")
    assert lake.row_count() == 4
    assert_frame_equal(lake.read(), made)
    lake.tidy(many_parts=10)
    assert [path.name for path in folder.iterdir()] == ["merged-a.parquet"]
    assert_frame_equal(lake.read(), made)


def test_readers_see_every_event_once_while_parts_are_merged(lake: Lake) -> None:
    made = events(20)
    for number in range(20):
        lake.append(made[number : number + 1])
    stop = threading.Event()
    counts: list[int] = []

    def keep_reading() -> None:
        while not stop.is_set():
            counts.append(lake.read().height)

    reader = threading.Thread(target=keep_reading)
    reader.start()
    for number in range(20, 60):
        lake.append(frame([event(number, event_time=MONDAY - timedelta(days=3))]))
        lake.tidy(many_parts=2)
    stop.set()
    reader.join()
    assert counts
    assert counts == sorted(counts)
    assert counts[0] >= 20
    assert lake.read().height == 60


def test_a_half_written_part_is_not_read(lake: Lake) -> None:
    lake.append(events(3))
    (lake.root / "day=2017-05-01" / ".half.parquet").write_bytes(b"PAR1")
    assert lake.read().height == 3


def test_only_one_writer_holds_the_lake(lake: Lake) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with lake.writing():
            order.append("second")

    with lake.writing():
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait(5)
        thread.join(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    with pytest.raises(EventLogError, match=r"cannot write .*lake"):
        Lake(tmp_path / "lake").append(events(1))


class Merged:
    """Says that ``c1`` is ``c0``."""

    def resolve(self, events: pl.DataFrame) -> pl.DataFrame:
        return events.with_columns(pl.col("customer_id").replace("c1", "c0"))

    def spellings(self, customers: Collection[str]) -> set[str]:
        return {*customers, *(["c1"] if "c0" in customers else [])}


def test_parts_keep_the_id_an_event_came_with_and_readers_get_the_customer(lake: Lake) -> None:
    made = events(30)
    lake.append(made)
    read = Lake(lake.root, Merged()).read()
    assert read["customer_id"].to_list() == made["customer_id"].replace("c1", "c0").to_list()
    assert read.drop("customer_id").equals(made.drop("customer_id"))
    assert_frame_equal(lake.read(), made)
    assert_frame_equal(Lake(lake.root, Merged()).existing("shop", made["event_id"]), made)
    assert Lake(lake.root, Merged()).read(columns=["event_id"]).columns == ["event_id"]


@pytest.mark.parametrize("customers", [["c0"], ["c2", "c0"], ["nobody"], []])
def test_only_some_customers_are_read_under_whatever_ids_they_are_stored(
    lake: Lake, customers: list[str]
) -> None:
    lake.append(events(60))
    for reader in (lake, Lake(lake.root, Merged())):
        expected = reader.read().filter(pl.col("customer_id").is_in(customers))
        assert_frame_equal(reader.read(customers=customers), expected)


def test_forgotten_customers_leave_no_row_and_everybody_else_all_of_theirs(lake: Lake) -> None:
    made = events(60)
    lake.append(made[:30])
    lake.append(made[30:])
    lake.append(frame([event(99, customer_id="alone", event_time=MONDAY + timedelta(days=40))]))
    done = lake.forget(["c1", "alone", "nobody"])
    assert (done.rows, done.latest) == (21, MONDAY + timedelta(days=40))
    assert_frame_equal(lake.read(), made.filter(pl.col("customer_id") != "c1"))
    assert lake.span() == (MONDAY, MONDAY + 59 * HOUR)
    again = lake.forget(["c1", "alone", "nobody"])
    assert (again.rows, again.latest) == (0, None)


def test_forgetting_clears_away_what_a_crashed_writer_left(lake: Lake) -> None:
    made = events(4)
    for number in range(4):
        lake.append(made[number : number + 1])
    folder = lake.root / "day=2017-05-01"
    old = [path.name for path in folder.glob("*.parquet")]
    (folder / "merged-a.replaces").write_text("\n".join(old))
    made.write_parquet(folder / "merged-a.parquet")
    made.write_parquet(folder / ".half.parquet")
    lake.forget(["c0"])
    assert [path.name for path in folder.iterdir()] == ["merged-a.parquet"]
    assert_frame_equal(lake.read(), made.filter(pl.col("customer_id") != "c0"))


def test_a_lake_that_is_not_there_has_nobody_to_forget(lake: Lake) -> None:
    assert lake.forget(["c0"]).rows == 0
    assert not lake.root.exists()


def test_a_part_that_cannot_be_read_is_named_when_somebody_is_to_be_forgotten(lake: Lake) -> None:
    lake.append(events(3))
    next((lake.root / "day=2017-05-01").glob("*.parquet")).write_bytes(b"no parquet")
    with pytest.raises(EventLogError, match="cannot be read"):
        lake.forget(["c0"])
