"""The precision contract: which tags may be given out, from which score on, and what they promise.

Thresholds are chosen on claims the model was not fitted on, tags certified on later ones that nothing was
chosen on. A tag with claims enough stands alone. Those with fewer are pooled: they share one threshold, and
the lower bound that carries their contract is the pool's. Every tag borrows: its counts are added to a Beta
prior, as strong as tags agree with their calibrated probabilities (empirical Bayes; Casella 1985), centred on
its own where it stands alone and on the pool's where it does not. Claims of one customer about one tag go
together, so counts are divided by a design effect before they are believed (Kish 1965).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from features.outcomes import CONFIRMED, UNOBSERVED
from features.tags import Contract
from features.windows import IntArray
from training.calibration import LIKELY
from training.datasets import KIND_NAMES
from training.tag_claims import Claims

FloatArray = npt.NDArray[np.float64]

PRIOR_STRENGTHS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
"""Claims the prior may be worth; the one under which the choosing claims are likeliest is taken."""

FURTHER_TRIALS = 2
"""How many stricter thresholds a pool may be judged by where it cannot carry those that are wanted."""

LIFT_MARGIN = 1.02
"""How much a base rate may grow until the certifying slice without costing a tag its lift."""


@dataclass(frozen=True)
class Certificate:
    """What one tag proved.

    Attributes
    ----------
    tag
        Its category or brand; empty for a family without a key.
    threshold
        Least probability from which it is given out; NaN where none would do.
    certified
        Whether it may be given out.
    reason
        Why not, in words; empty if it may.
    claims, support
        Claims of the certifying slice, and how many of them were observed.
    precision, precision_shrunk, lower_bound
        Share confirmed among the observed, the same with the prior, and that one's one-sided lower bound.
    base_rate, lift
        Share of all observed customers for whom it would have come true, and the precision over it; of a
        tag that does not stand alone the shrunk one.
    pooled
        Whether it had too few claims to stand alone, so that the pool's bound is what carries it.
    """

    tag: str
    threshold: float
    certified: bool
    reason: str
    claims: int = 0
    support: int = 0
    precision: float = float("nan")
    precision_shrunk: float = float("nan")
    lower_bound: float = float("nan")
    base_rate: float = float("nan")
    lift: float = float("nan")
    pooled: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the row of the contract table; NaN becomes null."""
        return {
            name: None if isinstance(value, float) and np.isnan(value) else value
            for name, value in vars(self).items()
        }


def design_effect(confirmed: npt.NDArray[np.bool_], customer: IntArray) -> float:
    """Return by how much clustering by customer inflates the variance of a share (Kish 1965), at least 1.

    >>> design_effect(np.array([True, True, False, False]), np.array([1, 1, 2, 2]))
    2.0
    """
    if len(confirmed) == 0:
        return 1.0
    share = float(confirmed.mean())
    _, cluster = np.unique(customer, return_inverse=True)
    clustered = float((np.bincount(cluster, confirmed - share) ** 2).sum())
    independent = len(confirmed) * share * (1 - share)
    if independent == 0:
        return float((np.bincount(cluster) ** 2).sum() / len(confirmed))
    return max(clustered / independent, 1.0)


def intra_cluster_correlation(claims: Claims) -> float:
    """Return how alike the outcomes of one customer and tag are, beyond their probabilities; within [0, 1].

    The moment estimator over all pairs of observed claims within a cluster: one number for the family, since
    a tag with few customers cannot tell its own.
    """
    residual = (claims.outcome == CONFIRMED) - claims.probability
    scale = np.sqrt(claims.probability * (1 - claims.probability))
    _, cluster = np.unique(np.stack([claims.tag, claims.customer]), axis=1, return_inverse=True)

    def over_pairs(values: FloatArray) -> float:
        return float((np.bincount(cluster, values) ** 2 - np.bincount(cluster, values**2)).sum())

    if len(residual) == 0 or (expected := over_pairs(scale)) <= 0:
        return 0.0
    return min(max(over_pairs(residual) / expected, 0.0), 1.0)


def kish_effect(customer: IntArray, correlation: float) -> float:
    """Return the design effect of clusters of known sizes whose members correlate (Kish 1965).

    >>> kish_effect(np.array([1, 1, 2, 2]), 0.5)
    1.5
    """
    if len(customer) == 0:
        return 1.0
    sizes = np.unique(customer, return_counts=True)[1]
    return float(1 + correlation * ((sizes**2).sum() / sizes.sum() - 1))


@dataclass(frozen=True)
class Prior:
    """What the tags of a family have in common.

    Attributes
    ----------
    strength
        Claims the prior is worth.
    correlation
        Of the outcomes of one customer and tag.
    """

    strength: float
    correlation: float

    def counts(self, claims: Claims, centre: float) -> tuple[float, float]:
        """Return how many hits and misses observed claims and the prior are worth together."""
        hits = float((claims.outcome == CONFIRMED).sum())
        effect = kish_effect(claims.customer, self.correlation)
        return (
            hits / effect + self.strength * centre,
            (len(claims.tag) - hits) / effect + self.strength * (1 - centre),
        )


