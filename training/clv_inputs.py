"""What the CLV model reads of a customer: features of the catalogue, and what follows from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.baselines import BgNbdGammaGamma, past_rate
from training.spend_history import PurchaseSummary

FloatArray = npt.NDArray[np.float64]

SECONDS_PER_DAY = 86_400.0
RATE_DAYS_MIN = 30.0
FEATURES = (
    "order_count_30d",
    "order_count_90d",
    "order_count_365d",
    "order_count_lifetime",
    "spend_30d_minor",
    "spend_90d_minor",
    "spend_365d_minor",
    "spend_lifetime_minor",
    "refund_90d_minor",
    "refund_lifetime_minor",
    "line_count_30d",
    "line_count_90d",
    "seconds_since_last_purchase",
    "seconds_since_first_purchase",
    "order_gap_mean_days",
    "order_gap_mean_90d_days",
    "order_gap_sd_days",
    "order_overdue_ratio",
    "order_value_mean_90d_minor",
    "order_value_mean_minor",
    "lines_per_order_30d",
    "order_trend_30d_90d",
    "interaction_count_90d",
    "referral_count_90d",
)
"""Customer features read, in this order; money as the catalogue gives it, in minor units."""

DERIVED = (
    "bgnbd_gg_spend_minor",
    "bgnbd_orders",
    "bgnbd_probability_alive",
    "past_rate_minor",
    "net_per_day_minor",
    "orders_per_day",
)
"""What the ranker reads besides: quantities that mean the same after three months and after three years."""


def summary_of_features(features: FloatArray) -> PurchaseSummary:
    """Read recency, frequency and money off the columns `FEATURES`: the same `SpendHistory.summary` gives."""
    age = column(features, "seconds_since_first_purchase")
    return PurchaseSummary(
        column(features, "order_count_lifetime"),
        np.maximum(age - column(features, "seconds_since_last_purchase"), 0.0) / SECONDS_PER_DAY,
        age / SECONDS_PER_DAY,
        column(features, "spend_lifetime_minor") - column(features, "refund_lifetime_minor"),
    )


def ranker_inputs(features: FloatArray, classic: BgNbdGammaGamma | None, horizon_days: int) -> FloatArray:
    """Return `FEATURES` followed by `DERIVED`, shape (n, len(FEATURES) + len(DERIVED))."""
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
    return np.column_stack([features, *derived])


def column(features: FloatArray, name: str) -> FloatArray:
    """Return one of the columns `FEATURES` by name, shape (n,)."""
    return np.asarray(features[:, FEATURES.index(name)], dtype=np.float64)
