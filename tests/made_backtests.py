"""Backtests as their JSON tells them, made up: curves of a known form, and something odd in each."""

from __future__ import annotations

from typing import Any

RUN = {
    "as_of": "2017-10-31T00:00:00+00:00",
    "decided_by": "mapping",
    "source": "shop",
    "currency": "GBP",
    "rows": 1_546_251,
    "customers": 2_469,
    "seconds": 312.4,
    "peak_gb": 3.1,
}
TEST_DAYS = {"first": "2017-10-31T00:00:00+00:00", "last": "2017-12-26T00:00:00+00:00", "count": 29}


def coverage_point(number: int) -> dict[str, Any]:
    """Return a point: each step gives out less and is right more often."""
    return {
        "aim": 0.5 + 0.05 * number,
        "precision_observed": 0.60 + 0.04 * number,
        "precision_strict": 0.40 + 0.04 * number,
        "useful_tags_per_customer_day": 0.40 - 0.04 * number,
        "distinct_tags": 90 - 5 * number,
    }


def made_tags() -> dict[str, Any]:
    """Return two families, and one that the data cannot carry."""
    interest = {
        "contract": {"precision": 0.8, "lift": 2.0, "confidence": 0.9, "slack": 0.05, "min_support": 50},
        "precision_observed": 0.812,
        "precision_strict": 0.612,
        "precision_wilson_low": 0.797,
        "useful_tags_per_customer_day": 0.153,
        "distinct_tags": 77,
        "lift_median": 5.31,
        "rule_precision_observed": 0.157,
        "coverage_curve": [coverage_point(number) for number in range(9)]
        + [{"precision_observed": None, "useful_tags_per_customer_day": 0.0}],
        "certified": [{"tag": "interest:茶 <loose>", "precision": 0.83, "lift": 2.7, "support": 312}],
        "suspended": [
            {"tag": "interest:BEERS/ALES", "reason": "support 12; expected 50", "lift": 8.0, "support": 12}
        ],
    }
    intent = {
        "contract": {"precision": 0.8, "lift": 1.2},
        "precision_observed": 0.74,
        "precision_strict": 0.74,
        "useful_tags_per_customer_day": 0.0,
        "certified": ["high_intent"],
        "suspended": {},
    }
    skipped = {"skipped": "the data has no add_to_cart"}
    return RUN | {
        "test_days": TEST_DAYS,
        "interest": interest,
        "high_intent": intent,
        "cart_abandoner": skipped,
    }


def made_horizon(auc: float) -> dict[str, Any]:
    """Return a horizon whose stated probabilities are 2 % above or below what came true."""
    return {
        "auc": auc,
        "pr_auc": 0.7,
        "brier": 0.2,
        "ece": 0.0062,
        "lift_top_decile": 2.11,
        "base_rate": 0.3,
        "rows": 50_000,
        "auc_gain_lower": 0.0031,
        "baseline_logistic": {"auc": auc - 0.01, "ece": 0.012},
        "reliability": [
            {
                "predicted": 0.05 + 0.1 * number,
                "observed": 0.05 + 0.1 * number + 0.02 * (-1) ** number,
                "count": 5_000,
            }
            for number in range(10)
        ],
        "lift_curve": [
            {"share": (number + 1) / 20, "lift": 2.5 - 1.5 * number / 19, "gain": (number + 1) / 20}
            for number in range(20)
        ],
    }


def made_propensity() -> dict[str, Any]:
    """Return two horizons, the second without a lift curve."""
    week = {name: value for name, value in made_horizon(0.799).items() if name != "lift_curve"}
    return RUN | {"72h": made_horizon(0.763), "7d": week}


def made_value(currency: str | None = "GBP") -> dict[str, Any]:
    """Return one run, whose lowest tenth was predicted above and spent below nothing."""
    figures = {
        "bias": -0.034,
        "bias_low": -0.09,
        "bias_high": 0.03,
        "normalized_gini": 0.84,
        "decile_mae_over_mean": 0.08,
    }
    deciles = [
        {"predicted_mean_minor": 1_000.0, "actual_mean_minor": -500.0, "count": 246},
        *(
            {"predicted_mean_minor": 10_000.0 * number, "actual_mean_minor": 9_000.0 * number, "count": 246}
            for number in range(1, 10)
        ),
    ]
    return (
        RUN
        | figures
        | {
            "as_of": "2011-09-09T00:00:00+00:00",
            "decided_by": "option",
            "currency": currency,
            "horizon_days": 90,
            "interval_coverage_80": 0.81,
            "level": "seasonal",
            "level_reason": "two years of history",
            "baseline_past_rate": figures | {"bias": 0.3},
            "deciles": deciles,
        }
    )
