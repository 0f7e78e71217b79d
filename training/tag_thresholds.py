"""From which probability on a tag is given out, chosen on claims the model was not fitted on.

A tag with claims enough stands alone; those with fewer share one threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.outcomes import CONFIRMED, UNOBSERVED
from features.tags import Contract
from features.windows import IntArray
from training.calibration import LIKELY
from training.datasets import KIND_NAMES
from training.tag_claims import Claims
from training.tag_prior import Prior, kish_effect

FloatArray = npt.NDArray[np.float64]

LIFT_MARGIN = 1.02
"""How much a base rate may grow until the certifying slice without costing a tag its lift."""


@dataclass(frozen=True)
class Thresholds:
    """From which probability on each tag is given out.

    Attributes
    ----------
    values
        Shape (tag_count,); NaN where no threshold reaches the aim.
    alone
        Shape (tag_count,): the tag has a threshold of its own; the others share the pool's.
    expected, worth
        Shape (tag_count,): the precision above the threshold as it was chosen, and how many claims that
        expectation is worth beside the prior: those it was chosen on, where the tag stands alone.
    """

    values: FloatArray
    alone: npt.NDArray[np.bool_]
    expected: FloatArray
    worth: FloatArray


def choose_thresholds(
    claims: Claims,
    tag_count: int,
    contract: Contract,
    base_rates: FloatArray,
    prior: Prior,
    aim: float,
    of_each_kind: bool = False,
) -> Thresholds:
    """Choose the lowest thresholds from which the shrunk precision reaches an aim.

    One threshold serves the whole family: the lowest above which the calibrated probabilities of tags that
    would have the lift average at the aim. A tag stands alone if its claims are, design effect and all, worth
    `Contract.min_support`: its own may then be higher, and is where its outcomes or its lift ask for it.

    Parameters
    ----------
    claims
        That the model was not fitted on.
    base_rates
        Shape (tag_count,).
    aim
        At least the promise; what is chosen as the lowest of many is partly chosen by luck.
    of_each_kind
        Whether a tag that stands alone has to reach the aim at each kind of decision instants that it has
        claims enough at, and not only at all of them together.
    """
    needed = np.maximum(aim, LIFT_MARGIN * contract.lift * base_rates)
    observed = claims.take(claims.outcome != UNOBSERVED)
    shared = needed <= aim
    family = _lowest(observed.take(shared[observed.tag]), aim, Prior(np.inf, prior.correlation))
    values = np.where(shared, family.threshold, np.nan)
    expected = np.where(shared, family.expected, np.nan)
    alone, worth = np.zeros(tag_count, bool), np.zeros(tag_count)
    for tag, positions in enumerate(observed.by_tag(tag_count)):
        if len(positions) < contract.min_support:
            continue
        mine, floor = observed.take(positions), np.nan_to_num(values[tag])
        parts = [mine, *(_kinds_of(mine, floor, contract) if of_each_kind else ())]
        own = _strictest(_lowest(part, float(needed[tag]), prior, floor) for part in parts)
        above = mine.take(mine.probability >= max(floor, LIKELY))
        # A large tag that misses the aim does not hide among the small ones.
        is_large = len(above.tag) / kish_effect(above.customer, prior.correlation) >= contract.min_support
        if own.worth >= contract.min_support or (is_large and np.isnan(own.threshold)):
            values[tag], expected[tag], worth[tag] = own.threshold, own.expected, own.worth
            alone[tag] = True
    return Thresholds(values, alone, expected, worth)


@dataclass(frozen=True)
class _Lowest:
    threshold: float
    expected: float
    worth: float


def _lowest(observed: Claims, aim: float, prior: Prior, floor: float = 0.0) -> _Lowest:
    """Return the lowest threshold that reaches an aim, its precision, and what the claims above are worth."""
    best_first = np.argsort(-observed.probability, kind="stable")
    probability = observed.probability[best_first]
    confirmed = observed.outcome[best_first] == CONFIRMED
    effect = kish_effect(_pairs(observed.take(observed.probability >= LIKELY)), prior.correlation)
    count = np.arange(1, len(best_first) + 1)
    weight = 1 / (1 + prior.strength * effect / count)
    share = np.cumsum(confirmed) / count
    expected = weight * share + (1 - weight) * np.cumsum(probability) / count
    whole_ties = np.r_[probability[1:] != probability[:-1], True][: len(count)]
    enough = np.flatnonzero((expected >= aim) & whole_ties & (probability >= floor))
    if len(enough) == 0:
        return _Lowest(float("nan"), float("nan"), 0.0)
    last = enough[-1]
    return _Lowest(float(probability[last]), float(expected[last]), float(count[last] / effect))


def _kinds_of(observed: Claims, floor: float, contract: Contract) -> list[Claims]:
    """Return the claims of every kind of decision instants with enough that are likely to hold."""
    kinds = (observed.take(observed.kind == kind) for kind in range(len(KIND_NAMES)))
    return [part for part in kinds if (part.probability >= max(floor, LIKELY)).sum() >= contract.min_support]


def _strictest(found: Iterable[_Lowest]) -> _Lowest:
    """Return the one with the highest threshold; one that has none is stricter than any."""
    return max(found, key=lambda one: np.inf if np.isnan(one.threshold) else one.threshold)


def _pairs(claims: Claims) -> IntArray:
    """Number the pairs of customer and tag."""
    return claims.tag * (int(claims.customer.max(initial=0)) + 1) + claims.customer
