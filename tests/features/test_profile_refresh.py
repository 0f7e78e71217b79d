from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import FeatureStoreError
from features.events import EVENT_SCHEMA
from features.history import History
from features.known_events import KnownEvents
from features.packed_store import (
    CUSTOMER_MEMORY,
    CUSTOMER_PROFILE,
    KEY_PROFILE,
    PackedRow,
    PackedStore,
    profile_key,
)
from features.profile import KEY_SUMS, PAIR_SUMS
from features.profile_refresh import PROFILE_STATE, STATE_KEY, ProfileRefresh, Refreshed, State, take_off
from features.publishing import key_rows, profile_rows
from features.redis_packed_store import RedisPackedStore
from features.sqlite_packed_store import SqlitePackedStore
from features.windows import DAY_US, HOUR_US, from_us, to_us
from tests.features.made_events import MONDAY, event, frame
from tests.features.real_streams import completejourney
from tests.features.redis_database import empty_redis_database
from tests.features.streams import START, streams

UTC_ZONE = ZoneInfo("UTC")
LAG = timedelta(hours=1)
DAY_0 = to_us(MONDAY) + 3 * DAY_US
VIEWS = (CUSTOMER_PROFILE, KEY_PROFILE)

Rows = dict[str, PackedRow]


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PackedStore]:
    if request.param == "sqlite":
        opened: PackedStore = SqlitePackedStore(tmp_path / "online.db")
        yield opened
        opened.close()
    else:
        with empty_redis_database() as url:
            opened = RedisPackedStore(url, "tagtide")
            yield opened
            opened.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[SqlitePackedStore]:
    opened = SqlitePackedStore(tmp_path / "embedded.db")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def emptied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlitePackedStore]:
    """A store for generated examples, each of which empties it first."""
    opened = SqlitePackedStore(tmp_path_factory.mktemp("refresh") / "online.db")
    yield opened
    opened.close()


def refresh(
    store: PackedStore,
    events: pl.DataFrame,
    boundary_us: int,
    *,
    full: bool = False,
    zone: ZoneInfo = UTC_ZONE,
) -> Refreshed:
    """Refresh as the service does: the history is made of the events of those who are computed."""
    known = events.filter(pl.max_horizontal("event_time", "ingested_at") <= from_us(boundary_us))

    def history_of(customers: Sequence[str] | None) -> History:
        chosen = known
        if customers is not None:
            chosen = known.filter(
                pl.col("customer_id").is_in(pl.Series(customers, dtype=pl.String).implode())
            )
        return History(chosen, zone, LAG)

    return ProfileRefresh(store, KnownEvents(events, boundary_us), full=full).run(history_of)


def stored(store: PackedStore) -> dict[str, Rows]:
    return {view: store.get_many(view, list(store.keys(view)), now_us=0, ttl_us=None) for view in VIEWS}


def in_bulk(events: pl.DataFrame, boundary_us: int, zone: ZoneInfo = UTC_ZONE) -> dict[str, Rows]:
    """What is to be stored, from everything known by the boundary and nothing else."""
    known = events.filter(pl.max_horizontal("event_time", "ingested_at") <= from_us(boundary_us))
    history = History(known, zone, LAG)
    rows = profile_rows(history, boundary_us), key_rows(history, boundary_us)
    return {view: {row.key: row for row in some} for view, some in zip(VIEWS, rows, strict=True)}


def shop(days: int = 6) -> pl.DataFrame:
    """Everyone buys tea on the first day, and one of nine customers something else each day after."""
    rows = [event(number, customer_id=f"c{number}") for number in range(9)]
    for day in range(days):
        at = MONDAY + timedelta(days=day)
        rows.append(event(10 + day, customer_id=f"c{day % 9}", category=f"CAKE {day}", event_time=at))
    return frame(rows)


FIRST_DAYS = st.sampled_from([*range(1, 45, 2), *range(89, 131, 5), *range(365, 405, 5)])


