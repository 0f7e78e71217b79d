from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from configs.home import Home, open_home
from features.database import open_engine
from features.errors import EventLogError
from features.event_log import EventLog
from features.lake import Lake
from features.stored_ids import StoredIds
from tests.features.made_events import MONDAY, event, events, frame


@pytest.fixture
def lake(home: Home) -> Lake:
    return Lake(home.lake)


def import_(lake: Lake, rows: pl.DataFrame) -> None:
    with lake.writing():
        lake.append(rows)


def test_an_empty_lake_holds_nothing(lake: Lake) -> None:
    ids = StoredIds(lake)
    assert ids.may_hold(events(3)) == []
    assert ids.find(events(0)).is_empty()


def test_what_was_imported_is_known_by_source_and_id(lake: Lake) -> None:
    import_(lake, events(5))
    ids = StoredIds(lake)
    asked = frame([event(9), event(3), event(3, source="other"), event(0, quantity=4)])
    assert ids.may_hold(asked) == [1, 3]
    assert_frame_equal(
        ids.find(asked[[1, 3]]).sort("event_id"), events(5).filter(pl.col("event_id").is_in(["e0", "e3"]))
    )


def test_source_and_id_do_not_run_into_each_other(lake: Lake) -> None:
    import_(lake, frame([event(0, source="ab", event_id="c")]))
    assert StoredIds(lake).may_hold(frame([event(0, source="a", event_id="bc")])) == []


def test_a_later_import_is_noticed(lake: Lake) -> None:
    ids = StoredIds(lake)
    for count in (2, 4, 6):
        import_(lake, events(count)[count - 2 :])
        assert ids.may_hold(events(8)) == list(range(count))


def test_whatever_is_there_while_somebody_still_writes_is_looked_for_every_time(lake: Lake) -> None:
    ids = StoredIds(lake)
    with lake.writing():
        lake.append(events(2))
        assert ids.may_hold(events(4)) == [0, 1]
        lake.append(events(4)[2:])
        assert ids.may_hold(events(4)) == [0, 1, 2, 3]


def test_a_lake_that_nobody_wrote_to_is_not_listed_again(lake: Lake) -> None:
    import_(lake, events(2))
    ids = StoredIds(lake)
    ids.refresh()
    lake.append(events(4)[2:])
    assert ids.may_hold(events(4)) == [0, 1]


def test_compaction_and_merging_while_it_is_in_use_lose_nothing(home: Home, lake: Lake) -> None:
    engine = open_engine(None, home)
    ids = StoredIds(lake)
    log = EventLog(engine, ids)
    for number in range(12):
        log.append(frame([event(number)]))
        log.compact(lake)
        assert ids.may_hold(events(20)) == list(range(number + 1))
    # Each at least `GROWTH` times as long as the next: no more than the logarithm of their length.
    assert [len(run) for run in ids._runs] == sorted((len(run) for run in ids._runs), reverse=True)
    assert len(ids._runs) <= 3
    lake.tidy(many_parts=0)
    assert ids.may_hold(events(20)) == list(range(12))
    assert_frame_equal(ids.find(events(12)).sort("event_time"), lake.read())
    engine.dispose()


def test_after_a_restart_an_imported_event_is_still_known(home: Home, lake: Lake) -> None:
    for expected in ([], [0, 1, 2]):
        engine = open_engine(None, home)
        receipt = EventLog(engine, StoredIds(Lake(home.lake))).append(events(3))
        assert receipt.duplicates == expected
        engine.dispose()
        import_(lake, events(3).filter(~pl.col("event_id").is_in(lake.read()["event_id"].implode())))


def test_what_was_erased_from_the_lake_is_a_hit_that_is_not_confirmed(home: Home, lake: Lake) -> None:
    import_(lake, frame([event(0, customer_id="ann"), event(1, customer_id="bob")]))
    ids = StoredIds(lake)
    ids.refresh()
    lake.forget(["ann"])
    assert ids.find(events(2)[ids.may_hold(events(2))])["event_id"].to_list() == ["e1"]
    engine = open_engine(None, home)
    assert EventLog(engine, ids).append(events(1)).stored.height == 1
    engine.dispose()


def test_a_damaged_part_is_named(lake: Lake) -> None:
    import_(lake, events(1))
    next(lake.root.glob("*/*.parquet")).write_bytes(b"nothing")
    with pytest.raises(EventLogError, match="the lake cannot be read"):
        StoredIds(lake).refresh()


@settings(max_examples=25, deadline=None)
@given(
    imported=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6)), unique=True, max_size=8),
    asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=12),
)
def test_hits_are_exactly_what_a_set_of_pairs_finds(
    tmp_path_factory: pytest.TempPathFactory,
    imported: list[tuple[str, int]],
    asked: list[tuple[str, int]],
) -> None:
    lake = Lake(open_home(tmp_path_factory.mktemp("lake") / "home", create=True).lake)
    rows = [event(n, source=s, event_time=MONDAY + timedelta(days=n)) for s, n in imported]
    import_(lake, frame(rows))
    expected = [place for place, pair in enumerate(asked) if pair in set(imported)]
    given_rows = frame([event(n, source=s) for s, n in asked])
    ids = StoredIds(lake)
    assert ids.may_hold(given_rows) == expected
    found = ids.find(given_rows[expected])
    assert {(s, int(name[1:])) for s, name in found.select("source", "event_id").iter_rows()} == {
        asked[place] for place in expected
    }
