"""How long one customer's full feature vector takes to read: ours against stock Feast.

    python benchmarks/online_read.py [--quick] [--out FILE] [--rounds N]

Ours reads a packed memory and a packed profile, and computes every customer feature as of now. Feast reads
the same columns, computed beforehand and written to its own SQLite and Redis online stores, by
`FeatureStore.get_online_features`. Households of completejourney, half of which bought something that day,
one at a time, both sides in turn; times are medians of five rounds. The values are compared cell by cell.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import measurement
import numpy as np
import polars as pl

from configs import telemetry
from configs.home import open_home
from configs.settings import Settings, load_settings
from features import customer
from features.history import History
from features.lake import Lake
from features.live import LiveCustomers
from features.mapping import load_mapping
from features.packed_store import CUSTOMER_MEMORY, CUSTOMER_PROFILE, LIFE_US, PackedStore
from features.publishing import memory_rows, profile_rows
from features.redis_packed_store import RedisPackedStore
from features.sqlite_packed_store import SqlitePackedStore
from features.windows import profile_boundary, to_us
from pipelines.import_events import import_source

NOW = datetime(2017, 12, 2, 20, 30, tzinfo=UTC)
VIEW = "customer_features"
VIEWS = (CUSTOMER_MEMORY, CUSTOMER_PROFILE)
EPILOG = (
    "ratio_vs_feast says how many times as long Feast takes: the median of the rounds' ratios. Its values "
    "are as old as their last materialisation; ours are as of now, and none is returned past its life."
)
CUSTOMERS, QUICK_CUSTOMERS = 200, 10
Values = dict[str, float]
Read = Callable[[str], Values]


def of_our_own(store: PackedStore, settings: Settings, boundary_us: int) -> Read:
    """Return how a customer's features are read from a packed store: as the service does it."""
    now_us = to_us(NOW)

    def read(name: str) -> Values:
        found = store.get_views(VIEWS, [name], now_us=now_us, ttl_us=LIFE_US)
        memory, profile = (found[view].get(name) for view in VIEWS)
        packed = None if memory is None else memory.value
        live = LiveCustomers([name], [packed], [profile], now_us, boundary_us, {}, settings.zone)
        return {feature: values[0] for feature, values in customer.CATALOGUE.compute(live.rows).items()}

    return read