@settings(max_examples=60)
@given(streams(max_events=30, customers=5), FIRST_DAYS, st.lists(st.integers(0, 3), max_size=3), st.data())
def test_day_by_day_the_stored_profiles_are_those_made_of_everything(
    emptied: SqlitePackedStore,
    rows: list[dict[str, Any]],
    first: int,
    steps: list[int],
    data: st.DataObject,
) -> None:
    for view in (*VIEWS, PROFILE_STATE):
        emptied.drop(view)
    everything = pl.DataFrame(rows, schema=EVENT_SCHEMA)
    boundary, built_on = to_us(START) + first * DAY_US, None
    for number, days in enumerate([0, *steps]):
        boundary += days * DAY_US
        # Between two refreshes the lake loses and gains events of any age, and customers are joined.
        missing = data.draw(st.sets(st.sampled_from([row["event_id"] for row in rows]))) if rows else set()
        joined = data.draw(st.dictionaries(st.sampled_from(["c1", "c2", "c3"]), st.just("c4"), max_size=2))
        lake = everything.filter(~pl.col("event_id").is_in(missing)).with_columns(
            pl.col("customer_id").replace(joined)
        )
        done = refresh(emptied, lake, boundary)
        if not KnownEvents(lake, boundary).is_empty:
            assert stored(emptied) == in_bulk(lake, boundary)
            assert bool(done.why_full) is (built_on is None), (number, done)
            assert (done.customers, done.keys) == tuple(emptied.count(view) for view in VIEWS)
            built_on = boundary
        elif built_on is not None:
            return


def test_only_who_can_have_changed_is_computed_and_the_others_are_carried_forward(store: PackedStore) -> None:
    events = shop()
    assert refresh(store, events, DAY_0).how == "full"
    done = refresh(store, events, DAY_0 + DAY_US)
    assert stored(store) == in_bulk(events, DAY_0 + DAY_US)
    # One customer bought on that day, and nothing lies seven days back yet.
    assert done == Refreshed(
        boundary_us=DAY_0 + DAY_US,
        how="incremental",
        why_full="",
        customers=9,
        computed=1,
        keys=6,
        keys_computed=1,
        removed=0,
    )
    # The first purchase leaves the week at its very microsecond, the other customers' ones the day after.
    for days, computed in ((4, 2), (5, 8)):
        done = refresh(store, events, DAY_0 + days * DAY_US)
        assert (done.how, done.computed) == ("incremental", computed)
        assert stored(store) == in_bulk(events, DAY_0 + days * DAY_US)


def test_doing_it_again_changes_nothing_and_says_so(store: PackedStore) -> None:
    events = shop()
    refresh(store, events, DAY_0)
    before = stored(store)
    again = refresh(Unwritable(store), events, DAY_0)
    assert (again.how, again.why_full, again.computed, again.keys_computed) == ("unchanged", "", 0, 0)
    assert (again.customers, again.keys) == (9, 5)
    assert stored(store) == before


def test_what_was_known_earlier_but_is_in_the_lake_only_now_is_made_good(store: PackedStore) -> None:
    events = shop()
    refresh(store, events[1:], DAY_0)
    for boundary in (DAY_0, DAY_0 + DAY_US):
        done = refresh(store, events, boundary)
        assert done.how == "incremental"
        assert stored(store) == in_bulk(events, boundary)
    assert refresh(store, events, DAY_0 + DAY_US).how == "unchanged"


def test_a_customer_of_whom_nothing_is_known_any_more_is_removed(store: PackedStore) -> None:
    events = shop()
    refresh(store, events, DAY_0)
    joined = events.with_columns(pl.col("customer_id").replace({"c8": "c7"}))
    done = refresh(store, joined, DAY_0 + DAY_US)
    assert (done.how, done.customers, done.removed) == ("incremental", 8, 1)
    assert stored(store) == in_bulk(joined, DAY_0 + DAY_US)
    assert refresh(store, joined.filter(pl.col("customer_id") != "c1"), DAY_0 + DAY_US).removed == 2


def test_an_erased_customer_is_taken_off_the_sums_of_their_keys(store: PackedStore) -> None:
    events = shop()
    refresh(store, events, DAY_0)
    assert store.erase("c2") == 1
    rest = events.filter(pl.col("customer_id") != "c2")
    done = refresh(store, rest, DAY_0 + DAY_US)
    assert done.how == "full"
    assert "expected 9 rows of 'customer_profile'" in done.why_full
    assert "found 8 among 8" in done.why_full
    assert stored(store) == in_bulk(rest, DAY_0 + DAY_US)
    assert refresh(store, rest, DAY_0 + 2 * DAY_US).how == "incremental"


def test_a_customer_who_was_taken_off_is_in_no_sum_and_the_rest_is_built_on(store: PackedStore) -> None:
    events = shop()
    refresh(store, events, DAY_0)
    assert take_off(store, ["c2", "c3", "nobody"]) == 2
    rest = events.filter(~pl.col("customer_id").is_in(["c2", "c3"]))
    expected, found = in_bulk(rest, DAY_0), stored(store)
    # The cake that only they bought is a category with nothing in it until the next refresh.
    assert set(found[KEY_PROFILE]) - set(expected[KEY_PROFILE]) == {
        profile_key("category", "CAKE 2"),
        profile_key("category", "CAKE 3"),
    }
    assert found[CUSTOMER_PROFILE] == expected[CUSTOMER_PROFILE]
    assert expected[KEY_PROFILE].items() <= found[KEY_PROFILE].items()
    done = refresh(store, rest, DAY_0 + DAY_US)
    assert (done.how, done.removed) == ("incremental", 2)
    assert stored(store) == in_bulk(rest, DAY_0 + DAY_US)
    assert take_off(store, ["c2"]) == 0


