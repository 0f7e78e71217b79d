"""What the way through Feast costs a training set: ours against hand-written polars ``join_asof``.

    python benchmarks/training_set.py [--out FILE] [--rows N]

Half a million claims of the tag models on completejourney get the features of their customer and of customer
and category at the very instant, some of them twice: by `features.store.training_frame`, and by polars on the
same Parquet files. Both keep every row in its order and refuse a row without a snapshot of its instant. Both
sides in turn; times are medians of five rounds. The frames are compared cell by cell.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from configs import telemetry
from configs.home import Home, open_home
from configs.settings import Settings, load_settings
from features import affinity, customer
from features.feast_objects import CATEGORY_SNAPSHOT, CUSTOMER_SNAPSHOT, EVENT_TIMESTAMP, SERVICES, VIEWS
from features.lake import Lake
from features.mapping import load_mapping
from features.store import apply, training_frame, write_snapshot
from features.tags import load_catalogue
from pipelines.import_events import import_source
from training.datasets import customer_snapshot
from training.workbench import Budget, Workbench

SERVICE = "interest_v1"
AS_OF = datetime(2017, 11, 1, tzinfo=UTC)
ROWS = 500_000
TWICE = 5_000
ROUNDS = 5
RESULT = Path(__file__).parent / "results" / "training_set.json"


def prepared(folder: Path, rows: int) -> tuple[Home, Settings, pl.DataFrame]:
    """Import completejourney, write the snapshots the service reads, and choose the claims to be joined."""
    home = open_home(folder / "home", create=True)
    settings = load_settings(home.root, {}).settings
    import_source(home, settings, load_mapping("completejourney", {}), now=datetime.now(UTC), environ={})
    bench = Workbench(Lake(home.lake).read(known_by=AS_OF), AS_OF, settings, load_catalogue(), Budget())
    family = load_catalogue()["interest"]
    apply(home, settings, customer.catalogue(), affinity.catalogue())
    write_snapshot(home, CUSTOMER_SNAPSHOT, customer_snapshot(bench.history, bench.tag_rows))
    write_snapshot(home, CATEGORY_SNAPSHOT, bench.pair_snapshot(family))
    claims = bench.claims(family).frame.select("customer_id", "category", EVENT_TIMESTAMP)
    chosen = claims.sample(min(rows - TWICE, claims.height), seed=1, shuffle=True)
    return home, settings, pl.concat([chosen, chosen.head(TWICE)])


def by_hand(home: Home, request: pl.DataFrame) -> pl.DataFrame:
    """Join as a data scientist would write it in polars."""
    features = {CUSTOMER_SNAPSHOT: customer.CATALOGUE, CATEGORY_SNAPSHOT: affinity.CATALOGUE}
    joined = request.with_row_index("row")
    for name in SERVICES[SERVICE]:
        view = VIEWS[name]
        snapshot = (
            pl.scan_parquet(view.path(home))
            .select(*view.join_keys, EVENT_TIMESTAMP, *features[name].names(SERVICE), found=EVENT_TIMESTAMP)
            .sort(EVENT_TIMESTAMP)
            .collect()
        )
        joined = joined.sort(EVENT_TIMESTAMP).join_asof(
            snapshot, on=EVENT_TIMESTAMP, by=list(view.join_keys), check_sortedness=False
        )
        if not joined["found"].equals(joined[EVENT_TIMESTAMP]):
            raise RuntimeError(f"rows without a snapshot of their instant in {name}")
        joined = joined.drop("found")
    return joined.sort("row").drop("row")


def cells_differing(one: pl.DataFrame, other: pl.DataFrame) -> int:
    """Count the cells of two frames that differ; missing equals missing, NaN equals NaN."""
    if one.columns != other.columns or one.height != other.height:
        raise RuntimeError(f"the frames are of {one.shape} and {other.shape}")
    return sum(int(one[name].ne_missing(other[name]).sum()) for name in one.columns)


def run(folder: Path, rows: int) -> dict[str, Any]:
    """Compare the frames, then the times they take."""
    home, settings, request = prepared(folder, rows)
    sides = {
        "ours": lambda: training_frame(home, settings, SERVICE, request),
        "polars": lambda: by_hand(home, request),
    }
    frames = {name: side() for name, side in sides.items()}
    different = cells_differing(frames["ours"].select(frames["polars"].columns), frames["polars"])
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - start)
    ours, polars = (statistics.median(times[name]) for name in sides)
    return {
        "rows": request.height,
        "rows_twice": TWICE,
        "columns": frames["ours"].width - request.width,
        "snapshot_rows": {
            name: int(pl.scan_parquet(VIEWS[name].path(home)).select(pl.len()).collect().item())
            for name in SERVICES[SERVICE]
        },
        "ours_s": round(ours, 3),
        "polars_s": round(polars, 3),
        "ratio_vs_polars": round(ours / polars, 2),
        "cells_compared": request.height * frames["ours"].width,
        "cells_differing": different,
        "rounds": ROUNDS,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="What the way through Feast costs a training set.")
    parser.add_argument("--out", type=Path, default=RESULT, help=f"where to write (default {RESULT})")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"claims to be joined (default {ROWS:,})")
    given = parser.parse_args()
    telemetry.switch_off(os.environ)
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder:
        result = run(Path(folder), given.rows)
    text = json.dumps(result, indent=2) + "\n"
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