def learn_prior(claims: Claims, tag_count: int) -> Prior:
    """Learn from the choosing claims how far a tag may be judged by its family."""
    from scipy.special import betaln

    likely = claims.take((claims.outcome != UNOBSERVED) & (claims.probability >= LIKELY))
    correlation = intra_cluster_correlation(likely)
    likelihood = np.zeros(len(PRIOR_STRENGTHS))
    for positions in likely.by_tag(tag_count):
        if len(positions) < 2:
            continue
        effect = kish_effect(likely.customer[positions], correlation)
        count, hits = len(positions) / effect, (likely.outcome[positions] == CONFIRMED).sum() / effect
        centre = float(likely.probability[positions].mean())
        for number, strength in enumerate(PRIOR_STRENGTHS):
            alpha, beta = centre * strength, (1 - centre) * strength
            likelihood[number] += betaln(alpha + hits, beta + count - hits) - betaln(alpha, beta)
    return Prior(PRIOR_STRENGTHS[int(np.argmax(likelihood))], correlation)


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
        own = _lowest(mine, float(needed[tag]), prior, floor)
        if of_each_kind:
            own = _strictest([own, *_lowest_of_kinds(mine, float(needed[tag]), prior, floor, contract)])
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


def _lowest_of_kinds(
    observed: Claims, aim: float, prior: Prior, floor: float, contract: Contract
) -> list[_Lowest]:
    """Return `_lowest` of every kind of decision instants with enough claims that are likely to hold."""
    parts = (observed.take(observed.kind == kind) for kind in range(len(KIND_NAMES)))
    return [
        _lowest(part, aim, prior, floor)
        for part in parts
        if (part.probability >= max(floor, LIKELY)).sum() >= contract.min_support
    ]


def _strictest(found: Sequence[_Lowest]) -> _Lowest:
    """Return the one with the highest threshold; one that has none is stricter than any."""
    return max(found, key=lambda one: np.inf if np.isnan(one.threshold) else one.threshold)


def _pairs(claims: Claims) -> IntArray:
    """Number the pairs of customer and tag."""
    return claims.tag * (int(claims.customer.max(initial=0)) + 1) + claims.customer


def certify(
    claims: Claims,
    names: Sequence[str],
    thresholds: Thresholds,
    base_rates: FloatArray,
    contract: Contract,
    prior: Prior,
    known: npt.NDArray[np.bool_],
) -> list[Certificate]:
    """Judge every tag on claims that nothing was chosen on.

    Parameters
    ----------
    claims
        Of the certifying slice.
    names, base_rates
        Shape (tag_count,) each.
    contract
        What has to be proved: over all decision instants together, and within slack for each kind that has
        enough support.
    known
        Shape (tag_count,): tags so common in what the model was fitted on that the pool speaks for them where
        the slice has no observed claim of theirs.
    """
    given = _given(claims, thresholds)
    pool_fault = _fault_of_pool(_pool_of(claims, thresholds), contract)
    return [
        _certificate(
            given.take(positions),
            (names[tag], float(thresholds.values[tag]), float(base_rates[tag])),
            contract,
            Prior(prior.strength + float(thresholds.worth[tag]), prior.correlation),
            float(thresholds.expected[tag]),
            None if thresholds.alone[tag] else pool_fault,
            bool(known[tag]),
        )
        for tag, positions in enumerate(given.by_tag(len(names)))
    ]


def certify_in_steps(
    claims: Claims,
    names: Sequence[str],
    steps: Iterable[Thresholds],
    base_rates: FloatArray,
    contract: Contract,
    prior: Prior,
    known: npt.NDArray[np.bool_],
) -> list[Certificate]:
    """Judge every tag from the thresholds wanted, or from stricter ones that its family can carry.

    Where the pool of tags with few claims breaks its promise by little, stricter thresholds, chosen before
    as well, save some of its claims. Who tries again is right by luck more often, so all further trials
    together are allowed half the error of the first: Bonferroni's share each.

    Parameters
    ----------
    steps
        The thresholds wanted, then `FURTHER_TRIALS` ever stricter ones; made as they are asked for.

    See `certify` for the others.
    """
    further = iter(steps)
    taken = wanted = next(further)
    if _fault_of_pool(_pool_of(claims, wanted), contract):
        error = (1 - contract.confidence) / (2 * FURTHER_TRIALS)
        surer = contract.model_copy(update={"confidence": 1 - error})
        carried = (step for step in further if not _fault_of_pool(_pool_of(claims, step), surer))
        taken = next(carried, wanted)
    return certify(claims, names, taken, base_rates, contract, prior, known)


