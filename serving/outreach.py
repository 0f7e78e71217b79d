"""What leaves the service by itself: the stores it stands on, and the threads that do the work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import polars as pl
import sqlalchemy as sa

from configs.home import Home
from configs.settings import Settings
from features.consent import Consent
from features.contacts import KEPT_US, Contact, Contacts, contact_key
from features.event_log import EventLog
from features.lake import Lake
from features.packed_store import PackedStore
from features.windows import from_us
from serving.answers import Answers
from serving.clock import Clock
from serving.deliveries import Deliveries
from serving.errors import NotReady
from serving.firing import Described, Firing
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.outbox import Outbox
from serving.pending import PendingTriggers
from serving.permissions import Links, Permissions
from serving.stream_parts import DurableLog
from serving.tag_news import TagNews
from serving.trigger_events import CONTACT, TriggerEvents, TriggerStream
from serving.triggers import Trigger, load_triggers
from serving.webhooks import Webhook, webhook_of

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often to look for rows that another process appended."""

GATHER_SECONDS = 0.1
"""How long new rows are gathered before they are looked at: each look is a transaction, and SQLite's writers
have to wait for one another."""

STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Outreach:
    """The stores and rules of a home.

    Attributes
    ----------
    webhook
        The receiver; None: nothing is sent, and nothing waits to be.
    """

    permissions: Permissions
    pending: PendingTriggers
    outbox: Outbox
    triggers: tuple[Trigger, ...]
    webhook: Webhook | None
    attempts_max: int

    def take_in(self, lake: Lake, now_us: int) -> None:
        """Count the contacts that an import brought, and drop what counts for nothing any more.

        Parameters
        ----------
        lake
            With ids as they were stored.
        """
        columns = ["source", "event_id", "customer_id", "event_type", "event_time"]
        since = from_us(now_us) - timedelta(microseconds=KEPT_US)
        found = lake.read(since=since, columns=columns).filter(event_type=CONTACT)
        rows = found.with_columns(pl.col("event_time").dt.epoch("us")).drop("event_type").iter_rows()
        self.permissions.contacts.add(
            [
                Contact(self.permissions.canonical(customer), contact_key(source, event_id), at_us)
                for source, event_id, customer, at_us in rows
            ]
        )
        self.permissions.contacts.prune(now_us)
        self.pending.prune(now_us)


def open_outreach(
    home: Home, settings: Settings, engine: sa.Engine, log: EventLog, links: Links | None
) -> Outreach:
    """Open what a home holds.

    Raises
    ------
    ConfigError
        If the receiver is not named as it should be.
    TriggerError
        If the triggers are not declared as they should be.
    TagtideError
        If a store cannot be opened.
    """
    webhook, triggers = webhook_of(settings), load_triggers(home)
    pending = PendingTriggers(engine)
    # The past sets nothing off.
    pending.begin_after(log.last_seq())
    return Outreach(
        Permissions(Consent(engine), Contacts(engine), links, settings),
        pending,
        Outbox(engine),
        triggers,
        webhook,
        settings.webhook_attempts,
    )


def forget_outreach(engine: sa.Engine, ids: Collection[str]) -> dict[str, int]:
    """Erase what was agreed, contacted, pending, recorded and waiting of some customers.

    Parameters
    ----------
    engine
        From `features.database.open_engine`.
    ids
        Every id of theirs, in every spelling.

    Returns
    -------
    Rows erased, by place.
    """
    return {
        "consent": Consent(engine).forget(ids),
        "contacts": Contacts(engine).forget(ids),
        "triggers": PendingTriggers(engine).forget(ids),
        "outbox": Outbox(engine).forget(ids),
    }


