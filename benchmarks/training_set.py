"""What the way through Feast costs a training set: ours against hand-written polars ``join_asof``.

    python benchmarks/training_set.py [--quick] [--out FILE] [--rounds N]

Half a million claims of the tag models on completejourney get the features of their customer and of customer
and category at the very instant, some of them twice: by `features.store.training_frame`, and by polars on the
same Parquet files. Both keep every row in its order and refuse a row without a snapshot of its instant. Both
sides in turn; times are medians of five rounds. The frames are compared cell by cell.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import measurement

measurement.use_cores()

import polars as pl  # noqa: E402 (libraries count the cores when they are imported)

from configs import telemetry  # noqa: E402 (as above)
from configs.home import Home, open_home  # noqa: E402 (as above)
from configs.settings import Settings, load_settings  # noqa: E402 (as above)
from features import affinity, customer  # noqa: E402 (as above)
from features.feast_objects import CATEGORY_SNAPSHOT, CUSTOMER_SNAPSHOT, EVENT_TIMESTAMP, SERVICES, VIEWS  # noqa: E402 (as above)
from features.lake import Lake  # noqa: E402 (as above)
from features.mapping import load_mapping  # noqa: E402 (as above)
from features.store import apply, training_frame, write_snapshot  # noqa: E402 (as above)
from features.tags import load_catalogue  # noqa: E402 (as above)
from pipelines.import_events import import_source  # noqa: E402 (as above)
from training.datasets import SamplingBudget, customer_snapshot  # noqa: E402 (as above)
from training.workbench import Budget, Workbench  # noqa: E402 (as above)

SERVICE = "interest_v1"
AS_OF = datetime(2017, 11, 1, tzinfo=UTC)
ROWS, QUICK_ROWS = 500_000, 20_000
QUICK_BUDGET = Budget(SamplingBudget(fit=600, calibrate=300, certify=300))
TWICE = 100
"""One row in so many is there twice."""

EPILOG = (
    "ratio_vs_polars says how many times as long ours takes: the median of the rounds' ratios, reading the "
    "Parquet files included on both sides."
)


def prepared(folder: Path, rows: int, budget: Budget) -> tuple[Home, Settings, pl.DataFrame]:
    """Import completejourney, write the snapshots the service reads, and choose the claims to be joined."""
    home = open_home(folder / "home", create=True)
    settings = load_settings(home.root, {}).settings
    import_source(home, settings, load_mapping("completejourney", {}), now=datetime.now(UTC), environ={})
    events = Lake(home.lake).read(known_by=AS_OF)
    bench = Workbench(events, AS_OF, settings, load_catalogue(), budget)
    family = load_catalogue()["interest"]
    apply(home, settings, customer.catalogue(), affinity.catalogue())
    write_snapshot(home, CUSTOMER_SNAPSHOT, customer_snapshot(bench.history, bench.rows_of(family)))
    write_snapshot(home, CATEGORY_SNAPSHOT, bench.pair_snapshot(family))
    claims = bench.claims(family).frame.select("customer_id", "category", EVENT_TIMESTAMP)
    twice = rows // TWICE
    chosen = claims.sample(rows - twice, seed=1, shuffle=True)
    return home, settings, pl.concat([chosen, chosen.head(twice)])


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


def run(folder: Path, rows: int, budget: Budget, rounds: int) -> dict[str, Any]:
    """Compare the frames, then the times they take."""
    home, settings, request = prepared(folder, rows, budget)

    def ours() -> pl.DataFrame:
        return training_frame(home, settings, SERVICE, request)

    def polars() -> pl.DataFrame:
        return by_hand(home, request)

    frame = ours()
    expected = polars()
    different = cells_differing(frame.select(expected.columns), expected)
    width = frame.width
    del frame, expected
    seconds = measurement.in_turn({"ours": ours, "polars": polars}, rounds, warm_up=False)
    medians = measurement.medians(seconds)
    return {
        "rows": request.height,
        "rows_twice": rows // TWICE,
        "columns": width - request.width,
        "snapshot_rows": {
            name: int(pl.scan_parquet(VIEWS[name].path(home)).select(pl.len()).collect().item())
            for name in SERVICES[SERVICE]
        },
        "ours_s": round(medians["ours"], 3),
        "polars_s": round(medians["polars"], 3),
        "ratio_vs_polars": measurement.ratio(seconds["polars"], seconds["ours"]),
        "cells_compared": request.height * width,
        "cells_differing": different,
        "rounds": rounds,
    }


def main() -> None:
    """Run the benchmark."""
    arguments = measurement.options("training_set", __doc__, EPILOG).parse_args()
    telemetry.switch_off(os.environ)
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder:
        rows, budget = (QUICK_ROWS, QUICK_BUDGET) if arguments.quick else (ROWS, Budget())
        result = run(Path(folder), rows, budget, arguments.rounds or measurement.ROUNDS)
    measurement.publish("training_set", result, ("tagtide", "feast", "polars", "duckdb"), arguments)


if __name__ == "__main__":
    main()
