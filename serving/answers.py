"""Puts together what is said about customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType

from features.life_cycle import TagRecord
from features.tag_names import TagNames
from features.windows import from_us
from serving.clock import Clock
from serving.errors import NotReady
from serving.guard import ALLOWED, Verdict
from serving.live_tags import LiveTags
from serving.permissions import Permissions
from serving.schemas import Contact, CustomerPrediction, CustomerTags, Tag
from serving.scores import CustomerScores, ScorerHolder
from serving.stream_parts import Resolver
from training.reasons import Explanation


@dataclass(frozen=True)
class Answer:
    """Rows as of one instant, by one set of models."""

    as_of: datetime
    model_version: dict[str, str]
    customers: list[CustomerPrediction]


class Answers:
    """Reads: propensity, value and stage are computed now, tags are those that are live now.

    Nothing here makes a claim. Safe to share between threads. Without permissions everybody may be profiled
    and contacted.
    """

    def __init__(
        self,
        live_tags: LiveTags,
        scorers: ScorerHolder,
        clock: Clock,
        identities: Resolver | None = None,
        permissions: Permissions | None = None,
        names: TagNames | None = None,
    ) -> None:
        self._live_tags = live_tags
        self._scorers = scorers
        self._clock = clock
        self._identities = identities
        self._permissions = permissions
        self._names = TagNames() if names is None else names

    @property
    def versions(self) -> dict[str, str]:
        """Model version by task, of the models in force."""
        return dict(self._scorers.versions)

    def now(self) -> datetime:
        """Return the service's present."""
        return from_us(self._clock.now_us())

    def predict(self, customers: Sequence[str], *, with_reasons: bool = False) -> Answer:
        """Answer about customers, known or not, in the order given.

        Raises
        ------
        NotReady
            If no model is in force.
        """
        scorer = self._scorers.scorer
        if scorer is None:
            raise NotReady("no model is in force; GET /v1/status says why")
        now_us = self._clock.now_us()
        known_as = self._known_as(customers)
        distinct = list(dict.fromkeys(known_as.values()))
        barred, verdicts = self._permitted(distinct, now_us)
        allowed = [one for one in distinct if one not in barred] if barred else distinct
        live = self._live_tags.live(allowed, now_us)
        scores = scorer.score_many(allowed, now_us, with_tags=with_reasons, with_reasons=with_reasons)
        rows = {}
        for asked, customer in known_as.items():
            verdict = verdicts.get(customer, ALLOWED)
            contact = Contact(verdict.is_allowed, verdict.reason)
            if customer in barred:
                rows[asked] = _unprofiled(asked, customer, contact)
                continue
            rows[asked] = _prediction(
                asked,
                customer,
                scores[customer],
                live.get(customer, []),
                contact,
                self._names,
                with_reasons=with_reasons,
            )
        # Of the scorer that answered: by now another may be in force.
        versions = dict(scores[allowed[0]].model_versions) if allowed else self.versions
        return Answer(from_us(now_us), versions, [rows[customer] for customer in customers])

    def tags(self, customers: Sequence[str]) -> list[CustomerTags]:
        """Return the live tags of customers, in the order given."""
        known_as = self._known_as(customers)
        now_us = self._clock.now_us()
        distinct = list(dict.fromkeys(known_as.values()))
        barred = set() if self._permissions is None else self._permissions.without_profiling(distinct)
        live = self._live_tags.live([one for one in distinct if one not in barred], now_us)
        return [
            CustomerTags(
                asked,
                [_tag(record, (UNSET, UNSET), self._names) for record in live.get(known_as[asked], [])],
            )
            for asked in customers
        ]

    def _permitted(self, customers: Sequence[str], now_us: int) -> tuple[set[str], dict[str, Verdict]]:
        if self._permissions is None:
            return set(), {}
        barred = self._permissions.without_profiling(customers)
        return barred, self._permissions.verdicts(customers, now_us)

    def _known_as(self, customers: Sequence[str]) -> dict[str, str]:
        """Return the customer that each distinct id speaks of."""
        if self._identities is None:
            return {customer: customer for customer in customers}
        one = self._identities.resolution().one
        return {customer: one(customer) for customer in customers}


def _unprofiled(asked: str, customer: str, contact: Contact) -> CustomerPrediction:
    return CustomerPrediction(
        customer_id=asked,
        merged_into=UNSET if asked == customer else customer,
        status="consent_required",
        life_cycle_stage=None,
        propensity={},
        clv=None,
        segment=None,
        static_tags=[],
        tags=[],
        contact=contact,
    )


def _prediction(
    asked: str,
    customer: str,
    scores: CustomerScores,
    live: Sequence[TagRecord],
    contact: Contact,
    names: TagNames,
    *,
    with_reasons: bool,
) -> CustomerPrediction:
    told = {tag.tag_id: tag.explanation for tag in scores.tags}
    tags = [
        _tag(one, _explained(told.get(one.evidence.tag_id)) if with_reasons else (UNSET, UNSET), names)
        for one in live
    ]
    return CustomerPrediction(
        customer_id=asked,
        merged_into=UNSET if asked == customer else customer,
        status=scores.status,
        life_cycle_stage=scores.life_cycle_stage,
        propensity=dict(scores.propensity),
        clv=None if scores.clv is None else dict(scores.clv),
        segment=scores.segment,
        static_tags=list(scores.static_tags),
        tags=tags,
        contact=contact,
        explanations={
            task: {part: one.to_json() for part, one in parts.items()}
            for task, parts in scores.explanations.items()
        }
        if with_reasons
        else UNSET,
    )


Told = tuple[list[dict[str, Any]] | UnsetType, dict[str, Any] | UnsetType | None]
"""The reasons of a tag, and the rest of its explanation."""


def _explained(explanation: Explanation | None) -> Told:
    if explanation is None:
        return [], None
    told = explanation.to_json()
    return told.pop("reasons"), told


def _tag(record: TagRecord, told: Told, names: TagNames) -> Tag:
    evidence = record.evidence
    was_renewed = record.claimed_at_us > record.assigned_at_us
    return Tag(
        tag_id=evidence.tag_id,
        name=names.of(evidence.tag_id),
        family=evidence.family,
        key=evidence.key,
        probability=evidence.probability,
        probability_if_observed=evidence.probability_if_observed,
        precision=evidence.certified_precision,
        lift=evidence.certified_lift,
        model_version=evidence.model_version,
        assigned_at=from_us(record.assigned_at_us),
        renewed_at=from_us(record.claimed_at_us) if was_renewed else None,
        expires_at=from_us(record.expires_at_us),
        reasons=told[0],
        explanation=told[1],
    )