def certify_alone(
    claims: Claims,
    steps: Iterable[Thresholds],
    base_rates: FloatArray,
    contract: Contract,
    prior: Prior,
) -> list[Certificate]:
    """Judge the one tag of a family without a key, from the thresholds wanted or from stricter ones.

    As of `certify_in_steps`, but with nothing to be judged by except its own claims: what it was chosen for
    proves nothing. Where no threshold will do, the certificate is that of the one wanted.
    """
    prior = replace(prior, strength=0.0)
    judged = []
    for step in steps:
        # What thresholds were chosen on is no proof, so they come without what they were expected to reach.
        step = replace(step, worth=np.zeros_like(step.worth))
        found = certify(claims, [""], step, base_rates, contract, prior, np.zeros(1, bool))
        if found[0].certified:
            return found
        judged.append(found)
        error = (1 - contract.confidence) / (2 * FURTHER_TRIALS) if len(judged) == 1 else 1 - contract.confidence
        contract = contract.model_copy(update={"confidence": 1 - error})
    return judged[0]


def _given(claims: Claims, thresholds: Thresholds) -> Claims:
    return claims.take(claims.probability >= np.nan_to_num(thresholds.values, nan=np.inf)[claims.tag])


def _pool_of(claims: Claims, thresholds: Thresholds) -> Claims:
    """Return the observed claims that would be given out about tags with too few to stand alone."""
    given = _given(claims, thresholds)
    return given.take(~thresholds.alone[given.tag] & (given.outcome != UNOBSERVED))


def _certificate(
    given: Claims,
    identity: tuple[str, float, float],
    contract: Contract,
    prior: Prior,
    expected: float,
    pool_fault: str | None,
    is_known: bool,
) -> Certificate:
    name, threshold, base_rate = identity
    if np.isnan(threshold):
        return Certificate(name, threshold, False, f"no score reaches precision {contract.precision:.2f}")
    observed = given.take(given.outcome != UNOBSERVED)
    support = len(observed.tag)
    if support == 0 and (pool_fault is None or not is_known):
        return Certificate(name, threshold, False, "no observed claim to judge by", len(given.tag))
    hits, misses = prior.counts(observed, expected)
    shrunk, lower = _share(hits, misses, contract.confidence)
    precision = float((observed.outcome == CONFIRMED).mean()) if support else float("nan")
    proved = precision if pool_fault is None else shrunk
    lift = proved / base_rate if base_rate > 0 else float("inf")
    floor = contract.precision - contract.slack
    reason = ""
    if hits + misses < contract.min_support:
        reason = f"support {support}, {hits + misses:.0f} with its family's; expected {contract.min_support}"
    elif shrunk < contract.precision:
        reason = f"precision {shrunk:.3f}; expected {contract.precision:.2f}"
    elif pool_fault is None and lower < floor:
        reason = f"lower bound {lower:.3f}; expected {floor:.2f}"
    elif lift < contract.lift:
        reason = f"lift {lift:.2f}; expected {contract.lift:.1f}"
    else:
        reason = pool_fault or _weakest_kind(observed, contract)
    return Certificate(
        name,
        threshold,
        not reason,
        reason,
        len(given.tag),
        support,
        precision,
        shrunk,
        lower,
        base_rate,
        min(lift, 1e6),
        pool_fault is not None,
    )


def _share(hits: float, misses: float, confidence: float) -> tuple[float, float]:
    from scipy.stats import beta as beta_distribution

    return hits / (hits + misses), float(beta_distribution.ppf(1 - confidence, hits, misses))


def _fault_of_pool(pool: Claims, contract: Contract) -> str:
    """Return why the tags without claims enough may not be given out, as they are judged together."""
    floor = contract.precision - contract.slack
    if len(pool.tag) < contract.min_support:
        return f"support {len(pool.tag)} of all tags with few claims; expected {contract.min_support}"
    lower = lower_bound(pool.outcome == CONFIRMED, pool.customer, contract.confidence)
    if lower < floor:
        return f"lower bound {lower:.3f} of all tags with few claims; expected {floor:.2f}"
    return _weakest_kind(pool, contract)


def lower_bound(confirmed: npt.NDArray[np.bool_], customer: IntArray, confidence: float) -> float:
    """Return the one-sided lower bound of a share whose claims cluster by customer (Jeffreys' prior)."""
    effect = design_effect(confirmed, customer)
    hits = float(confirmed.sum()) / effect
    return _share(hits + 0.5, len(confirmed) / effect - hits + 0.5, confidence)[1]


def _weakest_kind(observed: Claims, contract: Contract) -> str:
    floor = contract.precision - contract.slack
    for kind, kind_name in enumerate(KIND_NAMES):
        part = observed.take(observed.kind == kind)
        confirmed = part.outcome == CONFIRMED
        if len(confirmed) < contract.min_support or confirmed.mean() >= floor:
            continue
        # Only what is below the floor for sure tells a kind from the luck of a slice.
        upper = 1 - lower_bound(~confirmed, part.customer, contract.confidence)
        if upper < floor:
            return f"precision {confirmed.mean():.3f} at instants of kind {kind_name}; expected {floor:.2f}"
    return ""
