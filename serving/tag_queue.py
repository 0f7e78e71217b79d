"""Customers whose tags are to be evaluated: each once, however many of its events wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from features.errors import LeaseLostError
from features.packed_store import PackedStore
from serving.clock import Clock
from serving.measures import Measures
from serving.outages import part_of
from serving.tagging import Tagging
from serving.turns import Turns

logger = logging.getLogger(__name__)

TAGGED_MARK = "tagged_seq"
"""Progress mark: the customers of every row of the log up to it were evaluated since."""

CHUNK = 100
"""Most customers evaluated at once: many cost less each, few keep somebody in a hurry waiting less."""

LATE_SECONDS = 10.0
"""Tags that wait longer for their evaluation are reported by the service's status."""

STOP_SECONDS = 3.0
"""How long an orderly end goes on evaluating; what then remains is done at the next start."""


OUTAGE_PAUSE_SECONDS = 1.0
"""How long after a part did not answer it is asked again."""


class _Since(NamedTuple):
    seq: int
    moment: float


@dataclass
class _Waiter:
    left: int
    done: Future[None] = field(default_factory=Future)

    def count_down(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.done.set_result(None)


@dataclass
class _Chunk:
    customers: list[str]
    mark: int
    since: _Since
    waiters: list[_Waiter]


class TagQueue:
    """Evaluates customers after their memory changed, in chunks, the longest waiting first.

    Under the wall clock a thread of its own does that, so that a burst of events waits for no model. A replay
    calls `drain` between arrivals instead, so that evaluations and their instants depend on the events alone.

    Parameters
    ----------
    tagging
        Evaluates.
    store
        Keeps the mark.
    clock
        Tells the instant of an evaluation.
    measures
        Counters and gauges.
    chunk
        See `CHUNK`.
    guard
        Makes what is held during an evaluation, beside the other threads.
    """

    def __init__(
        self,
        tagging: Tagging,
        store: PackedStore,
        clock: Clock,
        measures: Measures,
        *,
        chunk: int = CHUNK,
        guard: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._tagging = tagging
        self._store = store
        self._clock = clock
        self._measures = measures
        self._chunk = chunk
        self.turns = Turns(guard)
        """Held while tags change."""
        self._changed = threading.Condition()
        # In the order of their first row that was not evaluated; taking some out leaves the order.
        self._dirty: dict[str, _Since] = {}
        self._urgent: dict[str, None] = {}
        self._waiters: dict[str, list[_Waiter]] = {}
        self._under_way: _Chunk | None = None
        self._latest_seq = 0
        self._thread: threading.Thread | None = None
        self._is_stopping = self._is_pausing = False
        self._failure = ""
        measures.waiting_customers.set_function(lambda: self.waiting_customers)
        measures.tagging_lag.set_function(lambda: self.lag_seconds)

    @property
    def waiting_customers(self) -> int:
        """Customers whose evaluation is outstanding."""
        under_way = self._under_way
        return len(self._dirty) + (0 if under_way is None else len(under_way.customers))

    @property
    def lag_seconds(self) -> float:
        """How long the first of them has waited."""
        with self._changed:
            firsts = [next(iter(self._dirty.values()))] if self._dirty else []
            if self._under_way is not None:
                firsts.append(self._under_way.since)
        return max((time.monotonic() - first.moment for first in firsts), default=0.0)

    @property
    def problem(self) -> str:
        """Why tags are not as they should be, or an empty string."""
        lag = self.lag_seconds
        if lag > LATE_SECONDS:
            return f"{self.waiting_customers} customers wait for their tags, the first for {lag:.0f} s"
        return self._failure

    def add(self, customers: Sequence[str], first_seq: int, last_seq: int) -> None:
        """Note that rows of the log are in the memories of their customers.

        Parameters
        ----------
        customers
            Whose memories changed.
        first_seq, last_seq
            The first and last of the rows; larger than those of any earlier call.
        """
        since = _Since(first_seq, time.monotonic())
        with self._changed:
            self._latest_seq = last_seq
            for customer in customers:
                self._dirty.setdefault(customer, since)
            self._changed.notify()

    def evaluated(self, customers: Sequence[str]) -> Future[None]:
        """Put customers first, and return what is done once none of their evaluations is outstanding."""
        with self._changed:
            waiter = _Waiter(1)
            for customer in customers:
                if customer in self._dirty:
                    self._urgent[customer] = None
                    self._waiters.setdefault(customer, []).append(waiter)
                    waiter.left += 1
                elif self._under_way is not None and customer in self._under_way.customers:
                    self._under_way.waiters.append(waiter)
                    waiter.left += 1
            waiter.count_down()
            self._changed.notify()
        return waiter.done

    def recover(self) -> None:
        """Make good what a crash in the middle of an evaluation left half done; see `Tagging.recover`."""
        with self.turns:
            self._tagging.recover(self._clock.now_us())

    def reconsider(self, customers: Sequence[str]) -> None:
        """Evaluate customers now, in the calling thread, for another reason than an event of theirs."""
        with self.turns:
            self._tagging.evaluate(customers, self._clock.now_us(), origin="sweep")

    def drain(self) -> None:
        """Evaluate whatever waits, in the calling thread."""
        while self._step():
            pass

    def start(self) -> None:
        """Begin to evaluate in a thread."""
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="tagtide-tags", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """Evaluate what can be in the time, then end; nobody is left waiting."""
        thread, self._thread = self._thread, None
        if thread is not None:
            with self._changed:
                self._is_stopping = True
                self._changed.notify()
            thread.join(timeout_seconds)
        with self._changed:
            self._dirty.clear()
            self._urgent.clear()
            left = [waiter for waiters in self._waiters.values() for waiter in waiters]
            self._waiters.clear()
        if thread is not None:
            thread.join()
        for waiter in left:
            waiter.count_down()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._dirty and not self._is_stopping:
                    self._changed.wait()
                if self._is_pausing and not self._is_stopping:
                    self._is_pausing = False
                    self._changed.wait_for(lambda: self._is_stopping, OUTAGE_PAUSE_SECONDS)
                if not self._dirty:
                    return
            self._step()

    def _step(self) -> bool:
        with self.turns:
            chunk = self._take()
            if chunk is None:
                return False
            try:
                self._evaluate(chunk)
            finally:
                with self._changed:
                    self._under_way = None
                for waiter in chunk.waiters:
                    waiter.count_down()
        return True

    def _take(self) -> _Chunk | None:
        with self._changed:
            if not self._dirty:
                return None
            since = next(iter(self._dirty.values()))
            names = list(islice(self._urgent, self._chunk))
            if len(names) < self._chunk:
                others = (name for name in self._dirty if name not in self._urgent)
                names += islice(others, self._chunk - len(names))
            waiters: list[_Waiter] = []
            for name in names:
                del self._dirty[name]
                self._urgent.pop(name, None)
                waiters += self._waiters.pop(name, ())
            mark = next(iter(self._dirty.values())).seq - 1 if self._dirty else self._latest_seq
            self._under_way = _Chunk(names, mark, since, waiters)
            return self._under_way

    def _evaluate(self, chunk: _Chunk) -> None:
        mark = (TAGGED_MARK, chunk.mark)
        try:
            self._tagging.evaluate(chunk.customers, self._clock.now_us(), origin="event", mark=mark)
        # Whoever holds the lease by now evaluates them.
        except LeaseLostError:
            self._failure = ""
        # The events are safe. A part that did not answer will again; else the sweep evaluates these.
        except Exception as error:
            self._measures.failures.labels("tagging").inc()
            self._failure = f"the last evaluation failed: {type(error).__name__}"
            logger.exception("tags could not be evaluated")
            if part_of(error) and self._thread is not None:
                self._put_back(chunk)
            else:
                self._give_up(mark)
        else:
            self._failure = ""

    def _put_back(self, chunk: _Chunk) -> None:
        with self._changed:
            others = {name: since for name, since in self._dirty.items() if name not in chunk.customers}
            self._dirty = dict.fromkeys(chunk.customers, chunk.since) | others
            self._is_pausing = True

    def _give_up(self, mark: tuple[str, int]) -> None:
        try:
            self._store.put_mark(*mark)
        # Then these customers are evaluated again at the next start.
        except Exception:
            logger.exception("the mark of the tags could not be set")
