"""Fires triggers that are due: the guard is asked, and what it allows is put into the outbox."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from features.contacts import Contact
from features.events import TYPE_CODES
from features.packed_memory import decode_memory
from features.packed_store import CUSTOMER_MEMORY, PackedStore
from features.windows import from_us
from serving.guard import Standing, judge, quiet_end_us
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.outbox import Message, Outbox
from serving.pending import Pending, PendingTriggers, Record
from serving.permissions import Permissions
from serving.triggers import Trigger

TRIGGER_FIRED = "trigger.fired"

BATCH = 200
"""Triggers fired in one transaction."""

STALE_US = 24 * 3600 * 1_000_000
"""What has been due for so long, because no service ran, is not fired any more, microseconds."""

TOO_LATE = "no service ran when it was due"
NO_LONGER_DECLARED = "no longer declared"
NO_PROFILING = "no consent to profiling"
TAG_GONE = "its tag is not live any more"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Described:
    """What a message says of a customer."""

    tags: Sequence[Any] = ()
    propensity: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Decided:
    taken: list[tuple[Pending, Record]]
    postponed: list[tuple[Pending, int]]
    dropped: list[Pending]


class Firing:
    """Fires what is due. One thread at a time may call it; several processes may.

    Parameters
    ----------
    triggers, pending
        What is declared, and what waits.
    outbox
        None: there is no receiver; triggers are recorded as such and go nowhere.
    permissions, store, live_tags
        What the guard looks at, and what happened meanwhile.
    describe
        Tells tags and propensities of customers.
    measures
        Counts what became of triggers.
    now_us
        The machine's clock: messages are enqueued now, whatever instant a replay is at.
    wake_outbox
        Called after something was enqueued.
    is_replay
        Whether each trigger is looked at as of the instant it is due.
    """

    def __init__(
        self,
        triggers: Sequence[Trigger],
        pending: PendingTriggers,
        outbox: Outbox | None,
        permissions: Permissions,
        store: PackedStore,
        live_tags: LiveTags,
        describe: Callable[[Sequence[str]], Mapping[str, Described]],
        measures: Measures,
        *,
        now_us: Callable[[], int],
        wake_outbox: Callable[[], None] = lambda: None,
        is_replay: bool = False,
    ) -> None:
        self._triggers = {one.name: one for one in triggers}
        self._pending = pending
        self._outbox = outbox
        self._permissions = permissions
        self._store = store
        self._live_tags = live_tags
        self._describe = describe
        self._measures = measures
        self._now_us = now_us
        self._wake_outbox = wake_outbox
        self._is_replay = is_replay

    def run(self, until_us: int) -> int | None:
        """Fire everything that is due up to an instant, microseconds since the epoch, UTC.

        Returns
        -------
        When something is due next; None: nothing is pending.
        """
        while due := self._pending.due(until_us, 1 if self._is_replay else BATCH):
            self._fire(due, due[0].due_at_us if self._is_replay else until_us)
        return self._pending.next_due_us()

    def _fire(self, due: Sequence[Pending], now_us: int) -> None:
        customers = {one.key: self._permissions.resolve(one.customer_id) for one in due}
        named = list(dict.fromkeys(customers.values()))
        standings = self._permissions.standings(named, now_us)
        barred = self._permissions.without_profiling(named)
        decided = self._decide(due, customers, standings, barred, now_us)
        sent = {record.customer_id for _, record in decided.taken if record.result == "sent"}
        described = self._describe(sorted(sent)) if sent else {}
        kept: list[Record] = []
        with self._pending.transaction() as connection:
            looked_at = [*decided.dropped, *(pending for pending, _ in decided.taken)]
            mine = self._pending.take(looked_at, connection)
            for pending, again_at_us in decided.postponed:
                self._pending.postpone(pending, again_at_us, connection)
            messages, contacts = [], []
            for pending, record in decided.taken:
                if record.key not in mine:
                    continue
                kept.append(record)
                if record.result == "sent":
                    told = described.get(record.customer_id, Described())
                    messages.append(_message(pending, record, told))
                    contacts.append(Contact(record.customer_id, record.key, now_us))
            self._pending.record(kept, connection)
            if self._outbox is not None:
                self._outbox.add(messages, self._now_us(), connection)
            self._permissions.contacts.add(contacts, connection)
        self._permissions.contacts.told(sent)
        for record in kept:
            self._measures.triggers.labels(record.result).inc()
        if sent:
            self._wake_outbox()

    def _decide(
        self,
        due: Sequence[Pending],
        customers: Mapping[str, str],
        standings: Mapping[str, Standing],
        barred: Collection[str],
        now_us: int,
    ) -> _Decided:
        decided = _Decided([], [], [])
        so_far = dict(standings)
        for one in due:
            customer = customers[one.key]
            trigger = self._triggers.get(one.trigger)
            reason = self._stale(one, trigger, customer, now_us)
            if not reason and customer in barred:
                # What sets a trigger off is behaviour, looked at.
                reason = NO_PROFILING
            if trigger is not None and not reason:
                if self._came_about(one, trigger, customer, now_us):
                    decided.dropped.append(one)
                    continue
                verdict = judge(so_far[customer], self._permissions.limits, now_us)
                if verdict.is_only_quiet and trigger.postpone:
                    end_us = quiet_end_us(now_us, self._permissions.limits, so_far[customer].zone)
                    decided.postponed.append((one, end_us))
                    continue
                reason = verdict.reason or ""
            result = "blocked" if reason else "recorded" if self._outbox is None else "sent"
            if result == "sent":
                # The next trigger of this customer counts it.
                before = so_far[customer]
                so_far[customer] = replace(before, contacts_us=[*before.contacts_us, now_us])
            record = Record(one.key, one.trigger, customer, one.about, now_us, result, reason)
            decided.taken.append((one, record))
        return decided

    def _stale(self, one: Pending, trigger: Trigger | None, customer: str, now_us: int) -> str:
        if trigger is None:
            return NO_LONGER_DECLARED
        if now_us - one.due_at_us > STALE_US:
            return TOO_LATE
        if one.about and not any(
            record.evidence.tag_id == one.about
            for record in self._live_tags.live([customer], now_us).get(customer, ())
        ):
            return TAG_GONE
        return ""

    def _came_about(self, one: Pending, trigger: Trigger, customer: str, now_us: int) -> bool:
        """Tell whether that happened which was not to: it may have arrived before what it follows."""
        if trigger.on.without is None:
            return False
        row = self._store.get(CUSTOMER_MEMORY, customer, now_us=now_us, ttl_us=None)
        if row is None:
            return False
        memory = decode_memory(row.value)
        times = np.frombuffer(memory.event_time, np.int64)
        is_it = np.frombuffer(memory.event_type, np.int64) == TYPE_CODES[trigger.on.without]
        return bool((is_it & (times >= one.since_us) & (times <= now_us)).any())


def _message(pending: Pending, record: Record, told: Described) -> Message:
    content: dict[str, Any] = {
        "type": TRIGGER_FIRED,
        "trigger": record.trigger,
        "customer_id": record.customer_id,
        "at": from_us(record.at_us),
        "tag_id": record.about or None,
        "tags": list(told.tags),
        "propensity": dict(told.propensity),
        "event": msgspec.Raw(pending.event.encode()) if pending.event else None,
    }
    return Message(record.key, TRIGGER_FIRED, record.customer_id, _encode(content))
