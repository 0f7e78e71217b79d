"""The four numbers that come first everywhere: tag precision, trigger latency, propensity lift, CLV error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from monitoring.claims import Measurement
from monitoring.precision import PrecisionRow
from monitoring.served_propensity import PropensityRow

LATENCY_MEASUREMENT = "event_to_tag_p99_ms"
CLV_MEASUREMENT = "clv_bias"

PRECISION_TARGET = 0.80
LATENCY_TARGET_MS = 1_000.0
LIFT_TARGET = 1.3
CLV_ERROR_TARGET = 0.10

HEADLINE_HORIZON = "72h"

Verdict = Literal["met", "missed", "not measured"]


@dataclass(frozen=True)
class KeyNumber:
    """One of the four.

    Attributes
    ----------
    value
        In natural units (a share, milliseconds, a ratio, a signed share); null if it was not measured.
    shown
        The value as a reader sees it, or ``not measured``.
    target
        What we hold ourselves to.
    yardstick
        What the field claims for itself.
    how
        On what it was measured; if it was not, what to do to have it.
    """

    name: str
    value: float | None
    shown: str
    target: str
    yardstick: str
    how: str
    verdict: Verdict


def four_numbers(
    precision: PrecisionRow | None,
    latency: Measurement | None,
    propensity: Sequence[PropensityRow],
    clv_bias: Measurement | None,
) -> tuple[KeyNumber, KeyNumber, KeyNumber, KeyNumber]:
    """Assemble the four numbers, in their fixed order.

    Parameters
    ----------
    precision
        All families under contract, pooled.
    latency
        99th percentile of the time from an event's acceptance to its tags, milliseconds.
    propensity
        Of every horizon; 72 h is the headline, the shortest if there is no such.
    clv_bias
        Predicted total over actual total minus 1, from a backtest.
    """
    return (
        _tag_precision(precision),
        _trigger_latency(latency),
        _propensity_lift(propensity),
        _clv_error(clv_bias),
    )


def _tag_precision(row: PrecisionRow | None) -> KeyNumber:
    name, target = "Tag precision", f"at least {PRECISION_TARGET:.0%}"
    yardstick = "field: 60–70% usual, 80% at best"
    if row is None or row.precision_observed is None or row.precision_strict is None:
        how = "no claim's 72 h have closed with an observed outcome; run again when some have"
        return _not_measured(name, target, yardstick, how)
    how = (
        f"{row.family}: {row.confirmed:,} of {row.observed:,} observed claims came true within 72 h "
        f"(90% interval {row.wilson_low:.1%} to {row.wilson_high:.1%}); "
        f"{row.precision_strict:.1%} of all {row.n:,} claims, unobserved ones included"
    )
    met = row.precision_observed >= PRECISION_TARGET
    return KeyNumber(
        name,
        row.precision_observed,
        f"{row.precision_observed:.1%}",
        target,
        yardstick,
        how,
        "met" if met else "missed",
    )


def _trigger_latency(latency: Measurement | None) -> KeyNumber:
    name, target = "Trigger latency", "event to tag p99 under 1 s"
    yardstick = "field: under 15 s; classic systems 30 s to minutes"
    if latency is None:
        return _not_measured(name, target, yardstick, "run `tagtide replay` or `tagtide demo` to measure it")
    met = latency.value < LATENCY_TARGET_MS
    return KeyNumber(
        name,
        latency.value,
        shown_milliseconds(latency.value),
        target,
        yardstick,
        latency.how,
        "met" if met else "missed",
    )


def _propensity_lift(rows: Sequence[PropensityRow]) -> KeyNumber:
    name, target = "Propensity lift", f"top tenth buys at least {LIFT_TARGET:g} times as often"
    yardstick = "field: conversion up 20–30%"
    measured = [row for row in rows if row.lift_top_decile is not None]
    headline = next((row for row in measured if row.horizon == HEADLINE_HORIZON), None)
    row = headline or next(iter(measured), None)
    if row is None or row.lift_top_decile is None:
        how = "no served propensity's window has closed with buyers and non-buyers; run again when some have"
        return _not_measured(name, target, yardstick, how)
    how = (
        f"top tenth of {row.n:,} propensities served for {row.horizon}, against their mean of "
        f"{row.base_rate:.1%}; AUC {row.auc:.3f}, calibration error {row.ece:.3f}"
    )
    met = row.lift_top_decile >= LIFT_TARGET
    return KeyNumber(
        name,
        row.lift_top_decile,
        f"{row.lift_top_decile:.2f}×",
        target,
        yardstick,
        how,
        "met" if met else "missed",
    )


def _clv_error(bias: Measurement | None) -> KeyNumber:
    name, target = "CLV error", f"total within ±{CLV_ERROR_TARGET:.0%}"
    yardstick = "field: ±20% classic CRM, ±10% with models"
    if bias is None:
        how = "run `tagtide backtest clv` on a cut-off whose horizon has closed"
        return _not_measured(name, target, yardstick, how)
    met = abs(bias.value) <= CLV_ERROR_TARGET
    return KeyNumber(
        name,
        bias.value,
        shown_signed_share(bias.value),
        target,
        yardstick,
        bias.how,
        "met" if met else "missed",
    )


def shown_milliseconds(value: float) -> str:
    """Show a duration in the unit it reads best in.

    >>> shown_milliseconds(38.2), shown_milliseconds(4.25), shown_milliseconds(2500)
    ('38 ms', '4.2 ms', '2.5 s')
    """
    if value >= 1_000:
        return f"{value / 1_000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def shown_signed_share(value: float) -> str:
    """Show a share with its sign, a true minus.

    >>> shown_signed_share(-0.034), shown_signed_share(0.12)
    ('−3.4%', '+12.0%')
    """
    return f"{value:+.1%}".replace("-", "−")


def _not_measured(name: str, target: str, yardstick: str, how: str) -> KeyNumber:
    return KeyNumber(name, None, "not measured", target, yardstick, how, "not measured")
