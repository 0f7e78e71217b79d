"""What follows of an evaluation: each change of a tag is told to the receiver, and some set triggers off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from features.life_cycle import LIVE_STATES, Change, TagRecord, erase
from features.windows import from_us
from serving.outbox import Message, Outbox, message_key
from serving.pending import Pending, PendingTriggers
from serving.scores import CustomerScores
from serving.tagging import Move
from serving.triggers import Trigger

TAG_CHANGED = "tag.changed"

_encode = msgspec.json.Encoder().encode


class TagNews:
    """Writes messages and pending triggers in the transaction that writes the ledger: both or neither.

    Parameters
    ----------
    outbox
        None: there is no receiver, and no message is made.
    pending, triggers
        Where what was set off waits, and what may be set off.
    now_us
        The machine's clock: messages are enqueued now, whatever instant a replay is at.
    wake_outbox, wake_triggers
        Called after the transaction.
    """

    def __init__(
        self,
        outbox: Outbox | None,
        pending: PendingTriggers,
        triggers: Sequence[Trigger],
        *,
        now_us: Callable[[], int],
        wake_outbox: Callable[[], None] = lambda: None,
        wake_triggers: Callable[[], None] = lambda: None,
    ) -> None:
        self._outbox = outbox
        self._pending = pending
        self._on_tags = [one for one in triggers if one.on.tag is not None]
        self._on_propensity = [one for one in triggers if one.on.propensity is not None]
        self._now_us = now_us
        self._wake_outbox = wake_outbox
        self._wake_triggers = wake_triggers

    def of(
        self, moves: Sequence[Move], scores: Mapping[str, CustomerScores], now_us: int
    ) -> Callable[[sa.Connection], None] | None:
        """See `serving.tagging.News`."""
        outbox = self._outbox
        messages = [] if outbox is None else [one for move in moves for one in _messages(move)]
        pending = [one for move in moves for one in self._set_off(move)]
        rose, fell = self._crossings(scores)
        pending += [
            Pending(name, customer, "", message_key(name, customer, now_us), now_us, now_us)
            for name, customer in rose
        ]
        if not (messages or pending or rose or fell):
            return None

        def write(connection: sa.Connection) -> None:
            # In the order in which firing takes its locks.
            self._pending.put(pending, connection)
            self._pending.set_levels(rose, fell, connection)
            if outbox is not None:
                outbox.add(messages, self._now_us(), connection)

        return write

    def told(self) -> None:
        """See `serving.tagging.News`."""
        self._wake_outbox()
        self._wake_triggers()

    def _set_off(self, move: Move) -> Iterator[Pending]:
        for change in move.step.changes:
            if (change.from_state, change.to_state) != ("absent", "assigned"):
                continue
            for trigger in self._on_tags:
                if trigger.on.is_tag(change.tag_id):
                    key = message_key(trigger.name, move.customer_id, change.tag_id, change.at_us)
                    at_us = change.at_us
                    yield Pending(trigger.name, move.customer_id, change.tag_id, key, at_us, at_us)

    def _crossings(
        self, scores: Mapping[str, CustomerScores]
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        rose: list[tuple[str, str]] = []
        fell: list[tuple[str, str]] = []
        if not self._on_propensity or not scores:
            return rose, fell
        above = self._pending.above(list(scores))
        for customer, one in scores.items():
            for trigger in self._on_propensity:
                # A stranger's probability is the population's: it says nothing of the customer.
                value = one.propensity.get(trigger.on.propensity or "") if one.status == "ok" else None
                pair = (trigger.name, customer)
                if value is None or trigger.on.above is None:
                    continue
                if pair not in above and value >= trigger.on.above:
                    rose.append(pair)
                elif pair in above and value < trigger.on.rearmed_below:
                    fell.append(pair)
        return rose, fell


def tag_message(
    customer: str, change: Change, *, expires_at_us: int | None, model_version: str | None
) -> Message:
    """Make the message of one step of a tag's life."""
    content: dict[str, Any] = {
        "type": TAG_CHANGED,
        "customer_id": customer,
        "tag_id": change.tag_id,
        "from_state": change.from_state,
        "to_state": change.to_state,
        "at": from_us(change.at_us),
        "reason": change.reason,
        "expires_at": None if expires_at_us is None else from_us(expires_at_us),
        "model_version": model_version,
    }
    key = message_key(TAG_CHANGED, customer, change.tag_id, change.at_us, change.to_state)
    return Message(key, TAG_CHANGED, customer, _encode(content))


def tell_erased(outbox: Outbox, tags: Mapping[str, Mapping[str, TagRecord]], at_us: int, now_us: int) -> int:
    """Enqueue that the live tags of erased customers are gone; nothing is kept of it once it is delivered.

    Parameters
    ----------
    tags
        By customer and tag id, as they were before the erasure.
    at_us, now_us
        When they were erased, and the machine's clock.

    Returns
    -------
    Number of messages.
    """
    messages = [
        tag_message(
            customer,
            change,
            expires_at_us=records[change.tag_id].expires_at_us,
            model_version=records[change.tag_id].evidence.model_version,
        )
        for customer, records in tags.items()
        for change in erase(records, at_us)
    ]
    outbox.add(messages, now_us)
    return len(messages)


def _messages(move: Move) -> Iterator[Message]:
    for change in move.step.changes:
        after, before = move.step.records.get(change.tag_id), move.before.get(change.tag_id)
        # A life may end and another begin in one step: the end is about the earlier claim.
        first, second = (after, before) if change.to_state in LIVE_STATES else (before, after)
        record = first if first is not None else second
        yield tag_message(
            move.customer_id,
            change,
            expires_at_us=None if record is None else record.expires_at_us,
            model_version=None if record is None else record.evidence.model_version,
        )
