"""Whom to contact first: the return of contacting only the top of a ranking, beside a random choice.

Of campaigns that were run everybody's outcome is known, so a ranking made before such a campaign began can be
judged by what its top would have brought and cost. A random choice of the same size has, on average, the mean
outcome of all. The outcome is a customer's own return, told in one of two ways of `monitoring.roi`; the
assumptions there are made here too, and besides that one contact does not change what another brings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitoring.roi import Assumptions, Estimate, Judged, cost_of, estimate
from training.metrics import cluster_weights

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SHARES = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""Shares of the contacted that a curve has a point at."""

RANDOM = "random"
OUTCOMES = ("redeemed", "matched")


@dataclass(frozen=True)
class HeldOut:
    """A campaign whose customers were ranked by what was known before it began.

    Attributes
    ----------
    judged
        The campaign and what became of it.
    scores
        Per ranking each contacted customer's score, shape (n,); whoever scores higher is contacted first.
    """

    judged: Judged
    scores: Mapping[str, FloatArray]


@dataclass(frozen=True)
class CurvePoint:
    """What contacting the top share of a ranking would have brought.

    Attributes
    ----------
    share
        Of the contacted, 0 to 1.
    profit_minor, roi
        Of that share; the return on investment is null where it cost nothing.
    profit_over_random_minor
        Profit above that of a random choice of the same size.
    """

    share: float
    profit_minor: Estimate
    roi: Estimate
    profit_over_random_minor: Estimate


@dataclass(frozen=True)
class TargetingCurve:
    """One ranking's curve over all held-out campaigns together.

    Attributes
    ----------
    ranking
        ``random``, or what customers were ranked by.
    outcome
        One of `OUTCOMES`.
    """

    ranking: str
    outcome: str
    points: tuple[CurvePoint, ...]


def customer_returns(one: HeldOut, outcome: str, weight: FloatArray | None = None) -> FloatArray | None:
    """Return the spend ascribed to each contact, minor units, shape (n,); None where it is not known.

    ``redeemed`` is what the customer paid for orders with a redemption, ``matched`` by how much their spend
    changed more than that of their stratum's controls; without controls it is the mean of those with.

    Parameters
    ----------
    weight
        Shape (n_customers,): how often each customer of the axis counts, controls among them. Default: once.
    """
    if outcome == "redeemed":
        return one.judged.campaign.redeemed_order_minor.astype(np.float64)
    comparison = one.judged.comparison
    if comparison is None or not comparison.is_matched.any():
        return None
    if weight is None:
        own, of_controls = np.ones(len(comparison.customer)), np.ones(len(comparison.control))
    else:
        own, of_controls = weight[comparison.customer], weight[comparison.control]
    gain = comparison.change - comparison.expected_change(of_controls)
    known = ~np.isnan(gain)
    counted = float(own[known].sum())
    mean = float(own[known] @ gain[known]) / counted if counted else math.nan
    return np.where(known, gain, mean)


def cumulated(values: FloatArray, weight: FloatArray, order: IntArray, shares: Sequence[float]) -> FloatArray:
    """Return the sum of the values of the first so many in an order, shape (n_shares,).

    Parameters
    ----------
    values, weight
        Shape (n,): a value, and how often it counts.
    order
        Shape (n,): who comes first.
    shares
        Of the total weight; a row that a share ends within counts in part.

    >>> ones, order = np.ones(4), np.array([3, 0, 1, 2])
    >>> cumulated(np.array([1.0, 2.0, 3.0, 10.0]), ones, order, [0.25, 0.5, 0.625, 1.0])
    array([10., 11., 12., 16.])
    """
    reached = np.concatenate([[0.0], np.cumsum(weight[order])])
    total = np.concatenate([[0.0], np.cumsum((weight * values)[order])])
    found: FloatArray = np.interp(np.asarray(shares) * reached[-1], reached, total)
    return found


def targeting_curves(
    held_out: Sequence[HeldOut],
    assumptions: Assumptions,
    customer_count: int,
    *,
    seed: int,
    repetitions: int = 500,
) -> list[TargetingCurve]:
    """Return a curve per outcome and ranking, random among them, over all held-out campaigns.

    Parameters
    ----------
    customer_count
        Of the axis that customers are numbered by; they are resampled.
    """
    curves = []
    names = list(held_out[0].scores) if held_out else []
    everyone = np.arange(customer_count)
    for outcome in OUTCOMES:
        parts = [one for one in held_out if customer_returns(one, outcome) is not None]
        if not parts:
            continue
        draws = [np.ones(customer_count)]
        draws += list(cluster_weights(everyone, repetitions=repetitions, seed=seed))
        random, random_cost = _of_draws(parts, outcome, None, assumptions, draws, seed)
        curves.append(TargetingCurve(RANDOM, outcome, _points(random, random_cost, random)))
        for name in names:
            profit, cost = _of_draws(parts, outcome, name, assumptions, draws, seed)
            curves.append(TargetingCurve(name, outcome, _points(profit, cost, random)))
    return curves


def _of_draws(
    parts: Sequence[HeldOut],
    outcome: str,
    ranking: str | None,
    assumptions: Assumptions,
    draws: Sequence[FloatArray],
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Return profit and cost at each share, shape (n_draws, n_shares) each."""
    profit = np.zeros((len(draws), len(SHARES)))
    cost = np.zeros((len(draws), len(SHARES)))
    for one in parts:
        campaign = one.judged.campaign
        each_cost = cost_of(campaign, assumptions)
        order = None if ranking is None else _order(one.scores[ranking], seed)
        for place, weight in enumerate(draws):
            value = customer_returns(one, outcome, weight)
            if value is None:
                continue
            each_profit = assumptions.margin * value - each_cost
            w = weight[campaign.customer]
            if order is None:
                profit[place] += np.asarray(SHARES) * float(w @ each_profit)
                cost[place] += np.asarray(SHARES) * float(w @ each_cost)
            else:
                profit[place] += cumulated(each_profit, w, order, SHARES)
                cost[place] += cumulated(each_cost, w, order, SHARES)
    return profit, cost


def _order(scores: FloatArray, seed: int) -> IntArray:
    """Order by score, highest first; whoever scores the same stands in a random order."""
    chance = np.random.default_rng(seed).random(len(scores))
    return np.lexsort((chance, -np.nan_to_num(scores, nan=-math.inf))).astype(np.int64)


def _points(profit: FloatArray, cost: FloatArray, random: FloatArray) -> tuple[CurvePoint, ...]:
    """Make points of figures whose first row is the plain one and whose others are draws."""
    with np.errstate(divide="ignore", invalid="ignore"):
        roi = np.where(cost > 0, profit / cost, np.nan)
    over = profit - random
    return tuple(
        CurvePoint(
            share,
            estimate(profit[0, place], profit[1:, place], whole=True),
            estimate(roi[0, place], roi[1:, place]),
            estimate(over[0, place], over[1:, place], whole=True),
        )
        for place, share in enumerate(SHARES)
    )