def test_taking_off_from_profiles_nobody_may_build_on_leaves_it_at_that(embedded: SqlitePackedStore) -> None:
    assert take_off(embedded, ["c1"]) == 0
    embedded.put_many(CUSTOMER_PROFILE, [PackedRow("c1", DAY_0, b"never recorded")])
    assert take_off(embedded, ["c1"]) == 1
    refresh(embedded, shop(), DAY_0)
    spoilt = [PackedRow("c0", DAY_0, b"damaged"), PackedRow("c1", DAY_0 + 1, b"of another refresh")]
    embedded.put_many(CUSTOMER_PROFILE, spoilt)
    assert take_off(embedded, ["c0"]) == 1
    refresh(embedded, shop(), DAY_0)
    embedded.put_many(CUSTOMER_PROFILE, spoilt[1:])
    assert take_off(embedded, ["c1"]) == 1
    rest = shop().filter(pl.col("customer_id") != "c1")
    assert refresh(embedded, rest, DAY_0 + DAY_US).why_full == "no earlier refresh is on record"
    assert stored(embedded) == in_bulk(rest, DAY_0 + DAY_US)


def state_of(store: PackedStore) -> PackedRow:
    row = store.get(PROFILE_STATE, STATE_KEY, now_us=0, ttl_us=None)
    assert row is not None
    return row


def of_another_layout(store: PackedStore) -> None:
    row = state_of(store)
    state = msgspec.msgpack.decode(row.value, type=State)
    changed = msgspec.structs.replace(state, layout="0ld")
    store.put_many(PROFILE_STATE, [row._replace(value=msgspec.msgpack.encode(changed))])


@pytest.mark.parametrize(
    ("spoil", "days", "why"),
    [
        (lambda store: store.drop(PROFILE_STATE), 1, "no earlier refresh is on record"),
        (
            lambda store: store.put_many(PROFILE_STATE, [state_of(store)._replace(value=b"\xc1")]),
            1,
            "record of the earlier refresh is damaged",
        ),
        (of_another_layout, 1, "the stored profiles have layout 0ld, not "),
        (lambda _: None, 4, "as of 2017-05-04T00:00:00+00:00, more than 72 hours earlier"),
        (lambda store: store.drop(KEY_PROFILE), 1, "expected 5 rows of 'key_profile' as of 2017-05-04"),
        (
            lambda store: store.put_many(CUSTOMER_PROFILE, [PackedRow("c1", DAY_0 + 1, b"")]),
            1,
            "expected 9 rows of 'customer_profile' as of 2017-05-04T00:00:00+00:00, found 8 among 9",
        ),
    ],
)
def test_without_ground_to_build_on_everything_is_computed_and_the_reason_given(
    embedded: SqlitePackedStore, spoil: Any, days: int, why: str
) -> None:
    events = shop()
    refresh(embedded, events, DAY_0)
    spoil(embedded)
    done = refresh(embedded, events, DAY_0 + days * DAY_US)
    assert done.how == "full"
    assert why in done.why_full
    assert stored(embedded) == in_bulk(events, DAY_0 + days * DAY_US)


def test_everything_is_computed_where_it_is_asked_for(embedded: SqlitePackedStore) -> None:
    for boundary in (DAY_0, DAY_0, DAY_0 + DAY_US):
        done = refresh(embedded, shop(), boundary, full=True)
        assert (done.how, done.why_full, done.computed) == ("full", "it was asked for", done.customers)
        assert stored(embedded) == in_bulk(shop(), boundary)


def test_an_earlier_boundary_leaves_the_profiles_and_what_they_were_made_of(store: PackedStore) -> None:
    events = shop()
    refresh(store, events, DAY_0 + DAY_US)
    before, state = stored(store), state_of(store)
    done = refresh(store, events, DAY_0)
    assert (done.how, done.removed) == ("full", 0)
    assert "of a later boundary, 2017-05-05" in done.why_full
    assert (stored(store), state_of(store)) == (before, state)
    assert refresh(store, events, DAY_0 + 2 * DAY_US).how == "incremental"


