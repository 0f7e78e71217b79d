"""Requests a second, latency and CPU of the service, beside three usual ways to serve one model.

    python benchmarks/serving.py [--bundles DIR] [--seconds N] [--rounds N] [--quick] [--out FILE]

Ours answers about one customer by `POST /v1/predictions:batchGet`: online read, features, every propensity
and lifetime model, segment, life-cycle stage and live tags. The peers answer with one of its models, to
features that the client passes in: (a) BentoML with the scikit-learn wrapper on a DataFrame, (b) `mlflow
models serve`, (c) FastAPI around the booster. All hold that model in one worker with one thread, run at the
same time on the same two cores and are asked in turn; answers are compared with the model's own first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import http_load
import measurement
import numpy as np
import polars as pl
import stream
import tree_engines
from http_load import Load, Plan, put_load
from peer_services import HOST, JSON, PeerProcess, cpu_seconds, peers, save_for_mlflow

from configs import telemetry
from configs.settings import load_settings
from features import customer
from features.history import History
from features.windows import to_us
from pipelines.service_process import ServiceProcess, free_port, new_token
from training.artifact import load_bundle
from training.propensity import TASK
from training.tag_model import design_matrix

PACKAGES = ("tagtide", "bentoml", "mlflow", "fastapi", "uvicorn", "lightgbm", "pylignum", "scikit-learn")
EPILOG = """
ours_rps, …_rps      requests answered a second by each side, as fast as it can, over some connections
…_cpu_ms             CPU of the side's processes a request meanwhile
ratio_…              ours over theirs: the median of the rounds' ratios
cpu_ms_per_request   of ours; with_reasons: of GET /v1/customers/{id}, which explains everything too
p50_ms, p99_ms       of ours at requests sent at equal distances, 300 a second, from when each was due
batch500_ms          median of POST /v1/predictions:batchGet with 500 ids
models               what ours asked about each customer
client_cpu_share     of one core, what the client took while ours was asked as fast as it can
"""
HORIZON = "72h"
CUSTOMERS, QUICK_CUSTOMERS = 1_000, 100
CONNECTIONS = 8
PER_SECOND = 300.0
OPEN_CONNECTIONS = 32
BATCH = 500
BATCHES = 30
WARM_SECONDS = 3.0
TAGS_SECONDS = 300.0


@dataclass(frozen=True)
class Side:
    """Something that is asked.

    Attributes
    ----------
    cpu
        Says how much CPU time its processes have taken.
    """

    port: int
    requests: Sequence[str]
    cpu: Callable[[], float]

    def load(self, seconds: float, connections: int = CONNECTIONS, per_second: float = 0.0) -> Load:
        """Ask it, and refuse to go on if it does not answer everything."""
        found = put_load(Plan(HOST, self.port, self.requests, seconds, connections, per_second))
        if found.answered != sum(found.statuses.values()):
            raise SystemExit(f"not every reply was one: {found.statuses}")
        return found

    def rate(self, seconds: float) -> dict[str, float]:
        """Ask as fast as it answers."""
        before = self.cpu()
        found = self.load(seconds)
        return {
            "rps": found.per_second,
            "cpu_ms": (self.cpu() - before) / found.answered * 1000,
            "client_cpu_share": found.client_cpu_seconds / found.seconds,
        }


def ours(service: ServiceProcess, names: Sequence[str]) -> dict[str, Side]:
    """Return the service as it is asked about one customer, with reasons, and about many."""
    port, pid = int(service.url.rpartition(":")[2]), service.pid
    headers = JSON | {"authorization": f"Bearer {service.token}"}

    def asking(some: Sequence[str]) -> str:
        body = json.dumps({"customer_ids": list(some)}).encode()
        return http_load.message("POST", "/v1/predictions:batchGet", headers, body)

    def side(requests: Sequence[str]) -> Side:
        return Side(port, requests, lambda: cpu_seconds(pid or 0))

    explained = [http_load.message("GET", f"/v1/customers/{name}", headers) for name in names]
    many = (list(names) * (BATCH // len(names) + 1))[: max(BATCH, len(names))]
    batches = [asking((many[start:] + many[:start])[:BATCH]) for start in range(0, len(many), 97)]
    return {
        "ours": side([asking([name]) for name in names]),
        "with_reasons": side(explained),
        "batch": side(batches),
    }


def known_customers(events: pl.DataFrame, count: int) -> list[str]:
    """Choose customers who bought something within the last three days, by an order that chance made."""
    recent = events.filter(pl.col("event_time") > pl.col("event_time").max() - pl.duration(days=3))
    return recent["customer_id"].unique().sort().sample(fraction=1.0, shuffle=True, seed=1).to_list()[:count]


def look_at_things(service: ServiceProcess, events: pl.DataFrame, names: Sequence[str]) -> None:
    """Let every customer look at something they have bought, and wait until their tags know of it."""
    bought = events.filter(
        pl.col("customer_id").is_in(list(names)) & (pl.col("event_type") == "purchase")
    ).unique("customer_id", keep="last", maintain_order=True)
    now = time.time()
    posted = [
        {"event_id": f"look-{number}", "event_type": "view", "event_time": now}
        | {key: value for key, value in row.items() if value is not None}
        for number, row in enumerate(
            bought.select("customer_id", "item_id", "category", "brand").iter_rows(named=True)
        )
    ]
    with service.client() as client:
        for start in range(0, len(posted), 200):
            body = {"events": posted[start : start + 200]}
            client.post("/v1/events", json=body).raise_for_status()
        deadline = time.monotonic() + TAGS_SECONDS
        while client.get("/v1/status").json()["counts"]["waiting_customers"]:
            if time.monotonic() > deadline:
                raise SystemExit(f"tags are not evaluated after {TAGS_SECONDS:.0f} s")
            time.sleep(0.2)


def feature_rows(
    home_settings: Any, events: pl.DataFrame, names: Sequence[str], inputs: Sequence[str]
) -> list[list[float | None]]:
    """Compute what the peers are passed: the model's inputs as of now."""
    history = History(
        events.filter(pl.col("customer_id").is_in(list(names))),
        home_settings.zone,
        home_settings.publication_lag,
    )
    instants = np.full(len(names), to_us(datetime.now(UTC)), np.int64)
    columns = customer.CATALOGUE.compute(history.customer_rows(history.numbers(names), instants), inputs)
    matrix = design_matrix(inputs, columns).astype(np.float64)
    return [[None if value != value else value for value in row] for row in matrix.tolist()]