@contextlib.contextmanager
def stock_feast(folder: Path, online_store: dict[str, str], frame: pl.DataFrame) -> Iterator[Read]:
    """Yield how a customer's features are read from a Feast repository with one of its own online stores."""
    from feast import (
        Entity,
        FeatureService,
        FeatureStore,
        FeatureView,
        Field,
        FileSource,
        RepoConfig,
        ValueType,
    )
    from feast.types import Float64, Int64, String

    folder.mkdir()
    path = folder / "features.parquet"
    frame.write_parquet(path)
    types = {"int": Int64, "float": Float64}
    entity = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name=VIEW,
        entities=[entity],
        ttl=timedelta(hours=72),
        schema=[
            Field(name="customer_id", dtype=String),
            *(Field(name=one.name, dtype=types[one.dtype]) for one in customer.catalogue()),
        ],
        source=FileSource(name=VIEW, path=str(path), timestamp_field="event_timestamp"),
    )
    store = FeatureStore(
        config=RepoConfig(
            project="stock",
            provider="local",
            registry={"path": str(folder / "registry.db")},
            offline_store={"type": "duckdb"},
            online_store=online_store,
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )
    with contextlib.redirect_stdout(io.StringIO()):
        store.apply([entity, view, FeatureService(name="all", features=[view])])
        store.materialize(NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    service = store.get_feature_service("all")

    def read(name: str) -> Values:
        answer = store.get_online_features(features=service, entity_rows=[{"customer_id": name}])
        return {feature: values[0] for feature, values in answer.to_dict().items()}

    try:
        yield read
    finally:
        asyncio.run(store.close())


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int | None]:
    """Yield the port of a Redis server of this run's own, or None where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = subprocess.Popen(
        [program, "--port", str(port), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()


def differing(ours: Values, theirs: Values) -> int:
    """Count the features whose values differ; missing is NaN on one side and None on the other."""
    names = [one.name for one in customer.catalogue()]
    mine = np.array([ours[name] for name in names], np.float64)
    other = np.array([np.nan if theirs[name] is None else theirs[name] for name in names], np.float64)
    return int((~((mine == other) | (np.isnan(mine) & np.isnan(other)))).sum())


class OneByOne:
    """Reads every customer when it is called, and keeps how long each read took."""

    def __init__(self, read: Read, names: Sequence[str]) -> None:
        self._read = read
        self._names = names
        self.rounds: list[list[float]] = []
        """Milliseconds of each read, by round."""

    def __call__(self) -> None:
        """Read every customer, one at a time."""
        times = []
        for name in self._names:
            begun = time.perf_counter()
            self._read(name)
            times.append((time.perf_counter() - begun) * 1000)
        self.rounds.append(times)

    def medians(self) -> list[float]:
        """Return the median of each round but the first, which warmed up."""
        return [statistics.median(times) for times in self.rounds[1:]]

    def summary(self) -> dict[str, float]:
        """Return the median over the rounds of their median and of their 99th percentile."""
        slowest = [float(np.quantile(times, 0.99)) for times in self.rounds[1:]]
        return {
            "p50_ms": round(statistics.median(self.medians()), 3),
            "p99_ms": round(statistics.median(slowest), 3),
        }


def shop(folder: Path) -> tuple[Settings, Lake]:
    """Import completejourney into a home."""
    home = open_home(folder / "home", create=True)
    settings = load_settings(home.root, {}).settings
    import_source(home, settings, load_mapping("completejourney", {}), now=datetime.now(UTC), environ={})
    return settings, Lake(home.lake)


def chosen(lake: Lake, boundary_us: int, count: int) -> list[str]:
    """Choose households, half of which bought something since the profiles were made."""
    known = lake.read(known_by=NOW, columns=["customer_id", "event_time"])
    is_new = known["event_time"].dt.epoch("us") > boundary_us
    since, before = (known.filter(chosen)["customer_id"].unique().sort() for chosen in (is_new, ~is_new))
    quiet = before.filter(~before.is_in(since.implode()))
    busy = since.filter(since.is_in(before.implode()))
    half = count // 2
    parts = [some.sample(half, seed=1, shuffle=True) for some in (busy, quiet)]
    return pl.concat(parts).sample(fraction=1.0, seed=2, shuffle=True).to_list()


def run(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Prepare both sides, compare the values they read, then the times they take."""
    settings, lake = shop(folder)
    instants = np.full(count, to_us(NOW), np.int64)
    boundary_us = int(profile_boundary(instants, settings.zone, settings.publication_lag)[0])
    names = chosen(lake, boundary_us, count)
    events = lake.read(known_by=NOW, customers=names)
    history = History(events, settings.zone, settings.publication_lag)
    columns = customer.CATALOGUE.compute(history.customer_rows(history.numbers(names), instants))
    frame = pl.DataFrame({"customer_id": names, "event_timestamp": [NOW] * count} | columns)

    with contextlib.ExitStack() as stack:
        port = stack.enter_context(redis_server(folder))
        stores: dict[str, tuple[PackedStore, dict[str, str]]] = {
            "sqlite": (
                SqlitePackedStore(folder / "packed.db"),
                {"type": "sqlite", "path": str(folder / "stock.db")},
            )
        }
        if port is not None:
            stores["redis"] = (
                RedisPackedStore(f"redis://127.0.0.1:{port}/0", "tagtide"),
                {"type": "redis", "connection_string": f"127.0.0.1:{port},db=1"},
            )
        readers: dict[str, Read] = {}
        for kind, (store, stock) in stores.items():
            stack.callback(store.close)
            store.put_many(CUSTOMER_PROFILE, profile_rows(history, boundary_us))
            store.put_many(CUSTOMER_MEMORY, memory_rows(events, to_us(NOW)))
            readers[f"{kind} ours"] = of_our_own(store, settings, boundary_us)
            readers[f"{kind} feast"] = stack.enter_context(stock_feast(folder / kind, stock, frame))
        different = sum(
            differing(readers[f"{kind} ours"](name), readers[f"{kind} feast"](name))
            for kind in stores
            for name in names
        )
        sides = {name: OneByOne(read, names) for name, read in readers.items()}
        measurement.in_turn(sides, rounds)
    result: dict[str, Any] = {"features": len(columns), "customers": count, "rounds": rounds}
    for kind in stores:
        ours, feast = sides[f"{kind} ours"], sides[f"{kind} feast"]
        ratio = measurement.ratio(ours.medians(), feast.medians())
        result[kind] = {"ours": ours.summary(), "feast": feast.summary(), "ratio_vs_feast": ratio}
    return result | {"cells_compared": len(stores) * count * len(columns), "cells_differing": different}


def main() -> None:
    """Run the benchmark."""
    arguments = measurement.options("online_read", __doc__, EPILOG).parse_args()
    telemetry.switch_off(os.environ)
    count = QUICK_CUSTOMERS if arguments.quick else CUSTOMERS
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder, warnings.catch_warnings():
        # Feast calls what its own dependencies have deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        result = run(Path(folder), count, arguments.rounds or measurement.ROUNDS)
    packages = ("tagtide", "feast", "redis", "numpy", "polars", "msgspec")
    measurement.publish("online_read", result, packages, arguments)


if __name__ == "__main__":
    main()
