from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast import ValueType as FeastType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Bytes, Float64, Int64, String

from features.errors import FeatureStoreError
from features.online_store import EPOCH, PackedOnlineStore
from features.packed_store import PackedRow, PackedStore, packed_key
from features.redis_packed_store import RedisPackedStore
from features.sqlite_packed_store import SqlitePackedStore
from tests.features.redis_database import empty_redis_database

NOW = datetime(2017, 10, 31, tzinfo=UTC)
LIFE = timedelta(hours=72)
MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


def view(name: str, join_keys: list[str], fields: list[Field], life: timedelta = LIFE) -> FeatureView:
    return FeatureView(
        name=name,
        entities=[Entity(name=key, join_keys=[key], value_type=FeastType.STRING) for key in join_keys],
        ttl=life,
        schema=[*(Field(name=key, dtype=String) for key in join_keys), *fields],
        source=FileSource(name=name, path=f"{name}.parquet", timestamp_field="event_timestamp"),
    )


PACKED = view("customer_profile", ["customer_id"], [Field(name="packed", dtype=Bytes)])
PAIRED = view("key_profile", ["key_value", "key_column"], [Field(name="packed", dtype=Bytes)])
PLAIN = view(
    "customer_counts", ["customer_id"], [Field(name="n", dtype=Int64), Field(name="x", dtype=Float64)]
)
ENDLESS = view("endless", ["customer_id"], [Field(name="packed", dtype=Bytes)], life=timedelta(0))


class Feasted:
    """A Feast repository and, beside it, direct access to the same packed store."""

    def __init__(self, root: Path, direct: PackedStore, backend: dict[str, str]) -> None:
        self.root = root
        self.direct = direct
        self.backend = backend

    def config(self, now: datetime | None) -> RepoConfig:
        online = {"type": "features.online_store.PackedOnlineStore", "now": now, **self.backend}
        return RepoConfig(
            project="tagtide",
            provider="local",
            registry={"path": str(self.root / "registry.db")},
            offline_store={"type": "duckdb"},
            online_store=online,
            entity_key_serialization_version=3,
            repo_path=self.root,
        )

    def store(self, now: datetime | None = NOW) -> FeatureStore:
        return FeatureStore(config=self.config(now))


@pytest.fixture(params=["sqlite", "redis"])
def feasted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feasted]:
    if request.param == "sqlite":
        path = tmp_path / "online.db"
        direct: PackedStore = SqlitePackedStore(path)
        yield Feasted(tmp_path, direct, {"backend": "sqlite", "path": str(path)})
        direct.close()
    else:
        with empty_redis_database() as url:
            direct = RedisPackedStore(url, "tagtide")
            yield Feasted(tmp_path, direct, {"backend": "redis", "url": url})
            direct.close()


def entity_key(**join_keys: str) -> EntityKey:
    return EntityKey(
        join_keys=list(join_keys), entity_values=[Value(string_val=value) for value in join_keys.values()]
    )


