"""The single writer: posted events become durable, then remembered, then their customers' tags are due."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta

import polars as pl

from configs.errors import TagtideError
from features.packed_memory import latest_known_us, merge_memory, pack_memories
from features.packed_store import CUSTOMER_MEMORY, PackedRow, PackedStore
from features.windows import from_us
from serving.clock import Clock
from serving.errors import NotReady, TooManyRequests
from serving.intake import Intake, Posted, Refusal, admit_posted
from serving.measures import Measures
from serving.schemas import Detail
from serving.stream_parts import DurableLog, RefusalKeeper, Resolver
from serving.tag_queue import TAGGED_MARK, TagQueue

logger = logging.getLogger(__name__)

STREAM_MARK = "stream_seq"
"""Progress mark: every row of the log up to it is in the memories."""

GROUP_ROWS = 2_000
"""Requests are committed together up to this many rows."""

QUEUE_ROWS = 20_000
"""Most rows that wait to be written; beyond it a sender is told to come back."""

CATCH_UP_ROWS = 10_000

RETRY_MAX_SECONDS = 30

OTHER_CONTENT = "the content stored under this id, or another id"


@dataclass(frozen=True)
class Written:
    """What became of one request's events.

    Attributes
    ----------
    erased
        Rows left out because their customers asked to be forgotten.
    errors
        Rows refused by the door, and rows whose id is stored with other content, by index.
    customers
        Where their tags are waited for: whose events were taken, in order of first appearance.
    """

    accepted: int
    duplicates: int
    erased: int
    errors: list[Detail]
    customers: list[str]


@dataclass
class _Waiting:
    posted: Posted
    with_tags: bool
    since: float
    done: Future[Written] = field(default_factory=Future)
    accepted: int = 0
    duplicates: int = 0
    erased: int = 0
    errors: list[Detail] = field(default_factory=list)
    customers: dict[str, None] = field(default_factory=dict)

    def written(self) -> Written:
        errors = sorted(self.errors, key=lambda one: one.index or 0)
        return Written(self.accepted, self.duplicates, self.erased, errors, list(self.customers))


class Writer:
    """Applies events in the order of the log, in one thread, several requests to a transaction.

    A crash between log and memory is made good at the next start: rows after the mark are applied again,
    which changes nothing where they were applied already; and the customers of rows after the mark of the
    tags are evaluated.

    Parameters
    ----------
    log, store
        The durable log and the online store.
    tags
        Told whose memories changed.
    clock
        Told of every arrival. Under a replay tags are evaluated before the next arrival is applied.
    measures
        Counters.
    quarantine
        Where refused rows are kept, if anywhere.
    identities
        Which customers are one, and which asked to be forgotten, if anything is known of that.
    future_skew
        See `features.events.admit`.
    queue_rows
        See `QUEUE_ROWS`.
    guard
        Makes what is held while memories change, beside the other threads.
    """

    def __init__(
        self,
        log: DurableLog,
        store: PackedStore,
        tags: TagQueue,
        clock: Clock,
        measures: Measures,
        *,
        quarantine: RefusalKeeper | None = None,
        identities: Resolver | None = None,
        future_skew: timedelta = timedelta(minutes=5),
        queue_rows: int = QUEUE_ROWS,
        guard: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._log = log
        self._store = store
        self._tags = tags
        self._clock = clock
        self._measures = measures
        self._quarantine = quarantine
        self._identities = identities
        self._future_skew = future_skew
        self._queue_rows = queue_rows
        self._guard = guard
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._waiting_rows = 0
        self._rows_per_second = float(queue_rows)
        self._count_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_behind = True
        self.lock = threading.RLock()
        """Held while memories change."""
        self.before_rows: Callable[[int], int] | None = None
        """Called under the lock with the arrival of rows that are about to be applied: a replay does what is
        due by then, and returns the instant from which it wants to be called again."""
        self.after_rows: Callable[[], object] | None = None
        """Called under the lock once rows of the log are in the memories, and in a replay their customers'
        tags are evaluated."""
        self.problem = "starting"
        measures.waiting_rows.set_function(lambda: self._waiting_rows)

    @property
    def waiting_rows(self) -> int:
        """Rows that are not written yet."""
        return self._waiting_rows

    def start(self) -> None:
        """Apply what the log holds beyond the marks, then begin to take events."""
        with self.lock, self._guard():
            self._tags.recover()
            self._resume_tags()
            if self._clock.kind == "replay":
                self._tags.drain()
            self._catch_up()
        if self._clock.kind == "wall":
            self._tags.start()
        self._thread = threading.Thread(target=self._run, name="tagtide-writer", daemon=True)
        self._thread.start()
        self.problem = ""

    def stop(self) -> None:
        """Write what waits, then stop."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
            self._tags.stop()
            self.problem = "stopped"

    def submit(self, posted: Posted, *, with_tags: bool = False) -> Future[Written]:
        """Queue one request's events.

        Parameters
        ----------
        posted
            Rows the door refuses go to the quarantine, the others to the log.
        with_tags
            Whether to wait for the tags of their customers too.

        Returns
        -------
        Done once the events are durable and remembered; under a replay, and ``with_tags``, once the tags of
        their customers were evaluated since.

        Raises
        ------
        TooManyRequests
            If too many rows wait.
        NotReady
            If the writer does not run.
        """
        if self._thread is None or not self._thread.is_alive():
            raise NotReady("events are not taken now: the writer is not running")
        waiting = _Waiting(posted, with_tags, time.perf_counter())
        with self._count_lock:
            if self._waiting_rows + posted.height > self._queue_rows and self._waiting_rows:
                seconds = min(math.ceil(self._waiting_rows / self._rows_per_second), RETRY_MAX_SECONDS)
                message = f"{self._waiting_rows} events wait to be written; send this again"
                raise TooManyRequests(message, retry_after_seconds=max(seconds, 1))
            self._waiting_rows += posted.height
        self._waiting.put(waiting)
        return waiting.done

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._next_group()
            if not group:
                continue
            began = time.perf_counter()
            try:
                with self.lock, self._guard():
                    self._write(group)
                self.problem = ""
            # Whatever goes wrong, every sender gets an answer and the thread goes on.
            except Exception as error:
                self._is_behind = True
                self.problem = f"the last write failed: {type(error).__name__}"
                logger.exception("events could not be written")
                refusal = NotReady("the events could not all be written; send them again: nothing doubles")
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(refusal)
            self._count(sum(waiting.posted.height for waiting in group), time.perf_counter() - began)

    def _count(self, rows: int, seconds: float) -> None:
        with self._count_lock:
            self._waiting_rows -= rows
            if rows:
                # The rate of the last groups, by which a sender is told when to come back.
                self._rows_per_second += 0.2 * (rows / max(seconds, 1e-6) - self._rows_per_second)

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        first = self._waiting.get()
        if first is None:
            return [], True
        group, rows = [first], first.posted.height
        while rows < GROUP_ROWS:
            try:
                another = self._waiting.get_nowait()
            except queue.Empty:
                break
            if another is None:
                return group, True
            group.append(another)
            rows += another.posted.height
        return group, False

    def _write(self, group: list[_Waiting]) -> None:
        if self._is_behind:
            self._catch_up()
        intake = admit_posted([waiting.posted for waiting in group], future_skew=self._future_skew)
        self._keep_refusals(intake.refused)
        for waiting, refused in zip(group, intake.refused, strict=True):
            waiting.errors = _details(refused)
        rows, owner = self._without_erased(intake, group)
        for chosen in self._segments(rows):
            self._is_behind = True
            segment = rows if chosen == list(range(rows.height)) else rows[chosen]
            receipt = self._log.append(segment)
            untaken = {*receipt.duplicates, *receipt.conflicts}
            for row, place in enumerate(chosen):
                owner[place][0].accepted += row not in untaken
            for row in receipt.duplicates:
                owner[chosen[row]][0].duplicates += 1
            conflicts = []
            for row in receipt.conflicts:
                waiting, index = owner[chosen[row]]
                event_id = str(segment["event_id"][row])
                conflicts.append(waiting.posted.refuse(index, "event_id", event_id, OTHER_CONTENT))
                waiting.errors.append(conflicts[-1].detail)
            self._keep_refusals([conflicts])
            self._remember(receipt.stored)
            self._is_behind = False
        if any(waiting.with_tags for waiting in group):
            self._name_customers(rows, owner)
        self._answer(group)

    def _without_erased(
        self, intake: Intake, group: list[_Waiting]
    ) -> tuple[pl.DataFrame, list[tuple[_Waiting, int]]]:
        """Return the rows that may be stored, and whose each is with its position in the request."""
        rows = intake.admitted
        owner = [(group[post], index) for post, index in zip(intake.post, intake.index, strict=True)]
        if self._identities is None or rows.is_empty():
            return rows, owner
        erased = self._identities.erased(rows)
        if not erased.any():
            return rows, owner
        for row in erased.arg_true().to_list():
            owner[row][0].erased += 1
        return rows.filter(~erased), [owner[row] for row in (~erased).arg_true().to_list()]

    def _segments(self, rows: pl.DataFrame) -> Iterator[list[int]]:
        """Yield row numbers by arrival, doing in between what is due."""
        if self.before_rows is None:
            if rows.height:
                yield list(range(rows.height))
            return
        arrivals = rows["ingested_at"].dt.epoch("us").to_list()
        order = sorted(range(rows.height), key=arrivals.__getitem__)
        start = 0
        while start < len(order):
            due = self.before_rows(arrivals[order[start]])
            end = start + 1
            while end < len(order) and arrivals[order[end]] < due:
                end += 1
            yield order[start:end]
            start = end

    def _remember(self, stored: pl.DataFrame) -> None:
        """Bring rows of the log into the memories of their customers, who are then due for their tags."""
        if stored.is_empty():
            return
        rows = self._resolved(stored)
        arrived_us = _latest_us(rows, "ingested_at")
        known_us = max(arrived_us, _latest_us(rows, "event_time"))
        added = pack_memories(rows, known_us)
        before = self._store.get_many(CUSTOMER_MEMORY, list(added), now_us=known_us, ttl_us=None)
        merged = []
        for customer, packed in added.items():
            old, event_us = before.get(customer), latest_known_us(packed)
            if old is None:
                merged.append(PackedRow(customer, event_us, packed))
            else:
                value = merge_memory(old.value, packed, arrived_us)
                merged.append(PackedRow(customer, max(old.event_us, event_us), value))
        first_seq, last_seq = stored["seq"].to_list()[0], stored["seq"].to_list()[-1]
        self._store.put_many(CUSTOMER_MEMORY, merged, (STREAM_MARK, last_seq))
        self._clock.seen(arrived_us)
        self._tags.add(list(added), first_seq, last_seq)
        if self._clock.kind == "replay":
            self._tags.drain()
        if self.after_rows is not None:
            self.after_rows()

    def _resume_tags(self) -> None:
        """Make the customers of rows due that are in the memories and were not evaluated since."""
        remembered = self._store.mark(STREAM_MARK) or 0
        seq = self._store.mark(TAGGED_MARK)
        if seq is None:
            # Nothing was remembered yet, or by a version that evaluated whatever it remembered at once.
            seq = remembered
            self._store.put_mark(TAGGED_MARK, seq)
        while seq < remembered and (rows := self._log.read_after(seq, CATCH_UP_ROWS)).height:
            first_seq, seq = rows["seq"].to_list()[0], rows["seq"].to_list()[-1]
            customers = self._resolved(rows)["customer_id"].unique(maintain_order=True)
            self._clock.seen(_latest_us(rows, "ingested_at"))
            self._tags.add(customers.to_list(), first_seq, seq)

    def _catch_up(self) -> None:
        seq = self._store.mark(STREAM_MARK) or 0
        while (rows := self._log.read_after(seq, CATCH_UP_ROWS)).height:
            seq = rows["seq"].to_list()[-1]
            self._remember(rows)
        self._is_behind = False

    def _resolved(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows if self._identities is None else self._identities.resolve(rows)

    def _name_customers(self, rows: pl.DataFrame, owner: Sequence[tuple[_Waiting, int]]) -> None:
        customers = self._resolved(rows)["customer_id"].to_list()
        for (waiting, _), customer in zip(owner, customers, strict=True):
            waiting.customers[customer] = None

    def _answer(self, group: Sequence[_Waiting]) -> None:
        now = time.perf_counter()
        for waiting in group:
            if waiting.done.done():
                continue
            written = waiting.written()
            for result, count in (
                ("accepted", written.accepted),
                ("duplicate", written.duplicates),
                ("erased", written.erased),
                ("refused", len(written.errors)),
            ):
                self._measures.events.labels(result).inc(count)
            self._measures.remembered_seconds.observe(now - waiting.since)
            if waiting.with_tags:
                _when(self._tags.evaluated(written.customers), waiting.done, written)
            else:
                waiting.done.set_result(written)

    def _keep_refusals(self, refused: Sequence[Sequence[Refusal]]) -> None:
        refusals = [refusal for of_post in refused for refusal in of_post]
        if refusals and self._quarantine is not None:
            try:
                self._quarantine.append("api", refused_frame(refusals), from_us(self._clock.now_us()))
            # The sender hears of every refused row; that they are also kept must not cost the good ones.
            except TagtideError:
                self._measures.failures.labels("quarantine").inc()
                logger.exception("refused rows could not be kept")


def _when(first: Future[None], then: Future[Written], written: Written) -> None:
    def pass_on(_: Future[None]) -> None:
        if not then.done():
            then.set_result(written)

    first.add_done_callback(pass_on)


def _details(refused: Sequence[Refusal]) -> list[Detail]:
    return [refusal.detail for refusal in refused]


def _latest_us(rows: pl.DataFrame, column: str) -> int:
    return int(rows[column].cast(pl.Int64).to_numpy().max())


def refused_frame(refusals: Sequence[Refusal]) -> pl.DataFrame:
    """Lay out refused rows as the quarantine keeps them, the first row of a request being 1."""
    names = ("row", "field", "value", "expected", "raw")
    rows = [
        ((one.detail.index or 0) + 1, one.detail.field, one.detail.value, one.detail.expected, one.raw)
        for one in refusals
    ]
    schema = {name: pl.Int64 if name == "row" else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")
