"""The writer: posted events become durable, then remembered, then their customers' tags are due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import polars as pl

from configs.errors import TagtideError
from features.errors import LeaseLostError
from features.packed_memory import latest_known_us, merge_memory, pack_memories
from features.packed_store import CUSTOMER_MEMORY, PackedRow, PackedStore
from serving.clock import Clock
from serving.errors import NotReady
from serving.followed import PATIENCE_SECONDS, Followed
from serving.intake import Intake, Posted, admit_posted
from serving.measures import Measures
from serving.outages import part_of
from serving.post_queue import QUEUE_ROWS, PostQueue, WaitingPost, Written
from serving.refused_rows import RefusedRows
from serving.stream_parts import AlwaysOurs, DurableLog, Lead, RefusalKeeper, Resolver
from serving.tag_queue import TAGGED_MARK, TagQueue

logger = logging.getLogger(__name__)

STREAM_MARK = "stream_seq"
"""Progress mark: every row of the log up to it is in the memories."""

CATCH_UP_ROWS = 10_000

LOOK_SECONDS = 0.05
"""How often the log is looked at for events that another process stored."""

FOLLOW_LOOK_SECONDS = 0.01
"""How often a process that stands by looks how far its senders' events were applied."""

STOP_SECONDS = 3.0
"""How long the senders of a process that stands by are waited for when it ends."""

FAILED_PAUSE_SECONDS = 1.0
"""How long after a failure the log is looked at again, unless events are posted."""

OTHER_CONTENT = "the content stored under this id, or another id"


