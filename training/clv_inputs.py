"""What the CLV model reads of a customer: the features of its service, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.baselines import BgNbdGammaGamma, past_rate
from training.spend_history import PurchaseSummary

FloatArray = npt.NDArray[np.float64]

SECONDS_PER_DAY = 86_400.0
RATE_DAYS_MIN = 30.0

DERIVED = (
    "bgnbd_gg_spend_minor",
    "bgnbd_orders",
    "bgnbd_probability_alive",
    "past_rate_minor",
    "net_per_day_minor",
    "orders_per_day",
)
"""What the ranker reads besides: quantities that mean the same after three months and after three years."""


@dataclass(frozen=True)
class ClvInputs:
    """Features of some customers; money as the catalogue gives it, in minor units.

    Attributes
    ----------
    names
        The features, in the order of the columns.
    matrix
        Shape (n, len(names)); NaN for null.
    """

    names: tuple[str, ...]
    matrix: FloatArray

    @classmethod
    def of(cls, columns: Mapping[str, npt.NDArray[Any]], names: Sequence[str]) -> ClvInputs:
        """Put some columns, shape (n,) each, side by side."""
        matrix = np.column_stack([np.asarray(columns[name], np.float64) for name in names])
        return cls(tuple(names), matrix)

    def __len__(self) -> int:
        """Return the number of customers."""
        return len(self.matrix)

    def column(self, name: str) -> FloatArray:
        """Return one feature, shape (n,)."""
        return self.matrix[:, self.names.index(name)]

    def take(self, rows: npt.NDArray[Any]) -> ClvInputs:
        """Return some of the customers."""
        return ClvInputs(self.names, self.matrix[rows])


def summary_of_features(features: ClvInputs) -> PurchaseSummary:
    """Read recency, frequency and money off the features: the same `SpendHistory.summary` gives."""
    age = features.column("seconds_since_first_purchase")
    return PurchaseSummary(
        features.column("order_count_lifetime"),
        np.maximum(age - features.column("seconds_since_last_purchase"), 0.0) / SECONDS_PER_DAY,
        age / SECONDS_PER_DAY,
        features.column("spend_lifetime_minor") - features.column("refund_lifetime_minor"),
    )


def ranker_inputs(features: ClvInputs, classic: BgNbdGammaGamma | None, horizon_days: int) -> FloatArray:
    """Return the features followed by `DERIVED`, shape (n, len(features.names) + len(DERIVED))."""
    summary = summary_of_features(features)
    rate = past_rate(summary, 1.0)
    unknown = np.full(len(features), np.nan)
    spend = orders = alive = unknown
    if classic is not None:
        spend = classic.expected_spend(summary, horizon_days)
        orders = classic.expected_orders(summary, horizon_days)
        alive = classic.probability_alive(summary)
    per_day = summary.order_count / np.maximum(summary.age_days, RATE_DAYS_MIN)
    derived = [spend, orders, alive, rate * horizon_days, rate, per_day]
    return np.column_stack([features.matrix, *derived])
