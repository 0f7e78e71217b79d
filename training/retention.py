"""Cohort retention: who still buys in later months, by month of first purchase and by life-cycle stage.

Months are calendar months of the business time zone, and only whole ones are counted: the month that the
data ends in is left out. Whoever bought before the data begin is a newcomer of its first month, so that
month's cohort is better than it looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from features import customer
from features.history import History
from features.windows import to_us
from training.errors import TrainingDataError
from training.stages import STAGE_FEATURES, STAGES, life_cycle_stages

LEAST_MONTHS = 2

FIRST_PURCHASE_SCHEMA: dict[str, pl.DataType] = {
    "cohort": pl.Date(),
    "months_later": pl.Int64(),
    "customers": pl.Int64(),
    "buying": pl.Int64(),
    "share": pl.Float64(),
}
STAGE_SCHEMA: dict[str, pl.DataType] = {"cohort": pl.Date(), "stage": pl.String()} | {
    name: kind for name, kind in FIRST_PURCHASE_SCHEMA.items() if name != "cohort"
}


@dataclass(frozen=True)
class Retention:
    """Shares of customers who buy in later months.

    Attributes
    ----------
    by_first_purchase
        `FIRST_PURCHASE_SCHEMA`: ``cohort`` is the first day of the month of the first purchase, and
        ``months_later`` 1 the month after it.
    by_stage
        `STAGE_SCHEMA`: ``cohort`` is the first day of a month at whose first instant everybody's stage was
        taken, and ``months_later`` 1 that month itself.
    """

    by_first_purchase: pl.DataFrame
    by_stage: pl.DataFrame

    def pooled(self) -> pl.DataFrame:
        """Return ``stage months_later customers buying share``, all cohorts together; customers repeat."""
        order = pl.Enum(list(STAGES))
        return (
            self.by_stage.group_by("stage", "months_later")
            .agg(pl.col("customers", "buying").sum())
            .with_columns(share=pl.col("buying") / pl.col("customers"))
            .sort(pl.col("stage").cast(order), "months_later")
        )


def retention(
    history: History,
    events: pl.DataFrame,
    as_of: datetime,
    zone: ZoneInfo,
    say: Callable[[str], None] = lambda _: None,
) -> Retention:
    """Follow both kinds of cohorts to the last whole month.

    Parameters
    ----------
    history, events
        The same events, all known by ``as_of``.
    as_of
        Aware; what is told was known then.

    Raises
    ------
    TrainingDataError
        If there is no purchase, or fewer than two whole months after the first one began.
    """
    bought = events.filter(pl.col("event_type") == "purchase").select(
        "customer_id", month=month_number(pl.col("event_time").dt.convert_time_zone(str(zone)))
    )
    if bought.is_empty():
        raise TrainingDataError("retention needs purchases: there is none", "import purchases")
    bought = bought.unique()
    local = as_of.astimezone(zone)
    last = 12 * local.year + local.month - 2
    first = int(bought["month"].to_numpy().min())
    if last - first + 1 < LEAST_MONTHS:
        raise TrainingDataError(
            f"retention needs {LEAST_MONTHS} whole months; from the first purchase in "
            f"{day_of(first):%B %Y} to {local.date()} there are {max(last - first + 1, 0)}",
            "import more history, or choose a later --as-of",
        )
    say("following customers from their first purchase")
    newcomers = bought.group_by("customer_id").agg(cohort=pl.col("month").min() + 1)
    by_first = _followed(newcomers, bought, ["cohort"], last).with_columns(pl.col("cohort") - 1)
    parts = []
    for month in range(first + 1, last + 1):
        say(f"following customers from their stage at the beginning of {day_of(month):%B %Y}")
        parts.append(_stages_at(history, month, zone))
    by_stage = _followed(pl.concat(parts), bought, ["cohort", "stage"], last)
    rank = pl.col("stage").cast(pl.Enum(list(STAGES)))
    return Retention(
        _dated(by_first).sort("cohort", "months_later").select(_typed(FIRST_PURCHASE_SCHEMA)),
        _dated(by_stage).sort("cohort", rank, "months_later").select(_typed(STAGE_SCHEMA)),
    )


def month_number(instant: pl.Expr) -> pl.Expr:
    """Number the month of local instants: months since the year 0, January being 0 of its year."""
    return 12 * instant.dt.year().cast(pl.Int64) + instant.dt.month() - 1


def day_of(month: int) -> date:
    """Return the first day of a numbered month.

    >>> day_of(12 * 2017 + 9)
    datetime.date(2017, 10, 1)
    """
    return date(month // 12, month % 12 + 1, 1)


def _stages_at(history: History, month: int, zone: ZoneInfo) -> pl.DataFrame:
    """Return the stage of everybody known at the first instant of a month."""
    day = day_of(month)
    at = to_us(datetime(day.year, day.month, 1, tzinfo=zone))
    names = history.columns.customers
    rows = history.customer_rows(np.arange(len(names)), np.full(len(names), at))
    features = customer.CATALOGUE.compute(rows, STAGE_FEATURES)
    return pl.DataFrame(
        {
            "customer_id": pl.Series(names, dtype=pl.String),
            "cohort": pl.Series([month] * len(names), dtype=pl.Int64),
            "stage": pl.Series(life_cycle_stages(features), dtype=pl.String),
        }
    ).filter(~np.isnan(features["seconds_since_first_event"]))


def _followed(cohorts: pl.DataFrame, bought: pl.DataFrame, keys: list[str], last: int) -> pl.DataFrame:
    """Count who of each cohort bought in each month from ``cohort`` to ``last``, months numbered."""
    sizes = cohorts.group_by(keys).agg(customers=pl.len())
    months = sizes.with_columns(month=pl.int_ranges(pl.col("cohort"), last + 1)).explode("month").drop_nulls()
    buying = (
        cohorts.join(bought, on="customer_id")
        .filter(pl.col("month") >= pl.col("cohort"))
        .group_by(*keys, "month")
        .agg(buying=pl.len())
    )
    return months.join(buying, on=[*keys, "month"], how="left").with_columns(
        pl.col("buying").fill_null(0),
        months_later=pl.col("month") - pl.col("cohort") + 1,
        share=pl.col("buying").fill_null(0) / pl.col("customers"),
    )


def _dated(found: pl.DataFrame) -> pl.DataFrame:
    return found.with_columns(cohort=pl.date(pl.col("cohort") // 12, pl.col("cohort") % 12 + 1, 1)).drop(
        "month"
    )


def _typed(schema: dict[str, pl.DataType]) -> list[pl.Expr]:
    return [pl.col(name).cast(kind) for name, kind in schema.items()]