@contextlib.contextmanager
def all_sides(
    folder: Path, bundles: Path, events: pl.DataFrame, count: int
) -> Iterator[tuple[dict[str, Side], dict[str, Any]]]:
    """Start everything, and yield the sides with what ours said about one customer."""
    import lightgbm

    named = json.loads((bundles / "champion.json").read_text(encoding="utf-8"))
    bundle = load_bundle(bundles / named[TASK]["path"])
    model, inputs = folder / "model.txt", list(bundle.features[HORIZON])
    model.write_text(bundle.models[HORIZON], encoding="utf-8")
    home = stream.served_home(folder / "home", events, bundles)
    settings = load_settings(home.root, {}).settings
    names = known_customers(events, count)
    rows = feature_rows(settings, events, names, inputs)
    first = np.array([[np.nan if value is None else value for value in rows[0]]])
    expected = float(lightgbm.Booster(model_str=bundle.models[HORIZON]).predict(first, num_threads=1)[0])
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(
            stream.running(
                ServiceProcess(home, os.environ, port=free_port(), token=new_token(), clock="wall")
            )
        )
        stream.wait_for_profiles(service)
        look_at_things(service, events, names)
        sides = ours(service, names)
        for name, peer in peers(model, save_for_mlflow(model, folder / "mlflow", inputs)).items():
            process = stack.enter_context(PeerProcess(name, peer, folder))
            process.wait_until(inputs, rows[0], expected)
            pid = process.pid
            sides[name] = Side(process.port, process.requests(inputs, rows), lambda pid=pid: cpu_seconds(pid))
        with service.client() as client:
            answers = [
                client.post("/v1/predictions:batchGet", json={"customer_ids": names[start : start + BATCH]})
                for start in range(0, len(names), BATCH)
            ]
        rows_told = [one for answer in answers for one in answer.raise_for_status().json()["customers"]]
        statuses = {one["status"] for one in rows_told}
        if statuses != {"ok"}:
            raise SystemExit(f"customers were to be known, and are {statuses}")
        yield (
            sides,
            {
                "customers": len(names),
                "tags_a_customer": round(statistics.mean(len(one["tags"]) for one in rows_told), 2),
                "models": asked_models(bundles, named),
            },
        )


