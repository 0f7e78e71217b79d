"""Everything a training run as of an instant looks at: history, outcomes, decision rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.settings import Settings
from features.history import History
from features.mapping import PropensityPlan, TagsPlan
from features.outcomes import UNOBSERVED, OutcomeJudge
from features.tags import Candidate, Condition, TagFamily, carried_by
from features.windows import Window, to_us
from training.clv_bundle import clv_instants
from training.clv_horizons import HORIZONS_DAYS, horizons_within
from training.cold_start import Newcomers, first_signs
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
from training.propensity_rows import (
    HORIZONS_HOURS,
    PropensitySlices,
    planned_slices,
    propensity_decisions,
    propensity_slices,
    purchased_within,
)
from training.spend_history import SpendHistory, spend_history
from training.splits import TagSlices, tag_slices


@dataclass(frozen=True)
class Budget:
    """How much of the history a run looks at; smaller is faster.

    Attributes
    ----------
    tags
        Decision rows of tags about a customer and a category or brand: some forty claims each.
    customer_tags
        Decision rows of tags about a customer as a whole: one claim each.
    propensity_rows
        Customers at censuses that each horizon of propensity is fitted on.
    clv_horizons_days
        Horizons of CLV that are asked for; the span of history decides which of them it allows.
    """

    tags: SamplingBudget = field(default_factory=SamplingBudget)
    customer_tags: SamplingBudget = field(
        default_factory=lambda: SamplingBudget(fit=100_000, calibrate=30_000, certify=40_000)
    )
    propensity_rows: int = 200_000
    clv_horizons_days: tuple[int, ...] = HORIZONS_DAYS


BACKTEST_BUDGET = Budget(
    tags=SamplingBudget(fit=120_000, calibrate=30_000, certify=40_000),
    customer_tags=SamplingBudget(fit=400_000, calibrate=60_000, certify=80_000),
)
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
    propensity_plans
        Per horizon the slices that a source's mapping names, in place of those that follow from ``as_of``.
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
        propensity_plans: Mapping[str, PropensityPlan] | None = None,
        tags_plan: TagsPlan | None = None,
    ) -> None:
        known = events.filter(pl.max_horizontal("event_time", "ingested_at") <= as_of.astimezone(UTC))
        if known.is_empty():
            raise TrainingDataError(
                f"nothing is known by {as_of.isoformat()}: {_begins(events)}",
                "import more history, or choose a later --as-of or a shorter horizon",
            )
        self.as_of = as_of
        self.settings = settings
        self.families = families
        self.budget = budget
        self.test_days = test_days
        self.propensity_plans = propensity_plans or {}
        self.tags_plan = tags_plan
        self.history = History(events, settings.zone, settings.publication_lag)
        self.judge = OutcomeJudge(self.history.columns, to_us(as_of))
        self.test_judge = OutcomeJudge(self.history.columns)
        self.fingerprint: dict[str, Any] = fingerprint(events)
        self.event_types = carried_by(known)
        self.events = events
        self._first: datetime = (
            known.filter(pl.col("event_type") != "contact").select(pl.col("event_time").min()).item() or as_of
        )
        self._claims: dict[tuple[str | None, Candidate, Condition, Condition | str], PairDecisions] = {}
        self._rows: dict[tuple[bool, Window], DecisionRows] = {}
        self._propensity_rows: dict[str, DecisionRows] = {}

    @cached_property
    def tag_slices(self) -> TagSlices:
        """Slices of the tag models."""
        return tag_slices(self.as_of, self._first, self.settings.zone, plan=self.tags_plan)

    def rows_of(self, family: TagFamily) -> DecisionRows:
        """Return the decision rows of a family: of customers seen as lately as it asks for."""
        asked = family.key is not None, family.candidate.seen_within
        if asked not in self._rows:
            self._rows[asked] = self._tag_rows(*asked)
        return self._rows[asked]

    def chosen(self, names: Sequence[str]) -> list[TagFamily]:
        """Return the families of some names that can run; all that can where none is named."""
        return [family for family in self.runnable()[0] if not names or family.family in names]

    def decision_rows(self, families: Sequence[TagFamily]) -> list[DecisionRows]:
        """Return all decision rows of some families."""
        rows = {id(rows): rows for rows in map(self.rows_of, families)}
        return list(rows.values())

    def _tag_rows(self, has_key: bool, within: Window) -> DecisionRows:
        budget = self.budget.tags if has_key else self.budget.customer_tags
        within_us = within.length_us or 0
        rows = tag_decisions(self.history, self.tag_slices, budget, self.settings.seed, within_us)
        if not self.test_days:
            return rows
        customers, instants = active_at(self.history, self.test_days, within_us)
        kind, part = np.full(len(customers), CENSUS), np.full(len(customers), TEST)
        return DecisionRows.joined([rows, DecisionRows(customers, instants, kind, part)])

    def claims(self, family: TagFamily) -> PairDecisions:
        """Return the claims worth considering: pairs, or customers for a family without a key.

        Of the slice to fit on those are left out that will not be observed, which nothing is learnt from; but
        one of each row is kept, to learn from who will be.
        """
        asked = family.key, family.candidate, family.confirmed_by, family.observed_if
        if asked not in self._claims:
            rows = self.rows_of(family)
            claims = self.claims_at(family, rows)
            self._claims[asked] = claims.take(self._learnt_from(family, rows, claims))
        return self._claims[asked]

    def _learnt_from(
        self, family: TagFamily, rows: DecisionRows, claims: PairDecisions
    ) -> npt.NDArray[np.bool_]:
        mine = rows.take(claims.row)
        outcome = self.judge.judge(family, mine.customer, claims.code, mine.instant)
        is_first = np.zeros(len(claims.row), bool)
        is_first[np.unique(claims.row, return_index=True)[1]] = True
        return np.asarray((mine.part != FIT) | (outcome != UNOBSERVED) | is_first)

    def claims_at(self, family: TagFamily, rows: DecisionRows) -> PairDecisions:
        """Return the claims worth considering at any rows."""
        if family.key is not None:
            return pair_decisions(self.history, family.key, rows, family)
        customers = self.history.customer_rows(rows.customer, rows.instant)
        chosen = np.flatnonzero(family.candidate.customer_rule.holds(customers))
        frame = key_frame(self.history, rows.take(chosen))
        return PairDecisions(chosen, np.zeros(len(chosen), np.int64), frame)

    def pair_snapshot(self, *families: TagFamily) -> pl.DataFrame:
        """Compute the affinity features of families with one key, each pair and instant once."""
        key = families[0].key
        if key is None or {family.key for family in families} != {key}:
            raise ValueError(f"families {[one.family for one in families]} have no key in common")
        rows = DecisionRows.joined(self.rows_of(family) for family in families)
        moments = pl.DataFrame({"customer": rows.customer, "instant": rows.instant}).with_row_index("row")
        wanted = []
        for family in families:
            claims, mine = self.claims(family), self.rows_of(family)
            wanted.append(
                claims.frame.with_columns(
                    customer=mine.customer[claims.row], instant=mine.instant[claims.row], code=claims.code
                )
            )
        pairs = (
            pl.concat(wanted)
            .unique(["customer", "instant", "code"], keep="first", maintain_order=True)
            .join(moments, on=["customer", "instant"], how="left", maintain_order="left")
        )
        row, code = (pairs[name].cast(pl.Int64).to_numpy() for name in ("row", "code"))
        frame = pairs.drop("row", "code", "customer", "instant")
        return pair_snapshot(self.history, key, rows, PairDecisions(row, code, frame))

    def propensity_slices(self, horizon: str) -> PropensitySlices:
        """Return the slices of a propensity horizon."""
        if horizon in self.propensity_plans:
            return planned_slices(self.propensity_plans[horizon], self._first, self.settings.zone)
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

    def propensity_horizons(self) -> tuple[list[str], dict[str, str]]:
        """Return the horizons that the history is long enough for, and why the others are left out.

        Raises
        ------
        TrainingDataError
            If there is none.
        """
        carried, left_out, refusals = [], {}, []
        for horizon in HORIZONS_HOURS:
            try:
                self.propensity_slices(horizon)
            except TrainingDataError as refusal:
                refusals.append(refusal)
                left_out[horizon] = refusal.message
            else:
                carried.append(horizon)
        if not carried:
            raise refusals[0]
        return carried, left_out

    def newcomers(self, horizon: str, test_days: Sequence[datetime] = ()) -> Newcomers:
        """Return what customers did within a horizon after their first sign of life.

        Learnt from are those who came between the first census and the last that calibrates; held against the
        prior are those who came on the test days of a backtest, else in the slice that certifies.
        """
        slices = self.propensity_slices(horizon)
        hours = HORIZONS_HOURS[horizon]
        learnt = first_signs(self.history, slices.fit.first, slices.calibrate.last)
        later = (test_days[0], test_days[-1]) if test_days else None
        judge = self.test_judge
        if later is None and slices.certify is not None:
            later, judge = (slices.certify.first, slices.certify.last), self.judge
        found = np.zeros(0, bool)
        if later is not None:
            found = purchased_within(judge, first_signs(self.history, *later), hours)
        return Newcomers(purchased_within(self.judge, learnt, hours), found)

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

    @property
    def clv_horizons(self) -> list[int]:
        """Horizons of CLV that are asked for and that the history allows, days, ascending."""
        known = self.spend.known_by(to_us(self.as_of))
        first_us = known.first_us if known.time_us.size else to_us(self.as_of)
        return horizons_within(first_us, to_us(self.as_of), self.budget.clv_horizons_days)[0]

    def clv_rows(self, *horizons_days: int) -> DecisionRows:
        """Return every customer who had bought, at every instant CLV is trained or measured at."""
        customers, instants = [], []
        for at in clv_instants(self.spend, to_us(self.as_of), *horizons_days):
            bought = self.spend.known_by(at).buyers(at)
            customers.append(self.history.numbers(self.spend.customers[bought].tolist()))
            instants.append(np.full(len(bought), at, np.int64))
        customer, instant = np.concatenate(customers), np.concatenate(instants)
        kind, part = np.full(len(customer), CENSUS), np.full(len(customer), FIT)
        return DecisionRows(customer, instant, kind, part)


def _begins(events: pl.DataFrame) -> str:
    first: datetime | None = events.select(pl.max_horizontal("event_time", "ingested_at").min()).item()
    return "there are no events" if first is None else f"the data begins {first.isoformat()}"
