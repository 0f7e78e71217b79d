from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from configs.errors import ConfigError
from configs.home import Home
from configs.settings import Settings, load_settings
from features.errors import FeatureStoreError, LeaseLostError
from features.packed_store import (
    FENCE_MARK,
    PackedRow,
    PackedStore,
    open_packed_store,
    packed_key,
    profile_key,
)
from features.redis_packed_store import RedisPackedStore
from features.sqlite_packed_store import SqlitePackedStore
from tests.features.redis_database import empty_redis_database

MEMORY = "customer_memory"
PROFILE = "customer_profile"
HOUR_US = 3_600_000_000
NOW_US = 1_509_408_000_000_000


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PackedStore]:
    if request.param == "sqlite":
        opened: PackedStore = SqlitePackedStore(tmp_path / "home" / "online.db")
        yield opened
        opened.close()
    else:
        with empty_redis_database() as url:
            opened = RedisPackedStore(url, "tagtide")
            yield opened
            opened.close()


def settings(**changes: object) -> Settings:
    return load_settings(Path("nowhere"), {}).settings.model_copy(update=changes)


def test_a_row_comes_back_as_it_was_put(store: PackedStore) -> None:
    row = PackedRow("客户 7:ä/\x1f", NOW_US, bytes(range(256)))
    assert store.put_many(MEMORY, [row]) == 1
    assert store.get(MEMORY, row.key, now_us=NOW_US, ttl_us=None) == row
    assert store.get(PROFILE, row.key, now_us=NOW_US, ttl_us=None) is None
    assert store.get(MEMORY, "another", now_us=NOW_US, ttl_us=None) is None


def test_a_row_lives_until_its_age_reaches_the_life(store: PackedStore) -> None:
    store.put_many(MEMORY, [PackedRow("c", NOW_US - 72 * HOUR_US, b"old")])
    for now_us, alive in ((NOW_US - 1, True), (NOW_US, False), (NOW_US + 1, False)):
        found = store.get(MEMORY, "c", now_us=now_us, ttl_us=72 * HOUR_US)
        assert (found is not None) is alive
        assert ("c" in store.get_many(MEMORY, ["c"], now_us=now_us, ttl_us=72 * HOUR_US)) is alive
    assert store.get(MEMORY, "c", now_us=NOW_US + 1, ttl_us=None) is not None


def test_an_older_write_never_replaces_a_newer_one_and_an_equally_old_one_does(store: PackedStore) -> None:
    assert store.put_many(MEMORY, [PackedRow("c", NOW_US, b"first")]) == 1
    assert store.put_many(MEMORY, [PackedRow("c", NOW_US - 1, b"late")]) == 0
    assert store.get(MEMORY, "c", now_us=NOW_US, ttl_us=None) == PackedRow("c", NOW_US, b"first")
    assert store.put_many(MEMORY, [PackedRow("c", NOW_US, b"corrected")]) == 1
    assert store.get(MEMORY, "c", now_us=NOW_US, ttl_us=None) == PackedRow("c", NOW_US, b"corrected")


def test_random_writes_leave_what_a_plain_dictionary_would_hold(store: PackedStore) -> None:
    draw = random.Random(7)
    expected: dict[tuple[str, str], PackedRow] = {}
    for _ in range(40):
        view = draw.choice([MEMORY, PROFILE])
        rows = [
            PackedRow(
                f"c{draw.randrange(12)}", NOW_US + draw.randrange(6), draw.randbytes(draw.randrange(50))
            )
            for _ in range(draw.randrange(20))
        ]
        written = 0
        for row in rows:
            present = expected.get((view, row.key))
            if present is None or row.event_us >= present.event_us:
                expected[view, row.key] = row
                written += 1
        assert store.put_many(view, rows) == written
    for view in (MEMORY, PROFILE):
        rows_of_view = {key: row for (name, key), row in expected.items() if name == view}
        keys = [f"c{number}" for number in range(15)]
        assert store.get_many(view, keys, now_us=NOW_US, ttl_us=None) == rows_of_view
        assert store.count(view) == len(rows_of_view)
        assert store.ages(view) == {key: row.event_us for key, row in rows_of_view.items()}
        assert sorted(store.keys(view)) == sorted(rows_of_view)
        assert set(store.keys(view, newer_than_us=NOW_US + 3)) == {
            key for key, row in rows_of_view.items() if row.event_us > NOW_US + 3
        }