def test_what_feast_writes_is_read_directly_and_the_reverse(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(NOW)
    blob = bytes(range(256))
    steps: list[int] = []
    plug_in.online_write_batch(
        config,
        PACKED,
        [(entity_key(customer_id="c1"), {"packed": Value(bytes_val=blob)}, NOW, None)],
        steps.append,
    )
    assert steps == [1]
    now_us = microseconds(NOW)
    assert feasted.direct.get("customer_profile", "c1", now_us=now_us, ttl_us=None) == PackedRow(
        "c1", now_us, blob
    )

    feasted.direct.put_many("customer_profile", [PackedRow("c2", now_us - 5, b"direct")])
    keys = [entity_key(customer_id=name) for name in ("c2", "nobody", "c1")]
    assert plug_in.online_read(config, PACKED, keys) == [
        (NOW - 5 * MICROSECOND, {"packed": Value(bytes_val=b"direct")}),
        (None, None),
        (NOW, {"packed": Value(bytes_val=blob)}),
    ]
    asyncio.run(plug_in.close())


def test_an_entity_pair_lies_under_the_same_key_whichever_way_it_is_named(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(NOW)
    pair = {"key_value": "FLUID\x1fMILK", "key_column": "category"}
    feasted.direct.put_many("key_profile", [PackedRow(packed_key(pair), microseconds(NOW), b"popular")])
    turned = entity_key(key_column="category", key_value="FLUID\x1fMILK")
    for key in (entity_key(**pair), turned):
        ((_, values),) = plug_in.online_read(config, PAIRED, [key])
        assert values == {"packed": Value(bytes_val=b"popular")}
    asyncio.run(plug_in.close())


def test_a_naive_time_is_taken_as_utc_as_feast_promises(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(NOW)
    values = {"packed": Value(bytes_val=b"x")}
    plug_in.online_write_batch(
        config, PACKED, [(entity_key(customer_id="c"), values, NOW.replace(tzinfo=None), None)], None
    )
    assert feasted.direct.ages("customer_profile") == {"c": microseconds(NOW)}
    asyncio.run(plug_in.close())


def test_feast_reads_no_value_past_its_life(feasted: Feasted) -> None:
    plug_in = PackedOnlineStore()
    for table in (PACKED, ENDLESS):
        feasted.direct.put_many(table.name, [PackedRow("c", microseconds(NOW - LIFE), b"x")])
    key = [entity_key(customer_id="c")]
    for now, alive in ((NOW - MICROSECOND, True), (NOW, False)):
        ((_, values),) = plug_in.online_read(feasted.config(now), PACKED, key)
        assert (values is not None) is alive
    ((_, values),) = plug_in.online_read(feasted.config(NOW), ENDLESS, key)
    assert values is not None
    asyncio.run(plug_in.close())


def test_without_a_stated_present_lives_are_measured_against_the_wall_clock(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(None)
    present = datetime.now(UTC)
    feasted.direct.put_many(
        "customer_profile",
        [
            PackedRow("alive", microseconds(present - LIFE + timedelta(minutes=5)), b"x"),
            PackedRow("dead", microseconds(present - LIFE), b"x"),
        ],
    )
    keys = [entity_key(customer_id=name) for name in ("alive", "dead")]
    assert [values is not None for _, values in plug_in.online_read(config, PACKED, keys)] == [True, False]
    asyncio.run(plug_in.close())


def test_feast_never_replaces_a_newer_value(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(NOW)
    for moment, value in ((NOW, b"new"), (NOW - MICROSECOND, b"old")):
        plug_in.online_write_batch(
            config,
            PACKED,
            [(entity_key(customer_id="c"), {"packed": Value(bytes_val=value)}, moment, None)],
            None,
        )
    ((_, values),) = plug_in.online_read(config, PACKED, [entity_key(customer_id="c")])
    assert values == {"packed": Value(bytes_val=b"new")}
    asyncio.run(plug_in.close())


def test_feast_reads_an_advanced_value_with_its_new_time_and_life(feasted: Feasted) -> None:
    plug_in, began = PackedOnlineStore(), microseconds(NOW - LIFE)
    feasted.direct.put_many("customer_profile", [PackedRow(name, began, b"x") for name in ("same", "left")])
    assert feasted.direct.advance("customer_profile", began, microseconds(NOW), {"left"}) == 1
    keys = [entity_key(customer_id=name) for name in ("same", "left")]
    assert plug_in.online_read(feasted.config(NOW), PACKED, keys) == [
        (NOW, {"packed": Value(bytes_val=b"x")}),
        (None, None),
    ]
    asyncio.run(plug_in.close())


def test_an_erased_customer_is_missing_to_feast_in_every_view(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(NOW)
    keys = [entity_key(customer_id=name) for name in ("erika", "otto")]
    for key in keys:
        packed = {"packed": Value(bytes_val=b"x")}
        plug_in.online_write_batch(config, PACKED, [(key, packed, NOW, None)], None)
        plug_in.online_write_batch(config, PLAIN, [(key, {"n": Value(int64_val=1)}, NOW, None)], None)
    assert feasted.direct.erase("erika") == 2
    for table in (PACKED, PLAIN):
        assert [values is not None for _, values in plug_in.online_read(config, table, keys)] == [False, True]
    asyncio.run(plug_in.close())


def test_a_row_written_twice_in_one_batch_is_the_newer_of_the_two(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(NOW)
    key = entity_key(customer_id="c")
    batch = [
        (key, {"packed": Value(bytes_val=text)}, moment, None)
        for moment, text in ((NOW - MICROSECOND, b"old"), (NOW, b"new"), (NOW - 2 * MICROSECOND, b"oldest"))
    ]
    plug_in.online_write_batch(config, PACKED, batch, None)
    assert plug_in.online_read(config, PACKED, [key]) == [(NOW, {"packed": Value(bytes_val=b"new")})]
    asyncio.run(plug_in.close())


def test_a_view_of_plain_features_keeps_values_types_and_nulls(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(NOW)
    values = {"n": Value(int64_val=2**53 + 1), "x": Value()}
    plug_in.online_write_batch(config, PLAIN, [(entity_key(customer_id="c"), values, NOW, None)], None)
    key = [entity_key(customer_id="c")]
    assert plug_in.online_read(config, PLAIN, key) == [(NOW, values)]
    assert plug_in.online_read(config, PLAIN, key, ["n"]) == [(NOW, {"n": Value(int64_val=2**53 + 1)})]
    asyncio.run(plug_in.close())


def test_a_packed_value_that_is_null_is_refused(feasted: Feasted) -> None:
    plug_in, config = PackedOnlineStore(), feasted.config(NOW)
    with pytest.raises(FeatureStoreError, match="'packed' is null"):
        plug_in.online_write_batch(
            config, PACKED, [(entity_key(customer_id="c"), {"packed": Value()}, NOW, None)], None
        )
    assert feasted.direct.count("customer_profile") == 0
    asyncio.run(plug_in.close())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Feast's own use of its dependencies
def test_feast_itself_loads_the_plug_in_reads_deletes_and_tears_down(feasted: Feasted) -> None:
    store = feasted.store()
    store.apply([*PACKED_ENTITIES, PACKED, PLAIN])
    feasted.direct.put_many("customer_profile", [PackedRow("c1", microseconds(NOW), b"x")])
    feasted.direct.put_many("customer_counts", [PackedRow("c1", microseconds(NOW), b"\x80")])
    feasted.direct.put_many("untouched", [PackedRow("c1", microseconds(NOW), b"x")], mark=("applied", 7))
    answer = store.get_online_features(
        features=["customer_profile:packed"],
        entity_rows=[{"customer_id": "c2"}, {"customer_id": "c1"}],
    )
    assert answer.to_dict()["packed"] == [None, b"x"]

    store.apply([], objects_to_delete=[PLAIN], partial=False)
    assert feasted.direct.count("customer_counts") == 0
    assert feasted.direct.count("customer_profile") == 1

    store.teardown()
    assert feasted.direct.count("customer_profile") == 0
    assert feasted.direct.count("untouched") == 1
    assert feasted.direct.mark("applied") == 7


PACKED_ENTITIES = [Entity(name="customer_id", join_keys=["customer_id"], value_type=FeastType.STRING)]
