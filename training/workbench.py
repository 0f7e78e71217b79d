"""Everything a training run as of an instant looks at: history, outcomes, decision rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from configs.settings import Settings
from features.history import History
from features.mapping import TagsPlan
from features.outcomes import OutcomeJudge
from features.tags import TagFamily
from features.windows import HOUR_72, Measure, WindowRows, to_us
from training.clv_bundle import clv_instants
from training.datasets import (
    CENSUS,
    FIT,
    TEST,
    DecisionRows,
    PairDecisions,
    SamplingBudget,
    active_at,
    fingerprint,
    key_frame,
    pair_decisions,
    pair_snapshot,
    tag_decisions,
)
from training.errors import TrainingDataError
from training.propensity import HORIZONS_HOURS, PropensitySlices, propensity_decisions, propensity_slices
from training.spend_history import SpendHistory, spend_history
from training.splits import TagSlices, tag_slices


@dataclass(frozen=True)
class Budget:
    """How much of the history a run looks at; smaller is faster.

    Attributes
    ----------
    tags
        Decision rows of the tag slices.
    propensity_rows
        Customers at censuses that propensity is fitted on.
    """

    tags: SamplingBudget = field(default_factory=SamplingBudget)
    propensity_rows: int = 60_000


BACKTEST_BUDGET = Budget(SamplingBudget(fit=60_000, calibrate=30_000, certify=40_000))
"""For figures to be published: more of the history than an everyday run needs."""


class Workbench:
    """History and decision rows of a training run; made once, shared by all tasks.

    Parameters
    ----------
    events
        What is known by ``as_of``.
    as_of
        The run's instant.
    settings
        Time zone, publication lag, seed and threads.
    families
        The tag catalogue.
    budget
        How much to look at.
    test_days
        Further censuses to answer for, in a backtest; ``events`` then reach past ``as_of``.
    tags_plan
        The slices of the tag models, where a source's mapping says other than the usual.

    Raises
    ------
    TrainingDataError
        If no event was known by ``as_of``.
    """

    def __init__(
        self,
        events: pl.DataFrame,
        as_of: datetime,
        settings: Settings,
        families: Mapping[str, TagFamily],
        budget: Budget,
        test_days: Sequence[datetime] = (),
        tags_plan: TagsPlan | None = None,
    ) -> None:
        known = events.filter(pl.max_horizontal("event_time", "ingested_at") <= as_of.astimezone(UTC))
        if known.is_empty():
            raise TrainingDataError(
                f"nothing is known by {as_of.isoformat()}", "import events first, or choose a later --as-of"
            )
        self.as_of = as_of
        self.settings = settings
        self.families = families
        self.budget = budget
        self.test_days = test_days
        self.tags_plan = tags_plan
        self.history = History(events, settings.zone, settings.publication_lag)
        self.judge = OutcomeJudge(self.history.columns, to_us(as_of))
        self.test_judge = OutcomeJudge(self.history.columns)
        self.fingerprint: dict[str, Any] = fingerprint(events)
        self.event_types: set[str] = set(known["event_type"].unique())
        self.events = events
        self._first: datetime = (
            known.filter(pl.col("event_type") != "contact").select(pl.col("event_time").min()).item() or as_of
        )
        self._pairs: dict[str, PairDecisions] = {}
        self._propensity_rows: dict[str, DecisionRows] = {}

    @cached_property
    def tag_slices(self) -> TagSlices:
        """Slices of the tag models."""
        return tag_slices(self.as_of, self._first, self.settings.zone, plan=self.tags_plan)

    @cached_property
    def tag_rows(self) -> DecisionRows:
        """Decision rows of the tag models."""
        rows = tag_decisions(self.history, self.tag_slices, self.budget.tags, self.settings.seed)
        if not self.test_days:
            return rows
        customers, instants = active_at(self.history, self.test_days, HOUR_72.length_us or 0)
        kind, part = np.full(len(customers), CENSUS), np.full(len(customers), TEST)
        return DecisionRows.joined([rows, DecisionRows(customers, instants, kind, part)])

    def claims(self, family: TagFamily) -> PairDecisions:
        """Return the claims worth considering: pairs, or customers for a family without a key."""
        if family.key is None:
            rows, candidate = self.tag_rows, family.candidate
            lately = WindowRows(self.history.customers, rows.customer, rows.instant)
            seen = lately.sum(Measure("candidate", candidate.any_of), candidate.rule.within.length_us) > 0
            chosen = np.flatnonzero(seen)
            frame = key_frame(self.history, rows.take(chosen))
            return PairDecisions(chosen, np.zeros(len(chosen), np.int64), frame)
        if family.key not in self._pairs:
            self._pairs[family.key] = pair_decisions(self.history, family.key, self.tag_rows, family)
        return self._pairs[family.key]

    def pair_snapshot(self, family: TagFamily) -> pl.DataFrame:
        """Compute the affinity features of a family's claims."""
        if family.key is None:
            raise ValueError(f"family {family.family!r} has no key")
        return pair_snapshot(self.history, family.key, self.tag_rows, self.claims(family))

    def propensity_slices(self, horizon: str) -> PropensitySlices:
        """Return the slices of a propensity horizon."""
        return propensity_slices(self.as_of, HORIZONS_HOURS[horizon], self._first, self.settings.zone)

    def propensity_rows(self, horizon: str) -> DecisionRows:
        """Return the census rows of a propensity horizon."""
        if horizon not in self._propensity_rows:
            self._propensity_rows[horizon] = propensity_decisions(
                self.history,
                self.propensity_slices(horizon),
                self.budget.propensity_rows,
                self.settings.seed,
            )
        return self._propensity_rows[horizon]

    def runnable(self) -> tuple[list[TagFamily], dict[str, tuple[str, ...]]]:
        """Return the families whose events the data carries, and what the others miss."""
        missing = {name: family.missing_types(self.event_types) for name, family in self.families.items()}
        runs = [
            family
            for name, family in self.families.items()
            if not missing[name] and (family.key is None or len(self.history.columns.texts(family.key)) > 0)
        ]
        without_key = {
            name: (f"events with a {family.key}",)
            for name, family in self.families.items()
            if not missing[name] and family not in runs
        }
        return runs, {name: types for name, types in missing.items() if types} | without_key

    @cached_property
    def spend(self) -> SpendHistory:
        """Orders and refunds of every customer."""
        return spend_history(self.events)

    def clv_rows(self, horizon_days: int) -> DecisionRows:
        """Return every customer who had bought, at every instant CLV is trained or measured at."""
        customers, instants = [], []
        for at in clv_instants(self.spend, to_us(self.as_of), horizon_days):
            bought = self.spend.known_by(at).buyers(at)
            customers.append(self.history.numbers(self.spend.customers[bought].tolist()))
            instants.append(np.full(len(bought), at, np.int64))
        customer, instant = np.concatenate(customers), np.concatenate(instants)
        kind, part = np.full(len(customer), CENSUS), np.full(len(customer), FIT)
        return DecisionRows(customer, instant, kind, part)
