"""The single writer: posted events become durable, then remembered, then tags."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import polars as pl

from configs.errors import TagtideError
from features.events import EVENT_SCHEMA
from features.packed_memory import latest_known_us, merge_memory, pack_memories
from features.packed_store import CUSTOMER_MEMORY, PackedRow, PackedStore
from features.windows import from_us
from serving.clock import Clock
from serving.errors import NotReady, TooManyRequests
from serving.intake import Intake, Refusal
from serving.measures import Measures
from serving.schemas import Detail
from serving.tagging import Tagging

logger = logging.getLogger(__name__)

STREAM_MARK = "stream_seq"
"""Progress mark: every row of the log up to it is in the memories and was evaluated."""

GROUP_ROWS = 2_000
"""Requests are committed together up to this many rows."""

QUEUE_ROWS = 20_000
"""Most rows that wait to be written; beyond it a sender is told to come back."""

CATCH_UP_ROWS = 10_000


class Receipt(Protocol):
    """What the log did with a frame."""

    @property
    def stored(self) -> pl.DataFrame:
        """The rows that were new, with their ``seq``."""

    @property
    def duplicates(self) -> Sequence[int]:
        """Numbers of the rows that were stored already."""

    @property
    def conflicts(self) -> Sequence[int]:
        """Numbers of the rows whose id is stored with other content."""


class DurableLog(Protocol):
    """See `features.event_log.EventLog`."""

    def append(self, events: pl.DataFrame) -> Receipt:
        """Store rows of the event schema in one transaction, durably on return."""

    def read_after(self, seq: int, limit: int) -> pl.DataFrame:
        """Return rows of the event schema with ``seq``, in its order."""


class RefusalKeeper(Protocol):
    """See `features.quarantine.Quarantine`."""

    def append(self, source: str, rows: pl.DataFrame, at: datetime) -> object:
        """Keep refused rows."""


@dataclass(frozen=True)
class Written:
    """What became of one request's events.

    Attributes
    ----------
    errors
        Rows refused by the door, and rows whose id is stored with other content, by index.
    customers
        Whose events were given, in order of first appearance.
    """

    accepted: int
    duplicates: int
    errors: list[Detail]
    customers: list[str]


@dataclass
class _Waiting:
    intake: Intake
    done: Future[Written] = field(default_factory=Future)
    duplicates: int = 0
    conflicts: list[int] = field(default_factory=list)

    def written(self) -> Written:
        frame = self.intake.admitted
        errors = [refusal.detail for refusal in self.intake.refused]
        for row in sorted(self.conflicts):
            expected = "the content stored under this id, or another id"
            errors.append(Detail(self.intake.index[row], "event_id", str(frame["event_id"][row]), expected))
        accepted = frame.height - self.duplicates - len(self.conflicts)
        customers = frame["customer_id"].unique(maintain_order=True).to_list()
        return Written(accepted, self.duplicates, sorted(errors, key=lambda one: one.index or 0), customers)


@dataclass(frozen=True)
class _Remembered:
    customers: list[str]
    arrived_us: int
    seq: int


class Writer:
    """Applies events in the order of the log, in one thread, several requests to a transaction.

    A crash between log and memory is made good at the next start: rows after the mark are applied again,
    which changes nothing where they were applied already.

    Parameters
    ----------
    log, store, tagging
        The durable log, the online store, and what evaluates tags.
    clock
        Told of every arrival before tags are evaluated.
    measures
        Counters.
    quarantine
        Where refused rows are kept, if anywhere.
    queue_rows
        See `QUEUE_ROWS`.
    """

    def __init__(
        self,
        log: DurableLog,
        store: PackedStore,
        tagging: Tagging,
        clock: Clock,
        measures: Measures,
        *,
        quarantine: RefusalKeeper | None = None,
        queue_rows: int = QUEUE_ROWS,
    ) -> None:
        self._log = log
        self._store = store
        self._tagging = tagging
        self._clock = clock
        self._measures = measures
        self._quarantine = quarantine
        self._queue_rows = queue_rows
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._waiting_rows = 0
        self._count_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_behind = True
        self.lock = threading.RLock()
        """Held while memories or tags change."""
        self.before_rows: Callable[[int], int] | None = None
        """Called under the lock with the arrival of rows that are about to be applied: a replay does what is
        due by then, and returns the instant from which it wants to be called again."""
        self.problem = "starting"
        self.tagging_problem = ""

    @property
    def waiting_rows(self) -> int:
        """Rows that are not written yet."""
        return self._waiting_rows

    def start(self) -> None:
        """Apply what the log holds beyond the mark, then begin to take events."""
        with self.lock:
            self._catch_up()
        self._thread = threading.Thread(target=self._run, name="tagtide-writer", daemon=True)
        self._thread.start()
        self.problem = ""

    def stop(self) -> None:
        """Write what waits, then stop."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
            self.problem = "stopped"

    def submit(self, intake: Intake) -> Future[Written]:
        """Queue one request's events.

        Parameters
        ----------
        intake
            Its refused rows go to the quarantine, its admitted ones to the log.

        Returns
        -------
        Done once the events are durable, remembered and the tags of their customers evaluated.

        Raises
        ------
        TooManyRequests
            If too many rows wait.
        NotReady
            If the writer does not run.
        """
        if self._thread is None or not self._thread.is_alive():
            raise NotReady("events are not taken now: the writer is not running")
        waiting = _Waiting(intake)
        with self._count_lock:
            if self._waiting_rows + intake.admitted.height > self._queue_rows and self._waiting_rows:
                raise TooManyRequests(f"{self._waiting_rows} events wait to be written; send this again")
            self._waiting_rows += intake.admitted.height
        self._waiting.put(waiting)
        return waiting.done

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._next_group()
            if not group:
                continue
            try:
                with self.lock:
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
            with self._count_lock:
                self._waiting_rows -= sum(waiting.intake.admitted.height for waiting in group)
                self._measures.waiting_rows.set(self._waiting_rows)

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        first = self._waiting.get()
        if first is None:
            return [], True
        group, rows = [first], first.intake.admitted.height
        while rows < GROUP_ROWS:
            try:
                another = self._waiting.get_nowait()
            except queue.Empty:
                break
            if another is None:
                return group, True
            group.append(another)
            rows += another.intake.admitted.height
        return group, False

    def _write(self, group: list[_Waiting]) -> None:
        if self._is_behind:
            self._catch_up()
        self._keep_refusals(group)
        rows = pl.concat([waiting.intake.admitted for waiting in group])
        owner = [(waiting, row) for waiting in group for row in range(waiting.intake.admitted.height)]
        for chosen in self._segments(rows):
            self._is_behind = True
            receipt = self._log.append(rows[chosen])
            for row in receipt.duplicates:
                owner[chosen[row]][0].duplicates += 1
            for row in receipt.conflicts:
                waiting, own_row = owner[chosen[row]]
                waiting.conflicts.append(own_row)
            remembered = self._remember(receipt.stored)
            if remembered is not None:
                self._evaluate(remembered)
            self._is_behind = False
        self._answer(group)

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

    def _remember(self, stored: pl.DataFrame) -> _Remembered | None:
        if stored.is_empty():
            return None
        arrived_us = _latest_us(stored, "ingested_at")
        known_us = max(arrived_us, _latest_us(stored, "event_time"))
        added = pack_memories(stored.select(list(EVENT_SCHEMA)), known_us)
        customers = list(added)
        before = self._store.get_many(CUSTOMER_MEMORY, customers, now_us=known_us, ttl_us=None)
        rows = []
        for customer, packed in added.items():
            old = before.get(customer)
            merged = merge_memory(None if old is None else old.value, packed, arrived_us)
            event_us = latest_known_us(merged) if old is None else max(old.event_us, latest_known_us(merged))
            rows.append(PackedRow(customer, event_us, merged))
        self._store.put_many(CUSTOMER_MEMORY, rows)
        self._clock.seen(arrived_us)
        return _Remembered(customers, arrived_us, stored["seq"].to_list()[-1])

    def _evaluate(self, remembered: _Remembered) -> None:
        mark = (STREAM_MARK, remembered.seq)
        try:
            self._tagging.evaluate(remembered.customers, remembered.arrived_us, origin="event", mark=mark)
        # The events are safe; the sweep evaluates these customers again.
        except Exception as error:
            self._measures.failures.labels("tagging").inc()
            self.tagging_problem = f"the last evaluation failed: {type(error).__name__}"
            logger.exception("tags could not be evaluated")
            self._store.put_mark(*mark)
        else:
            self.tagging_problem = ""

    def _catch_up(self) -> None:
        seq = self._store.mark(STREAM_MARK) or 0
        while (rows := self._log.read_after(seq, CATCH_UP_ROWS)).height:
            seq = rows["seq"].to_list()[-1]
            remembered = self._remember(rows)
            if remembered is not None:
                self._evaluate(remembered)
        self._is_behind = False

    def _answer(self, waitings: Sequence[_Waiting]) -> None:
        for waiting in waitings:
            if not waiting.done.done():
                written = waiting.written()
                self._measures.events.labels("accepted").inc(written.accepted)
                self._measures.events.labels("duplicate").inc(written.duplicates)
                self._measures.events.labels("refused").inc(len(written.errors))
                waiting.done.set_result(written)

    def _keep_refusals(self, group: list[_Waiting]) -> None:
        refusals = [refusal for waiting in group for refusal in waiting.intake.refused]
        if refusals and self._quarantine is not None:
            try:
                self._quarantine.append("api", refused_frame(refusals), from_us(self._clock.now_us()))
            # The sender hears of every refused row; that they are also kept must not cost the good ones.
            except TagtideError:
                self._measures.failures.labels("quarantine").inc()
                logger.exception("refused rows could not be kept")


def _latest_us(rows: pl.DataFrame, column: str) -> int:
    return int(rows[column].dt.epoch("us").to_numpy().max())


def refused_frame(refusals: Sequence[Refusal]) -> pl.DataFrame:
    """Lay out refused rows as the quarantine keeps them, the first row of a request being 1."""
    return pl.DataFrame(
        [
            {
                "row": (refusal.detail.index or 0) + 1,
                "field": refusal.detail.field,
                "value": refusal.detail.value,
                "expected": refusal.detail.expected,
                "raw": refusal.raw,
            }
            for refusal in refusals
        ],
        schema={
            "row": pl.Int64,
            "field": pl.String,
            "value": pl.String,
            "expected": pl.String,
            "raw": pl.String,
        },
    )