def test_among_profiles_of_a_later_boundary_nothing_is_put_on_record(embedded: SqlitePackedStore) -> None:
    later = PackedRow("c1", DAY_0 + 1, b"later")
    embedded.put_many(CUSTOMER_PROFILE, [later])
    assert "of a later boundary, 2017-05-04T00:00:00.000001" in refresh(embedded, shop(), DAY_0).why_full
    assert embedded.count(PROFILE_STATE) == 0
    assert stored(embedded)[CUSTOMER_PROFILE]["c1"] == later


def test_of_nothing_there_are_no_profiles_and_stored_ones_stay(embedded: SqlitePackedStore) -> None:
    assert refresh(embedded, shop(), to_us(MONDAY) - DAY_US).customers == 0
    assert embedded.count(PROFILE_STATE) == 0
    refresh(embedded, shop(), DAY_0)
    before = stored(embedded)
    assert refresh(embedded, shop().clear(), DAY_0 + DAY_US).how == "unchanged"
    assert stored(embedded) == before


class Spied:
    """Another store, some of whose operations go wrong."""

    def __init__(self, store: PackedStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Unwritable(Spied):
    def put_many(self, *_: object) -> int:
        raise AssertionError("nothing was to be written")

    advance = remove = drop = put_many


class Interrupted(Spied):
    """Breaks off before the n-th change of a profile."""

    def __init__(self, store: PackedStore, changes: int) -> None:
        super().__init__(store)
        self._left = changes

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError("interrupted")

    def put_many(self, view: str, rows: Sequence[PackedRow]) -> int:
        self._count()
        return self._store.put_many(view, rows)

    def advance(self, *given: Any) -> int:
        self._count()
        return self._store.advance(*given)


@pytest.mark.parametrize("days", [0, 1])
@pytest.mark.parametrize("changes", range(5))
def test_a_refresh_cut_short_at_any_point_is_made_good_by_the_next(
    embedded: SqlitePackedStore, changes: int, days: int
) -> None:
    events = shop()
    refresh(embedded, events[:-1] if days else events[1:], DAY_0)
    boundary = DAY_0 + days * DAY_US
    with pytest.raises(OSError, match="interrupted"):
        refresh(Interrupted(embedded, changes), events, boundary)
    done = refresh(embedded, events, boundary)
    assert (done.how, done.why_full) == ("full", "no earlier refresh is on record")
    assert stored(embedded) == in_bulk(events, boundary)


class Forgetful(Spied):
    """Claims to have written a row that it has not."""

    def advance(self, view: str, from_us: int, to_us: int, except_keys: set[str]) -> int:
        return self._store.advance(view, from_us, to_us, {*except_keys, "c5", "c6"})


def test_rows_that_are_not_there_afterwards_are_an_error_that_counts_them(store: PackedStore) -> None:
    refresh(store, shop(), DAY_0)
    with pytest.raises(FeatureStoreError, match=r"'customer_profile': expected 9 rows as of .*, found 7"):
        refresh(Forgetful(store), shop(), DAY_0 + DAY_US)
    assert refresh(store, shop(), DAY_0 + DAY_US).why_full == "no earlier refresh is on record"


def test_other_views_are_left_alone(embedded: SqlitePackedStore) -> None:
    embedded.put_many(CUSTOMER_MEMORY, [PackedRow("c1", DAY_0, b"memory"), PackedRow("gone", 0, b"old")])
    for boundary in (DAY_0, DAY_0 + DAY_US):
        refresh(embedded, shop(), boundary)
    assert embedded.ages(CUSTOMER_MEMORY) == {"c1": DAY_0, "gone": 0}


def test_what_is_summed_of_a_key_is_summed_of_its_pairs() -> None:
    assert set(KEY_SUMS) <= set(PAIR_SUMS)


def local_midnights(first_day: int, days: int, zone: ZoneInfo) -> list[int]:
    midnights = pl.datetime_range(
        pl.datetime(2017, 3, first_day, time_zone=str(zone)),
        pl.datetime(2017, 3, first_day + days - 1, time_zone=str(zone)),
        "1d",
        eager=True,
    )
    return midnights.dt.epoch("us").to_list()


def test_over_days_of_real_households_it_is_the_same_as_computing_everything(
    embedded: SqlitePackedStore,
) -> None:
    stream = completejourney(every=40)
    midnights = local_midnights(9, 6, stream.zone)
    assert {later - earlier for earlier, later in pairwise(midnights)} == {DAY_US, DAY_US - HOUR_US}
    how = []
    for boundary in midnights:
        done = refresh(embedded, stream.events, boundary, zone=stream.zone)
        assert stored(embedded) == in_bulk(stream.events, boundary, stream.zone)
        how.append((done.how, done.computed < done.customers))
    assert how == [("full", False), *[("incremental", True)] * (len(midnights) - 1)]
