"""The precision contract: which tags may be given out, and what they promise.

Thresholds are chosen on claims the model was not fitted on, tags certified on later ones that nothing was
chosen on. A tag with claims enough stands alone. Those with fewer are pooled: they share one threshold, and
the lower bound that carries their contract is the pool's. Every tag borrows from a prior, centred on its own
expectation where it stands alone and on the pool's where it does not.
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
from training.datasets import KIND_NAMES
from training.tag_claims import Claims
from training.tag_prior import Prior, design_effect
from training.tag_thresholds import Thresholds

FloatArray = npt.NDArray[np.float64]

FURTHER_TRIALS = 2
"""How many stricter thresholds a pool, or a family's one tag, is judged by where those wanted will not do."""


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
        surer = _surer(contract)
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
    for number, step in enumerate(steps):
        alone = replace(step, worth=np.zeros_like(step.worth))
        asked = _surer(contract) if number else contract
        judged.append(certify(claims, [""], alone, base_rates, asked, prior, np.zeros(1, bool)))
        if judged[-1][0].certified:
            return judged[-1]
    return judged[0]


def _surer(contract: Contract) -> Contract:
    """Return what a further trial has to prove."""
    error = (1 - contract.confidence) / (2 * FURTHER_TRIALS)
    return contract.model_copy(update={"confidence": 1 - error})


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