class Writer:
    """Stores events and applies them in the order of the log, in one thread, several requests at once.

    Of several processes on the same stores one applies, its own events and the others'; those stand by: they
    store, and answer once that one has applied what they stored. A crash between log and memory is made good
    by the next who applies: rows after the mark are applied again, which changes nothing where they were
    applied already; and the customers of rows after the mark of the tags are evaluated.

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
        Most rows that wait to be written; beyond it a sender is told to come back.
    guard
        Makes what is held while memories change, beside the other threads.
    lead
        Knows whether this process is the one that applies.
    patience_seconds
        How long a sender waits for another process to apply what was stored.
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
        lead: Lead | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._log = log
        self._store = store
        self._tags = tags
        self._lead = lead or AlwaysOurs()
        self._followed: Followed[WaitingPost] = Followed(patience_seconds)
        self._clock = clock
        self._measures = measures
        self._refused = RefusedRows(quarantine, clock, measures)
        self._identities = identities
        self._future_skew = future_skew
        self._guard = guard
        self._posts = PostQueue(queue_rows)
        self._thread: threading.Thread | None = None
        self._failed_at: float | None = None
        self._has_begun = False
        self.lock = threading.RLock()
        """Held while memories change."""
        self.before_rows: Callable[[int], int] | None = None
        """Called under the lock with the arrival of rows that are about to be applied: a replay does what is
        due by then, and returns the instant from which it wants to be called again."""
        self.after_rows: Callable[[], object] | None = None
        """Called under the lock once rows of the log are in the memories, and in a replay their customers'
        tags are evaluated."""
        self.problem = "starting"
        measures.waiting_rows.set_function(lambda: self._posts.rows)

    @property
    def is_leading(self) -> bool:
        """Whether this process applies events now."""
        return self._has_begun and self._lead.is_ours

    @property
    def waiting_rows(self) -> int:
        """Rows that are not written yet."""
        return self._posts.rows

    def start(self) -> None:
        """Apply what the log holds beyond the marks, then begin to take events."""
        self._take_role()
        self._thread = threading.Thread(target=self._run, name="tagtide-writer", daemon=True)
        self._thread.start()
        self.problem = ""

    def stop(self) -> None:
        """Write what waits, then stop."""
        if self._thread is not None:
            self._posts.end()
            self._thread.join()
            self._thread = None
            self._tags.stop()
            self._has_begun = False
            self.problem = "stopped"

    def make_sure_of_room(self) -> None:
        """Refuse a request before it is parsed; see `PostQueue.make_sure_of_room`."""
        self._posts.make_sure_of_room()

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
        waiting = WaitingPost(posted, with_tags, time.perf_counter())
        self._posts.put(waiting)
        return waiting.done

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._posts.take(FOLLOW_LOOK_SECONDS if self._followed else LOOK_SECONDS)
            began, rows = time.perf_counter(), sum(waiting.posted.height for waiting in group)
            try:
                self._take_role()
                if group:
                    self._write(group)
                    group = []
                elif self._is_pausing():
                    continue
                elif self.is_leading:
                    self._apply_others()
                self._answer_followed()
                self._failed_at, self.problem = None, ""
            # Another process took over; what was stored here is applied there.
            except LeaseLostError:
                self._lead.lose()
                self._refuse(group, "events are not taken now: another process has just begun to apply them")
            # Whatever goes wrong, every sender gets an answer and the thread goes on.
            except Exception as error:  # noqa: BLE001
                self._fail(group, error)
            if rows:
                self._posts.note_rate(rows / max(time.perf_counter() - began, 1e-6))
        self._end_followed()

    def _take_role(self) -> None:
        """Begin or cease to apply events, as the lead is ours or not."""
        if not self._lead.is_ours:
            if self._has_begun:
                self._has_begun = False
                self._tags.stop(0.0)
        elif not self._has_begun and not self._is_pausing():
            with self.lock, self._guard():
                # Whoever wrote before by an older lease cannot any more.
                self._store.put_many(CUSTOMER_MEMORY, [])
                self._tags.recover()
                self._resume_tags()
                if self._clock.kind == "replay":
                    self._tags.drain()
                self._catch_up()
            if self._clock.kind == "wall":
                self._tags.start()
            self._has_begun = True

    def _is_pausing(self) -> bool:
        return self._failed_at is not None and time.monotonic() < self._failed_at + FAILED_PAUSE_SECONDS

    def _fail(self, group: Sequence[WaitingPost], error: Exception) -> None:
        part = part_of(error)
        problem = f"the last write failed: {part or type(error).__name__}"
        if group or problem != self.problem:
            self._measures.failures.labels("stream").inc()
            logger.error("events could not be written", exc_info=error)
        self.problem, self._failed_at = problem, time.monotonic()
        reason = f", because {part} does not answer" if part else ""
        self._refuse(group, f"the events could not all be written{reason}; send them again: nothing doubles")

    def _refuse(self, group: Sequence[WaitingPost], message: str) -> None:
        for waiting in group:
            if not waiting.done.done():
                self._posts.release(waiting)
                waiting.done.set_exception(NotReady(message))

    def _apply_others(self) -> None:
        """Apply what other processes stored, and what a failure left."""
        if self._log.last_seq() > (self._store.mark(STREAM_MARK) or 0):
            with self.lock, self._guard():
                self._catch_up()

    def _answer_followed(self) -> None:
        if not self._followed:
            return
        remembered = self._store.mark(STREAM_MARK) or 0
        if self.is_leading:
            # This process took over meanwhile.
            self._answer(list(self._followed.done(remembered, remembered)))
        else:
            tagged = self._store.mark(TAGGED_MARK) or 0
            self._answer(list(self._followed.done(remembered, tagged)), are_tagged=True)
        self._refuse(
            list(self._followed.overdue(time.monotonic())),
            "the events are stored, but no process applies them just now; send them again: nothing doubles",
        )

    def _end_followed(self) -> None:
        until = time.monotonic() + STOP_SECONDS
        try:
            while self._followed and time.monotonic() < until:
                self._answer_followed()
                time.sleep(FOLLOW_LOOK_SECONDS)
        except TagtideError:
            logger.exception("senders could not be answered")
        self._refuse(list(self._followed.all()), "the service ends; send this again: nothing doubles")

    def _write(self, group: list[WaitingPost]) -> None:
        with self.lock, self._guard():
            if not self.is_leading and self._clock.kind == "replay":
                raise LeaseLostError("a replay is applied by one process")
            self._store_and_apply(group)

    def _store_and_apply(self, group: list[WaitingPost]) -> None:
        intake = admit_posted([waiting.posted for waiting in group], future_skew=self._future_skew)
        self._refused.keep(intake.refused)
        for waiting, refused in zip(group, intake.refused, strict=True):
            waiting.errors = [refusal.detail for refusal in refused]
        rows, owner = self._without_erased(intake, group)
        for chosen in self._segments(rows):
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
            self._refused.keep([conflicts])
            self._apply(receipt.stored)
        if any(waiting.with_tags for waiting in group):
            self._name_customers(rows, owner)
        if self.is_leading:
            self._answer(group)
        else:
            waits = [(waiting, waiting.with_tags) for waiting in group]
            # What was stored already may have been stored just now, by another process.
            self._followed.add(waits, self._log.last_seq(), time.monotonic())

    def _apply(self, stored: pl.DataFrame) -> None:
        """Bring rows that were just stored into the memories, and with them whatever else is in the log."""
        if not self.is_leading:
            return
        try:
            outstanding = self._log.count_after(self._store.mark(STREAM_MARK) or 0)
            if outstanding == stored.height:
                self._remember(stored)
            else:
                self._catch_up()
        # The rows are stored: who leads now applies them.
        except LeaseLostError:
            self._lead.lose()

    def _without_erased(
        self, intake: Intake, group: list[WaitingPost]
    ) -> tuple[pl.DataFrame, list[tuple[WaitingPost, int]]]:
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

    def _resolved(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows if self._identities is None else self._identities.resolve(rows)

    def _name_customers(self, rows: pl.DataFrame, owner: Sequence[tuple[WaitingPost, int]]) -> None:
        customers = self._resolved(rows)["customer_id"].to_list()
        for (waiting, _), customer in zip(owner, customers, strict=True):
            waiting.customers[customer] = None

    def _answer(self, group: Sequence[WaitingPost], *, are_tagged: bool = False) -> None:
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
            self._posts.release(waiting)
            if waiting.with_tags and not are_tagged:
                _when(self._tags.evaluated(written.customers), waiting.done, written)
            else:
                waiting.done.set_result(written)


def _when(first: Future[None], then: Future[Written], written: Written) -> None:
    def pass_on(_: Future[None]) -> None:
        if not then.done():
            then.set_result(written)

    first.add_done_callback(pass_on)


def _latest_us(rows: pl.DataFrame, column: str) -> int:
    return int(rows[column].cast(pl.Int64).to_numpy().max())
