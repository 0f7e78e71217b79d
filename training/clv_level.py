"""How much all customers together will spend: the level that the ranking is scaled to.

A model fitted on past cut-offs ranks customers well, yet misses the total wherever the season turns or a
cohort ages. The total is therefore taken from one of three plain views of the history:

- ``same_season``: what last year's customers did from this very date on, as ratios applied to today's;
- ``bgnbd_gg``: BG/NBD and Gamma-Gamma, which know that cohorts age and nothing of seasons;
- ``run_rate``: what customers did in the latest closed window, as ratios applied to today's.

The rule: the first of them, in this order, that the history is long enough for; unless a rolling backtest of
at least three closed origins shows another one clearly nearer to the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.baselines import fit_bgnbd_gamma_gamma
from training.errors import TrainingDataError
from training.spend_history import DAY_US, SpendHistory

FloatArray = npt.NDArray[np.float64]

PREFERENCE = ("same_season", "bgnbd_gg", "run_rate")
YEAR_DAYS = 365
ORIGINS_MIN, ORIGINS_MAX = 3, 4
CLEARLY_NEARER = 0.15
"""By how much, in mean absolute log error, another level must do better to be preferred to the rule's."""

MIN_HISTORY_DAYS = 30


@dataclass(frozen=True)
class Level:
    """The total that was chosen, and why.

    Attributes
    ----------
    name
        One of `PREFERENCE`, or ``ranker`` where none could be had.
    total_minor
        Expected net spend of all customers over the horizon; None for ``ranker``.
    reason
        One sentence.
    errors
        Mean absolute log error of each candidate in the rolling backtest; empty where there was none.
    """

    name: str
    total_minor: float | None
    reason: str
    errors: Mapping[str, float]


def choose_level(history: SpendHistory, as_of_us: int, horizon_days: int) -> Level:
    """Choose and compute the level as of an instant.

    Parameters
    ----------
    history
        Only what was known at ``as_of_us`` is used.
    """
    known = history.known_by(as_of_us)
    totals = level_totals(known, as_of_us, horizon_days)
    available = [name for name in PREFERENCE if name in totals]
    if not available:
        return Level("ranker", None, "too little history for any level: the ranker's own total stands", {})
    ruled = available[0]
    errors, origins = _backtest(known, as_of_us, horizon_days, available)
    if origins < ORIGINS_MIN:
        reason = f"{ruled} by rule: {origins} closed origins are too few to choose by backtest"
        return Level(ruled, totals[ruled], reason, errors)
    best = min(errors, key=lambda name: errors[name])
    if ruled not in errors or errors[ruled] - errors[best] <= CLEARLY_NEARER:
        return Level(
            ruled, totals[ruled], f"{ruled} by rule: none was clearly nearer on {origins} origins", errors
        )
    return Level(best, totals[best], f"{best}: nearer than {ruled} on {origins} closed origins", errors)


def level_totals(history: SpendHistory, as_of_us: int, horizon_days: int) -> dict[str, float]:
    """Return the total by each view that the history allows, minor units.

    Parameters
    ----------
    history
        Events known at ``as_of_us`` are used, later ones are not.
    """
    known = history.known_by(as_of_us)
    totals = {}
    horizon_us = horizon_days * DAY_US
    if known.time_us.size == 0:
        return {}
    year_ago = as_of_us - YEAR_DAYS * DAY_US
    if horizon_days <= YEAR_DAYS and year_ago - horizon_us >= known.first_us:
        totals["same_season"] = ratio_total(known, as_of_us, year_ago, horizon_us)
    buyers = known.buyers(as_of_us)
    summary = known.summary(as_of_us, buyers)
    try:
        totals["bgnbd_gg"] = float(fit_bgnbd_gamma_gamma(summary).expected_spend(summary, horizon_days).sum())
    except TrainingDataError:
        # one-time buyers only: repeat purchase cannot be modelled, the other views may still exist
        totals.pop("bgnbd_gg", None)
    if as_of_us - 2 * horizon_us >= known.first_us:
        totals["run_rate"] = ratio_total(known, as_of_us, as_of_us - horizon_us, horizon_us)
    return {name: total for name, total in totals.items() if math.isfinite(total) and total > 0}


