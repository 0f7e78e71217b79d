"""The life of a tag: absent, assigned, renewed, expired or withdrawn or suspended or erased.

``absent -> assigned -> renewed* -> expired | withdrawn | suspended | erased``; a withdrawn or suspended tag
whose evidence is back before a new claim is due resumes its earlier claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

State = Literal["assigned", "renewed", "expired", "withdrawn", "suspended", "erased"]

LIVE_STATES: frozenset[State] = frozenset({"assigned", "renewed"})
LIFE_MAX_US = 72 * 3600 * 1_000_000
"""No claim speaks about more than 72 hours, in microseconds."""


class Evidence(msgspec.Struct, frozen=True):
    """What a model says of one candidate tag of one customer at one instant.

    Attributes
    ----------
    key
        The category or brand; None for families about the customer as a whole.
    is_certified
        Whether the contract holds for this tag.
    is_above
        Whether the probability passes the tag's threshold.
    life_us
        How long a claim made now lives, microseconds; never more than `LIFE_MAX_US`.
    """

    tag_id: str
    family: str
    key: str | None
    probability: float
    probability_if_observed: float
    threshold: float | None
    certified_precision: float | None
    certified_lift: float | None
    model_version: str
    is_certified: bool
    is_above: bool
    features_hash: str = ""
    life_us: int = LIFE_MAX_US


class TagRecord(msgspec.Struct, frozen=True):
    """Where one tag of one customer stands. Instants are microseconds since the epoch, UTC.

    Attributes
    ----------
    evidence
        What the latest claim was made on.
    state
        The state entered last.
    assigned_at_us, claimed_at_us
        When this run of the tag began, and when it was last claimed: assigned or renewed.
    expires_at_us
        The tag is live before this instant, never at it.
    """

    evidence: Evidence
    state: State
    assigned_at_us: int
    claimed_at_us: int
    expires_at_us: int

    def is_live(self, now_us: int) -> bool:
        """Tell whether the tag holds at ``now_us``: ``assigned_at <= now < expires_at``.

        One that was renewed at a later instant than that, by a clock that was set back since, does not: it
        would have longer to live than any tag may.
        """
        return self.state in LIVE_STATES and self.claimed_at_us <= now_us < self.expires_at_us


class Change(msgspec.Struct, frozen=True):
    """One step of a tag's life; ``from_state`` may be ``absent``."""

    tag_id: str
    at_us: int
    from_state: str
    to_state: str
    reason: str


class Step(msgspec.Struct, frozen=True):
    """What one evaluation did.

    Attributes
    ----------
    records
        By tag id: the tags that are live, and the dead ones that still bar a new claim.
    changes
        Ordered by tag id, an expiry before whatever follows it.
    claims
        The records that were assigned or renewed by this step.
    """

    records: dict[str, TagRecord]
    changes: tuple[Change, ...]
    claims: tuple[TagRecord, ...]


def advance(
    records: Mapping[str, TagRecord],
    evidence: Iterable[Evidence] | None,
    now_us: int,
    *,
    renew_after_us: int,
) -> Step:
    """Move one customer's tags on by one evaluation.

    A tag is claimed (assigned or renewed) at most once in ``renew_after_us``, withdrawn in between or not, so
    that one customer and tag yield at most one claim in that time.

    Parameters
    ----------
    records
        The customer's tags so far, by tag id; none is changed.
    evidence
        All candidates scored at ``now_us``: a live tag that is not among them is withdrawn. None: nothing was
        scored, tags only expire.
    now_us
        The instant of the evaluation, microseconds since the epoch, UTC; not before any earlier one.
    renew_after_us
        Least time between two claims of one tag, microseconds, > 0.
    """
    found = None if evidence is None else {one.tag_id: one for one in evidence}
    kept: dict[str, TagRecord] = {}
    changes: list[Change] = []
    claims: list[TagRecord] = []
    for tag_id in sorted({*records, *(found or ())}):
        before = records.get(tag_id)
        after = _expired(before, now_us, changes)
        if found is not None:
            after = _judged(after, found.get(tag_id), now_us, renew_after_us, changes)
        if after is None:
            continue
        if after.claimed_at_us == now_us and (before is None or before.claimed_at_us != now_us):
            claims.append(after)
        if after.state in LIVE_STATES or now_us - after.claimed_at_us < renew_after_us:
            kept[tag_id] = after
    return Step(kept, tuple(changes), tuple(claims))


