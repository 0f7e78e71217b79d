"""Whom propensity is learnt from and measured on: horizons, slices of time, census rows, who bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from features.history import History
from features.mapping import PropensityPlan
from features.outcomes import OutcomeJudge
from features.tags import Condition
from features.windows import DAY_US, HOUR_US
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT, DecisionRows, active_at
from training.errors import TrainingDataError
from training.splits import CALIBRATE_DAYS, CERTIFY_DAYS, FIT_ENDS_DAYS, Slice, midnight, require_fit_days
from training.tag_model import Columns

FloatArray = npt.NDArray[np.float64]

HORIZONS_HOURS: Mapping[str, int] = {"72h": 72, "7d": 168, "30d": 720}

ELIGIBLE_US = 90 * DAY_US
"""Who is scored: customers active in the last 90 days,"""
EVALUATED_DAYS = 30
"""and who is measured: those active in the last 30, unless a mapping says otherwise."""

EVERY_DAYS = 2
"""Every second midnight is looked at."""


@dataclass(frozen=True)
class PropensitySlices:
    """Censuses of one horizon's slices.

    Attributes
    ----------
    fit, calibrate
        What the model is fitted on, and what scores become probabilities on.
    certify
        What nothing was chosen on; None where a test slice after ``as_of`` does that.
    calibrate_every_days
        Days between two censuses of ``calibrate``.
    """

    fit: Slice
    calibrate: Slice
    certify: Slice | None
    calibrate_every_days: int = EVERY_DAYS

    def in_order(self) -> list[tuple[int, Slice, int]]:
        """Return per slice its part, its days and how many days lie between two censuses."""
        slices = [(FIT, self.fit, EVERY_DAYS), (CALIBRATE, self.calibrate, self.calibrate_every_days)]
        return slices if self.certify is None else [*slices, (CERTIFY, self.certify, EVERY_DAYS)]


def propensity_slices(
    as_of: datetime, horizon_hours: int, first_event: datetime, zone: ZoneInfo, warm_up_days: int = 30
) -> PropensitySlices:
    """Return the slices of a horizon as of an instant; the longer the horizon, the earlier they end.

    Raises
    ------
    TrainingDataError
        If fewer than 14 days are left to fit on, with the history that is needed.
    """
    today = as_of.astimezone(zone).date()
    extra = max(horizon_hours - 72, 0) // 24

    def back(days: int, embargoes: int) -> datetime:
        return midnight(today - timedelta(days=days + embargoes * extra), zone)

    slices = PropensitySlices(
        Slice(_first_census(first_event, zone, warm_up_days), back(FIT_ENDS_DAYS, 3)),
        Slice(back(CALIBRATE_DAYS[0], 2), back(CALIBRATE_DAYS[1], 2)),
        Slice(back(CERTIFY_DAYS[0], 1), back(CERTIFY_DAYS[1], 1)),
    )
    _require_days_to_fit(slices.fit, as_of, horizon_hours, first_event)
    return slices


def planned_slices(
    plan: PropensityPlan, first_event: datetime, zone: ZoneInfo, warm_up_days: int = 30
) -> PropensitySlices:
    """Return the slices that a source's mapping names for a horizon; its census is what they are tested on.

    Raises
    ------
    TrainingDataError
        If an outcome window reaches into the slice after it, or fewer than 14 days are left to fit on.
    """
    horizon = timedelta(hours=plan.horizon_hours)
    calibrate = Slice(midnight(plan.calibrate.first, zone), midnight(plan.calibrate.last, zone))
    fit = Slice(_first_census(first_event, zone, warm_up_days), midnight(plan.fit_until, zone))
    tested = midnight(plan.census.first, zone)
    for name, last, following, begin in (
        ("fit_until", fit.last, "calibrate", calibrate.first),
        ("calibrate.last", calibrate.last, "census", tested),
    ):
        if last.astimezone(UTC) + horizon > begin:
            raise TrainingDataError(
                f"evaluation of propensity within {plan.horizon_hours} h: {name} is {last.date()}, whose "
                f"outcome window closes {(last + horizon).date()}; expected that not after "
                f"{following}.first {begin.date()}",
                "mend the `evaluation:` block of the source's mapping, see docs/sources.md",
            )
    _require_days_to_fit(fit, tested, plan.horizon_hours, first_event)
    return PropensitySlices(fit, calibrate, None, plan.calibrate.every_days)


def _first_census(first_event: datetime, zone: ZoneInfo, warm_up_days: int) -> datetime:
    return midnight((first_event.astimezone(zone) + timedelta(days=warm_up_days)).date(), zone)


def _require_days_to_fit(fit: Slice, as_of: datetime, horizon_hours: int, first_event: datetime) -> None:
    what, ends_days = f"propensity within {horizon_hours} h", (as_of - fit.last).days
    require_fit_days(what, as_of, first_event, (fit.first, fit.last), ends_days)


def propensity_decisions(history: History, slices: PropensitySlices, size: int, seed: int) -> DecisionRows:
    """Return the census rows of each slice: customers active in the last 90 days.

    Parameters
    ----------
    size
        Most rows of the fitting slice; a sample for speed. The later slices are whole.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for part, days, every in slices.in_order():
        customer, instant = active_at(history, days.days(every), ELIGIBLE_US)
        if part == FIT and len(customer) > size:
            chosen = np.sort(rng.choice(len(customer), size, replace=False))
            customer, instant = customer[chosen], instant[chosen]
        parts.append(
            DecisionRows(customer, instant, np.full(len(customer), CENSUS), np.full(len(customer), part))
        )
    return DecisionRows.joined(parts)


def purchased_within(judge: OutcomeJudge, rows: DecisionRows, horizon_hours: int) -> npt.NDArray[np.bool_]:
    """Return who bought anything in ``(t, t + horizon]``, shape (n_rows,)."""
    bought = np.zeros(len(rows), bool)
    for begin in range(0, horizon_hours, 72):
        part = Condition(any_of=("purchase",), within_hours=min(72, horizon_hours - begin))
        bought |= judge.holds(part, None, rows.customer, rows.customer, rows.instant + begin * HOUR_US)
    return bought


@dataclass(frozen=True)
class PropensityData:
    """One horizon's rows, their features, and whether a purchase followed.

    Attributes
    ----------
    evaluated_days
        Measured are customers with an event other than `contact` in this time before.
    """

    rows: DecisionRows
    features: Columns
    bought: npt.NDArray[np.bool_]
    evaluated_days: int = EVALUATED_DAYS

    def part(self, part: int, *, evaluated: bool = False) -> npt.NDArray[np.bool_]:
        """Return which rows belong to a slice, if asked only those who are measured."""
        chosen = self.rows.part == part
        if evaluated:
            chosen = chosen & (_seconds_since_activity(self.features) < self.evaluated_days * 86400)
        return np.asarray(chosen)


def _seconds_since_activity(features: Columns) -> FloatArray:
    since = [
        values
        for name, values in features.items()
        if name.startswith("seconds_since_last_") and name != "seconds_since_last_contact"
    ]
    return np.asarray(np.fmin.reduce(since), np.float64)
