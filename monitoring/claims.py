"""What was promised: one frozen row per kind of ledger entry."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Origin = Literal["event", "sweep", "batch"]
ClaimKind = Literal["assigned", "renewed"]
Outcome = Literal["confirmed", "refuted", "unobserved"]

OUTCOMES: tuple[Outcome, ...] = ("confirmed", "refuted", "unobserved")


def claim_id(customer_id: str, tag_id: str, assigned_at_us: int) -> str:
    """Name a claim by what makes it one: who, which tag, when.

    Returns
    -------
    32 hexadecimal digits. The same claim recorded twice has one id, so it is stored once.

    >>> claim_id("7", "interest:MILK", 0) == claim_id("7", "interest:MILK", 0)
    True
    >>> claim_id("7", "interest:MILK", 0) == claim_id("7", "interest:MILK", 1)
    False
    """
    named = json.dumps([customer_id, tag_id, assigned_at_us]).encode()
    return hashlib.blake2b(named, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Claim:
    """A tag assigned or renewed, or (``is_control``) scored and deliberately not assigned.

    Instants are microseconds since the epoch, UTC.

    Attributes
    ----------
    key
        The category or brand; null for families about the customer as a whole.
    probability
        That the tag comes true, observed or not.
    probability_if_observed
        That it comes true, given that its outcome can be seen: what `precision_observed` checks.
    threshold
        The bar the probability had to pass; null for tags without a contract.
    certified_precision, certified_lift
        What the contract promised when the claim was made; null for tags without a contract.
    is_control
        A random sample of pairs that were scored but not assigned, without which lift, coverage and
        calibration cannot be told. Controls never count as precision.
    """

    customer_id: str
    family: str
    tag_id: str
    key: str | None
    probability: float
    probability_if_observed: float
    threshold: float | None
    model_version: str
    features_hash: str
    assigned_at_us: int
    expires_at_us: int
    origin: Origin
    kind: ClaimKind
    certified_precision: float | None
    certified_lift: float | None
    is_control: bool = False

    @property
    def claim_id(self) -> str:
        """Deterministic id, see `claim_id`."""
        return claim_id(self.customer_id, self.tag_id, self.assigned_at_us)


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of a tag's life: absent, assigned, renewed, expired, withdrawn, suspended, erased."""

    customer_id: str
    tag_id: str
    at_us: int
    from_state: str
    to_state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """A purchase propensity that was served.

    Attributes
    ----------
    horizon
        Length of the window ``(at, at + horizon]`` the probability speaks about, as the model names it:
        ``72h``, ``7d`` or ``30d``.
    """

    customer_id: str
    horizon: str
    probability: float
    at_us: int
    model_version: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A figure that outcomes cannot tell, measured elsewhere (a replay, a backtest) and kept for the report.

    Attributes
    ----------
    name
        ``event_to_tag_p99_ms`` or ``clv_bias``; other names are kept and ignored by the report.
    how
        One sentence: on what, over how many, when.
    """

    name: str
    value: float
    at_us: int
    how: str
