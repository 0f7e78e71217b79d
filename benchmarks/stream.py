"""How many events a second the service takes into memory, and how soon each can be read there.

    python benchmarks/stream.py [--seconds N] [--batch N] [--senders N] [--bundles DIR] [--without-models]

A service as `tagtide serve` starts it, on the wall clock, with its online store in SQLite and in Redis. It
serves completejourney moved to end today, with the models the demo trains, and evaluates tags all the while.
Several senders post batches, each as soon as its last one was answered. After every reply the batch's last
event is looked for in the online store until it is there. At the end every event sent is looked for.
Beside that: the same without models, and the way from door and log into memory without HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import measurement
import msgspec
import numpy as np
import polars as pl

from configs import telemetry
from configs.home import Home, open_home
from configs.settings import Settings, load_settings
from features.database import open_engine
from features.event_log import EventLog
from features.lake import Lake
from features.mapping import load_mapping
from features.packed_memory import decode_memory
from features.packed_store import CUSTOMER_MEMORY, PackedStore, open_packed_store
from features.stored_ids import StoredIds
from monitoring.ledger import Ledger
from pipelines.demo import SOURCE, TRAINED_AS_OF, train_and_publish
from pipelines.import_events import import_source
from pipelines.service_process import ServiceProcess, free_port, new_token
from serving.clock import WallClock
from serving.intake import read_posted
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.post_queue import Written
from serving.stream import Writer
from serving.tag_queue import TagQueue
from serving.tagging import Tagging

PACKAGES = ("tagtide", "polars", "msgspec", "sqlalchemy", "redis", "uvicorn", "bentoml", "lightgbm")
REDIS = "redis://127.0.0.1:6379"
CUSTOMERS = 25_000
POPULARITY = 0.8
"""The n-th busiest customer has n to the minus this times the events of the busiest."""

TYPES = {"view": 0.6, "add_to_cart": 0.2, "purchase": 0.2}
START_SECONDS = 300.0
FIRST_DUE_SECONDS = 300.0
EVENTS_MAX = 400_000
QUICK_EVENTS = 10_000
ITEMS = 200_000
EPILOG = """
events_per_second    events in memory over the time from the first post to the last event read
p50_ms, p99_ms       from a post's reply to its last event being readable in the online store
post_p50_ms, …       from a post to its reply
sent, readable       events acknowledged, and those found in their customer's memory exactly once: equal
models               in force; none where the key is without_models
load_average_before  what else the machine did, as programs at work at once; figures want it near 0
service_cpu_seconds  user and system time the service took meanwhile
"""
STORES = ("sqlite", "redis")
ROUNDS = 1
"""A run takes a minute; the goals are far from what differs between runs."""

POLL_SECONDS = 0.0005


@dataclass
class Sent:
    """What senders did, as seconds by post and batches that were taken."""

    posts: list[float] = field(default_factory=list)
    readable: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    asked_to_wait: int = 0


class Posts:
    """Batches of made events: real items and prices, some customers far busier than others."""

    def __init__(self, rows: pl.DataFrame, size: int, most: int) -> None:
        count = most // size
        rng = np.random.default_rng(20170101)
        weights = np.arange(1, CUSTOMERS + 1) ** -POPULARITY
        # Every tenth customer is one the profiles know.
        known = rows["customer_id"].unique(maintain_order=True).to_list()
        names = [known[n // 10 % len(known)] if n % 10 == 0 else f"new-{n}" for n in range(CUSTOMERS)]
        drawn = rng.choice(CUSTOMERS, (count, size), p=weights / weights.sum())
        types = rng.choice(list(TYPES), (count, size), p=list(TYPES.values()))
        chosen = rng.integers(0, rows.height, (count, size))
        items = rows.select("item_id", "category", "brand", "amount_minor").rows()
        self.size = size
        self.customers = [[names[one] for one in batch] for batch in drawn.tolist()]
        self.rows = [
            [
                {"customer_id": name, "event_type": kind}
                | dict(zip(("item_id", "category", "brand", "amount_minor"), items[item], strict=True))
                for name, kind, item in zip(
                    self.customers[n], types[n].tolist(), chosen[n].tolist(), strict=True
                )
            ]
            for n in range(count)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def ids(self, number: int) -> list[str]:
        """Return the event ids of a batch."""
        return [f"{number}-{place}" for place in range(self.size)]

    def body(self, number: int) -> bytes:
        """Return a batch as it is posted, its events having happened just now."""
        now = time.time()
        ids = self.ids(number)
        events = [
            {"event_id": name, "event_time": now}
            | {key: value for key, value in row.items() if value is not None}
            for name, row in zip(ids, self.rows[number], strict=True)
        ]
        return msgspec.json.encode({"events": events})


def moved_events() -> pl.DataFrame:
    """Return completejourney as known when the demo trains, moved by whole days to end this midnight."""
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder:
        home = open_home(Path(folder) / "home", create=True)
        _import(home, load_settings(home.root, {}).settings)
        events = Lake(home.lake).read()
    days = (datetime.now(UTC) - TRAINED_AS_OF).days
    return events.with_columns(pl.col("event_time", "ingested_at") + timedelta(days=days))


def _import(home: Home, settings: Settings) -> None:
    mapping = load_mapping(SOURCE, {})
    import_source(home, settings, mapping, now=datetime.now(UTC), environ={}, until=TRAINED_AS_OF)


def trained_bundles(folder: Path) -> Path:
    """Train as the demo does; return the directory of the published bundles."""
    home = open_home(folder / "trained", create=True)
    settings = load_settings(home.root, {}).settings
    _import(home, settings)
    train_and_publish(home, settings, print)
    return home.bundles


def served_home(root: Path, events: pl.DataFrame, bundles: Path | None) -> Home:
    """Make a home with a lake and with models, or with a pointer that names none."""
    home = open_home(root, create=True)
    Lake(home.lake).append(events)
    if bundles is None:
        home.bundles.mkdir()
        (home.bundles / "champion.json").write_text("{}", encoding="utf-8")
    else:
        shutil.copytree(bundles, home.bundles)
    return home


@contextlib.contextmanager
def online_store(kind: str) -> Iterator[dict[str, str]]:
    """Yield the settings of an empty online store; one in Redis is emptied afterwards."""
    if kind == "sqlite":
        yield {"TAGTIDE_ONLINE_STORE": "sqlite"}
        return
    import redis

    for number in range(15, 0, -1):
        url = f"{REDIS}/{number}"
        client = redis.Redis.from_url(url)
        if client.dbsize() == 0:
            try:
                yield {"TAGTIDE_ONLINE_STORE": "redis", "TAGTIDE_REDIS_URL": url}
            finally:
                client.flushdb()
                client.close()
            return
    raise SystemExit(f"no database of {REDIS} is empty")


def measured_over_http(
    kind: str, events: pl.DataFrame, bundles: Path | None, posts: Posts, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Feed a service as fast as it answers; see the module."""
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder, online_store(kind) as chosen:
        home = served_home(Path(folder) / "home", events, bundles)
        environ = {**os.environ, **chosen}
        store = open_packed_store(home, load_settings(home.root, chosen).settings)
        service = ServiceProcess(home, environ, port=free_port(), token=new_token(), clock="wall")
        with running(service):
            wait_for_profiles(service)
            cpu_before = _cpu_seconds(service)
            sent, seconds = _sent(service, store, posts, arguments)
            cpu = _cpu_seconds(service) - cpu_before
            status = _status(service)
        readable = _readable(store, posts, sent.batches)
        store.close()
    count = len(sent.batches) * posts.size
    return {
        "events_per_second": round(count / seconds),
        "p50_ms": _quantile_ms(sent.readable, 0.5),
        "p99_ms": _quantile_ms(sent.readable, 0.99),
        "sent": count,
        "readable": readable,
        "seconds": round(seconds, 1),
        "service_cpu_seconds": round(cpu, 1),
        "events_per_post": posts.size,
        "senders": arguments.senders,
        "post_p50_ms": _quantile_ms(sent.posts, 0.5),
        "post_p99_ms": _quantile_ms(sent.posts, 0.99),
        "asked_to_wait": sent.asked_to_wait,
        "models": sorted(status["model_version"]),
        "customers_waiting_for_tags_at_the_end": status["counts"]["waiting_customers"],
        "customers_tagged": status["counts"]["customers_tagged"],
    }


