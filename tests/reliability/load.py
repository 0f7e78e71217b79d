"""More than a service can do, a stop while requests are under way, and the same for a long time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from serving.readers import WAITING_MAX
from tests.reliability.service import until
from tests.reliability.stream import made_event
from tests.serving.parts import HEADERS

BATCH = 1000
TIMES_CAPACITY = 4
CUSTOMERS = 20_000
SOONER_SECONDS = 0.5
"""When a caller that was refused comes back: sooner than it was asked to."""
WAITING_EVENTS_MAX = 2_000
"""How many posted events the services of these tests let wait."""

SCORING_SECONDS = 0.05
"""How long scoring takes under overload: so long that the callers of one process are too many for it."""

POSTERS = TIMES_CAPACITY * WAITING_EVENTS_MAX // BATCH
READERS = TIMES_CAPACITY * WAITING_MAX


def body_of(name: str) -> bytes:
    at, first = int(time.time()), hash(name)
    rows = (
        b'{"event_id":"%s-%d","customer_id":"o%d","event_type":"view","event_time":%d,"category":"K1"}'
        % (name.encode(), row, (first + row) % CUSTOMERS, at)
        for row in range(BATCH)
    )
    return b'{"events":[' + b",".join(rows) + b"]}"


def crowd(url, count, seconds, ask):
    """Let many callers ask without a pause for some time.

    Parameters
    ----------
    ask
        Given the client, the caller's number and that of its request; returns the reply.

    Returns
    -------
    (status, seconds, whether it said when to come back) of every reply.
    """
    # One client for all: to make one costs more than hundreds of requests.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpx.Client(base_url=url, headers=HEADERS, timeout=60, trust_env=False, limits=limits)
    end = time.monotonic() + seconds

    def one(number):
        found, turn = [], 0
        while turn == 0 or time.monotonic() < end:
            began = time.monotonic()
            reply = ask(client, number, turn)
            found.append((reply.status_code, time.monotonic() - began, "retry-after" in reply.headers))
            turn += 1
            if reply.status_code == 429:
                time.sleep(SOONER_SECONDS)
        return found

    with client, ThreadPoolExecutor(count) as pool:
        return [reply for found in pool.map(one, range(count)) for reply in found]


def summed(replies):
    accepted = [seconds for status, seconds, _ in replies if status in (200, 202)]
    return {
        "replies": dict(Counter(str(status) for status, _, _ in replies)),
        "refused_without_retry_after": sum(status == 429 and not told for status, _, told in replies),
        "accepted_p99_seconds": round(float(np.quantile(accepted, 0.99)), 3),
        "refused_p99_seconds": round(
            float(np.quantile([taken for status, taken, _ in replies if status == 429] or [0], 0.99)), 3
        ),
    }


def overload(service, seconds):
    """Offer four times what may wait, as posts and then as reads; see how it answers then and afterwards."""
    with service.client() as client:
        json = {"content-type": "application/json"}
        run = f"{service.port}-{time.monotonic_ns()}"
        writes = crowd(
            service.url,
            POSTERS,
            seconds,
            lambda client, number, turn: client.post(
                "/v1/events", content=body_of(f"{run}-{number}-{turn}"), headers=json
            ),
        )
        after_writes = normal_again(client)
        asked = {"customer_ids": [f"o{number}" for number in range(20)]}
        reads = crowd(
            service.url,
            READERS,
            seconds,
            lambda client, number, turn: client.post("/v1/predictions:batchGet", json=asked),
        )
        after_reads = normal_again(client)
    return {
        "writes": summed(writes) | {"normal_again_seconds": after_writes},
        "reads": summed(reads) | {"normal_again_seconds": after_reads},
    }


def normal_again(client):
    """Return the seconds until a post and a read are answered within a quarter of a second."""

    def is_normal():
        began = time.monotonic()
        asked = {"event_id": f"n{time.monotonic_ns()}", "customer_id": "n", "event_type": "view"}
        posted = client.post("/v1/events", json={"events": [asked | {"event_time": time.time()}]})
        read = client.get("/v1/customers/n")
        return (posted.status_code, read.status_code) == (202, 200) and time.monotonic() - began < 0.5

    return round(until(is_normal, 30), 2)


def stop_under_way(service, count=16):
    """Ask a service to end while posts wait for their tags; return their statuses and how it ended."""
    statuses = []
    with httpx.Client(base_url=service.url, headers=HEADERS, timeout=30, trust_env=False) as client:

        def post(number):
            events = [made_event(f"end{number}", row) for row in range(10)]
            try:
                statuses.append(client.post("/v1/events?return=tags", json={"events": events}).status_code)
            except httpx.TransportError as error:
                statuses.append(type(error).__name__)

        threads = [threading.Thread(target=post, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        until(lambda: service.accepted_events() == count * 10, 30)
        under_way = count - len(statuses)
        children = service.children()
        code, seconds = service.end()
        for thread in threads:
            thread.join(30)
    return {
        "requests": count,
        "under_way": under_way,
        "statuses": dict(Counter(map(str, statuses))),
        "exit_code": code,
        "seconds": round(seconds, 2),
        "orphans": sum(child.is_running() for child in children),
    }


def soak(service, seconds, warm_up_seconds):
    """Post and ask at a moderate rate for a long time; see whether memory grows."""
    errors, sizes, asked = Counter(), [], 0
    began = time.monotonic()
    with service.client() as client:
        number = 0
        while (now := time.monotonic() - began) < seconds:
            events = [
                {
                    "event_id": f"soak-{began}-{number}-{row}",
                    "customer_id": f"s{(number * 20 + row) % 2000}",
                    "event_type": "view",
                    "event_time": time.time(),
                    "category": f"K{number % 5}",
                }
                for row in range(20)
            ]
            replies = [
                client.post("/v1/events", json={"events": events}),
                client.get(f"/v1/customers/s{number % 2000}"),
                client.post(
                    "/v1/predictions:batchGet",
                    json={"customer_ids": [f"s{one % 2000}" for one in range(number, number + 20)]},
                ),
            ]
            asked += len(replies)
            errors.update(str(one.status_code) for one in replies if not one.is_success)
            number += 1
            if number % 20 == 0 and now >= warm_up_seconds:
                sizes.append(service.rss_mb())
            time.sleep(0.05)
    tenth = max(len(sizes) // 10, 1)
    first, last = float(np.median(sizes[:tenth])), float(np.median(sizes[-tenth:]))
    return {
        "seconds": seconds,
        "requests": asked,
        "errors": dict(errors),
        "rss_mb_first": round(first, 1),
        "rss_mb_last": round(last, 1),
        "rss_growth_share": round(last / first - 1, 4),
    }