def test_more_keys_than_one_statement_takes_are_read_and_written(store: PackedStore) -> None:
    rows = [PackedRow(f"c{number}", NOW_US + number, b"%d" % number) for number in range(1_203)]
    assert store.put_many(MEMORY, rows) == 1_203
    keys = [row.key for row in rows]
    assert store.get_many(MEMORY, keys, now_us=NOW_US, ttl_us=None) == {row.key: row for row in rows}
    assert store.get_many(MEMORY, [], now_us=NOW_US, ttl_us=None) == {}
    assert store.put_many(MEMORY, []) == 0


def test_several_views_are_read_at_once_each_with_its_live_rows(store: PackedStore) -> None:
    memory, old = PackedRow("c1", NOW_US, b"memory"), PackedRow("c1", NOW_US - 72 * HOUR_US, b"old")
    other = PackedRow("c2", NOW_US, b"profile")
    store.put_many(MEMORY, [memory])
    store.put_many(PROFILE, [old, other])
    asked = {"now_us": NOW_US, "ttl_us": 72 * HOUR_US}
    assert store.get_views([MEMORY, PROFILE], ["c1", "c2", "nobody"], **asked) == {
        MEMORY: {"c1": memory},
        PROFILE: {"c2": other},
    }
    assert store.get_views([MEMORY, PROFILE], [], **asked) == {MEMORY: {}, PROFILE: {}}
    assert store.get_views([PROFILE], ["c1"], now_us=NOW_US, ttl_us=None) == {PROFILE: {"c1": old}}


def test_erasing_a_customer_empties_every_view_of_them_and_of_nobody_else(store: PackedStore) -> None:
    for view in (MEMORY, PROFILE):
        store.put_many(view, [PackedRow("c1", NOW_US, b"x"), PackedRow("c10", NOW_US, b"y")])
    assert store.erase("c1") == 2
    assert store.erase("c1") == 0
    for view in (MEMORY, PROFILE):
        assert store.get(view, "c1", now_us=NOW_US, ttl_us=None) is None
        assert store.get(view, "c10", now_us=NOW_US, ttl_us=None) is not None
        assert list(store.keys(view)) == ["c10"]
    store.put_many(MEMORY, [PackedRow("c1", NOW_US - 1, b"back again")])
    assert store.count(MEMORY) == 2


def test_rows_of_one_instant_advance_to_a_later_one_with_the_values_they_have(store: PackedStore) -> None:
    rows = [PackedRow(f"客户 {number}\x1f", NOW_US, b"%d" % number) for number in range(1_100)]
    older, newer = PackedRow("older", NOW_US - 1, b"older"), PackedRow("newer", NOW_US + 1, b"newer")
    store.put_many(PROFILE, [*rows, older, newer])
    store.put_many(MEMORY, rows[:3])
    kept = [rows[5].key, rows[1_001].key, rows[5].key, "nobody"]
    assert store.advance(PROFILE, NOW_US, NOW_US + HOUR_US, kept) == 1_098
    expected = {
        row.key: row if row.key in kept else row._replace(event_us=NOW_US + HOUR_US) for row in rows
    } | {"older": older, "newer": newer}
    assert store.get_many(PROFILE, list(expected), now_us=NOW_US, ttl_us=None) == expected
    assert store.ages(PROFILE) == {key: row.event_us for key, row in expected.items()}
    assert set(store.ages(MEMORY).values()) == {NOW_US}
    assert store.advance(PROFILE, NOW_US, NOW_US + 2 * HOUR_US, []) == 2
    assert store.advance(PROFILE, NOW_US, NOW_US + 2 * HOUR_US, []) == 0


def test_rows_advance_only_forwards_and_then_obey_the_order_of_writes(store: PackedStore) -> None:
    store.put_many(PROFILE, [PackedRow("c", NOW_US, b"x")])
    assert store.advance(PROFILE, NOW_US, NOW_US, []) == 1
    with pytest.raises(FeatureStoreError, match=f"'{PROFILE}' cannot be advanced from {NOW_US} µs back"):
        store.advance(PROFILE, NOW_US, NOW_US - 1, [])
    store.advance(PROFILE, NOW_US, NOW_US + 7, [])
    assert store.put_many(PROFILE, [PackedRow("c", NOW_US + 6, b"between")]) == 0
    assert store.get(PROFILE, "c", now_us=NOW_US, ttl_us=None) == PackedRow("c", NOW_US + 7, b"x")


