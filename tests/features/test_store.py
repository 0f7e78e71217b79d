from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import SecretStr

from configs.errors import ConfigError
from configs.home import Home, open_home
from configs.settings import Settings, load_settings
from features.definitions import PAIR_SERVICES
from features.errors import FeatureStoreError
from features.feast_objects import ONLINE_VIEWS, SERVICES, VIEWS, repo_config
from features.packed_store import LIFE_US, PackedRow, open_packed_store, packed_key
from features.store import apply, materialise, online_values, training_frame, verify_online, write_snapshot
from tests.features.redis_database import empty_redis_database

NOW = datetime(2017, 10, 31, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Feature:
    name: str
    dtype: Literal["int", "float"]
    meaning: str = "what it says"
    services: tuple[str, ...] = PAIR_SERVICES


CUSTOMER = [
    Feature("order_count_90d", "int", services=tuple(SERVICES)),
    Feature("mean_gap_seconds", "float", services=tuple(SERVICES)),
]
AFFINITY = [Feature("count_72h", "int"), Feature("seconds_since_last", "float")]


def settings(**changes: object) -> Settings:
    return load_settings(Path("nowhere"), {}).settings.model_copy(update=changes)


SETTINGS = settings()


@pytest.fixture
def applied(tmp_path: Path) -> Home:
    home = open_home(tmp_path / "home", create=True)
    apply(home, SETTINGS, CUSTOMER, AFFINITY)
    return home


def snapshots(rows: int, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Customer and category snapshots with nulls and NaN at random instants, some a microsecond apart."""
    draw = random.Random(seed)
    pairs = {
        (f"c{draw.randrange(9)}", f"cat {draw.randrange(5)}", NOW + draw.randrange(400) * MICROSECOND)
        for _ in range(rows)
    }
    keys = pl.DataFrame(
        sorted(pairs),
        schema={"customer_id": pl.String, "category": pl.String, "event_timestamp": pl.Datetime("us", "UTC")},
        orient="row",
    )

    def valued(frame: pl.DataFrame, features: list[Feature]) -> pl.DataFrame:
        integers = [draw.choice([None, draw.randrange(2**60)]) for _ in range(frame.height)]
        floats = [draw.choice([None, float("nan"), draw.random()]) for _ in range(frame.height)]
        return frame.with_columns(
            pl.Series(features[0].name, integers, dtype=pl.Int64),
            pl.Series(features[1].name, floats, dtype=pl.Float64),
        )

    customers = keys.drop("category").unique(maintain_order=True)
    return valued(customers, CUSTOMER), valued(keys, AFFINITY)


def test_a_training_frame_is_the_request_with_every_cell_of_the_very_instant(applied: Home) -> None:
    customers, categories = snapshots(900)
    write_snapshot(applied, "customer_snapshot", customers)
    write_snapshot(applied, "category_snapshot", categories)
    request = (
        categories.select("event_timestamp", "category", "customer_id")
        .sample(fraction=0.8, shuffle=True, seed=2)
        .with_row_index("label")
    )
    request = pl.concat([request, request.head(7)])
    said: list[str] = []
    frame = training_frame(applied, SETTINGS, "interest_v1", request, said.append)

    by_customer = {(row[0], row[1]): row[2:] for row in customers.iter_rows()}
    by_pair = {row[:3]: row[3:] for row in categories.iter_rows()}
    expected = [
        (label, at, category, customer, *by_customer[customer, at], *by_pair[customer, category, at])
        for label, at, category, customer in request.iter_rows()
    ]
    names = [*request.columns, *(feature.name for feature in (*CUSTOMER, *AFFINITY))]
    assert_frame_equal(
        frame, pl.DataFrame(expected, schema=dict(zip(names, frame.dtypes, strict=True)), orient="row")
    )
    assert frame.dtypes[-4:] == [pl.Int64, pl.Float64, pl.Int64, pl.Float64]
    assert said == [f"joining {request.height:,} rows with customer_snapshot and category_snapshot"]


@pytest.mark.parametrize("distance", [MICROSECOND, 2 * MICROSECOND, HOUR, -MICROSECOND, -HOUR])
def test_a_snapshot_of_another_instant_does_not_fill_in(applied: Home, distance: timedelta) -> None:
    customers, _ = snapshots(40)
    one = customers.head(1)
    at = one["event_timestamp"][0]
    write_snapshot(applied, "customer_snapshot", one.with_columns(event_timestamp=pl.lit(at - distance)))
    request = one.select("customer_id", "event_timestamp")
    with pytest.raises(
        FeatureStoreError, match=r"'customer_snapshot': 1 of 1 rows have no snapshot"
    ) as caught:
        training_frame(applied, SETTINGS, "propensity_v1", request)
    assert at.isoformat() in caught.value.message
    assert one["customer_id"][0] not in caught.value.message


def test_missing_snapshots_are_counted_among_those_that_are_there(applied: Home) -> None:
    customers, _ = snapshots(200)
    gone = customers.sample(13, seed=5)
    write_snapshot(
        applied, "customer_snapshot", customers.join(gone, on=["customer_id", "event_timestamp"], how="anti")
    )
    with pytest.raises(FeatureStoreError, match=rf"13 of {customers.height} rows have no snapshot"):
        training_frame(applied, SETTINGS, "clv_v1", customers.select("customer_id", "event_timestamp"))


def test_instants_of_another_zone_and_unit_are_the_same_instants(applied: Home) -> None:
    customers, _ = snapshots(60)
    elsewhere = pl.col("event_timestamp").dt.convert_time_zone("Asia/Shanghai").dt.cast_time_unit("ns")
    write_snapshot(applied, "customer_snapshot", customers.with_columns(elsewhere))
    stored = pl.read_parquet(VIEWS["customer_snapshot"].path(applied))
    assert stored.schema["event_timestamp"] == pl.Datetime("us", "UTC")
    assert stored["event_timestamp"].equals(customers["event_timestamp"])
    request = customers.select("customer_id", elsewhere)
    frame = training_frame(applied, SETTINGS, "clv_v1", request)
    assert frame.select(request.columns).equals(request)
    assert_frame_equal(frame.drop("event_timestamp"), customers.drop("event_timestamp"))


def test_a_clock_change_hour_does_not_confuse_two_instants(applied: Home) -> None:
    zone = ZoneInfo("America/New_York")
    both = [datetime(2017, 11, 5, 1, 30, fold=fold, tzinfo=zone).astimezone(UTC) for fold in (0, 1)]
    frame = pl.DataFrame(
        {"customer_id": "c", "event_timestamp": both, "order_count_90d": [1, 2], "mean_gap_seconds": 0.5}
    )
    write_snapshot(applied, "customer_snapshot", frame)
    request = frame.select("customer_id", "event_timestamp")
    assert training_frame(applied, SETTINGS, "clv_v1", request)["order_count_90d"].to_list() == [1, 2]


def test_no_rows_asked_is_no_rows_answered_with_every_column(applied: Home) -> None:
    customers, categories = snapshots(20)
    write_snapshot(applied, "customer_snapshot", customers)
    write_snapshot(applied, "category_snapshot", categories)
    request = categories.select("customer_id", "category", "event_timestamp").clear()
    frame = training_frame(applied, SETTINGS, "interest_v1", request)
    assert frame.columns == [*request.columns, *(feature.name for feature in (*CUSTOMER, *AFFINITY))]
    assert frame.is_empty()


def test_brands_are_joined_by_brand(applied: Home) -> None:
    customers, categories = snapshots(50)
    brands = categories.rename({"category": "brand"})
    write_snapshot(applied, "customer_snapshot", customers)
    write_snapshot(applied, "brand_snapshot", brands)
    frame = training_frame(
        applied, SETTINGS, "brand_preference_v1", brands.select("customer_id", "brand", "event_timestamp")
    )
    assert_frame_equal(frame.select(brands.columns), brands)


def test_a_snapshot_that_cannot_be_joined_is_refused_when_written(applied: Home) -> None:
    customers, _ = snapshots(30)
    for frame, message in (
        (customers.rename({"customer_id": "customerid"}), r"column 'customer_id' is missing \(did you mean"),
        (customers.drop("event_timestamp"), "column 'event_timestamp' is missing"),
        (
            customers.with_columns(pl.col("event_timestamp").dt.replace_time_zone(None)),
            "expected instants with a time zone",
        ),
        (
            customers.with_columns(customer_id=pl.lit(None, pl.String)),
            rf"'customer_id' is null in {customers.height} rows",
        ),
        (
            pl.concat([customers, customers.head(3)]),
            "3 rows repeat the customer_id, event_timestamp of another",
        ),
    ):
        with pytest.raises(FeatureStoreError, match=message):
            write_snapshot(applied, "customer_snapshot", frame)
    with pytest.raises(FeatureStoreError, match=r"'customer_snapshots' \(did you mean 'customer_snapshot'"):
        write_snapshot(applied, "customer_snapshots", customers)
    with pytest.raises(FeatureStoreError, match="column 'packed' is missing"):
        write_snapshot(applied, "customer_profile", customers)
    assert not VIEWS["customer_snapshot"].path(applied).exists()


def test_a_request_that_cannot_be_answered_says_why(applied: Home) -> None:
    customers, _ = snapshots(30)
    request = customers.select("customer_id", "event_timestamp")
    with pytest.raises(FeatureStoreError, match=r"'clv_v2' \(did you mean 'clv_v1'\?\)"):
        training_frame(applied, SETTINGS, "clv_v2", request)
    with pytest.raises(FeatureStoreError, match="rows for 'interest_v1': column 'category' is missing"):
        training_frame(applied, SETTINGS, "interest_v1", request)
    with pytest.raises(FeatureStoreError, match=r"customer\.parquet is missing") as caught:
        training_frame(applied, SETTINGS, "clv_v1", request)
    assert "tagtide features" in caught.value.next_step
    write_snapshot(applied, "customer_snapshot", customers.drop("mean_gap_seconds"))
    with pytest.raises(FeatureStoreError, match=r"customer\.parquet: column 'mean_gap_seconds' is missing"):
        training_frame(applied, SETTINGS, "clv_v1", request)
    write_snapshot(applied, "customer_snapshot", customers)
    with pytest.raises(FeatureStoreError, match="'order_count_90d' is the name of a feature"):
        training_frame(applied, SETTINGS, "clv_v1", request.with_columns(order_count_90d=1))


def test_what_was_never_registered_says_how_to_register(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", create=True)
    customers, _ = snapshots(5)
    write_snapshot(home, "customer_snapshot", customers)
    write_snapshot(home, "customer_profile", profiles(3, NOW))
    for call in (
        lambda: training_frame(home, SETTINGS, "clv_v1", customers.select("customer_id", "event_timestamp")),
        lambda: materialise(home, SETTINGS, NOW, ["customer_profile"]),
        lambda: online_values(home, SETTINGS, "customer_profile", [{"customer_id": "c1"}], now=NOW),
    ):
        with pytest.raises(FeatureStoreError, match="is not registered") as caught:
            call()
        assert "tagtide features" in caught.value.next_step


def test_applying_again_takes_up_a_changed_catalogue(applied: Home) -> None:
    customers, _ = snapshots(30)
    added = Feature("is_new", "int", services=("clv_v1",))
    apply(applied, SETTINGS, CUSTOMER, AFFINITY)
    apply(applied, SETTINGS, [*CUSTOMER, added], AFFINITY)
    write_snapshot(applied, "customer_snapshot", customers.with_columns(is_new=pl.lit(1, pl.Int64)))
    frame = training_frame(applied, SETTINGS, "clv_v1", customers.select("customer_id", "event_timestamp"))
    assert frame["is_new"].to_list() == [1] * customers.height
    apply(applied, SETTINGS, CUSTOMER[:1], AFFINITY)
    frame = training_frame(applied, SETTINGS, "clv_v1", customers.select("customer_id", "event_timestamp"))
    assert frame.columns == ["customer_id", "event_timestamp", "order_count_90d"]


def profiles(customers: int, at: datetime, text: str = "profile") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(customers)],
            "packed": [f"{text} {number} ".encode() * 50 for number in range(customers)],
            "event_timestamp": [at] * customers,
        },
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )


KEY_PROFILES = pl.DataFrame(
    {
        "key_column": ["category", "brand", "category"],
        "key_value": ["FLUID MILK", "FLUID MILK", "a\x1fb"],
        "packed": [b"1", b"2", b"3"],
        "event_timestamp": [NOW] * 3,
    },
    schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
)


@contextlib.contextmanager
def online(kind: str) -> Iterator[Settings]:
    if kind == "sqlite":
        yield SETTINGS
    else:
        with empty_redis_database() as url:
            yield settings(online_store="redis", redis_url=SecretStr(url))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_what_feast_materialises_it_reads_back_and_so_does_the_service(applied: Home, kind: str) -> None:
    now_us = int(NOW.timestamp()) * 1_000_000
    with online(kind) as chosen:
        write_snapshot(applied, "customer_profile", profiles(1_234, NOW))
        write_snapshot(applied, "key_profile", KEY_PROFILES)
        said: list[str] = []
        assert materialise(applied, chosen, NOW, ["customer_profile", "key_profile"], said.append) == {
            "customer_profile": 1_234,
            "key_profile": 3,
        }
        assert said == ["materialising customer_profile", "materialising key_profile"]

        with contextlib.closing(open_packed_store(applied, chosen)) as direct:
            for view, frame in (("customer_profile", profiles(1_234, NOW)), ("key_profile", KEY_PROFILES)):
                join_keys = frame.select(VIEWS[view].join_keys).to_dicts()
                values = frame["packed"].to_list()
                assert online_values(applied, chosen, view, join_keys, now=NOW) == values
                keys = [packed_key(row) for row in join_keys]
                rows = direct.get_many(view, keys, now_us=now_us, ttl_us=LIFE_US)
                assert [rows[key] for key in keys] == [
                    PackedRow(key, now_us, value) for key, value in zip(keys, values, strict=True)
                ]
            direct.put_many("customer_memory", [PackedRow("c5", now_us, b"posted")])
        asked = [{"customer_id": "c5"}, {"customer_id": "c6"}]
        assert online_values(applied, chosen, "customer_memory", asked, now=NOW) == [b"posted", None]
        assert online_values(applied, chosen, "customer_memory", [], now=NOW) == []


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_only_values_alive_at_the_end_are_materialised(applied: Home, kind: str) -> None:
    frame = profiles(4, NOW).with_columns(
        event_timestamp=pl.Series(
            [NOW - 72 * HOUR, NOW - 72 * HOUR + MICROSECOND, NOW, NOW + MICROSECOND],
            dtype=pl.Datetime("us", "UTC"),
        )
    )
    with online(kind) as chosen:
        write_snapshot(applied, "customer_profile", frame)
        assert materialise(applied, chosen, NOW, ["customer_profile"]) == {"customer_profile": 2}
        with contextlib.closing(open_packed_store(applied, chosen)) as direct:
            assert sorted(direct.keys("customer_profile")) == ["c1", "c2"]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_of_several_values_of_a_key_the_latest_is_materialised(applied: Home, kind: str) -> None:
    older, newer = profiles(700, NOW - HOUR, "older"), profiles(700, NOW, "newer")
    write_snapshot(applied, "customer_profile", pl.concat([newer, older]))
    with online(kind) as chosen:
        assert materialise(applied, chosen, NOW, ["customer_profile"]) == {"customer_profile": 700}
        asked = [{"customer_id": "c3"}, {"customer_id": "c699"}]
        values = online_values(applied, chosen, "customer_profile", asked, now=NOW)
    assert values == [newer["packed"][3], newer["packed"][699]]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_materialising_an_older_file_does_not_undo_a_newer_value(applied: Home, kind: str) -> None:
    now_us = int(NOW.timestamp()) * 1_000_000
    write_snapshot(applied, "customer_memory", profiles(3, NOW - HOUR))
    with online(kind) as chosen:
        with contextlib.closing(open_packed_store(applied, chosen)) as direct:
            direct.put_many("customer_memory", [PackedRow("c1", now_us, b"live")])
        assert materialise(applied, chosen, NOW, ["customer_memory"]) == {"customer_memory": 3}
        asked = [{"customer_id": f"c{number}"} for number in range(3)]
        assert online_values(applied, chosen, "customer_memory", asked, now=NOW)[1] == b"live"


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_rows_that_did_not_arrive_are_an_error_that_counts_them(applied: Home, kind: str) -> None:
    write_snapshot(applied, "customer_profile", profiles(20, NOW))
    with online(kind) as chosen:
        with pytest.raises(FeatureStoreError, match="'customer_profile': expected 20 rows online, found 0"):
            verify_online(applied, chosen, "customer_profile", NOW)
        materialise(applied, chosen, NOW, ["customer_profile"])
        assert verify_online(applied, chosen, "customer_profile", NOW) == 20
        with contextlib.closing(open_packed_store(applied, chosen)) as direct:
            direct.erase("c7")
        with pytest.raises(FeatureStoreError, match="expected 20 rows online, found 19"):
            verify_online(applied, chosen, "customer_profile", NOW)
        write_snapshot(applied, "customer_profile", profiles(20, NOW + HOUR))
        with pytest.raises(FeatureStoreError, match="expected 20 rows online, found 0"):
            verify_online(applied, chosen, "customer_profile", NOW + HOUR)


def test_a_home_that_was_moved_does_not_read_the_old_one(applied: Home, tmp_path: Path) -> None:
    customers, _ = snapshots(30)
    request = customers.select("customer_id", "event_timestamp")
    write_snapshot(applied, "customer_snapshot", customers)
    write_snapshot(applied, "customer_profile", profiles(3, NOW))
    moved = Home(tmp_path / "moved")
    shutil.copytree(applied.root, moved.root)
    with pytest.raises(FeatureStoreError, match="'customer_snapshot' is registered for another home"):
        training_frame(moved, SETTINGS, "clv_v1", request)
    with pytest.raises(FeatureStoreError, match="'customer_profile' is registered for another home"):
        materialise(moved, SETTINGS, NOW, ["customer_profile"])
    apply(moved, SETTINGS, CUSTOMER, AFFINITY)
    assert training_frame(moved, SETTINGS, "clv_v1", request).height == request.height
    assert materialise(moved, SETTINGS, NOW, ["customer_profile"]) == {"customer_profile": 3}


def test_feast_prints_nothing_and_leaves_nothing_in_the_working_directory(
    applied: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = Path.cwd()
    empty = tmp_path / "empty"
    empty.mkdir()
    os.chdir(empty)
    try:
        write_snapshot(applied, "customer_profile", profiles(20, NOW))
        customers, _ = snapshots(30)
        write_snapshot(applied, "customer_snapshot", customers)
        apply(applied, SETTINGS, CUSTOMER, AFFINITY)
        training_frame(applied, SETTINGS, "clv_v1", customers.select("customer_id", "event_timestamp"))
        materialise(applied, SETTINGS, NOW, ["customer_profile"])
    finally:
        os.chdir(before)
    assert capsys.readouterr().out == ""
    assert list(empty.iterdir()) == []
    assert list(applied.feature_store.rglob("*.tmp")) == []


def test_an_unknown_view_cannot_be_materialised_nor_an_offline_one(applied: Home) -> None:
    for view in ("customer_profiles", "customer_snapshot"):
        with pytest.raises(FeatureStoreError, match=f"unknown feature view '{view}'"):
            materialise(applied, SETTINGS, NOW, [view])
    with pytest.raises(FeatureStoreError, match=r"customer_memory\.parquet is missing"):
        materialise(applied, SETTINGS, NOW)


def test_every_service_reads_snapshots_and_every_online_view_is_packed() -> None:
    assert set(SERVICES) == {
        "interest_v1",
        "brand_preference_v1",
        "high_intent_v1",
        "deal_seeker_v1",
        "propensity_v1",
        "clv_v1",
    }
    assert {view for names in SERVICES.values() for view in names}.isdisjoint(ONLINE_VIEWS)
    assert {VIEWS[name].life for name in ONLINE_VIEWS} == {timedelta(microseconds=LIFE_US)}


def test_the_redis_configuration_needs_a_url_and_takes_it_as_it_is(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", create=True)
    with pytest.raises(ConfigError, match="'redis_url' is not set"):
        repo_config(home, settings(online_store="redis"))
    url = "redis://:p$ss:{x}#@127.0.0.1:6379/3"
    config = repo_config(home, settings(online_store="redis", redis_url=SecretStr(url)), now=NOW)
    assert config.online_store.url == url
    assert config.online_store.now == NOW
    assert Path(repo_config(home, SETTINGS).online_store.path) == home.online_store.absolute()


def test_the_service_side_imports_neither_feast_nor_pandas() -> None:
    code = (
        "import sys, features.packed_store, features.redis_packed_store, features.store\n"
        "heavy = {'feast', 'pandas', 'ibis', 'redis'} & set(sys.modules)\n"
        "print(*sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_the_store_is_of_use_in_a_notebook_whose_own_loop_is_running(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", create=True)

    async def cell() -> None:
        apply(home, SETTINGS, CUSTOMER, AFFINITY)

    asyncio.run(cell())
    assert (home.feature_store / "registry.db").is_file()
