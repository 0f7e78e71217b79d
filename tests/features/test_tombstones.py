from __future__ import annotations

import hashlib
import hmac
import json
import stat
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from configs.home import Home
from features.database import open_engine
from features.errors import IdentityError
from features.events import INSTANT
from features.tombstones import Erasure, ErasureKeys, Tombstones
from features.windows import to_us
from tests.features.postgres_database import empty_postgres_schema

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = SecretStr("a key of the environment")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(home: Home, request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    with empty_postgres_schema() if request.param == "postgresql" else nullcontext() as url:
        engine = open_engine(url, home)
        yield engine
        engine.dispose()


@pytest.fixture
def tombstones(engine: sa.Engine, home: Home) -> Tombstones:
    return Tombstones(engine, ErasureKeys(home, None))


def cover(tombstones: Tombstones, *events: tuple[str | None, datetime | None]) -> list[bool]:
    ids, times = zip(*events, strict=True)
    return tombstones.cover(
        pl.Series("customer_id", ids, pl.String), pl.Series("event_time", times, INSTANT)
    ).to_list()


def stored(engine: sa.Engine, table: str) -> list[sa.Row]:
    with engine.connect() as connection:
        return list(connection.exec_driver_sql(f"SELECT * FROM {table}"))


def test_while_nobody_was_erased_nothing_is_covered_and_no_key_is_made(
    tombstones: Tombstones, home: Home
) -> None:
    assert cover(tombstones, ("ann", NOON), (None, None)) == [False, False]
    assert tombstones.cover(pl.Series([], dtype=pl.String), pl.Series([], dtype=INSTANT)).to_list() == []
    assert not tombstones.is_any()
    assert not home.erasure_key.exists()


def test_what_happened_up_to_the_erasure_is_covered_and_nothing_later(tombstones: Tombstones) -> None:
    tombstones.bury(["ann", "pos:7"], NOON)
    assert cover(
        tombstones,
        ("ann", NOON - HOUR),
        ("ann", NOON),
        ("ann", NOON + timedelta(microseconds=1)),
        ("ann", None),
        ("bob", NOON),
        (None, NOON),
        ("pos:7", NOON),
        ("7", NOON),
    ) == [True, True, False, True, False, False, True, False]


def test_a_tombstone_comes_to_cover_more_never_less(tombstones: Tombstones) -> None:
    tombstones.bury(["ann"], NOON)
    tombstones.bury(["ann"], NOON - HOUR)
    assert tombstones.until(["ann"]) == {"ann": to_us(NOON)}
    tombstones.bury(["ann"], NOON + HOUR)
    assert tombstones.until(["ann", "bob"]) == {"ann": to_us(NOON + HOUR)}


def test_the_hash_is_the_standards_and_the_id_is_nowhere(
    engine: sa.Engine, home: Home, tombstones: Tombstones
) -> None:
    tombstones.bury(["ann-4711"], NOON)
    tombstones.record(Erasure("e1", NOON, 1, {"lake": 3}))
    secret = bytes.fromhex(home.erasure_key.read_text())
    expected = hmac.new(secret, b"ann-4711", hashlib.sha256).hexdigest()
    assert [row.hash for row in stored(engine, "tombstones")] == [expected]
    assert "ann-4711" not in str([stored(engine, "tombstones"), stored(engine, "erasures")])


def test_a_homes_own_key_is_made_once_and_only_its_owner_may_read_it(
    tombstones: Tombstones, home: Home
) -> None:
    tombstones.bury(["ann"], NOON)
    made = home.erasure_key.read_text()
    tombstones.bury(["bob"], NOON)
    assert home.erasure_key.read_text() == made
    assert stat.S_IMODE(home.erasure_key.stat().st_mode) == 0o600
    assert len(bytes.fromhex(made)) == 32


def test_a_key_of_the_environment_is_used_and_none_is_made(engine: sa.Engine, home: Home) -> None:
    tombstones = Tombstones(engine, ErasureKeys(home, KEY))
    tombstones.bury(["ann"], NOON)
    assert cover(tombstones, ("ann", NOON)) == [True]
    assert not home.erasure_key.exists()
    assert (
        stored(engine, "tombstones")[0].hash
        == hmac.new(KEY.get_secret_value().encode(), b"ann", hashlib.sha256).hexdigest()
    )


def test_a_key_that_comes_later_leaves_earlier_tombstones_in_force(
    engine: sa.Engine, home: Home, tombstones: Tombstones
) -> None:
    tombstones.bury(["ann"], NOON)
    both = Tombstones(engine, ErasureKeys(home, KEY))
    both.bury(["bob"], NOON)
    assert cover(both, ("ann", NOON), ("bob", NOON)) == [True, True]
    assert {row.key_name for row in stored(engine, "tombstones")} == {
        key.name for key in ErasureKeys(home, KEY).known()
    }


@pytest.mark.parametrize("key", [None, SecretStr("another key altogether")])
def test_without_its_key_a_tombstone_is_an_error_not_a_gap(
    engine: sa.Engine, home: Home, key: SecretStr | None
) -> None:
    Tombstones(engine, ErasureKeys(home, KEY)).bury(["ann"], NOON)
    with pytest.raises(IdentityError, match=r"1 key\(s\) that are not there") as raised:
        cover(Tombstones(engine, ErasureKeys(home, key)), ("ann", NOON))
    assert "TAGTIDE_ERASURE_KEY" in raised.value.next_step


def test_a_damaged_key_file_is_named(engine: sa.Engine, home: Home, tombstones: Tombstones) -> None:
    tombstones.bury(["ann"], NOON)
    home.erasure_key.write_text("no hexadecimal digits")
    with pytest.raises(IdentityError, match=r"erasure\.key is damaged"):
        Tombstones(engine, ErasureKeys(home, None)).is_any()


def test_other_processes_see_a_tombstone_and_its_lifting_at_once(
    engine: sa.Engine, home: Home, tombstones: Tombstones
) -> None:
    other = Tombstones(engine, ErasureKeys(home, None))
    tombstones.bury(["ann", "bob"], NOON)
    assert cover(other, ("ann", NOON), ("bob", NOON)) == [True, True]
    tombstones.lift(["ann"])
    assert cover(other, ("ann", NOON), ("bob", NOON)) == [False, True]
    tombstones.lift(["bob"])
    tombstones.bury(["cy"], NOON)
    assert cover(other, ("ann", NOON), ("bob", NOON), ("cy", NOON)) == [False, False, True]


def test_an_erasure_is_recorded_by_when_and_how_much(engine: sa.Engine, tombstones: Tombstones) -> None:
    done = Erasure("e1", NOON, 2, {"lake": 3, "ledger": 0})
    tombstones.record(done)
    (row,) = stored(engine, "erasures")
    assert (row.erasure_id, row.erased_at_us) == ("e1", to_us(NOON))
    assert json.loads(row.counts) == {"ids": 2, "rows": {"lake": 3, "ledger": 0}}
    assert tombstones.find("e1") == done
    assert tombstones.find("e2") is None


def test_an_erasure_of_an_earlier_version_is_still_told(engine: sa.Engine, tombstones: Tombstones) -> None:
    with engine.begin() as connection:
        row = {"id": "old", "at": to_us(NOON), "counts": '{"lake": 3}'}
        connection.execute(sa.text("INSERT INTO erasures VALUES (:id, :at, :counts)"), row)
    assert tombstones.find("old") == Erasure("old", NOON, None, {"lake": 3})