def test_chosen_rows_are_removed_from_one_view(store: PackedStore) -> None:
    for view in (MEMORY, PROFILE):
        store.put_many(view, [PackedRow(f"c{number}", NOW_US, b"x") for number in range(450)])
    assert store.remove(MEMORY, [f"c{number}" for number in range(1, 450)] + ["nobody"]) == 449
    assert store.remove(MEMORY, {"c1"}) == 0
    assert store.ages(MEMORY) == {"c0": NOW_US}
    assert store.get(MEMORY, "c1", now_us=NOW_US, ttl_us=None) is None
    assert store.count(PROFILE) == 450


def test_what_no_read_returns_any_more_is_pruned_and_nothing_else(store: PackedStore) -> None:
    rows = [PackedRow(f"c{number}", NOW_US + number, b"x") for number in range(700)]
    for view in (MEMORY, PROFILE):
        store.put_many(view, rows)
    present = NOW_US + 72 * HOUR_US + 449
    assert store.prune(MEMORY, present - 72 * HOUR_US) == 450
    assert store.prune(MEMORY, present - 72 * HOUR_US) == 0
    keys = [row.key for row in rows]
    alive = store.get_many(PROFILE, keys, now_us=present, ttl_us=72 * HOUR_US)
    assert store.get_many(MEMORY, keys, now_us=present, ttl_us=None) == alive
    assert (store.count(MEMORY), store.count(PROFILE)) == (250, 700)


def test_a_store_that_is_pruned_stops_growing(tmp_path: Path) -> None:
    store, sizes = SqlitePackedStore(tmp_path / "online.db"), []
    for day in range(12):
        for start in range(0, 400, 100):
            rows = [
                PackedRow(f"d{day}c{number}", day * 24 * HOUR_US, bytes(3_000))
                for number in range(start, start + 100)
            ]
            store.put_many(MEMORY, rows)
        store.prune(MEMORY, (day - 3) * 24 * HOUR_US)
        sizes.append((tmp_path / "online.db").stat().st_size)
    assert store.count(MEMORY) == 3 * 400
    assert max(sizes) < 5 * 400 * 4_096
    assert sizes[-1] == sizes[-4]
    store.close()


def test_an_erased_customer_leaves_no_byte_in_any_file(tmp_path: Path) -> None:
    store = SqlitePackedStore(tmp_path / "online.db")
    others = [PackedRow(f"other{number}", NOW_US, bytes(5_000)) for number in range(50)]
    for view, value in ((MEMORY, b"of-erika-small"), (PROFILE, b"of-erika-large" * 2_000)):
        store.put_many(view, [*others, PackedRow("erika-m", NOW_US, value)])
        store.put_many(view, [PackedRow("erika-m", NOW_US + 1, b"of-erika-replaced")])
    store.advance(PROFILE, NOW_US + 1, NOW_US + 2, ["erika-m"])
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"erika" in written
    assert store.erase("erika-m") == 2
    for path in tmp_path.iterdir():
        assert b"erika" not in path.read_bytes(), path.name
    store.close()