def withdraw(records: Mapping[str, TagRecord], now_us: int, *, reason: str, renew_after_us: int) -> Step:
    """End every live tag of a customer for a reason that is not in the evidence, such as withdrawn consent.

    Parameters
    ----------
    records, now_us, renew_after_us
        As in `advance`.
    reason
        Written into the changes.
    """
    kept: dict[str, TagRecord] = {}
    changes: list[Change] = []
    for tag_id, before in sorted(records.items()):
        after = _expired(before, now_us, changes)
        if after is not None and after.state in LIVE_STATES:
            changes.append(Change(tag_id, now_us, after.state, "withdrawn", reason))
            after = msgspec.structs.replace(after, state="withdrawn")
        if after is not None and now_us - after.claimed_at_us < renew_after_us:
            kept[tag_id] = after
    return Step(kept, tuple(changes), ())


def erase(records: Mapping[str, TagRecord], now_us: int) -> tuple[Change, ...]:
    """End every live tag because its customer asked to be forgotten."""
    return tuple(
        Change(tag_id, now_us, record.state, "erased", "customer erased")
        for tag_id, record in sorted(records.items())
        if record.is_live(now_us)
    )


def _expired(record: TagRecord | None, now_us: int, changes: list[Change]) -> TagRecord | None:
    if record is None or record.state not in LIVE_STATES or now_us < record.expires_at_us:
        return record
    changes.append(
        Change(record.evidence.tag_id, record.expires_at_us, record.state, "expired", "its life is over")
    )
    return msgspec.structs.replace(record, state="expired")


def _judged(
    record: TagRecord | None,
    evidence: Evidence | None,
    now_us: int,
    renew_after_us: int,
    changes: list[Change],
) -> TagRecord | None:
    is_live = record is not None and record.state in LIVE_STATES
    if evidence is not None and evidence.is_certified and evidence.is_above:
        if record is not None and is_live:
            return _renewed(record, evidence, now_us, renew_after_us, changes)
        return _assigned(record, evidence, now_us, renew_after_us, changes)
    if record is not None and is_live:
        return _ended(record, evidence, now_us, changes)
    return record


def _ended(record: TagRecord, evidence: Evidence | None, now_us: int, changes: list[Change]) -> TagRecord:
    state: State = "withdrawn"
    if evidence is None:
        reason = "no longer a candidate"
    elif not evidence.is_certified:
        state, reason = "suspended", "its contract does not hold"
    else:
        reason = f"probability {evidence.probability_if_observed:.3f} is below its threshold"
    changes.append(Change(record.evidence.tag_id, now_us, record.state, state, reason))
    return msgspec.structs.replace(record, state=state)


def _renewed(
    record: TagRecord, evidence: Evidence, now_us: int, renew_after_us: int, changes: list[Change]
) -> TagRecord:
    if now_us - record.claimed_at_us < renew_after_us:
        return record
    changes.append(Change(evidence.tag_id, now_us, record.state, "renewed", "evidence holds"))
    return TagRecord(evidence, "renewed", record.assigned_at_us, now_us, _expiry(evidence, now_us))


def _assigned(
    record: TagRecord | None, evidence: Evidence, now_us: int, renew_after_us: int, changes: list[Change]
) -> TagRecord | None:
    if record is None or now_us - record.claimed_at_us >= renew_after_us:
        changes.append(Change(evidence.tag_id, now_us, "absent", "assigned", "evidence found"))
        return TagRecord(evidence, "assigned", now_us, now_us, _expiry(evidence, now_us))
    if record.state in ("withdrawn", "suspended") and now_us < record.expires_at_us:
        resumed: State = "renewed" if record.claimed_at_us > record.assigned_at_us else "assigned"
        reason = "evidence is back; the earlier claim stands"
        changes.append(Change(evidence.tag_id, now_us, record.state, resumed, reason))
        return msgspec.structs.replace(record, state=resumed)
    return record


def _expiry(evidence: Evidence, now_us: int) -> int:
    return now_us + min(evidence.life_us, LIFE_MAX_US)
