"""Re-evaluates customers: scores become claims, and every step of a tag's life is written down."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl
import sqlalchemy as sa

from features.life_cycle import Evidence, Step, TagRecord, advance, withdraw
from monitoring.claims import Claim, ClaimKind, Origin, Transition
from serving.claim_recovery import adopt
from serving.live_tags import KEPT_US, LiveTags
from serving.permissions import NOT_ALLOWED
from serving.scores import CustomerScores, ScoredTag, ScorerHolder

CONTROL_SHARE = 0.002
"""Share of scored pairs that were not assigned and are kept in the ledger as a control."""


class ClaimLedger(Protocol):
    """Where claims are written down; see `monitoring.ledger.Ledger`."""

    before_commit: Callable[[sa.Connection], None] | None

    def record(
        self,
        claims: Sequence[Claim],
        transitions: Sequence[Transition] = (),
        *,
        within: Callable[[sa.Connection], None] | None = None,
    ) -> None:
        """Store claims and transitions in one transaction; what is stored already stays as it is."""

    def read(self, *, since_us: int | None = None) -> pl.DataFrame:
        """Return claims assigned after an instant."""

    def read_transitions(self, *, since_us: int | None = None) -> pl.DataFrame:
        """Return transitions after an instant."""


@dataclass(frozen=True)
class Move:
    """One step of one customer's tags.

    Attributes
    ----------
    before
        The customer's tags until then, by tag id.
    """

    customer_id: str
    before: Mapping[str, TagRecord]
    step: Step


class Consenting(Protocol):
    """Knows whose behaviour may not be looked at; see `serving.permissions.Permissions`."""

    def without_profiling(self, customers: Sequence[str]) -> Collection[str]:
        """Return those of some customers."""


class News(Protocol):
    """Hears of every evaluation; see `serving.tag_news.TagNews`."""

    def of(
        self, moves: Sequence[Move], scores: Mapping[str, CustomerScores], now_us: int
    ) -> Callable[[sa.Connection], None] | None:
        """Return what writes down what follows, in the transaction of the ledger; None: nothing does."""

    def told(self) -> None:
        """Hear that it was written."""


class Tagging:
    """Runs the life cycle of tags for some customers at one instant.

    The ledger is written before the store, and `recover` makes good a crash between the two, so that no claim
    is made twice. Only one thread may call it at a time.

    Parameters
    ----------
    live_tags, ledger, scorers
        Where tags stand, where claims go, and who scores.
    renew_after_us
        Least time between two claims of one tag, microseconds.
    consent
        Whoever may not be profiled is not scored, and their tags are withdrawn; None: everybody may.
    news
        What follows of an evaluation is stored with it.
    """

    def __init__(
        self,
        live_tags: LiveTags,
        ledger: ClaimLedger,
        scorers: ScorerHolder,
        *,
        renew_after_us: int,
        consent: Consenting | None = None,
        news: News | None = None,
    ) -> None:
        self._live_tags = live_tags
        self._ledger = ledger
        self._scorers = scorers
        self._renew_after_us = renew_after_us
        self._consent = consent
        self._news = news
        self._latest_us = 0
        self._is_half_done = False

    @property
    def quiet_families(self) -> frozenset[str]:
        """The tag families that also look at customers who have no live memory any more."""
        scorer = self._scorers.scorer
        return frozenset() if scorer is None else scorer.quiet_families

    def evaluate(
        self,
        customers: Sequence[str],
        now_us: int,
        *,
        origin: Origin,
        mark: tuple[str, int] | None = None,
        families: frozenset[str] | None = None,
    ) -> int:
        """Score customers and move their tags on.

        Parameters
        ----------
        customers
            Distinct customer ids.
        now_us
            The instant, microseconds since the epoch, UTC. One before that of an earlier call (an event that
            arrived while a sweep ran) is taken as that one.
        origin
            What caused the evaluation.
        mark
            A progress mark that becomes true with the stored tags.
        families
            Only tags of these families move on, the others only expire; None: all do.

        Returns
        -------
        Number of claims made.
        """
        now_us = self._not_before(now_us)
        self._finish()
        scorer = self._scorers.scorer
        barred = self._barred(customers)
        if scorer is None:
            return self._move(list(barred), {}, now_us, origin, mark, barred=barred)
        allowed = [one for one in customers if one not in barred] if barred else customers
        scores = scorer.score_many(allowed, now_us, with_tags=True, with_reasons=False)
        evidence = {
            customer: [_evidence(tag, one) for tag in one.tags if families is None or tag.family in families]
            for customer, one in scores.items()
        }
        return self._move(customers, evidence, now_us, origin, mark, families, scores=scores, barred=barred)

    def expire(self, customers: Sequence[str], now_us: int) -> None:
        """Write down the expiries of customers who are not scored any more."""
        barred = self._barred(customers)
        now_us = self._not_before(now_us)
        self._finish()
        self._move(customers, {}, now_us, "sweep", None, barred=barred)

    def recover(self, now_us: int) -> int:
        """Bring the store up to what the ledger holds, before the first evaluation.

        Returns
        -------
        Number of customers whose tags were mended.
        """
        self._live_tags.look_ahead(now_us)
        self._live_tags.complete_index(now_us)
        settled = self._live_tags.settled_us()
        oldest = now_us - KEPT_US
        # Customers evaluated together share an instant, and a crash may have come between two lots of them.
        since_us = oldest if settled is None else max(settled - 1, oldest)
        claims = self._ledger.read(since_us=since_us)
        steps = self._ledger.read_transitions(since_us=since_us)
        mended = adopt(self._live_tags, claims, steps, now_us)
        self._is_half_done = False
        return mended

    def _finish(self) -> None:
        """Make good an evaluation whose claims were written and whose tags could not be."""
        if self._is_half_done:
            self.recover(self._latest_us)

    def _barred(self, customers: Sequence[str]) -> Collection[str]:
        return () if self._consent is None else self._consent.without_profiling(customers)

    def _not_before(self, now_us: int) -> int:
        self._latest_us = max(self._latest_us, now_us)
        return self._latest_us

    def _advanced(
        self,
        before: Mapping[str, TagRecord],
        found: Sequence[Evidence] | None,
        now_us: int,
        families: frozenset[str] | None,
    ) -> Step:
        if families is None:
            return advance(before, found, now_us, renew_after_us=self._renew_after_us)
        mine = {tag_id: one for tag_id, one in before.items() if one.evidence.family in families}
        others = {tag_id: one for tag_id, one in before.items() if tag_id not in mine}
        return _joined(
            advance(mine, found, now_us, renew_after_us=self._renew_after_us),
            advance(others, None, now_us, renew_after_us=self._renew_after_us),
        )

    def _move(
        self,
        customers: Sequence[str],
        evidence: Mapping[str, Sequence[Evidence]],
        now_us: int,
        origin: Origin,
        mark: tuple[str, int] | None,
        families: frozenset[str] | None = None,
        *,
        scores: Mapping[str, CustomerScores] | None = None,
        barred: Collection[str] = (),
    ) -> int:
        stored = self._live_tags.read(customers, now_us)
        claims: list[Claim] = []
        transitions: list[Transition] = []
        changed = {}
        moves = []
        for customer in customers:
            before = stored.get(customer, {})
            found = evidence.get(customer)
            if customer in barred:
                step = withdraw(before, now_us, reason=NOT_ALLOWED, renew_after_us=self._renew_after_us)
            else:
                step = self._advanced(before, found, now_us, families)
            moves.append(Move(customer, before, step))
            if step.records != before:
                changed[customer] = step.records
            claims += _claims(customer, step, origin)
            claims += _controls(customer, step, found or (), now_us, origin)
            transitions += [
                Transition(customer, one.tag_id, one.at_us, one.from_state, one.to_state, one.reason)
                for one in step.changes
            ]
        within = None if self._news is None else self._news.of(moves, scores or {}, now_us)
        if within is None and not (claims or transitions):
            self._live_tags.write(changed, now_us, mark, stored)
            return 0
        self._is_half_done = True
        if within is None:
            self._ledger.record(claims, transitions)
        else:
            self._ledger.record(claims, transitions, within=within)
        self._live_tags.write(changed, now_us, mark, stored)
        if within is not None and self._news is not None:
            self._news.told()
        if claims or transitions:
            self._live_tags.settle(now_us)
        self._is_half_done = False
        return sum(not claim.is_control for claim in claims)


def _joined(one: Step, other: Step) -> Step:
    changes = sorted((*one.changes, *other.changes), key=lambda change: change.tag_id)
    return Step(one.records | other.records, tuple(changes), (*one.claims, *other.claims))


def _evidence(tag: ScoredTag, scores: CustomerScores) -> Evidence:
    return Evidence(
        tag_id=tag.tag_id,
        family=tag.family,
        key=tag.key,
        probability=float(tag.probability),
        probability_if_observed=float(tag.probability_if_observed),
        threshold=tag.threshold,
        certified_precision=tag.certified_precision,
        certified_lift=tag.certified_lift,
        model_version=scores.model_versions.get(f"tags-{tag.family}", ""),
        is_certified=tag.certified,
        is_above=tag.above,
        features_hash=scores.features_hash,
    )


def _claims(customer: str, step: Step, origin: Origin) -> Iterator[Claim]:
    for record in step.claims:
        kind: ClaimKind = "renewed" if record.claimed_at_us > record.assigned_at_us else "assigned"
        yield _claim(customer, record.evidence, (record.claimed_at_us, record.expires_at_us), origin, kind)


def _controls(
    customer: str, step: Step, evidence: Sequence[Evidence], now_us: int, origin: Origin
) -> Iterator[Claim]:
    for one in evidence:
        if one.tag_id not in step.records and is_control(customer, one.tag_id, now_us):
            yield _claim(customer, one, (now_us, now_us + one.life_us), origin, "assigned", is_control=True)


def _claim(
    customer: str,
    evidence: Evidence,
    life_us: tuple[int, int],
    origin: Origin,
    kind: ClaimKind,
    *,
    is_control: bool = False,
) -> Claim:
    return Claim(
        customer_id=customer,
        family=evidence.family,
        tag_id=evidence.tag_id,
        key=evidence.key,
        probability=evidence.probability,
        probability_if_observed=evidence.probability_if_observed,
        threshold=evidence.threshold,
        model_version=evidence.model_version,
        features_hash=evidence.features_hash,
        assigned_at_us=life_us[0],
        expires_at_us=life_us[1],
        origin=origin,
        kind=kind,
        certified_precision=evidence.certified_precision,
        certified_lift=evidence.certified_lift,
        is_control=is_control,
    )


def is_control(customer: str, tag_id: str, now_us: int) -> bool:
    """Choose a pair as a control by hash, so that repeating an evaluation chooses the same ones."""
    drawn = zlib.crc32(f"{customer}\x1f{tag_id}\x1f{now_us}".encode())
    return drawn < CONTROL_SHARE * 2**32