def test_an_erasure_that_another_reader_keeps_from_being_complete_says_so(tmp_path: Path) -> None:
    store = SqlitePackedStore(tmp_path / "online.db")
    store._writer.execute("PRAGMA busy_timeout = 50")
    store.put_many(MEMORY, [PackedRow("erika", NOW_US, b"x")])
    other = sqlite3.connect(tmp_path / "online.db", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM packed").fetchall()
    with pytest.raises(FeatureStoreError, match="a copy may be left") as caught:
        store.erase("erika")
    assert "erase again" in caught.value.next_step
    other.execute("COMMIT")
    assert store.erase("erika") == 0
    other.close()
    store.close()


def test_dropping_a_view_leaves_the_others(store: PackedStore) -> None:
    for view in (MEMORY, PROFILE):
        store.put_many(view, [PackedRow(f"c{number}", NOW_US, b"x") for number in range(450)])
    assert store.drop(MEMORY) == 450
    assert (store.count(MEMORY), store.count(PROFILE)) == (0, 450)


def test_a_mark_is_written_with_its_rows(store: PackedStore) -> None:
    assert store.mark("applied") is None
    store.put_many(MEMORY, [PackedRow("c", NOW_US, b"x")], mark=("applied", 17))
    assert store.mark("applied") == 17
    store.put_many(MEMORY, [], mark=("applied", 18))
    assert store.mark("applied") == 18
    store.put_mark("applied", 3)
    assert store.mark("applied") == 3
    assert store.mark("other") is None


def test_a_batch_that_fails_leaves_neither_rows_nor_mark(store: PackedStore) -> None:
    rows = [PackedRow("c1", NOW_US, b"x"), PackedRow("c2", 2**70, b"beyond 64 bits")]
    with pytest.raises((OverflowError, FeatureStoreError)):
        store.put_many(MEMORY, rows, mark=("applied", 1))
    assert store.count(MEMORY) == 0
    assert store.mark("applied") is None
    assert store.put_many(MEMORY, rows[:1]) == 1


def test_one_thread_reads_whole_values_while_others_write(store: PackedStore) -> None:
    failures: list[str] = []
    finished = threading.Event()

    def read() -> None:
        while not finished.is_set():
            rows = store.get_many(MEMORY, ["a", "b"], now_us=NOW_US, ttl_us=None).values()
            failures.extend(row.key for row in rows if row.value != bytes([row.event_us % 251]) * 5_000)

    def write(key: str) -> None:
        for number in range(150):
            store.put_many(MEMORY, [PackedRow(key, number, bytes([number % 251]) * 5_000)])

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(key,)) for key in ("a", "b")]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    finished.set()
    reader.join()
    assert failures == []
    assert store.ages(MEMORY) == {"a": 149, "b": 149}


def test_two_processes_write_the_same_file_and_the_newest_values_stay(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from features.packed_store import PackedRow\n"
        "from features.sqlite_packed_store import SqlitePackedStore\n"
        "store = SqlitePackedStore(Path(sys.argv[1]))\n"
        "for event in range(int(sys.argv[2]), 400, 2):\n"
        "    store.put_many('v', [PackedRow('c', event, b'%d' % event)])\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", script, str(path), str(first)]) for first in range(2)]
    assert [other.wait(timeout=60) for other in others] == [0, 0]
    store = SqlitePackedStore(path)
    assert store.get("v", "c", now_us=0, ttl_us=None) == PackedRow("c", 399, b"399")
    store.close()


def test_values_survive_reopening(tmp_path: Path) -> None:
    first = SqlitePackedStore(tmp_path / "online.db")
    first.put_many(MEMORY, [PackedRow("c", NOW_US, b"x")], mark=("applied", 5))
    first.close()
    first.close()
    second = SqlitePackedStore(tmp_path / "online.db")
    assert second.get(MEMORY, "c", now_us=NOW_US, ttl_us=None) == PackedRow("c", NOW_US, b"x")
    assert second.mark("applied") == 5
    second.close()


