"""Judging claims whose window has closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from features.events import INSTANT
from features.outcomes import judge as judge_outcomes
from features.tags import TagFamily
from monitoring.census import Judge
from monitoring.ledger import Ledger


@dataclass(frozen=True)
class ClosedWindows:
    """What one round of closing found.

    Attributes
    ----------
    left_open
        Claims whose window has closed but whose family the catalogue no longer has.
    """

    confirmed: int
    refuted: int
    unobserved: int
    left_open: int

    @property
    def judged(self) -> int:
        """Claims given an outcome."""
        return self.confirmed + self.refuted + self.unobserved


def closed_by(now_us: int, lateness_allowance: timedelta) -> int:
    """Return the instant up to which windows are closed: now, less the time late events are waited for.

    >>> closed_by(3_600_000_000, timedelta(hours=1))
    0
    """
    return now_us - lateness_allowance // timedelta(microseconds=1)


def close_windows(
    ledger: Ledger,
    events: pl.DataFrame,
    families: Mapping[str, TagFamily],
    now_us: int,
    lateness_allowance: timedelta,
    judge: Judge = judge_outcomes,
) -> ClosedWindows:
    """Judge every open claim whose 72 h and the lateness allowance have passed, controls too.

    Judging twice changes nothing: a claim with an outcome is no longer open.

    Parameters
    ----------
    events
        Rows of `EVENT_SCHEMA` that were known at ``now_us``, at least those since the oldest open claim.
    families
        The catalogue by name.
    now_us
        Microseconds since the epoch; also stored as the instant of judgement.
    """
    due = ledger.open_claims(closed_by(now_us, lateness_allowance))
    counts = dict.fromkeys(("confirmed", "refuted", "unobserved"), 0)
    left_open = 0
    for (name,), claims in due.group_by("family", maintain_order=True):
        family = families.get(str(name))
        if family is None:
            left_open += claims.height
            continue
        claimed = claims.select(
            "customer_id", "key", assigned_at=pl.col("assigned_at_us").cast(pl.Int64).cast(INSTANT)
        )
        outcomes = claims.select("claim_id").with_columns(outcome=judge(events, claimed, family))
        ledger.write_outcomes(outcomes, now_us)
        for outcome in counts:
            counts[outcome] += int((outcomes["outcome"] == outcome).sum())
    return ClosedWindows(**counts, left_open=left_open)
