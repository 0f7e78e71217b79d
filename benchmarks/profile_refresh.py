"""What the daily refresh of profiles costs when only who can have changed is computed, against everybody.

    python benchmarks/profile_refresh.py [--quick] [--out FILE] [--rounds N]

Two shops: completejourney, whose households nearly all buy every week, and a made one most of whose customers
are quiet. From day to day profiles are brought up to date in one store, and computed as a whole in another;
both read the same lake. A round is a day; times are medians over them. The stores are compared byte for byte.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import measurement
import numpy as np
import polars as pl

from configs.home import open_home
from configs.settings import Settings, load_settings
from features.events import EVENT_SCHEMA
from features.lake import Lake
from features.mapping import load_mapping
from features.packed_store import CUSTOMER_PROFILE, KEY_PROFILE, PackedStore
from features.profile_refresh import refresh_from_lake
from features.sqlite_packed_store import SqlitePackedStore
from features.windows import DAY_US, to_us
from pipelines.import_events import import_source

FIRST_DAY = datetime(2017, 11, 20, tzinfo=UTC)
CUSTOMERS, EVENTS, MADE_DAYS = 30_000, 300_000, 400
ZIPF = 1.5
EPILOG = (
    "computed_share says how many of the customers could have changed in a day. ratio says how many times as "
    "long computing everybody takes: the median of the days' ratios."
)


def completejourney(folder: Path) -> Lake:
    """Import completejourney into a home."""
    home = open_home(folder / "home", create=True)
    settings = load_settings(home.root, {}).settings
    import_source(home, settings, load_mapping("completejourney", {}), now=datetime.now(UTC), environ={})
    return Lake(home.lake)


def made_shop(folder: Path) -> Lake:
    """Make a lake of customers of whom few do much: the n-th has a share of n to the minus 1.5."""
    rng = np.random.default_rng(7)
    weights = np.arange(1, CUSTOMERS + 1) ** -ZIPF + 1 / CUSTOMERS
    customer = rng.choice(CUSTOMERS, EVENTS, p=weights / weights.sum())
    span_us = MADE_DAYS * DAY_US
    time_us = np.sort(to_us(FIRST_DAY + timedelta(days=30)) - rng.integers(0, span_us, EVENTS))
    late_us = np.where(rng.random(EVENTS) < 0.02, rng.integers(0, 3 * DAY_US, EVENTS), 0)
    frame = pl.DataFrame(
        {
            "event_id": pl.Series(np.arange(EVENTS)).cast(pl.String),
            "customer_id": [f"c{number}" for number in customer.tolist()],
            "event_type": rng.choice(["view", "add_to_cart", "purchase"], EVENTS, p=[0.7, 0.2, 0.1]),
            "event_time": time_us,
            "ingested_at": time_us + late_us,
            "item_id": [f"i{number}" for number in rng.zipf(1.3, EVENTS) % 20_000],
            "category": [f"category {number}" for number in rng.zipf(1.3, EVENTS) % 300],
            "brand": [f"brand {number}" for number in rng.zipf(1.3, EVENTS) % 900],
            "amount_minor": rng.integers(100, 9_900, EVENTS),
        }
    ).with_columns(
        pl.col("event_time", "ingested_at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        quantity=pl.lit(1),
        source=pl.lit("made"),
    )
    columns = [
        (pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(kind)
        for name, kind in EVENT_SCHEMA.items()
    ]
    lake = Lake(folder / "made")
    lake.append(frame.select(columns))
    return lake


def stored(store: PackedStore) -> list[dict[str, Any]]:
    """Return everything that was published."""
    views = (CUSTOMER_PROFILE, KEY_PROFILE)
    return [store.get_many(view, list(store.keys(view)), now_us=0, ttl_us=None) for view in views]


def compared(lake: Lake, settings: Settings, folder: Path, days: int) -> dict[str, Any]:
    """Refresh both stores from day to day."""
    stores = [SqlitePackedStore(folder / name) for name in ("incremental.db", "full.db")]
    times: dict[bool, list[float]] = {False: [], True: []}
    shares = []
    for day in range(days + 1):
        boundary_us = to_us(FIRST_DAY) + day * DAY_US
        for full, store in zip((False, True), stores, strict=True):
            start = time.perf_counter()
            done = refresh_from_lake(
                store, lake, boundary_us, settings.zone, settings.publication_lag, full=full
            )
            if day > 0:
                times[full].append(time.perf_counter() - start)
                if not full:
                    if done.how != "incremental":
                        raise RuntimeError(f"expected an incremental refresh, got {done}")
                    shares.append(done.computed / done.customers)
        if stored(stores[0]) != stored(stores[1]):
            raise RuntimeError(f"the stores differ as of day {day}")
    for store in stores:
        store.close()
    return {
        "events": lake.row_count(),
        "customers": done.customers,
        "days": days,
        "computed_share": round(statistics.median(shares), 3),
        "incremental_s": round(statistics.median(times[False]), 3),
        "full_s": round(statistics.median(times[True]), 3),
        "ratio": measurement.ratio(times[False], times[True]),
    }


def main() -> None:
    """Run the benchmark."""
    arguments = measurement.options("profile_refresh", __doc__, EPILOG).parse_args()
    days = arguments.rounds or (1 if arguments.quick else measurement.ROUNDS)
    settings = load_settings(Path("no home"), {}).settings
    shops = {"made_shop": made_shop} | ({} if arguments.quick else {"completejourney": completejourney})
    result = {}
    for name, make in shops.items():
        with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder:
            result[name] = compared(make(Path(folder)), settings, Path(folder), days)
    measurement.publish("profile_refresh", result, ("tagtide", "numpy", "polars", "msgspec"), arguments)


if __name__ == "__main__":
    main()
