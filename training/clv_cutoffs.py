"""Which past instants the CLV model learns from: only such whose outcome window is closed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.clv_inputs import ClvInputs
from training.errors import TrainingDataError
from training.spend_history import DAY_US

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CUTOFFS_MAX = 6
MIN_HISTORY_DAYS = 30


@dataclass(frozen=True)
class TrainingRows:
    """Customers at one past cut-off, with what they spent after it.

    Attributes
    ----------
    cutoff_us
        Instant as of which the features are.
    customers
        Shape (n,). Numbers that identify customers across cut-offs.
    features
        Of the same customers.
    net_spend_minor
        Shape (n,). Net spend in ``(cutoff, cutoff + trained horizon]``.
    """

    cutoff_us: int
    customers: IntArray
    features: ClvInputs
    net_spend_minor: FloatArray


def closed_cutoffs(first_us: int, as_of_us: int, horizon_days: int) -> list[int]:
    """Return past instants whose outcome window closes by the as-of instant, latest first.

    The latest lies exactly one horizon back; each earlier one a sixth of a horizon (at least a week) before
    the next, up to six, while half a horizon (at least 30 days) of history remains before it.

    >>> [cutoff // DAY_US for cutoff in closed_cutoffs(0, 213 * DAY_US, 90)]
    [123, 108, 93, 78, 63, 48]
    >>> closed_cutoffs(0, 100 * DAY_US, 90)
    []
    """
    step, history = max(7, horizon_days // 6), _history_days(horizon_days)
    cutoffs: list[int] = []
    cutoff = as_of_us - horizon_days * DAY_US
    while len(cutoffs) < CUTOFFS_MAX and cutoff - first_us >= history * DAY_US:
        cutoffs.append(cutoff)
        cutoff -= step * DAY_US
    return cutoffs


def history_days_needed(horizon_days: int) -> int:
    """Return how many days of history a horizon needs: its own closed window, and the history before it.

    >>> history_days_needed(90), history_days_needed(365)
    (135, 547)
    """
    return horizon_days + _history_days(horizon_days)


def _history_days(horizon_days: int) -> int:
    return max(MIN_HISTORY_DAYS, horizon_days // 2)


def trainable_horizon(first_us: int, as_of_us: int, horizon_days: int) -> int:
    """Return the horizon itself, or the longest shorter one with a closed window; days.

    Raises
    ------
    TrainingDataError
        If even a window of 30 days after 30 days of history does not fit.

    >>> trainable_horizon(0, 213 * DAY_US, 90), trainable_horizon(0, 213 * DAY_US, 365)
    (90, 142)
    """
    span = (as_of_us - first_us) // DAY_US
    for days in range(min(horizon_days, span), MIN_HISTORY_DAYS - 1, -1):
        if closed_cutoffs(first_us, as_of_us, days):
            return days
    raise TrainingDataError(
        f"CLV needs at least {2 * MIN_HISTORY_DAYS} days of history before the as-of instant, got {span}",
        "import a longer history",
    )
