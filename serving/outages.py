"""What a caller is told when a part of the service does not answer: which, and nothing from its inside."""

from __future__ import annotations

from features.errors import ConsentError, EventLogError, FeatureStoreError, IdentityError
from monitoring.errors import AuditError, LedgerError
from serving.errors import KeptRepliesError, NotReady, OutboxError, RemovalsError, TriggerError

PARTS: dict[type[Exception], str] = {
    FeatureStoreError: "the online store",
    EventLogError: "the event log",
    LedgerError: "the ledger",
    IdentityError: "the links between ids",
    ConsentError: "the register of consent",
    AuditError: "the audit log",
    KeptRepliesError: "the store of kept replies",
    OutboxError: "the outbox",
    RemovalsError: "the list of WeCom removals",
    TriggerError: "the list of pending triggers",
}


def part_of(error: BaseException) -> str:
    """Name the part that an error comes from, or return an empty string.

    >>> part_of(FeatureStoreError("Redis: connection refused"))
    'the online store'
    """
    return next((name for kind, name in PARTS.items() if isinstance(error, kind)), "")


def as_outage(error: BaseException) -> NotReady | None:
    """Return what a request is answered with whose part did not answer, or None for any other error."""
    part = part_of(error)
    return NotReady(f"{part} does not answer; GET /v1/status says more") if part else None
