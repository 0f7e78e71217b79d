"""Takes messages out of the outbox and posts them, many customers at once, as soon as there are any."""

from __future__ import annotations

import logging
import os
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.measures import Measures
from serving.outbox import Leased, Outbox, Outcome, Standing
from serving.webhooks import Reply, Sender, Webhook

logger = logging.getLogger(__name__)

SENDERS = 8
"""Connections to the receiver: so many messages are under way at once."""

LEASED_MAX = 32 * SENDERS
"""Most messages taken out of the outbox at a time."""

LEASE_SECONDS = 10.0
"""After a crash what was leased waits so long; a deliverer that lives prolongs its leases."""

GATHER_SECONDS = 0.01
"""How long outcomes gather before they are written down together."""

LOOK_SECONDS = 1.0
"""How often to look for what another process enqueued."""

COUNT_SECONDS = 5.0
PRUNE_SECONDS = 3600.0
STOP_SECONDS = 5.0

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 3600.0

OLD_SECONDS = 60.0
"""A message that has waited longer is reported by the service's status."""


def pause_seconds(attempts: int, drawn: float) -> float:
    """Return how long to wait after a failure: doubled each time, up to an hour, half of it at random.

    Parameters
    ----------
    attempts
        Made so far, at least 1.
    drawn
        From [0, 1): what keeps messages that failed together from coming back together.

    >>> [pause_seconds(attempts, 0.0) for attempts in (1, 2, 3, 20)]
    [0.5, 1.0, 2.0, 1800.0]
    """
    longest = min(FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 30), LONGEST_PAUSE_SECONDS)
    return longest * (0.5 + 0.5 * drawn)


@dataclass(frozen=True)
class _Done:
    leased: Leased
    reply: Reply


