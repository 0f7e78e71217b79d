"""The featuretools side of `window_features`, run by the Python of an environment that holds featuretools.

    python featuretools_windows.py FOLDER

Reads ``events.csv``, ``rows.csv`` and ``windows.json`` (name and hours) in the folder; writes ``sums.csv``,
and ``seconds.json`` with how long the features took to compute, without reading, writing and imports.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import featuretools as ft
import pandas as pd


def main() -> None:
    """Compute the sums."""
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    windows = json.loads((folder / "windows.json").read_text(encoding="utf-8"))
    events = pd.read_csv(folder / "events.csv", dtype={"customer_id": str}, parse_dates=["event_time"])
    rows = pd.read_csv(folder / "rows.csv", dtype={"customer_id": str}, parse_dates=["instant"])

    begun = time.perf_counter()
    events["view_count"] = (events["event_type"] == "view").astype("int64")
    events["purchase_count"] = (events["event_type"] == "purchase").astype("int64")
    events["spend_minor"] = events["amount_minor"].where(events["event_type"] == "purchase", 0)
    customers = pd.DataFrame(
        {"customer_id": pd.unique(pd.concat([events["customer_id"], rows["customer_id"]]))}
    )
    entities = ft.EntitySet("events")
    entities.add_dataframe(dataframe_name="customers", dataframe=customers, index="customer_id")
    entities.add_dataframe(
        dataframe_name="events", dataframe=events, index="event", make_index=True, time_index="event_time"
    )
    entities.add_relationship("customers", "customer_id", "events", "customer_id")
    measures = ("view_count", "purchase_count", "spend_minor")
    sums = [
        ft.Feature(
            entities["events"].ww[name], parent_dataframe_name="customers", primitive=ft.primitives.Sum
        )
        for name in measures
    ]
    cutoffs = rows.rename(columns={"instant": "time"})[["customer_id", "time"]]
    found = []
    for name, hours in windows.items():
        matrix = ft.calculate_feature_matrix(
            sums, entities, cutoff_time=cutoffs, training_window=f"{hours} hours", n_jobs=1
        )
        matrix.columns = [f"{measure}_{name}" for measure in measures]
        found.append(matrix.reset_index(drop=True))
    result = pd.concat(found, axis="columns")
    seconds = time.perf_counter() - begun

    result.to_csv(folder / "sums.csv", index=False)
    (folder / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
