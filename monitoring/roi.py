"""Return on investment of campaigns that were run: what they cost, what they brought, and how sure that is.

Three answers to "what did it bring", from generous to strict, none of them a randomised experiment:

- *redeemed*: all that was paid for the orders a coupon was redeemed in. It assumes that none of these orders
  would have come without the campaign, and that it changed no other.
- *before*: spend in the window after the contact less spend in the window before. It takes season and habit
  for the campaign's work.
- *matched*: the same, less what happened to similar customers nobody contacted (`monitoring.campaign_lift`).

Outcomes are strict: whoever was contacted counts, seen again or not. Intervals are percentiles of a bootstrap
over customers [Efron 1979]; the same draw serves all campaigns, so that customers of several count as one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from features.windows import DAY_US, from_us
from monitoring.campaign_lift import MATCHED_WINDOWS, Comparison, change_of_spend, compare
from monitoring.campaigns import Campaign, SpendAxis
from training.metrics import cluster_weights

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CONFIDENCE = 0.90
REPETITIONS = 500
WAYS = ("redeemed", "before", "matched")
TOGETHER = "all"
"""What all campaigns together are called."""


@dataclass(frozen=True)
class Assumptions:
    """What the data does not say.

    Attributes
    ----------
    cost_per_contact_minor
        Of one message, minor units.
    margin
        Share of what customers pay that is left after the cost of the goods, 0 to 1.
    window_days
        How long after a contact spend and redemptions count; the window before is as long. Whole weeks give
        both the same weekdays.
    coupon_share
        Share of the redeemed coupons' value that the shop bears beside being paid less: amounts are what was
        paid, so the reduction itself is in them already.
    """

    cost_per_contact_minor: float = 50.0
    margin: float = 0.25
    window_days: int = 28
    coupon_share: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """One figure with its interval; ``low`` and ``high`` are null where it cannot be resampled."""

    value: float | None
    low: float | None = None
    high: float | None = None


NOT_KNOWN = Estimate(None)


@dataclass(frozen=True)
class Return:
    """What a campaign brought, told in one of `WAYS`.

    Attributes
    ----------
    spend_minor, profit_minor
        Spend ascribed to the campaign, and margin on it less cost, minor units.
    roi
        Profit over cost; null where it cost nothing.
    reason
        Why there is no figure; empty where there is one.
    """

    spend_minor: Estimate = NOT_KNOWN
    profit_minor: Estimate = NOT_KNOWN
    roi: Estimate = NOT_KNOWN
    reason: str = ""


@dataclass(frozen=True)
class CampaignReturn:
    """One campaign's cost and returns.

    Attributes
    ----------
    began
        Its first contact.
    customers, contacts
        Contacted customers and messages sent.
    redeemers, redemptions, coupon_minor
        Customers who redeemed, coupons redeemed, and what these took off.
    cost_minor
        Of the messages, and of the coupons as far as the shop bears them.
    controls, matched_share
        How many controls there are, and the share of the contacted who have some in their stratum.
    placebo_spend_minor
        What the matched comparison finds a window earlier, when nothing had been sent: should be near 0.
    not_judged
        Why it has no returns at all; empty where it has.
    """

    name: str
    began: datetime
    customers: int
    contacts: int
    redeemers: int
    redemptions: int
    coupon_minor: int
    cost_minor: int
    controls: int = 0
    matched_share: float = 0.0
    placebo_spend_minor: Estimate = NOT_KNOWN
    returns: dict[str, Return] = field(default_factory=dict)
    not_judged: str = ""


@dataclass(frozen=True)
class Judged:
    """A campaign whose window is closed.

    Attributes
    ----------
    comparison, placebo
        With controls, as of the contact and a window earlier; None where the data do not reach far enough
        back.
    change
        Shape (n,): net spend after the contact less net spend before it, minor units.
    """

    campaign: Campaign
    comparison: Comparison | None
    placebo: Comparison | None
    change: IntArray


def why_not_judged(campaign: Campaign, first_us: int, until_us: int, window_days: int) -> str:
    """Return why a campaign cannot be judged, empty if it can.

    Parameters
    ----------
    first_us, until_us
        When anything but a contact was first seen, and until when everything is known.
    """
    if campaign.began_us < first_us:
        return f"began before the data do, {from_us(first_us).date()}"
    closes = campaign.last_us + window_days * DAY_US
    if closes > until_us:
        return f"its window is open until {from_us(closes).date()}"
    return ""


def judge(
    campaign: Campaign, campaigns: list[Campaign], axis: SpendAxis, first_us: int, window_days: int
) -> Judged:
    """Compare a campaign whose window is closed with the past and with others."""
    window = window_days * DAY_US

    def comparison(windows_earlier: int) -> Comparison | None:
        if campaign.began_us - (MATCHED_WINDOWS + windows_earlier) * window < first_us:
            return None
        return compare(campaign, campaigns, axis, window_days, windows_earlier=windows_earlier)

    change = change_of_spend(axis, campaign.customer, campaign.contacted_us, window)
    return Judged(campaign, comparison(0), comparison(1), change)


def cost_of(campaign: Campaign, assumptions: Assumptions) -> FloatArray:
    """Return what each contacted customer cost, minor units, shape (n,)."""
    return np.asarray(
        assumptions.cost_per_contact_minor * campaign.contacts
        + assumptions.coupon_share * campaign.coupon_minor,
        np.float64,
    )


def returns_of(
    judged: Sequence[Judged],
    customer_count: int,
    assumptions: Assumptions,
    *,
    seed: int,
    repetitions: int = REPETITIONS,
) -> list[CampaignReturn]:
    """Reckon campaigns, and all of them together under the name ``all`` if there are several.

    Parameters
    ----------
    customer_count
        Of the axis that customers are numbered by; they are resampled.

    Returns
    -------
    In the order given. Together, *matched* and the placebo are of the campaigns that have them.
    """
    if not judged:
        return []
    compared = [one for one in judged if one.comparison is not None]
    groups = [[one] for one in judged]
    if len(judged) > 1:
        groups += [list(judged), compared, [one for one in judged if one.placebo is not None]]
    everyone = np.arange(customer_count)
    point = _figures(judged, groups, np.ones(customer_count), assumptions)
    draws = np.stack(
        [
            _figures(judged, groups, weight, assumptions)
            for weight in cluster_weights(everyone, repetitions=repetitions, seed=seed)
        ]
    )
    found = []
    for place, one in enumerate(judged):
        placebo = estimate(point[place, PLACEBO], draws[:, place, PLACEBO], whole=True)
        returns = _returns(point[place], draws[:, place], one.comparison is not None)
        found.append(_described(one.campaign.name, [one], assumptions, returns, placebo))
    if len(judged) > 1:
        together, compared_place, placebo_place = range(len(judged), len(judged) + 3)
        returns = _returns(point[together], draws[:, together], True)
        matched = _returns(point[compared_place], draws[:, compared_place], bool(compared))
        placebo = estimate(point[placebo_place, PLACEBO], draws[:, placebo_place, PLACEBO], whole=True)
        both = {**returns, "matched": matched["matched"]}
        found.append(_described(TOGETHER, judged, assumptions, both, placebo))
    return found


def unjudged(campaign: Campaign, assumptions: Assumptions, reason: str) -> CampaignReturn:
    """Describe a campaign that cannot be judged."""
    change = np.zeros(len(campaign.customer), np.int64)
    one = Judged(campaign, None, None, change)
    return _described(campaign.name, [one], assumptions, {}, NOT_KNOWN, reason)


COST, PROFIT, PLACEBO = 3, 4, 7
"""Columns of `_figures`: spend of three ways, cost, profit of three ways, spend of the placebo."""


def _figures(
    judged: Sequence[Judged], groups: Sequence[Sequence[Judged]], weight: FloatArray, assumptions: Assumptions
) -> FloatArray:
    """Return the figures of each group under one draw of customers, shape (n_groups, 8)."""
    figures_of = {id(one): _campaign_figures(one, weight, assumptions) for one in judged}
    nothing = np.full(5, math.nan)
    sums = np.array(
        [np.sum([figures_of[id(one)] for one in group], axis=0) if group else nothing for group in groups]
    )
    spend, cost, placebo = sums[:, :COST], sums[:, COST : COST + 1], sums[:, COST + 1 :]
    return np.concatenate([spend, cost, assumptions.margin * spend - cost, placebo], axis=1)


def _campaign_figures(one: Judged, weight: FloatArray, assumptions: Assumptions) -> FloatArray:
    """Return spend of three ways, cost, and spend of the placebo of one campaign, shape (5,)."""
    w = weight[one.campaign.customer]
    matched, placebo = (
        math.nan if found is None else found.effect_minor(w, weight[found.control])
        for found in (one.comparison, one.placebo)
    )
    redeemed, change = float(w @ one.campaign.redeemed_order_minor), float(w @ one.change)
    return np.array([redeemed, change, matched, float(w @ cost_of(one.campaign, assumptions)), placebo])


def _returns(point: FloatArray, draws: FloatArray, reaches_back: bool) -> dict[str, Return]:
    """Put a group's figures and those of its draws into words."""
    returns = {}
    cost = float(point[COST])
    for place, way in enumerate(WAYS):
        if math.isnan(point[place]):
            early = "the data begin too late before it"
            returns[way] = Return(reason="nobody comparable was left alone" if reaches_back else early)
            continue
        profit, profits = float(point[PROFIT + place]), draws[:, PROFIT + place]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = profits / draws[:, COST]
        returns[way] = Return(
            estimate(point[place], draws[:, place], whole=True),
            estimate(profit, profits, whole=True),
            NOT_KNOWN if cost <= 0 else estimate(profit / cost, ratio),
        )
    return returns


