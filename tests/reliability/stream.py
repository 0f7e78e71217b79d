"""Senders that post made events until each was acknowledged, and what the stores hold of them afterwards."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from features.packed_memory import decode_memory
from features.packed_store import CUSTOMER_MEMORY
from serving.live_tags import LiveTags
from serving.stream import STREAM_MARK
from serving.tag_queue import TAGGED_MARK
from tests.serving.parts import HEADERS

CUSTOMERS = 40
ROWS = 10


def made_event(sender, number):
    return {
        "event_id": f"s{sender}-{number}",
        "customer_id": f"c{number % CUSTOMERS}",
        "event_type": "view",
        "event_time": time.time(),
        "category": f"K{number % 3}",
    }


@dataclass
class Sent:
    """What one sender did."""

    acknowledged: set = field(default_factory=set)
    replies: Counter = field(default_factory=Counter)
    accepted: int = 0
    duplicates: int = 0
    longest_wait_seconds: float = 0.0
    unnamed: list = field(default_factory=list)
    """Replies other than 202 without a Retry-After."""


class Sender(threading.Thread):
    """Posts batches in turn to some services; a batch is sent again until it is acknowledged."""

    def __init__(self, number, urls, stopping, going, most=10**9, pause_seconds=0.0):
        super().__init__(daemon=True)
        self.going = going
        self.number, self.urls, self.stopping = number, itertools.cycle(urls), stopping
        self.most, self.pause_seconds = most, pause_seconds
        self.sent = Sent()

    def run(self):
        numbers = itertools.count()
        with httpx.Client(headers=HEADERS, timeout=20, trust_env=False) as client:
            while not self.stopping.is_set() and len(self.sent.acknowledged) < self.most:
                self.going.wait()
                self.deliver(client, [made_event(self.number, next(numbers)) for _ in range(ROWS)])
                self.stopping.wait(self.pause_seconds)

    def deliver(self, client, events):
        began = time.monotonic()
        while time.monotonic() - began < 90:
            try:
                reply = client.post(next(self.urls) + "/v1/events", json={"events": events})
            except httpx.TransportError as error:
                self.sent.replies[type(error).__name__] += 1
                self.stopping.wait(0.05)
                continue
            self.sent.replies[str(reply.status_code)] += 1
            if reply.status_code == 202:
                answer = reply.json()
                self.sent.accepted += answer["accepted"]
                self.sent.duplicates += answer["duplicates"]
                self.sent.acknowledged |= {one["event_id"] for one in events}
                break
            if "retry-after" not in reply.headers:
                self.sent.unnamed.append(reply.text)
            time.sleep(0.05)
        waited = time.monotonic() - began
        self.sent.longest_wait_seconds = max(self.sent.longest_wait_seconds, waited)


class Senders:
    """Several senders, between construction and `stop`."""

    def __init__(self, urls, count=2, **options):
        self.stopping, self.going = threading.Event(), threading.Event()
        self.going.set()
        self.all = [
            Sender(n, urls[n % len(urls) :] + urls[: n % len(urls)], self.stopping, self.going, **options)
            for n in range(count)
        ]
        for one in self.all:
            one.start()

    def acknowledged(self):
        return sum(len(one.sent.acknowledged) for one in self.all)

    def have_acknowledged(self, more):
        """Return what tells whether so many more events were acknowledged since."""
        target = self.acknowledged() + more
        return lambda: self.acknowledged() >= target

    @contextmanager
    def held(self):
        """Let nobody begin to post meanwhile."""
        self.going.clear()
        try:
            yield
        finally:
            self.going.set()

    def stop(self):
        self.stopping.set()
        for one in self.all:
            one.join(120)
        return [one.sent for one in self.all]


def settled(parts):
    """Tell whether every row of the log is in the memories and was evaluated since."""
    last = parts.log.last_seq()
    return parts.store.mark(STREAM_MARK) == parts.store.mark(TAGGED_MARK) == last


def figures(parts, sent):
    """Count what became of the events that were acknowledged, and what is there more often than once."""
    acknowledged = set().union(*(one.acknowledged for one in sent))
    logged = parts.log.read_after(0, 10**7)["event_id"].to_list()
    names = [f"c{number}" for number in range(CUSTOMERS)]
    rows = parts.store.get_many(CUSTOMER_MEMORY, names, now_us=0, ttl_us=None)
    keys = [key.split("\x1f")[1] for row in rows.values() for key in decode_memory(row.value).event_key]
    claims = parts.claims()
    pairs = claims.select("customer_id", "tag_id").rows()
    steps = parts.ledger.read_transitions().select("customer_id", "tag_id", "to_state").rows()
    now_us = time.time_ns() // 1000
    live = LiveTags(parts.store).live(names, now_us)
    carried = {(name, one.evidence.tag_id) for name, found in live.items() for one in found}
    return {
        "tried": len(acknowledged),
        "survived": len(acknowledged & set(logged) & set(keys)),
        "lost": len(acknowledged - (set(logged) & set(keys))),
        "doubled": len(logged) - len(set(logged)) + len(keys) - len(set(keys)),
        "claims_doubled": len(pairs) - len(set(pairs)) + len(steps) - len(set(steps)),
        "claims_and_tags_differ": len(carried ^ set(pairs)),
        "longest_wait_seconds": round(max(one.longest_wait_seconds for one in sent), 2),
        "replies": dict(sum((one.replies for one in sent), Counter())),
    }