@contextlib.contextmanager
def running(service: ServiceProcess) -> Iterator[ServiceProcess]:
    """Start a service, however long that takes on a busy machine, and stop it at the end."""
    service.start(START_SECONDS)
    try:
        yield service
    finally:
        service.stop()


def wait_for_profiles(service: ServiceProcess) -> None:
    """Let the first refresh of the profiles end: it is a day's work, not the stream's."""
    deadline = time.monotonic() + FIRST_DUE_SECONDS
    while _status(service)["profile_boundary"] is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"no profiles after {FIRST_DUE_SECONDS:.0f} s: see {service.log}")
        time.sleep(0.2)


def _cpu_seconds(service: ServiceProcess) -> float:
    """Return the CPU time, of user and system, that the service has taken; Linux tells."""
    fields = Path(f"/proc/{service.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(service: ServiceProcess) -> dict[str, Any]:
    with service.client() as client:
        status: dict[str, Any] = client.get("/v1/status").json()
        return status


def _sent(
    service: ServiceProcess, store: PackedStore, posts: Posts, arguments: argparse.Namespace
) -> tuple[Sent, float]:
    sent, numbers, lock = Sent(), iter(range(len(posts))), threading.Lock()
    host, port = service.url.removeprefix("http://").split(":")
    headers = {"authorization": f"Bearer {service.token}", "content-type": "application/json"}
    began = time.perf_counter()
    end = began + arguments.seconds

    def send() -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        while time.perf_counter() < end:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            body = posts.body(number)
            posted = time.perf_counter()
            while True:
                connection.request("POST", "/v1/events", body=body, headers=headers)
                reply = connection.getresponse()
                content = reply.read()
                if reply.status != 429:
                    break
                sent.asked_to_wait += 1
                time.sleep(float(reply.headers["retry-after"]))
            answered = time.perf_counter()
            if reply.status != 202 or json.loads(content)["accepted"] != posts.size:
                raise SystemExit(f"batch {number} was answered {reply.status}: {content[:300]!r}")
            _until_readable(store, posts.customers[number][-1], f"api\x1f{posts.ids(number)[-1]}")
            with lock:
                sent.posts.append(answered - posted)
                sent.readable.append(time.perf_counter() - answered)
                sent.batches.append(number)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(arguments.senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sent, time.perf_counter() - began


def _until_readable(store: PackedStore, customer: str, key: str) -> None:
    deadline = time.perf_counter() + 60
    while time.perf_counter() < deadline:
        row = store.get(CUSTOMER_MEMORY, customer, now_us=0, ttl_us=None)
        if row is not None and key in decode_memory(row.value).event_key:
            return
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"event {key!r} was acknowledged and is not in the memory of {customer!r}")


def _readable(store: PackedStore, posts: Posts, batches: list[int]) -> int:
    """Count the events sent that lie in their customer's memory exactly once."""
    found: dict[str, dict[str, int]] = {}
    wanted = sorted({name for number in batches for name in posts.customers[number]})
    for start in range(0, len(wanted), 1000):
        rows = store.get_many(CUSTOMER_MEMORY, wanted[start : start + 1000], now_us=0, ttl_us=None)
        for name, row in rows.items():
            for key in decode_memory(row.value).event_key:
                keys = found.setdefault(name, {})
                keys[key] = keys.get(key, 0) + 1
    return sum(
        found.get(name, {}).get(f"api\x1f{event}") == 1
        for number in batches
        for name, event in zip(posts.customers[number], posts.ids(number), strict=True)
    )


class NoModels:
    """Holds no scorer: what is measured is the way into memory."""

    scorer = None
    versions: Mapping[str, str] = {}
    problem = ""


def measured_without_http(kind: str, posts: Posts, arguments: argparse.Namespace) -> dict[str, Any]:
    """Feed the writer itself, bodies being read beforehand: door, log, memory."""
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder, online_store(kind) as chosen:
        home = open_home(Path(folder) / "home", create=True)
        settings = load_settings(home.root, chosen).settings
        store, engine = open_packed_store(home, settings), open_engine(None, home)
        clock, measures = WallClock(), Measures()
        tagging = Tagging(LiveTags(store), Ledger(engine), NoModels(), renew_after_us=1)
        log = EventLog(engine, StoredIds(Lake(home.lake)))
        writer = Writer(log, store, TagQueue(tagging, store, clock, measures), clock, measures)
        bodies = [posts.body(number) for number in range(len(posts))]
        read = [read_posted(body, arrival_us=clock.now_us(), clock="wall", most=10_000) for body in bodies]
        writer.start()
        began = time.perf_counter()
        waiting: set[Future[Written]] = set()
        number = 0
        while number < len(read) and time.perf_counter() - began < arguments.seconds:
            waiting = {one for one in waiting if not one.done()}
            if len(waiting) * posts.size >= 4_000:
                wait(waiting, return_when="FIRST_COMPLETED")
                continue
            waiting.add(writer.submit(read[number]))
            number += 1
        wait(waiting)
        seconds = time.perf_counter() - began
        writer.stop()
        readable = _readable(store, posts, list(range(number)))
        store.close()
        engine.dispose()
    return {
        "events_per_second": round(number * posts.size / seconds),
        "sent": number * posts.size,
        "readable": readable,
        "seconds": round(seconds, 1),
    }


def _quantile_ms(seconds: list[float], quantile: float) -> float:
    return round(float(np.quantile(np.array(seconds), quantile)) * 1000, 2)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, each the median run of some rounds by its events per second."""
    load = os.getloadavg()[0]
    events = moved_events()
    bought = events.filter(pl.col("event_type") == "purchase")[-ITEMS:]
    posts = Posts(bought, arguments.batch, QUICK_EVENTS if arguments.quick else EVENTS_MAX)
    rounds = arguments.rounds or ROUNDS
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as folder:
        bundles = arguments.bundles
        if bundles is None and not arguments.without_models and not arguments.quick:
            bundles = trained_bundles(Path(folder))
        sides: dict[str, dict[str, Callable[[], dict[str, Any]]]] = {}
        for kind in STORES:
            sides[kind] = {
                "with models": partial(measured_over_http, kind, events, bundles, posts, arguments),
                "without models": partial(measured_over_http, kind, events, None, posts, arguments),
                "without HTTP": partial(measured_without_http, kind, posts, arguments),
            }
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for number in range(rounds):
            for kind, of_kind in sides.items():
                for name, side in of_kind.items():
                    if name == "with models" and bundles is None:
                        continue
                    measurement.ERR.print(f"round {number + 1} of {rounds}: {kind}, {name}")
                    found.setdefault((kind, name), []).append(side())
    middle = {side: _middle(runs) for side, runs in found.items()}
    first = "without models" if bundles is None else "with models"
    return {
        **{kind: middle[kind, first] for kind in STORES},
        "without_models": {kind: middle[kind, "without models"] for kind in STORES},
        "without_http": {kind: middle[kind, "without HTTP"] for kind in STORES},
        "rounds": rounds,
        "load_average_before": round(load, 2),
    }


def _middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(runs, key=lambda one: float(one["events_per_second"]))[len(runs) // 2]


def main() -> None:
    """Run the benchmark."""
    parser = measurement.options("stream", __doc__, EPILOG)
    parser.add_argument("--seconds", type=float, help="how long each run is fed (default 30)")
    parser.add_argument("--batch", type=int, default=200, help="events of a post (default 200)")
    parser.add_argument("--senders", type=int, default=8, help="connections that post (default 8)")
    parser.add_argument("--bundles", type=Path, metavar="DIR", help="published bundles, instead of training")
    parser.add_argument("--without-models", action="store_true", help="train and serve no models")
    arguments = parser.parse_args()
    arguments.seconds = arguments.seconds or (3.0 if arguments.quick else 30.0)
    telemetry.switch_off(os.environ)
    measurement.publish("stream", run(arguments), PACKAGES, arguments)


if __name__ == "__main__":
    main()
