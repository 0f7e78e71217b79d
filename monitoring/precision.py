"""How often tags came true: per tag, per family and per day, against what their contracts promised."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from features.tags import Contract, TagFamily
from monitoring.census import CensusDay, day_of
from training.metrics import ece, wilson_interval
from training.tag_prior import design_effect

Status = Literal["ok", "low lift", "unsure", "below", "too few", "no contract"]

USEFUL_LIFT_OF_KEYED = 2.0
"""A tag about a category or brand is useful from this lift on."""

USEFUL_LIFT_OF_CUSTOMER = 1.2
"""A tag about the customer as a whole, whose base rate is near a half, is useful from this lift on."""

ALL_FAMILIES = "all families"

SHOWN_CONFIDENCE = 0.90
"""Of every Wilson interval in reports, two-sided."""


@dataclass(frozen=True)
class PrecisionRow:
    """Closed claims of one tag, or of a whole family pooled, and what became of them.

    Attributes
    ----------
    tag_id
        Null where a family is pooled.
    n, confirmed, refuted, unobserved
        Claims; ``n = confirmed + refuted + unobserved``.
    customers
        Distinct customers among them.
    precision_observed
        ``confirmed / (confirmed + refuted)``: the headline. Null if nothing was observed.
    precision_strict
        ``confirmed / n``: what money should be reckoned with.
    wilson_low, wilson_high
        90 % interval of ``precision_observed`` as if claims were independent; null if nothing was observed.
    base_rate
        Share of all observed customers of the census for whom the tag would have come true; pooled: the mean
        over observed claims of their tags' base rates. Null if not known.
    lift
        ``precision_observed / base_rate``; null if either is not known or the base rate is 0.
    ece
        Expected calibration error of ``probability_if_observed`` over observed claims.
    expected_precision
        Mean ``probability_if_observed`` over all claims: what the model thought.
    contract_precision, certified_precision, certified_lift
        What the contract demands, and what held-out data said when the claims were made (latest claim).
    status
        ``below``: even the upper bound at the contract's confidence lies under the demand, customers counted
        as clusters. ``unsure``: the figure lies under it, the bound does not. ``low lift``: the precision
        holds, the lift lies under the contract's. ``too few``: fewer observed claims than its
        ``min_support``.
    """

    family: str
    tag_id: str | None
    n: int
    confirmed: int
    refuted: int
    unobserved: int
    customers: int
    precision_observed: float | None
    precision_strict: float | None
    wilson_low: float | None
    wilson_high: float | None
    base_rate: float | None
    lift: float | None
    ece: float | None
    expected_precision: float | None
    contract_precision: float | None
    certified_precision: float | None
    certified_lift: float | None
    status: Status

    @property
    def observed(self) -> int:
        """Claims whose outcome could be seen."""
        return self.confirmed + self.refuted


@dataclass(frozen=True)
class DayPrecision:
    """Closed claims of one family assigned on one business day."""

    family: str
    day: dt.date
    n: int
    confirmed: int
    refuted: int
    precision_observed: float | None
    precision_strict: float | None
    wilson_low: float | None
    wilson_high: float | None


@dataclass(frozen=True)
class ProvisionalRow:
    """What the model itself expects of claims whose window is still open.

    It follows shifts in who is tagged, and is blind to concept drift: if behaviour changes, the calibrated
    probabilities stay what they were.
    """

    family: str
    n_open: int
    expected_precision: float


def assigned(claims: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """Return the claims that count: no controls, and of one customer, tag and business day the first.

    Parameters
    ----------
    claims
        `Ledger.read`.

    Returns
    -------
    The same columns and ``day``, oldest first.
    """
    return (
        claims.filter(~pl.col("is_control"))
        .with_columns(day=day_of(claims.filter(~pl.col("is_control"))["assigned_at_us"], zone))
        .sort("assigned_at_us", "claim_id")
        .unique(["customer_id", "tag_id", "day"], keep="first", maintain_order=True)
    )


def tag_precision(
    claims: pl.DataFrame, families: Mapping[str, TagFamily], rates: Mapping[str, float]
) -> tuple[PrecisionRow, ...]:
    """Judge every tag with a closed claim, families in order of name and tags by number of claims.

    Parameters
    ----------
    claims
        As `assigned` gives them; open ones are left out here.
    families
        The catalogue by name; a family it no longer has counts as without a contract.
    rates
        `base_rates`: tag id to base rate.
    """
    closed = claims.filter(pl.col("outcome").is_not_null())
    rows = [
        _row(group, families.get(str(family)), str(family), str(tag_id), rates)
        for (family, tag_id), group in closed.group_by("family", "tag_id", maintain_order=True)
    ]
    return tuple(sorted(rows, key=lambda row: (row.family, -row.n, row.tag_id or "")))


def family_precision(
    claims: pl.DataFrame, families: Mapping[str, TagFamily], rates: Mapping[str, float]
) -> tuple[PrecisionRow, ...]:
    """Judge every family with a closed claim, its tags pooled, in order of name. See `tag_precision`.

    Pooling is for the headline: one large tag can hide many bad ones, so contracts bind tag by tag.
    """
    closed = claims.filter(pl.col("outcome").is_not_null())
    rows = [
        _row(group, families.get(str(family)), str(family), None, rates)
        for (family,), group in closed.group_by("family", maintain_order=True)
    ]
    return tuple(sorted(rows, key=lambda row: row.family))


def overall_precision(
    claims: pl.DataFrame, families: Mapping[str, TagFamily], rates: Mapping[str, float]
) -> PrecisionRow | None:
    """Judge all families under contract pooled, or return None if no claim of theirs is closed.

    The row's family is `ALL_FAMILIES`; a contract is shown if they all demand the same.
    """
    closed = claims.filter(pl.col("outcome").is_not_null() & pl.col("family").is_in(list(families)))
    if closed.is_empty():
        return None
    contracts = {families[name].contract for name in closed["family"].unique()}
    one = families[closed["family"][0]] if len(contracts) == 1 else None
    return _row(closed, one, ALL_FAMILIES, None, rates)


def daily_precision(claims: pl.DataFrame) -> tuple[DayPrecision, ...]:
    """Return the precision of each family by the business day its claims were made, oldest first."""
    closed = claims.filter(pl.col("outcome").is_not_null())
    rows = []
    for (family, day), group in closed.group_by("family", "day"):
        confirmed, refuted = _count(group, "confirmed"), _count(group, "refuted")
        low, high = _wilson(confirmed, refuted)
        rows.append(
            DayPrecision(
                family=str(family),
                day=_date(day),
                n=group.height,
                confirmed=confirmed,
                refuted=refuted,
                precision_observed=_ratio(confirmed, confirmed + refuted),
                precision_strict=_ratio(confirmed, group.height),
                wilson_low=low,
                wilson_high=high,
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.family, row.day)))


def provisional_precision(claims: pl.DataFrame) -> tuple[ProvisionalRow, ...]:
    """Return, per family, the mean calibrated probability of claims that are still open."""
    still_open = claims.filter(pl.col("outcome").is_null())
    means = still_open.group_by("family").agg(
        n_open=pl.len(), expected_precision=pl.col("probability_if_observed").mean()
    )
    return tuple(ProvisionalRow(**row) for row in means.sort("family").iter_rows(named=True))


def useful_tags_per_customer_day(
    claims: pl.DataFrame,
    families: Mapping[str, TagFamily],
    census: Sequence[CensusDay],
    zone: ZoneInfo,
) -> dict[str, float]:
    """Return, per family, the claims of useful tags per customer-day of the census.

    Claims of the census days count whatever became of them. A tag is useful by the lift it was certified
    with.

    Returns
    -------
    Empty if the census has no customers.
    """
    customer_days = sum(len(day.customers) for day in census)
    if not customer_days:
        return {}
    days = day_of(pl.Series([day.midnight_us for day in census], dtype=pl.Int64), zone)
    inside = claims.filter(pl.col("day").is_in(days.to_list()))
    counts = {}
    for (family,), group in inside.group_by("family"):
        keyed = group["key"].is_not_null().any()
        least = USEFUL_LIFT_OF_KEYED if keyed else USEFUL_LIFT_OF_CUSTOMER
        useful = group.filter(pl.col("certified_lift") >= least).height
        counts[str(family)] = useful / customer_days
    return {family: counts.get(family, 0.0) for family in sorted({*counts, *families})}


def _row(
    group: pl.DataFrame,
    family: TagFamily | None,
    family_name: str,
    tag_id: str | None,
    rates: Mapping[str, float],
) -> PrecisionRow:
    confirmed, refuted = _count(group, "confirmed"), _count(group, "refuted")
    seen = group.filter(pl.col("outcome") != "unobserved")
    precision = _ratio(confirmed, confirmed + refuted)
    low, high = _wilson(confirmed, refuted)
    base = _mean_rate(seen if seen.height else group, rates)
    lift = precision / base if precision is not None and base else None
    latest = group.row(-1, named=True) if tag_id is not None else {}
    contract = family.contract if family is not None else None
    return PrecisionRow(
        family=family_name,
        tag_id=tag_id,
        n=group.height,
        confirmed=confirmed,
        refuted=refuted,
        unobserved=group.height - confirmed - refuted,
        customers=group["customer_id"].n_unique(),
        precision_observed=precision,
        precision_strict=_ratio(confirmed, group.height),
        wilson_low=low,
        wilson_high=high,
        base_rate=base,
        lift=lift,
        ece=_ece(seen),
        expected_precision=_mean(group["probability_if_observed"]),
        contract_precision=None if contract is None else contract.precision,
        certified_precision=latest.get("certified_precision"),
        certified_lift=latest.get("certified_lift"),
        status=_status(seen, lift, contract),
    )


def _status(seen: pl.DataFrame, lift: float | None, contract: Contract | None) -> Status:
    """Hold observed claims against a contract."""
    if contract is None:
        return "no contract"
    if seen.height < contract.min_support:
        return "too few"
    came_true = (seen["outcome"] == "confirmed").to_numpy()
    share = float(came_true.mean())
    if share < contract.precision:
        effective = effective_claims(came_true, seen["customer_id"])
        _, high = wilson_interval(share * effective, effective, contract.confidence, one_sided=True)
        return "below" if high < contract.precision else "unsure"
    return "low lift" if lift is not None and lift < contract.lift else "ok"


def effective_claims(came_true: npt.NDArray[np.bool_], customers: pl.Series) -> float:
    """Return how many independent claims tell as much as these, whose customers repeat.

    Windows of one customer overlap, so their outcomes go together: the claims count as many as there are,
    divided by the design effect that the contract was certified with.

    >>> effective_claims(np.array([True, False, True, False]), pl.Series(["a", "b", "c", "d"]))
    4.0
    >>> effective_claims(np.array([True, True, False, False]), pl.Series(["a", "a", "b", "b"]))
    2.0
    """
    numbers = customers.rank("dense").to_numpy().astype(np.int64)
    return float(came_true.size / design_effect(came_true, numbers))


def _count(group: pl.DataFrame, outcome: str) -> int:
    return int((group["outcome"] == outcome).sum())


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _wilson(confirmed: int, refuted: int) -> tuple[float | None, float | None]:
    if confirmed + refuted == 0:
        return None, None
    return wilson_interval(confirmed, confirmed + refuted, SHOWN_CONFIDENCE)


def _mean_rate(seen: pl.DataFrame, rates: Mapping[str, float]) -> float | None:
    known = [rates.get(tag_id) for tag_id in seen["tag_id"]]
    if any(rate is None for rate in known):
        return None
    return float(np.mean([rate for rate in known if rate is not None]))


def _ece(seen: pl.DataFrame) -> float | None:
    if seen.is_empty():
        return None
    return ece((seen["outcome"] == "confirmed").cast(pl.Float64), seen["probability_if_observed"])


def _mean(values: pl.Series) -> float | None:
    mean = values.mean()
    return float(mean) if isinstance(mean, (int, float)) else None


def _date(value: object) -> dt.date:
    if not isinstance(value, dt.date):
        raise TypeError(f"expected a date, got {value!r}")
    return value