class Deliveries:
    """Delivers what is in the outbox, in threads of its own, so that nobody waits for the receiver.

    Parameters
    ----------
    outbox, webhook, measures
        What is delivered, where to, and what counts it.
    attempts_max
        A message that failed so often becomes a dead letter.
    on_dead
        Told the keys of messages that became dead letters.
    now_us
        The machine's clock, microseconds since the epoch.
    make_sender
        Makes what a sending thread posts with.
    """

    def __init__(
        self,
        outbox: Outbox,
        webhook: Webhook,
        measures: Measures,
        *,
        attempts_max: int,
        on_dead: Callable[[list[str]], None] = lambda _: None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        make_sender: Callable[[Webhook], Sender] = Sender,
    ) -> None:
        self._outbox = outbox
        self._webhook = webhook
        self._measures = measures
        self._attempts_max = attempts_max
        self._on_dead = on_dead
        self._now_us = now_us
        self._make_sender = make_sender
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex}"[:32]
        self._work: queue.SimpleQueue[Leased | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._done: list[_Done] = []
        self._has_new = False
        self._is_stopping = False
        self._under_way: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._senders: list[threading.Thread] = []
        self._failure = ""
        self._standing: Standing | None = None
        self._last = {"count": float("-inf"), "prune": float("-inf"), "renew": float("-inf")}

    @property
    def problem(self) -> str:
        """Why messages are not out as they should be, or an empty string."""
        standing = self._standing
        if self._failure or standing is None:
            return self._failure
        age = self._age_seconds(standing)
        if age > OLD_SECONDS:
            return f"{standing.waiting} messages wait, the first for {age:.0f} s"
        return f"{standing.dead} dead letters: see `tagtide outbox ls`" if standing.dead else ""

    def start(self) -> None:
        """Begin to deliver."""
        self._is_stopping = False
        self._under_way = set()
        self._senders = [
            threading.Thread(target=self._send, name=f"tagtide-sender-{number}", daemon=True)
            for number in range(SENDERS)
        ]
        run = threading.Thread(target=self._run, name="tagtide-deliveries", daemon=True)
        self._threads = [*self._senders, run]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let what is under way end, for a few seconds; what waits is delivered after the next start."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        _join(self._threads, STOP_SECONDS)
        self._threads = []

    def wake(self) -> None:
        """Hear that something was enqueued."""
        with self._changed:
            self._has_new = True
            self._changed.notify_all()

    def _run(self) -> None:
        wait = 0.0
        while True:
            is_stopping = self._wait(wait)
            if is_stopping:
                break
            try:
                wait = self._turn()
                self._failure = ""
            # The outbox keeps what waits: it is tried again.
            except Exception as error:
                self._failure = f"the outbox failed: {type(error).__name__}"
                self._measures.failures.labels("outbox").inc()
                logger.exception("messages could not be taken out of the outbox")
                wait = LOOK_SECONDS
        self._finish()

    def _wait(self, seconds: float) -> bool:
        with self._changed:
            if not (self._has_new or self._done or self._is_stopping):
                self._changed.wait(seconds)
            if self._done:
                until = time.monotonic() + GATHER_SECONDS
                while not (self._has_new or self._is_stopping) and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
            return self._is_stopping

    def _turn(self) -> float:
        with self._changed:
            done, self._done = self._done, []
            self._has_new = False
        now_us, now = self._now_us(), time.monotonic()
        lease_us = int(LEASE_SECONDS * 1_000_000)
        outcomes = [self._outcome(one, now_us) for one in done]
        ended = {one.leased.seq for one in done}
        room = LEASED_MAX - len(self._under_way - ended)
        try:
            leased = self._outbox.turn(
                outcomes, owner=self._owner, now_us=now_us, lease_us=lease_us, most=room
            )
        except BaseException:
            with self._changed:
                self._done = [*done, *self._done]
            raise
        self._count(outcomes, now_us)
        self._under_way -= ended
        for one in leased:
            # A clock that is set forward ends leases early: what is under way here is not sent twice.
            if one.seq not in self._under_way:
                self._under_way.add(one.seq)
                self._work.put(one)
        if dead := [one.leased.message.key for one in outcomes if one.problem and one.again_at_us is None]:
            self._on_dead(dead)
        self._now_and_then(now, now_us, lease_us)
        # Whatever is under way wakes this thread by its end.
        due_us = None if self._under_way else self._outbox.next_due_us()
        if due_us is None:
            return LOOK_SECONDS
        return min(max((due_us - now_us) / 1_000_000, 0.001), LOOK_SECONDS)

    def _outcome(self, done: _Done, now_us: int) -> Outcome:
        attempts = done.leased.attempts + 1
        again_at_us = None
        if done.reply.problem and attempts < self._attempts_max:
            pause = pause_seconds(attempts, random.random())
            asked = min(done.reply.retry_after_seconds or 0.0, LONGEST_PAUSE_SECONDS)
            again_at_us = now_us + int(max(pause, asked) * 1_000_000)
        return Outcome(done.leased, done.reply.problem, again_at_us)

    def _count(self, outcomes: Sequence[Outcome], now_us: int) -> None:
        for one in outcomes:
            if not one.problem:
                waited_us = now_us - one.leased.created_at_us
                self._measures.delivered_seconds.observe(max(waited_us, 0) / 1_000_000)
            result = "delivered" if not one.problem else "dead" if one.again_at_us is None else "failed"
            self._measures.deliveries.labels(result).inc()

    def _now_and_then(self, now: float, now_us: int, lease_us: int) -> None:
        if self._under_way and now - self._last["renew"] > LEASE_SECONDS / 3:
            self._last["renew"] = now
            self._outbox.renew(self._owner, now_us, lease_us)
        if now - self._last["count"] > COUNT_SECONDS:
            self._last["count"] = now
            self._standing = standing = self._outbox.standing()
            self._measures.outbox_waiting.set(standing.waiting)
            self._measures.outbox_dead.set(standing.dead)
            self._measures.outbox_oldest.set(self._age_seconds(standing))
        if now - self._last["prune"] > PRUNE_SECONDS:
            self._last["prune"] = now
            self._outbox.prune(now_us)

    def _age_seconds(self, standing: Standing) -> float:
        if standing.oldest_us is None:
            return 0.0
        return max(self._now_us() - standing.oldest_us, 0) / 1_000_000

    def _finish(self) -> None:
        for _ in range(SENDERS):
            self._work.put(None)
        _join(self._senders, STOP_SECONDS / 2)
        with self._changed:
            done, self._done = self._done, []
        try:
            now_us = self._now_us()
            outcomes = [self._outcome(one, now_us) for one in done]
            self._outbox.turn(outcomes, owner=self._owner, now_us=now_us, lease_us=0, most=0)
            self._count(outcomes, now_us)
            # What was leased and not begun need not wait for the lease's end.
            self._outbox.renew(self._owner, self._now_us(), 0)
        # Then the messages go out once more after the next start, under the same keys.
        except Exception:
            logger.exception("the last outcomes could not be written down")

    def _send(self) -> None:
        sender = self._make_sender(self._webhook)
        while True:
            leased = self._work.get()
            if leased is None or self._is_stopping:
                break
            reply = sender.post(leased.message.key, leased.message.body, self._now_us() // 1_000_000)
            with self._changed:
                self._done.append(_Done(leased, reply))
                self._changed.notify_all()
        sender.close()


def _join(threads: Sequence[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
