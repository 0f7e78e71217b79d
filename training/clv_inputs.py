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
        together = np.concatenate([columns[name] for name in names], dtype=np.float64, casting="unsafe")
        return cls(tuple(names), np.ascontiguousarray(together.reshape(len(names), -1).T))

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


@dataclass(frozen=True)
class ClassicForecast:
    """What BG/NBD and Gamma-Gamma foretell over one horizon, reckoned once for all who ask.

    Attributes
    ----------
    summary
        Of the customers' orders.
    spend_minor, orders, alive
        Shape (n,): expected net spend and orders, and the probability of not having left; None where the
        models could not be fitted.
    """

    summary: PurchaseSummary
    horizon_days: int
    spend_minor: FloatArray | None = None
    orders: FloatArray | None = None
    alive: FloatArray | None = None

    @classmethod
    def of(cls, features: ClvInputs, classic: BgNbdGammaGamma | None, horizon_days: int) -> ClassicForecast:
        """Forecast for customers known by their features."""
        summary = summary_of_features(features)
        if classic is None:
            return cls(summary, horizon_days)
        orders = classic.expected_orders(summary, horizon_days)
        value = classic.value.expected_value(summary.order_count, summary.mean_order_minor)
        return cls(summary, horizon_days, orders * value, orders, classic.probability_alive(summary))

    def past_rate(self) -> FloatArray:
        """Return net spend over the horizon at the pace so far, shape (n,)."""
        return past_rate(self.summary, self.horizon_days)


def ranker_inputs(features: ClvInputs, classic: BgNbdGammaGamma | None, horizon_days: int) -> FloatArray:
    """Return the features followed by `DERIVED`, shape (n, len(features.names) + len(DERIVED))."""
    return forecast_inputs(features, ClassicForecast.of(features, classic, horizon_days))


def forecast_inputs(features: ClvInputs, forecast: ClassicForecast) -> FloatArray:
    """Return what `ranker_inputs` does, of a forecast that was made already."""
    summary, horizon_days = forecast.summary, forecast.horizon_days
    rate = past_rate(summary, 1.0)
    unknown = np.full(len(features), np.nan)
    spend, orders, alive = (
        unknown if one is None else one for one in (forecast.spend_minor, forecast.orders, forecast.alive)
    )
    per_day = summary.order_count / np.maximum(summary.age_days, RATE_DAYS_MIN)
    derived = [spend, orders, alive, rate * horizon_days, rate, per_day]
    return np.column_stack([features.matrix, *derived])
