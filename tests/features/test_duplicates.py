from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.duplicates import sort_out
from features.lake import Lake
from tests.features.made_events import MONDAY, event, events, frame

HOUR = timedelta(hours=1)


def positions(rows: pl.DataFrame) -> pl.Series:
    return pl.Series(range(1, rows.height + 1), dtype=pl.Int64)


def test_into_an_empty_lake_everything_is_new(tmp_path: Path) -> None:
    made = events(5)
    found = sort_out(made, positions(made), Lake(tmp_path), until=None)
    assert_frame_equal(found.new, made)
    assert (found.duplicate, found.conflicting.height, found.later) == (0, 0, 0)


def test_no_rows_are_nothing(tmp_path: Path) -> None:
    found = sort_out(events(0), positions(events(0)), Lake(tmp_path), until=None)
    assert found.new.is_empty()
    assert found.conflicting.columns == ["row", "value"]


def test_arriving_later_does_not_make_an_event_another(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.append(events(3))
    again = events(3, ingested_at=MONDAY + timedelta(days=9))
    found = sort_out(again, positions(again), lake, until=None)
    assert found.new.is_empty()
    assert found.duplicate == 3


def test_what_was_known_by_until_is_new_and_the_rest_is_later(tmp_path: Path) -> None:
    made = events(10)
    found = sort_out(made, positions(made), Lake(tmp_path), until=MONDAY + 4 * HOUR)
    assert found.new["event_id"].to_list() == ["e0", "e1", "e2", "e3", "e4"]
    assert found.later == 5


row = st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 8))


@given(stored=st.lists(row, max_size=6, unique_by=lambda r: r[0]), given_rows=st.lists(row, max_size=12))
def test_every_row_is_new_duplicate_conflicting_or_later(
    tmp_path_factory: pytest.TempPathFactory,
    stored: list[tuple[int, int, int]],
    given_rows: list[tuple[int, int, int]],
) -> None:
    def make(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
        return frame(
            [event(n, quantity=quantity, ingested_at=MONDAY + hours * HOUR) for n, quantity, hours in rows]
        )

    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.append(make(stored))
    until: datetime = MONDAY + 4 * HOUR
    kept = {n: quantity for n, quantity, _ in stored}
    new: list[int] = []
    conflicting: list[int] = []
    duplicate = later = 0
    for number, (n, quantity, hours) in enumerate(given_rows):
        if n in kept:
            if kept[n] == quantity:
                duplicate += 1
            else:
                conflicting.append(number + 1)
            continue
        kept[n] = quantity
        if hours <= 4:
            new.append(number)
        else:
            later += 1
    made = make(given_rows)
    found = sort_out(made, positions(made), lake, until=until)
    assert_frame_equal(found.new, made[new])
    assert found.conflicting["row"].to_list() == conflicting
    assert (found.duplicate, found.later) == (duplicate, later)
    assert len(new) + duplicate + len(conflicting) + later == len(given_rows)