def test_the_file_is_in_write_ahead_mode(tmp_path: Path) -> None:
    SqlitePackedStore(tmp_path / "online.db").close()
    connection = sqlite3.connect(tmp_path / "online.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(FeatureStoreError, match=r"online\.db: file is not a database"):
        SqlitePackedStore(path)


def test_a_redis_server_that_does_not_answer_is_an_error_without_the_password() -> None:
    pytest.importorskip("redis", reason="the Redis client is not installed: extra `redis`")
    with pytest.raises(FeatureStoreError, match="Redis online store") as caught:
        RedisPackedStore("redis://:hunter2@127.0.0.1:1/0", "tagtide")
    assert "hunter2" not in caught.value.message
    with pytest.raises(FeatureStoreError, match="is not a Redis URL"):
        RedisPackedStore("http://127.0.0.1", "tagtide")


def test_two_projects_on_one_redis_server_do_not_meet() -> None:
    with empty_redis_database() as url:
        ours, theirs = RedisPackedStore(url, "ours"), RedisPackedStore(url, "theirs")
        ours.put_many(MEMORY, [PackedRow("c", NOW_US, b"x")], mark=("applied", 1))
        assert theirs.count(MEMORY) == 0
        assert theirs.mark("applied") is None
        assert theirs.erase("c") == 0
        assert ours.count(MEMORY) == 1
        ours.close()
        theirs.close()


def test_the_settings_choose_the_store(tmp_path: Path) -> None:
    embedded = open_packed_store(Home(tmp_path), settings())
    assert isinstance(embedded, SqlitePackedStore)
    assert (tmp_path / "feature_store" / "online.db").is_file()
    embedded.close()
    with pytest.raises(ConfigError, match="'redis_url' is not set"):
        open_packed_store(Home(tmp_path), settings(online_store="redis"))
    with empty_redis_database() as url:
        opened = open_packed_store(Home(tmp_path), settings(online_store="redis", redis_url=SecretStr(url)))
        assert isinstance(opened, RedisPackedStore)
        opened.close()


def test_a_single_join_key_is_the_key_itself() -> None:
    assert packed_key({"customer_id": "a\x1fb\x1e"}) == "a\x1fb\x1e"


def test_the_order_join_keys_are_given_in_does_not_matter() -> None:
    assert packed_key({"b": "2", "a": "1"}) == packed_key({"a": "1", "b": "2"}) == "1\x1f2"
    assert profile_key("category", "FLUID MILK") == "category\x1fFLUID MILK"


PARTS = st.tuples(st.text("a1\x1e\x1f", max_size=4), st.text("a1\x1e\x1f", max_size=4))


@given(PARTS, PARTS)
def test_different_pairs_never_share_a_key(first: tuple[str, str], second: tuple[str, str]) -> None:
    keys = [packed_key(dict(zip("ab", pair, strict=True))) for pair in (first, second)]
    assert (keys[0] == keys[1]) is (first == second)


def test_a_page_holds_the_first_keys_behind_one_that_are_new_enough(store: PackedStore) -> None:
    keys = ["1", "10", "2", "a", "b c", "ä", "商"]
    store.put_many(MEMORY, [PackedRow(key, NOW_US + number, b"") for number, key in enumerate(keys)])
    store.put_many(PROFILE, [PackedRow("0", NOW_US + 99, b"")])
    found = store.page(MEMORY, after="10", limit=3, newer_than_us=NOW_US + 2)
    assert found == ["a", "b c", "ä"]
    assert store.page(MEMORY, after="", limit=9, newer_than_us=0) == keys
    assert store.page(MEMORY, after="商", limit=9, newer_than_us=0) == []
    assert (store.count(MEMORY, newer_than_us=NOW_US + 2), store.count(MEMORY)) == (4, 7)


def test_several_views_change_together(store: PackedStore) -> None:
    store.put_many(MEMORY, [PackedRow("1", NOW_US, b"old"), PackedRow("2", NOW_US, b"")])
    older, newer = PackedRow("1", NOW_US - 1, b"older"), PackedRow("1", NOW_US + 1, b"new")
    store.change_views({MEMORY: [newer, older], PROFILE: [PackedRow("3", NOW_US, b"")]}, {MEMORY: ["2", "9"]})
    assert store.get(MEMORY, "1", now_us=NOW_US, ttl_us=None) == newer
    assert (list(store.keys(MEMORY)), list(store.keys(PROFILE))) == (["1"], ["3"])


def test_once_somebody_wrote_by_a_larger_number_nothing_is_written_by_a_smaller(store: PackedStore) -> None:
    row = PackedRow("c1", NOW_US, b"first")
    store.fence = lambda: 4
    assert store.put_many(MEMORY, [row], ("seq", 1)) == 1
    assert store.put_many(MEMORY, [row], ("seq", 2)) == 1
    store.fence = lambda: 5
    store.put_mark("seq", 3)
    store.fence = lambda: 4
    with pytest.raises(LeaseLostError):
        store.put_many(MEMORY, [row._replace(value=b"late")], ("seq", 4))
    with pytest.raises(LeaseLostError):
        store.put_mark("seq", 4)
    found = store.get(MEMORY, "c1", now_us=NOW_US, ttl_us=None)
    assert found is not None
    assert (found.value, store.mark("seq"), store.mark(FENCE_MARK)) == (b"first", 3, 5)
    store.fence = None
    assert store.put_many(MEMORY, [row]) == 1