def asked_models(bundles: Path, named: Mapping[str, Any]) -> list[str]:
    """Name every fitted model that an answer about one customer asks."""
    found = []
    for task, one in sorted(named.items()):
        if task.startswith("tags-"):
            continue
        bundle = load_bundle(bundles / one["path"])
        found += [f"{task} {role}: trees" for role in bundle.models]
        found += [f"{task} {horizon}: logistic" for horizon in bundle.content.get("blends", ())]
        for days, content in bundle.content.get("horizons", {}).items():
            if content["classic"] is not None:
                found += [f"{task} {days} days: BG/NBD", f"{task} {days} days: Gamma-Gamma"]
        if task == "segments":
            found.append("segments: k-means")
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    load = os.getloadavg()[0]
    rounds = arguments.rounds or (1 if arguments.quick else measurement.ROUNDS)
    seconds = arguments.seconds or (2.0 if arguments.quick else 10.0)
    events = stream.moved_events()
    count = QUICK_CUSTOMERS if arguments.quick else CUSTOMERS
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as name:
        folder = Path(name)
        bundles = arguments.bundles or stream.trained_bundles(folder)
        with all_sides(folder, bundles, events, count) as (sides, about):
            asked = {name: side for name, side in sides.items() if name != "batch"}
            found: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
            for side in asked.values():
                side.load(WARM_SECONDS)
            for number in range(rounds):
                for name, side in asked.items():
                    measurement.ERR.print(f"round {number + 1} of {rounds}: {name}")
                    found[name].append(side.rate(seconds))
            measurement.ERR.print(f"{PER_SECOND:.0f} requests a second")
            open_loads = [sides["ours"].load(seconds, OPEN_CONNECTIONS, PER_SECOND) for _ in range(rounds)]
            measurement.ERR.print(f"batches of {BATCH}")
            batches = [sides["batch"].load(seconds / 2, 1) for _ in range(rounds)]
        engines = tree_engines.measured(bundles, quick=arguments.quick)
    middle = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    peers_found = [name for name in found if name not in ("ours", "with_reasons")]
    return {
        **{f"{name}_rps": round(one["rps"], 1) for name, one in middle.items()},
        **{
            f"ratio_{name}": measurement.ratio(
                [one["rps"] for one in found[name]], [one["rps"] for one in found["ours"]]
            )
            for name in peers_found
        },
        "cpu_ms_per_request": round(middle["ours"]["cpu_ms"], 3),
        **{f"{name}_cpu_ms": round(one["cpu_ms"], 3) for name, one in middle.items() if name != "ours"},
        "p50_ms": round(statistics.median(_quantile(one, 0.5) for one in open_loads), 2),
        "p99_ms": round(statistics.median(_quantile(one, 0.99) for one in open_loads), 2),
        "asked_per_second": PER_SECOND,
        "answered_per_second": round(statistics.median(one.per_second for one in open_loads), 1),
        "batch500_ms": round(statistics.median(_quantile(one, 0.5) for one in batches), 1),
        "client_cpu_share": round(middle["ours"]["client_cpu_share"], 3),
        **about,
        "engines_us": engines,
        "rounds": rounds,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "load_average_before": round(load, 2),
    }


def _quantile(load: Load, quantile: float) -> float:
    return float(np.quantile(np.array(load.times_ms), quantile))


def main() -> None:
    """Run the benchmark."""
    parser = measurement.options("serving", __doc__, EPILOG)
    parser.add_argument("--seconds", type=float, help="how long a side is asked a round (default 10)")
    parser.add_argument("--bundles", type=Path, metavar="DIR", help="published bundles, instead of training")
    arguments = parser.parse_args()
    measurement.use_cores()
    telemetry.switch_off(os.environ)
    measurement.publish("serving", run(arguments), PACKAGES, arguments)


if __name__ == "__main__":
    main()
