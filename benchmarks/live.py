"""How soon a posted event has changed a tag and told the webhook's receiver, with events at a steady rate.

    python benchmarks/live.py [--seconds N] [--per-second N] [--bundles DIR] [--quick] [--out FILE]

A service as `tagtide serve` starts it, on the wall clock, over completejourney moved to end today, with the
models the demo trains. Events are posted at equal distances, whether the service keeps up or not: every
known customer in turn views, carts or buys things they have bought before, ten a visit, as many as a basket
of theirs has. Meanwhile the tags in the online store, which every reply shows, are looked at a hundred times
a second, and the receiver notes what comes. At the end every acknowledged event is looked for.

Under ``each_event_another_customer`` stands the same for visits of one event: each event then asks for an
evaluation of its own, which is the worst there is.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import tempfile
import threading
import time
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import measurement
import numpy as np
import polars as pl
import stream
from webhook_receiver import Delivery, Receiver

from configs import telemetry
from configs.settings import Settings, load_settings
from features.packed_memory import decode_memory
from features.packed_store import CUSTOMER_MEMORY, PackedStore, open_packed_store
from pipelines.service_process import ServiceProcess, free_port, new_token
from serving.live_tags import CUSTOMER_TAGS

PACKAGES = ("tagtide", "bentoml", "uvicorn", "lightgbm", "pylignum", "numpy", "sqlalchemy")
EPILOG = """
event_to_tag_…       from when an event was due to be posted until the tag it changed can be read
event_to_webhook_…   until the receiver has the change; null where the service sends none
sent, received       events acknowledged, and those readable in their customer's memory at the end
lost, duplicated     acknowledged events that are not there, or there more than once
tags_changed         how often a customer's tags were seen changed
webhooks             different tag changes the receiver got; webhooks_repeated: got more than once
tagging_lag_max_ms   the longest any customer had waited for an evaluation, looked at ten times a second
spacing_ms           between two events of a customer: a change belongs to the latest event before it for
                     certain as long as no customer waits longer
"""
PER_SECOND, QUICK_PER_SECOND = 1_000, 200
EVENTS_PER_VISIT = 10
"""What a completejourney basket has: 9.5 lines on average."""

WORST_SECONDS_MAX = 20.0
SECONDS, QUICK_SECONDS = 60.0, 5.0
EVENTS_PER_POST = 20
SENDERS = 8
LOOK_SECONDS = 0.01
LAG_SECONDS = 0.1
SETTLE_SECONDS = 60.0
QUIET_SECONDS = 2.0
KINDS = ("view", "view", "view", "add_to_cart", "purchase")


@dataclass
class Posted:
    """What was posted.

    Attributes
    ----------
    due_us
        By customer the instants its events were due, ascending, microseconds since the epoch.
    ids
        Customer and event id of every acknowledged event.
    """

    due_us: dict[str, list[int]] = field(default_factory=dict)
    ids: list[tuple[str, str]] = field(default_factory=list)
    asked_to_wait: int = 0
    refused: int = 0

    def waited_ms(self, customer: str, evaluated_us: int, seen_us: int, spacing_us: float) -> float | None:
        """Return how long it took from the event behind an evaluation until it was seen; None: no event's."""
        due = self.due_us.get(customer, [])
        place = bisect_right(due, evaluated_us)
        # A sweep re-evaluates customers who have done nothing.
        if not place or evaluated_us - due[place - 1] > spacing_us:
            return None
        return (seen_us - due[place - 1]) / 1000


