"""What a scorer answers, and what the service asks of whoever holds the one in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from serving.schemas import RowStatus, StaticTag
from serving.tag_schemas import TagContract
from training.reasons import Explanation


class ScoredTag(msgspec.Struct, frozen=True):
    """One candidate tag of one customer, scored.

    Attributes
    ----------
    key
        The category or brand; None for families about the customer as a whole.
    probability, probability_if_observed
        That the tag comes true; and given that its outcome can be seen.
    threshold, certified_precision, certified_lift
        The contract's figures; None for tags without one.
    certified, above
        Whether the contract holds, and whether the probability passes the threshold.
    explanation
        Why its score is what it is; None unless asked for, and for what is not above its threshold.
    """

    tag_id: str
    family: str
    key: str | None
    probability: float
    probability_if_observed: float
    threshold: float | None
    certified_precision: float | None
    certified_lift: float | None
    certified: bool
    above: bool
    explanation: Explanation | None = None


@dataclass(frozen=True)
class CustomerScores:
    """All models' answers about one customer at one instant.

    Attributes
    ----------
    propensity
        Probability of a purchase by horizon: ``72h``, ``7d``, ``30d``.
    clv
        None where no such model is published.
    model_versions
        By task: ``propensity``, ``clv``, ``tags-interest`` and so on.
    features_hash
        Names the inputs the tags were scored on; empty where none were asked for.
    explanations
        Of ``propensity`` by horizon and of ``clv`` by part; empty unless asked for.
    segment
        Number of the customer's segment; None of a stranger, or where no segments are published.
    static_tags
        What the customer is: life-cycle stage, segment, high value.
    """

    propensity: Mapping[str, float]
    clv: Mapping[str, Any] | None
    life_cycle_stage: str
    tags: Sequence[ScoredTag]
    status: RowStatus
    model_versions: Mapping[str, str]
    features_hash: str = ""
    explanations: Mapping[str, Mapping[str, Explanation]] = field(default_factory=dict)
    segment: int | None = None
    static_tags: Sequence[StaticTag] = ()


class Scorer(Protocol):
    """Scores customers from the online store. Safe to share between threads."""

    @property
    def quiet_families(self) -> frozenset[str]:
        """The tag families that also look at customers who have no live memory any more."""

    @property
    def contracts(self) -> Sequence[TagContract]:
        """What is proved of every tag that the models know."""

    def score_many(
        self, customers: Sequence[str], now_us: int, *, with_tags: bool, with_reasons: bool
    ) -> Mapping[str, CustomerScores]:
        """Score customers as of an instant, microseconds since the epoch, UTC; unknown ones included."""


class ScorerHolder(Protocol):
    """Holds the scorer in force, which may be replaced at any moment."""

    @property
    def scorer(self) -> Scorer | None:
        """The scorer in force, or None before any could be loaded."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Model version by task, of the scorer in force."""

    @property
    def problem(self) -> str:
        """Why the published models are not the ones in force; empty where they are."""
