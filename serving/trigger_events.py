"""Looks at every event once, in the log's order: what sets a trigger off or calls one off, and contacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from features.contacts import Contact, Contacts, contact_key
from features.windows import from_us
from serving.outbox import message_key
from serving.pending import Pending, PendingTriggers
from serving.permissions import Permissions
from serving.stream_parts import DurableLog
from serving.triggers import Trigger

LATE_US = 3600 * 1_000_000
"""An event that arrives so long after it happened sets nothing off any more, microseconds."""

ROWS = 2_000
"""Rows looked at in one transaction."""

CONTACT = "contact"

_COLUMNS = (
    *("seq", "source", "event_id", "customer_id", "event_type", "event_time", "ingested_at"),
    *("item_id", "category", "brand"),
)


@dataclass(frozen=True)
class SeenEvent:
    """One row of the log. Instants are microseconds since the epoch, UTC."""

    seq: int
    source: str
    event_id: str
    customer_id: str
    event_type: str
    event_time_us: int
    ingested_at_us: int
    item_id: str | None
    category: str | None
    brand: str | None

    def to_json(self) -> str:
        """Return what a message says of the event."""
        told: dict[str, Any] = {
            "source": self.source,
            "event_id": self.event_id,
            "event_type": self.event_type,
            "event_time": from_us(self.event_time_us),
            "item_id": self.item_id,
            "category": self.category,
            "brand": self.brand,
        }
        return msgspec.json.encode(told).decode()


class TriggerEvents:
    """Keeps its place in the log with what it writes: after a crash nothing is missed and nothing doubled.

    Parameters
    ----------
    triggers, log
        What is looked for, and where.
    pending, contacts, permissions
        Where is written what was found, and who is who.
    """

    def __init__(
        self,
        triggers: Sequence[Trigger],
        log: DurableLog,
        pending: PendingTriggers,
        contacts: Contacts,
        permissions: Permissions,
    ) -> None:
        self._on = [one for one in triggers if one.on.event is not None]
        self._log = log
        self._pending = pending
        self._contacts = contacts
        self._permissions = permissions

    def unseen(self) -> list[SeenEvent]:
        """Return the next rows of the log that were not looked at, at most `ROWS`."""
        cursor = self._pending.cursor() or 0
        return _events(self._log.read_after(cursor, ROWS))

    def look_at(self, events: Sequence[SeenEvent]) -> bool:
        """Write down what follows of rows of the log, the next after those looked at so far.

        Returns
        -------
        Whether this process did: another may have come before.
        """
        before = self._pending.cursor() or 0
        if not events or events[0].seq <= before:
            return False
        contacts = [
            Contact(
                self._permissions.canonical(one.customer_id),
                contact_key(one.source, one.event_id),
                one.event_time_us,
            )
            for one in events
            if one.event_type == CONTACT
        ]
        put, cancelled = self._found(events)
        with self._pending.transaction() as connection:
            if not self._pending.advance(before, events[-1].seq, connection):
                return False
            self._pending.cancel(cancelled, connection)
            self._pending.put(put, connection)
            self._contacts.add(contacts, connection)
        self._contacts.told(one.customer_id for one in contacts)
        return True

    def soonest_us(self, event: SeenEvent) -> int | None:
        """Return when what a row sets off is due at the earliest; None: it sets nothing off."""
        return min((one.due_at_us for one in self._set_off(event, event.customer_id)), default=None)

    def _found(self, events: Sequence[SeenEvent]) -> tuple[list[Pending], list[tuple[str, str, int]]]:
        put: dict[tuple[str, str], Pending] = {}
        cancelled: dict[tuple[str, str], int] = {}
        for event in events:
            customer = self._permissions.resolve(event.customer_id)
            for trigger in self._on:
                if trigger.on.without == event.event_type:
                    of = (trigger.name, customer)
                    cancelled[of] = max(event.event_time_us, cancelled.get(of, 0))
                    if of in put and put[of].since_us <= event.event_time_us:
                        del put[of]
            for one in self._set_off(event, customer):
                of = (one.trigger, customer)
                if of not in put or put[of].since_us <= one.since_us:
                    put[of] = one
        return list(put.values()), [(*of, at_us) for of, at_us in cancelled.items()]

    def _set_off(self, event: SeenEvent, customer: str) -> Iterator[Pending]:
        if event.ingested_at_us - event.event_time_us > LATE_US:
            return
        for trigger in self._on:
            if trigger.on.event == event.event_type:
                key = message_key(trigger.name, event.source, event.event_id)
                # A source's clock may go fast, and nothing is due before it is known.
                due_at_us = max(event.event_time_us + trigger.on.wait_us, event.ingested_at_us)
                yield Pending(
                    trigger.name, customer, "", key, event.event_time_us, due_at_us, event.to_json()
                )


class TriggerStream:
    """Looks at events and fires what is due, in the order in which it happened.

    Parameters
    ----------
    events
        Looks at rows of the log.
    fire
        Fires what is due up to an instant; returns when something is due next, or None.
    next_due_us
        Tells when something is due next, or None.
    """

    def __init__(
        self,
        events: TriggerEvents,
        fire: Callable[[int], int | None],
        next_due_us: Callable[[], int | None],
    ) -> None:
        self._events = events
        self._fire = fire
        self._next_due_us = next_due_us

    def keep_up(self, now_us: int) -> int | None:
        """Look at all new rows, then fire what is due: for a clock that goes on by itself.

        Returns
        -------
        When something is due next, microseconds since the epoch; None: nothing is pending.
        """
        while events := self._events.unseen():
            self._events.look_at(events)
            if len(events) < ROWS:
                # Whatever came meanwhile has announced itself.
                break
        return self._fire(now_us)

    def replay(self, now_us: int) -> None:
        """Look at all new rows, firing before each what fell due by its arrival: for a replay."""
        while events := self._events.unseen():
            due_us, start = self._next_due_us(), 0
            for number, event in enumerate(events):
                if due_us is not None and due_us < event.ingested_at_us:
                    if number > start:
                        self._events.look_at(events[start:number])
                        start = number
                    due_us = self._fire(event.ingested_at_us - 1)
                found_us = self._events.soonest_us(event)
                if found_us is not None and (due_us is None or found_us < due_us):
                    due_us = found_us
            self._events.look_at(events[start:])
        self._fire(now_us)


def _events(rows: pl.DataFrame) -> list[SeenEvent]:
    if rows.is_empty():
        return []
    instants = [pl.col(name).dt.epoch("us") for name in ("event_time", "ingested_at")]
    return [SeenEvent(*row) for row in rows.with_columns(instants).select(_COLUMNS).iter_rows()]