class Rounds:
    """The events: each known customer in turn, something they have bought before."""

    def __init__(self, events: pl.DataFrame, events_per_visit: int) -> None:
        self.events_per_visit = events_per_visit
        bought = events.filter(pl.col("event_type") == "purchase")
        fields = ["item_id", "category", "brand", "amount_minor"]
        self._things = _things(bought, fields)
        self.customers = list(self._things)
        rng = np.random.default_rng(1)
        rng.shuffle(self.customers)
        self._rng = rng

    def event(self, number: int, at_seconds: float) -> dict[str, Any]:
        """Return the event of a number, as it is posted."""
        customer = self.customers[number // self.events_per_visit % len(self.customers)]
        things = self._things[customer]
        thing = things[int(self._rng.integers(len(things)))]
        kind = KINDS[int(self._rng.integers(len(KINDS)))]
        event = {"event_id": f"live-{number}", "customer_id": customer, "event_type": kind}
        return event | {"event_time": at_seconds} | {name: value for name, value in thing.items() if value}


def _things(bought: pl.DataFrame, fields: list[str]) -> dict[str, list[dict[str, Any]]]:
    latest = bought.group_by("customer_id", maintain_order=True).tail(20)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in latest.select("customer_id", *fields).iter_rows(named=True):
        found.setdefault(row.pop("customer_id"), []).append(row)
    return found


class Poster:
    """Posts at equal distances; connections are kept open, one a thread."""

    def __init__(self, service: ServiceProcess, rounds: Rounds, per_second: float) -> None:
        self._rounds = rounds
        self._per_second = per_second
        self._local = threading.local()
        host, port = service.url.removeprefix("http://").split(":")
        self._address = host, int(port)
        self._headers = {"authorization": f"Bearer {service.token}", "content-type": "application/json"}
        self._lock = threading.Lock()
        self.posted = Posted()

    def run(self, seconds: float) -> None:
        """Post for some time, and wait for the last reply."""
        began, number, every = time.time(), 0, EVENTS_PER_POST / self._per_second
        with ThreadPoolExecutor(SENDERS) as pool:
            done = []
            for post in range(int(seconds / every)):
                due = began + post * every
                time.sleep(max(due - time.time(), 0.0))
                events = [self._rounds.event(number + place, due) for place in range(EVENTS_PER_POST)]
                number += EVENTS_PER_POST
                with self._lock:
                    for event in events:
                        self.posted.due_us.setdefault(event["customer_id"], []).append(int(due * 1e6))
                done.append(pool.submit(self._post, events))
            for one in done:
                one.result()

    def _post(self, events: list[dict[str, Any]]) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(*self._address, timeout=60)
        body = json.dumps({"events": events}).encode()
        while True:
            connection.request("POST", "/v1/events", body=body, headers=self._headers)
            reply = connection.getresponse()
            content = reply.read()
            if reply.status != 429:
                break
            with self._lock:
                self.posted.asked_to_wait += 1
            time.sleep(float(reply.headers["retry-after"]))
        accepted = json.loads(content).get("accepted", 0) if reply.status == 202 else 0
        with self._lock:
            self.posted.refused += len(events) - accepted
            if accepted == len(events):
                self.posted.ids += [(event["customer_id"], event["event_id"]) for event in events]


class Watch(threading.Thread):
    """Looks at the tags in the online store until told to stop."""

    def __init__(self, store: PackedStore) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._stopping = threading.Event()
        self.changes: list[tuple[str, int, int]] = []
        """Customer, instant of the evaluation, and when its row was seen, microseconds since the epoch."""

    def run(self) -> None:
        """Look again and again."""
        seen = dict(self._store.ages(CUSTOMER_TAGS))
        latest = max(seen.values(), default=0)
        while not self._stopping.wait(LOOK_SECONDS):
            names = list(self._store.keys(CUSTOMER_TAGS, newer_than_us=latest - 1))
            rows = self._store.get_many(CUSTOMER_TAGS, names, now_us=0, ttl_us=None)
            now_us = int(time.time() * 1e6)
            for name, row in rows.items():
                if seen.get(name) != row.event_us:
                    seen[name] = row.event_us
                    self.changes.append((name, row.event_us, now_us))
                    latest = max(latest, row.event_us)

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self.join()


class Lag(threading.Thread):
    """Asks the service how long the first customer waits for its tags."""

    def __init__(self, service: ServiceProcess) -> None:
        super().__init__(daemon=True)
        self._service = service
        self._stopping = threading.Event()
        self.most_seconds = 0.0

    def run(self) -> None:
        """Ask again and again."""
        with self._service.client() as client:
            while not self._stopping.wait(LAG_SECONDS):
                for line in client.get("/metrics").text.splitlines():
                    if line.startswith("tagtide_tagging_lag_seconds "):
                        self.most_seconds = max(self.most_seconds, float(line.split()[1]))

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self.join()


def settle(service: ServiceProcess, receiver: Receiver) -> None:
    """Wait until nothing waits in the service and no message has come for a while."""
    deadline = time.monotonic() + SETTLE_SECONDS
    with service.client() as client:
        while time.monotonic() < deadline:
            counts = client.get("/v1/status").json()["counts"]
            is_quiet = time.monotonic() - receiver.latest > QUIET_SECONDS
            if is_quiet and not counts["waiting_events"] and not counts["waiting_customers"]:
                return
            time.sleep(0.2)


def times_in_memory(store: PackedStore, posted: Posted) -> list[int]:
    """Return how often each acknowledged event lies in its customer's memory."""
    wanted = sorted({customer for customer, _ in posted.ids})
    found: dict[tuple[str, str], int] = {}
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        rows = store.get_many(CUSTOMER_MEMORY, some, now_us=0, ttl_us=None)
        for name, row in rows.items():
            for key in decode_memory(row.value).event_key:
                found[name, key] = found.get((name, key), 0) + 1
    return [found.get((customer, f"api\x1f{event}"), 0) for customer, event in posted.ids]


def webhook_environment(receiver: Receiver) -> dict[str, str]:
    """Return the settings that make the service send its messages; none where it has no such settings."""
    if "webhook_url" not in Settings.model_fields:
        return {}
    return {"TAGTIDE_WEBHOOK_URL": receiver.url, "TAGTIDE_WEBHOOK_SECRET": receiver.secret}


def measured(
    folder: Path, bundles: Path, per_second: float, seconds: float, events_per_visit: int
) -> dict[str, Any]:
    """Run one service for the time asked for."""
    events = stream.moved_events()
    home = stream.served_home(folder / "home", events, bundles)
    store = open_packed_store(home, load_settings(home.root, {}).settings)
    rounds = Rounds(events, events_per_visit)
    spacing_us = len(rounds.customers) * events_per_visit / per_second * 1e6
    with Receiver(secrets.token_urlsafe(24)) as receiver:
        chosen = webhook_environment(receiver)
        environ = {**os.environ, **chosen}
        service = ServiceProcess(home, environ, port=free_port(), token=new_token(), clock="wall")
        with stream.running(service):
            stream.wait_for_profiles(service)
            poster = Poster(service, rounds, per_second)
            watch, lag = Watch(store), Lag(service)
            watch.start()
            lag.start()
            poster.run(seconds)
            settle(service, receiver)
            watch.stop()
            lag.stop()
        deliveries = receiver.deliveries
    posted = poster.posted
    there = times_in_memory(store, posted)
    store.close()
    to_tag = [posted.waited_ms(name, at, seen, spacing_us) for name, at, seen in watch.changes]
    changes: dict[str, Delivery] = {}
    for one in deliveries:
        if one.content.get("type") == "tag.changed":
            changes.setdefault(one.key, one)
    to_webhook = [
        posted.waited_ms(str(one.content.get("customer_id")), one.at_us, one.received_us, spacing_us)
        for one in changes.values()
    ]
    return {
        **_quantiles("event_to_tag", to_tag),
        **_quantiles("event_to_webhook", to_webhook),
        "sent": len(posted.ids),
        "received": sum(count > 0 for count in there),
        "lost": sum(count == 0 for count in there),
        "duplicated": sum(count > 1 for count in there),
        "refused": posted.refused,
        "asked_to_wait": posted.asked_to_wait,
        "tags_changed": len(watch.changes),
        "webhooks": len(changes) if chosen else None,
        "webhooks_repeated": len(deliveries) - len({one.key for one in deliveries}),
        "webhooks_wrongly_signed": sum(not one.is_signed for one in deliveries),
        "tagging_lag_max_ms": round(lag.most_seconds * 1000, 1),
        "spacing_ms": round(spacing_us / 1000),
        "customers": len(rounds.customers),
        "per_second": per_second,
        "events_per_post": EVENTS_PER_POST,
        "events_per_visit": events_per_visit,
        "seconds": seconds,
    }


def _quantiles(name: str, times_ms: list[float | None]) -> dict[str, float | None]:
    known = [one for one in times_ms if one is not None]
    return {
        f"{name}_{label}_ms": round(float(np.quantile(known, share)), 1) if known else None
        for label, share in (("p50", 0.5), ("p99", 0.99))
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure once."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="tagtide-benchmark-") as name:
        folder = Path(name)
        bundles = arguments.bundles or stream.trained_bundles(folder)
        usual = measured(
            folder / "usual", bundles, arguments.per_second, arguments.seconds, arguments.events_per_visit
        )
        seconds = min(arguments.seconds, WORST_SECONDS_MAX)
        worst = measured(folder / "worst", bundles, arguments.per_second, seconds, 1)
    return usual | {"each_event_another_customer": worst, "load_average_before": round(load, 2)}


def main() -> None:
    """Run the benchmark."""
    parser = measurement.options("live", __doc__, EPILOG)
    parser.add_argument("--seconds", type=float, help=f"how long events are posted (default {SECONDS:.0f})")
    parser.add_argument("--per-second", type=float, help=f"events a second (default {PER_SECOND})")
    parser.add_argument(
        "--events-per-visit",
        type=int,
        default=EVENTS_PER_VISIT,
        help=f"events of a customer after one another (default {EVENTS_PER_VISIT})",
    )
    parser.add_argument("--bundles", type=Path, metavar="DIR", help="published bundles, instead of training")
    arguments = parser.parse_args()
    arguments.seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else SECONDS)
    arguments.per_second = arguments.per_second or (QUICK_PER_SECOND if arguments.quick else PER_SECOND)
    measurement.use_cores()
    telemetry.switch_off(os.environ)
    measurement.publish("live", run(arguments), PACKAGES, arguments)


if __name__ == "__main__":
    main()
