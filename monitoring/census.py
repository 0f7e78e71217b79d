"""Who could have carried a tag on each day, and how often it would have come true for just anyone of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import polars as pl

from features.events import INSTANT
from features.tags import TagFamily
from features.windows import day_boundaries
from monitoring.ledger import CLAIM_WINDOW_US

Judge = Callable[[pl.DataFrame, pl.DataFrame, TagFamily], pl.Series]
"""`features.outcomes.judge`: events, claims and a family in; one outcome per claim out."""


@dataclass(frozen=True)
class CensusDay:
    """A business midnight and the customers with an event other than `contact` in some time up to it."""

    midnight_us: int
    customers: tuple[str, ...]


def take_census(
    events: pl.DataFrame,
    *,
    since_us: int,
    until_us: int,
    zone: ZoneInfo,
    within_us: int = CLAIM_WINDOW_US,
) -> tuple[CensusDay, ...]:
    """Count the customers of every business midnight in ``[since, until]``.

    Parameters
    ----------
    events
        Rows of `EVENT_SCHEMA`, at least those of ``within_us`` before ``since`` on.
    since_us, until_us
        Microseconds since the epoch, both included.
    within_us
        How lately a customer must have been seen to count, microseconds.

    Returns
    -------
    Oldest first; customers sorted. A day without customers is there, empty.
    """
    if until_us < since_us:
        return ()
    seen = events.lazy().filter(pl.col("event_type") != "contact").select("customer_id", at=_us("event_time"))
    days = []
    for midnight in day_boundaries(since_us, until_us, zone).tolist():
        if since_us <= midnight <= until_us:
            inside = (pl.col("at") > midnight - within_us) & (pl.col("at") <= midnight)
            customers = seen.filter(inside).select(pl.col("customer_id").unique().sort()).collect()
            days.append(CensusDay(midnight, tuple(customers["customer_id"])))
    return tuple(days)


def day_of(instants_us: pl.Series, zone: ZoneInfo) -> pl.Series:
    """Return the business date of each instant.

    >>> day_of(pl.Series([0]), ZoneInfo("Asia/Shanghai")).to_list()
    [datetime.date(1970, 1, 1)]
    """
    return instants_us.cast(pl.Int64).cast(INSTANT).dt.convert_time_zone(zone.key).dt.date()


def base_rates(
    events: pl.DataFrame,
    census: Sequence[CensusDay],
    tags: Mapping[str, tuple[TagFamily, str | None]],
    judge: Judge,
) -> dict[str, float]:
    """Return, per tag, the share of observed customers of the census for whom it would have come true.

    Every customer of every day is judged as if the tag had been assigned at that midnight, by the very
    function that judges real claims.

    Parameters
    ----------
    events
        Everything up to 72 h after the last census day.
    census
        Days whose outcome window has ended.
    tags
        Tag id to its family and key (null for customer-level families).

    Returns
    -------
    A tag nobody of the census was observed for is left out: its base rate is not known.
    """
    by_family: dict[str, list[tuple[str, str | None]]] = {}
    families = {}
    for tag_id, (family, key) in tags.items():
        by_family.setdefault(family.family, []).append((tag_id, key))
        families[family.family] = family

    counted = []
    for day in census:
        after = events.filter(
            (_us("event_time") > day.midnight_us) & (_us("event_time") <= day.midnight_us + CLAIM_WINDOW_US)
        )
        customers = pl.DataFrame({"customer_id": day.customers}, schema={"customer_id": pl.String})
        for name, members in by_family.items():
            tag_rows = pl.DataFrame(members, schema={"tag_id": pl.String, "key": pl.String}, orient="row")
            supposed = customers.join(tag_rows, how="cross").with_columns(
                assigned_at=pl.lit(day.midnight_us, pl.Int64).cast(INSTANT)
            )
            outcomes = judge(after, supposed.select("customer_id", "key", "assigned_at"), families[name])
            counted.append(
                supposed.select("tag_id")
                .with_columns(outcome=outcomes)
                .group_by("tag_id")
                .agg(
                    confirmed=(pl.col("outcome") == "confirmed").sum(),
                    refuted=(pl.col("outcome") == "refuted").sum(),
                )
            )
    if not counted:
        return {}
    totals = (
        pl.concat(counted)
        .group_by("tag_id")
        .agg(pl.sum("confirmed", "refuted"))
        .filter(pl.col("confirmed") + pl.col("refuted") > 0)
        .with_columns(rate=pl.col("confirmed") / (pl.col("confirmed") + pl.col("refuted")))
    )
    return dict(zip(totals["tag_id"], totals["rate"], strict=True))


def _us(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("us")
