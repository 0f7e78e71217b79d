"""How good served purchase propensities were, once their windows closed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from features.windows import DAY_US, HOUR_US
from monitoring.errors import MonitoringError
from training import metrics

ACTIVE_WITHIN_US = 30 * DAY_US
"""Propensities are judged for customers with an event other than `contact` in this time before them."""

UNIT_US = {"h": HOUR_US, "d": DAY_US}


@dataclass(frozen=True)
class PropensityRow:
    """Served propensities of one horizon whose window has closed, of customers active in the last 30 days.

    Attributes
    ----------
    base_rate
        Share of them that were followed by a purchase.
    auc, lift_top_decile
        Null where they do not exist: nobody bought, or everybody did.
    """

    horizon: str
    n: int
    customers: int
    base_rate: float
    mean_probability: float
    auc: float | None
    ece: float
    brier: float
    lift_top_decile: float | None


def horizon_us(horizon: str) -> int:
    """Return the length of a horizon in microseconds.

    >>> horizon_us("72h") == horizon_us("3d")
    True
    """
    found = re.fullmatch(r"([1-9]\d*)([hd])", horizon)
    if found is None:
        raise MonitoringError(f"horizon is {horizon!r}; expected hours or days, such as 72h or 7d")
    return int(found[1]) * UNIT_US[found[2]]


def served_propensity(
    predictions: pl.DataFrame, events: pl.DataFrame, closed_by_us: int
) -> tuple[PropensityRow, ...]:
    """Hold propensities against the purchases that followed in ``(at, at + horizon]``.

    Parameters
    ----------
    predictions
        `Ledger.read_predictions`: ``customer_id``, ``horizon``, ``probability``, ``at_us``.
    events
        Rows of `EVENT_SCHEMA`, at least those since 30 days before the first prediction.
    closed_by_us
        Predictions whose window ends later are left out.

    Returns
    -------
    One row per horizon with a closed window, shortest first.
    """
    purchases = _times(events.filter(pl.col("event_type") == "purchase"), "bought_us")
    activity = _times(events.filter(pl.col("event_type") != "contact"), "active_us")
    rows = []
    for (horizon,), served in predictions.group_by("horizon"):
        length = horizon_us(str(horizon))
        closed = served.filter(pl.col("at_us") + length <= closed_by_us).sort("at_us")
        closed = closed.join_asof(
            activity,
            left_on="at_us",
            right_on="active_us",
            by="customer_id",
            strategy="backward",
            check_sortedness=False,
        ).filter(pl.col("active_us") > pl.col("at_us") - ACTIVE_WITHIN_US)
        if closed.is_empty():
            continue
        followed = closed.join_asof(
            purchases,
            left_on="at_us",
            right_on="bought_us",
            by="customer_id",
            strategy="forward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        bought = (followed["bought_us"] <= followed["at_us"] + length).fill_null(value=False).cast(pl.Float64)
        probability = followed["probability"]
        has_both = 0 < bought.sum() < bought.len()
        rows.append(
            PropensityRow(
                horizon=str(horizon),
                n=closed.height,
                customers=closed["customer_id"].n_unique(),
                base_rate=float(bought.to_numpy().mean()),
                mean_probability=float(probability.to_numpy().mean()),
                auc=metrics.auc(bought, probability) if has_both else None,
                ece=metrics.ece(bought, probability),
                brier=metrics.brier(bought, probability),
                lift_top_decile=metrics.lift_top_decile(bought, probability) if has_both else None,
            )
        )
    return tuple(sorted(rows, key=lambda row: horizon_us(row.horizon)))


def _times(events: pl.DataFrame, name: str) -> pl.DataFrame:
    return events.select("customer_id", pl.col("event_time").dt.epoch("us").alias(name)).sort(name)
