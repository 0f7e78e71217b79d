"""Random bodies for the event door, and a check of what was stored that knows nothing of the door's code."""

from __future__ import annotations

import json
import random
import string
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

TYPES = (
    *("view", "search", "add_to_cart", "remove_from_cart", "purchase", "refund"),
    *("interaction", "referral", "contact", "coupon"),
)
FIELDS = (
    *("event_id", "customer_id", "event_type", "event_time", "ingested_at", "item_id", "category", "brand"),
    *("quantity", "amount_minor", "discount_minor", "coupon_minor", "order_id", "source", "unheard_of"),
)
REQUIRED = ("event_id", "customer_id", "event_type", "event_time", "ingested_at", "source")
ODD_TEXTS = (
    *("", " ", "\x00", "\x1f", "é" * 200, "a" * 300, "牛奶/ 二", "\ud800", "\u202e", "null", "-1"),
    *(
        "2026-02-30T00:00:00Z",
        "2017-11-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
    ),
)
ODD_NUMBERS = (
    0,
    -1,
    1,
    2**31,
    -(2**31) - 1,
    2**63,
    -(2**63),
    2**64,
    1e308,
    -1e308,
    1e-9,
    253402300800,
    10**30,
)
AT_ONCE = 16

INT32, MONEY = (-(2**31), 2**31 - 1), (-(10**15), 10**15)
BYTES = {"category": 256, "brand": 256}
"""Longest text by column; an id has up to 128 bytes."""


class Bodies:
    """Bodies made from a seed: of the right form, nearly so, and not at all."""

    def __init__(self, seed, run):
        self.random = random.Random(seed)
        self.run, self.number = run, 0

    def one(self) -> bytes:
        chance = self.random.random()
        if chance < 0.05:
            return self.random.randbytes(self.random.randrange(200))
        if chance < 0.10:
            return json.dumps(self.value(3)).encode("utf-8", "surrogatepass")
        events = [self.event() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3, 8)))]
        body = json.dumps({"events": events}).encode("utf-8", "surrogatepass")
        if chance < 0.20:
            body = self.damaged(body)
        elif chance < 0.22:
            body = json.dumps({self.text(): events, "events": events}).encode("utf-8", "surrogatepass")
        return body

    def event(self):
        self.number += 1
        event = {
            "event_id": f"{self.run}-{self.number}",
            "customer_id": f"f{self.random.randrange(100)}",
            "event_type": self.random.choice(TYPES),
            "event_time": time.time() - self.random.expovariate(1e-5),
        }
        for _ in range(self.random.choice((0, 0, 1, 2, 5))):
            event[self.random.choice(FIELDS)] = self.value(2)
        if self.random.random() < 0.1:
            event.pop(self.random.choice(list(event)))
        return event if self.random.random() > 0.02 else self.value(2)

    def value(self, depth):
        kind = self.random.randrange(9 if depth else 7)
        if kind == 0:
            return self.text()
        if kind == 1:
            return self.random.choice(ODD_TEXTS)
        if kind == 2:
            return self.random.choice(ODD_NUMBERS)
        if kind == 3:
            return self.random.choice((None, True, False, float("nan"), float("inf"), float("-inf")))
        if kind == 4:
            return self.random.randrange(-1000, 1000)
        if kind == 5:
            return self.random.uniform(-1e12, 1e12)
        if kind == 6:
            return time.time()
        if kind == 7:
            return [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        return {self.text(): self.value(depth - 1) for _ in range(self.random.randrange(4))}

    def text(self):
        return "".join(self.random.choices(string.printable + "é漢🙂", k=self.random.randrange(20)))

    def damaged(self, body):
        place = self.random.randrange(len(body) + 1)
        kind = self.random.randrange(4)
        if kind == 0:
            return body[:place]
        if kind == 1:
            return body[:place] + self.random.randbytes(1) + body[place + 1 :]
        if kind == 2:
            return body[:place] + body[place // 2 : place] + body[place:]
        return b"[" * self.random.randrange(3000) + body


def fuzz(client, count, seed, run):
    """Post random bodies, some at a time; return how often which status came back."""

    def some(part):
        bodies = Bodies(seed * AT_ONCE + part, f"{run}-{part}")
        found = []
        for _ in range(count // AT_ONCE):
            body = bodies.one()
            reply = client.post("/v1/events", content=body, headers={"content-type": "application/json"})
            found.append((reply.status_code, (body[:300], reply.text[:300])))
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = [reply for found in pool.map(some, range(AT_ONCE)) for reply in found]
    return {
        "bodies": len(replies),
        "statuses": dict(Counter(str(status) for status, _ in replies)),
        "server_errors": [shown for status, shown in replies if status >= 500][:3],
    }


def broken(row) -> list[str]:
    """Return which columns of a stored event are not as the documentation of the API says."""
    found = [name for name in REQUIRED if row[name] is None]
    found += [name for name in ("event_time", "ingested_at") if not _is_utc(row[name])]
    if row["event_type"] not in TYPES:
        found.append("event_type")
    for name in ("event_id", "customer_id", "item_id", "category", "brand", "order_id", "source"):
        text = row[name]
        if text is not None and not (isinstance(text, str) and _is_plain(text, BYTES.get(name, 128))):
            found.append(name)
    for name, (least, most) in {
        "quantity": INT32,
        "amount_minor": MONEY,
        "discount_minor": MONEY,
        "coupon_minor": MONEY,
    }.items():
        number = row[name]
        if number is not None and not (type(number) is int and least <= number <= most):
            found.append(name)
    return found


def _is_utc(instant) -> bool:
    return instant is not None and instant.utcoffset() == UTC.utcoffset(None)


def _is_plain(text: str, most_bytes: int) -> bool:
    return 1 <= len(text.encode()) <= most_bytes and not any(
        ord(sign) < 32 or ord(sign) == 127 for sign in text
    )