def estimate(value: float, draws: FloatArray, *, whole: bool = False) -> Estimate:
    """Return a figure with its percentile interval; money is told in whole minor units."""
    if not math.isfinite(value):
        return NOT_KNOWN
    known = draws[np.isfinite(draws)]
    low = high = None
    if len(known):
        low, high = (float(one) for one in np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    if not whole:
        return Estimate(value, low, high)
    return Estimate(round(value), None if low is None else round(low), None if high is None else round(high))


def _described(
    name: str,
    parts: Sequence[Judged],
    assumptions: Assumptions,
    returns: dict[str, Return],
    placebo: Estimate,
    not_judged: str = "",
) -> CampaignReturn:
    campaigns = [one.campaign for one in parts]
    comparison = parts[0].comparison if len(parts) == 1 else None
    return CampaignReturn(
        name=name,
        began=from_us(min(one.began_us for one in campaigns)),
        customers=sum(len(one.customer) for one in campaigns),
        contacts=sum(int(one.contacts.sum()) for one in campaigns),
        redeemers=sum(int((one.redemptions > 0).sum()) for one in campaigns),
        redemptions=sum(int(one.redemptions.sum()) for one in campaigns),
        coupon_minor=sum(int(one.coupon_minor.sum()) for one in campaigns),
        cost_minor=round(sum(float(cost_of(one, assumptions).sum()) for one in campaigns)),
        controls=0 if comparison is None else len(comparison.control),
        matched_share=0.0 if comparison is None else float(comparison.is_matched.mean()),
        placebo_spend_minor=placebo,
        returns=returns,
        not_judged=not_judged,
    )