class Messenger:
    """Runs triggers and deliveries of one service.

    Under the wall clock a thread looks at events and fires what is due; a replay calls `after_rows` for that.
    Deliveries have threads of their own either way.

    Parameters
    ----------
    outreach, log, store, live_tags, answers
        What is looked at.
    clock
        Tells when something is due.
    measures
        Counters and gauges.
    guard
        Makes what is held while triggers are looked at; who erases customers waits for it.
    """

    def __init__(
        self,
        outreach: Outreach,
        log: DurableLog,
        store: PackedStore,
        live_tags: LiveTags,
        answers: Answers,
        clock: Clock,
        measures: Measures,
        guard: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._measures = measures
        self._answers = answers
        self._outreach = outreach
        self._new = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure = ""
        self._deliveries: Deliveries | None = None
        if outreach.webhook is not None:
            self._deliveries = Deliveries(
                outreach.outbox,
                outreach.webhook,
                measures,
                attempts_max=outreach.attempts_max,
                on_dead=outreach.permissions.contacts.take_back,
            )
        outbox = None if self._deliveries is None else outreach.outbox
        is_replay = clock.kind == "replay"
        self.news = TagNews(
            outbox,
            outreach.pending,
            outreach.triggers,
            now_us=_machine_us,
            wake_outbox=self._wake_outbox,
            wake_triggers=self._new.set,
        )
        firing = Firing(
            outreach.triggers,
            outreach.pending,
            outbox,
            outreach.permissions,
            store,
            live_tags,
            self._described,
            measures,
            now_us=_machine_us,
            wake_outbox=self._wake_outbox,
            is_replay=is_replay,
        )
        events = TriggerEvents(
            outreach.triggers, log, outreach.pending, outreach.permissions.contacts, outreach.permissions
        )
        self._stream = TriggerStream(events, firing.run, outreach.pending.next_due_us)

    @property
    def problem(self) -> str:
        """Why triggers and messages are not as they should be, or an empty string."""
        if self._failure:
            return self._failure
        return "" if self._deliveries is None else self._deliveries.problem

    def counts(self) -> dict[str, int]:
        """Return how many messages wait or are dead, and how many triggers are pending."""
        standing = self._outreach.outbox.standing()
        return {
            "outbox_waiting": standing.waiting,
            "outbox_dead": standing.dead,
            "pending_triggers": self._outreach.pending.counts()["pending"],
        }

    def after_rows(self) -> None:
        """Hear that rows of the log are in the memories, and their tags, in a replay, evaluated."""
        if self._clock.kind == "replay":
            self._stream.replay(self._clock.now_us())
        else:
            self._new.set()

    def start(self) -> None:
        """Begin."""
        if self._deliveries is not None:
            self._deliveries.start()
        if self._clock.kind == "replay":
            # What an earlier run remembered and died before looking at.
            with self._guard():
                self._stream.replay(self._clock.now_us())
        else:
            self._ending.clear()
            self._thread = threading.Thread(target=self._run, name="tagtide-triggers", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; what is pending or waits goes on after the next start."""
        self._ending.set()
        self._new.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            self._thread = None
        if self._deliveries is not None:
            self._deliveries.stop()

    def _run(self) -> None:
        wait = 0.0
        while not self._ending.is_set():
            if self._new.wait(wait):
                self._ending.wait(GATHER_SECONDS)
            self._new.clear()
            if self._ending.is_set():
                return
            try:
                with self._guard():
                    due_us = self._stream.keep_up(self._clock.now_us())
                self._failure = ""
            # What was not done is still in the database: it is tried again.
            except Exception as error:
                self._measures.failures.labels("triggers").inc()
                self._failure = f"the triggers failed: {type(error).__name__}"
                logger.exception("triggers could not be looked at")
                due_us = None
            wait = LOOK_SECONDS
            if due_us is not None:
                wait = min(max((due_us - self._clock.now_us()) / 1_000_000, 0.001), LOOK_SECONDS)

    def _wake_outbox(self) -> None:
        if self._deliveries is not None:
            self._deliveries.wake()

    def _described(self, customers: Sequence[str]) -> Mapping[str, Described]:
        try:
            rows = self._answers.predict(customers).customers
        # Without models a trigger still says what happened.
        except NotReady:
            return {}
        return {one.customer_id: Described(one.tags, one.propensity) for one in rows}


def _machine_us() -> int:
    return time.time_ns() // 1000
