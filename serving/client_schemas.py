"""Replies that only the client has types for: of routes whose replies may grow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct


class ConsentState(Struct, frozen=True):
    """What holds for a customer after a change of consent or takeover."""

    profiling: bool
    marketing: bool
    do_not_disturb: bool
    time_zone: str | None
    takeover: dict[str, Any] | None = None
    contact: dict[str, Any] | None = None
    customer_id: str = ""
    request_id: str = ""


class ErasureReceipt(Struct, frozen=True):
    """What an erasure did; it names nobody."""

    erasure_id: str
    erased_at: datetime
    rows: dict[str, int]
    ids: int | None = None
    tombstones: int | None = None
    request_id: str = ""