def ratio_total(known: SpendHistory, as_of_us: int, example_us: int, horizon_us: int) -> float:
    """Return today's total as the example date's customers would have spent it.

    Customers are of four kinds, since a short history shows other ones at the example date than today: more
    who are new, and none who left long ago.

    - *New* ones ordered first in the window of one horizon before, *returning* ones earlier, and both spent
      something in it: their totals move by the ratio of their like at the example date, after over before.
    - *Dormant* ones spent nothing in it, and bought last within as many days as there were before the
      example date: each is worth the mean of their like, at the example date and in the latest closed window.
    - Those *asleep for longer* had no like at the example date. Each is worth the mean of their like in the
      latest closed window, of the dormant where it had none either.

    Means from the latest closed window are carried over to the example's season: times what its new and
    returning customers would have spent by the example's ratios, over what they did.

    Parameters
    ----------
    example_us
        A past instant whose following window is closed: ``example + horizon <= as_of``.

    Returns
    -------
    NaN where the example date had no active customers.
    """
    example = _window(known, example_us, horizon_us)
    latest = _window(known, as_of_us - horizon_us, horizon_us)
    now = _window(known, as_of_us, horizon_us)
    if not example.is_active.any():
        return math.nan
    observable_us = example_us - known.first_us
    total = example.moved(now)
    did = float(latest.after[latest.is_active].sum())
    season = example.moved(latest) / did if did > 0 else math.nan
    dormant = example.dormant(None, observable_us)
    asleep = dormant
    if math.isfinite(season):
        dormant = np.concatenate([dormant, season * latest.dormant(None, observable_us)])
        longer = season * latest.dormant(observable_us, None)
        asleep = longer if longer.size else dormant
    is_longer = ~now.is_active & (now.idle_us > observable_us)
    total += (~now.is_active & ~is_longer).sum() * _mean(dormant)
    return float(total + is_longer.sum() * _mean(asleep))


@dataclass(frozen=True)
class _Window:
    """Buyers at an instant with their spend in the window before and in the one after, as known then."""

    before: FloatArray
    after: FloatArray
    idle_us: FloatArray
    is_new: npt.NDArray[np.bool_]

    @property
    def is_active(self) -> npt.NDArray[np.bool_]:
        return self.before > 0

    def moved(self, other: _Window) -> float:
        """Return what another window's active customers would have spent after it by this one's ratios."""
        total = 0.0
        for kind, kind_there in ((self.is_new, other.is_new), (~self.is_new, ~other.is_new)):
            rows = self.is_active & kind
            # a kind that was absent here moves as all did
            rows = rows if rows.any() else self.is_active
            ratio = self.after[rows].sum() / self.before[rows].sum()
            total += float(other.before[other.is_active & kind_there].sum() * ratio)
        return total

    def dormant(self, longer_than_us: int | None, until_us: int | None) -> FloatArray:
        """Return what those spent after it who were not active but idle for some time."""
        rows = ~self.is_active
        if longer_than_us is not None:
            rows = rows & (self.idle_us > longer_than_us)
        if until_us is not None:
            rows = rows & (self.idle_us <= until_us)
        return self.after[rows]


def _window(known: SpendHistory, at_us: int, horizon_us: int) -> _Window:
    customers = known.buyers(at_us)
    before = known.spend_between(at_us - horizon_us, at_us, known_by_us=at_us)[customers]
    after = known.spend_between(at_us, at_us + horizon_us)[customers]
    first, last = (ends[customers] for ends in known.order_span_us(at_us))
    return _Window(
        before.astype(np.float64),
        after.astype(np.float64),
        (at_us - last).astype(np.float64),
        first > at_us - horizon_us,
    )


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if values.size else 0.0


def _backtest(
    known: SpendHistory, as_of_us: int, horizon_days: int, names: list[str]
) -> tuple[dict[str, float], int]:
    horizon_us = horizon_days * DAY_US
    step_us = max(14, horizon_days // 3) * DAY_US
    history_us = max(MIN_HISTORY_DAYS, horizon_days) * DAY_US
    errors: dict[str, list[float]] = {name: [] for name in names}
    origins = 0
    for number in range(ORIGINS_MAX):
        origin = as_of_us - horizon_us - number * step_us
        if origin - history_us < known.first_us:
            break
        actual = int(known.spend_between(origin, origin + horizon_us)[known.buyers(origin)].sum())
        if actual <= 0:
            continue
        totals = level_totals(known, origin, horizon_days)
        origins += 1
        for name in names:
            if name in totals:
                errors[name].append(abs(math.log(totals[name] / actual)))
    # a candidate is compared only if it had a say at every origin
    complete = {
        name: float(np.mean(found)) for name, found in errors.items() if found and len(found) == origins
    }
    return complete, origins
