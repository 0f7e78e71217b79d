"""The precision contract: which tags may be given out, from which score on, and what they promise.

Thresholds are chosen on one slice, tags certified on a later one that nothing was chosen on. A tag with few
claims borrows from its family: its counts are added to a Beta prior centred on the calibrated probability of
its claims, as strong as the tags of the choosing slice agree with that probability (empirical Bayes; Casella
1985). Claims of one customer overlap in time, so a tag's count is divided by its design effect before it is
believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.outcomes import CONFIRMED, UNOBSERVED
from features.tags import Contract
from features.windows import IntArray
from training.datasets import KIND_NAMES

FloatArray = npt.NDArray[np.float64]

PRIOR_STRENGTHS = (10.0, 20.0, 40.0, 80.0, 160.0)
"""Claims the prior is worth; the one under which the choosing slice is most likely is taken."""


@dataclass(frozen=True)
class Claims:
    """Claims that might be made, with what became of them.

    Attributes
    ----------
    tag
        Shape (n,): number of the tag.
    probability
        Shape (n,): calibrated probability of being confirmed if observed.
    outcome
        Shape (n,): as `features.outcomes` judges.
    customer, kind
        Shape (n,): customer number, and kind of decision instant.
    """

    tag: IntArray
    probability: FloatArray
    outcome: npt.NDArray[np.int8]
    customer: IntArray
    kind: IntArray

    def take(self, chosen: npt.NDArray[Any]) -> Claims:
        """Return some of the claims."""
        return Claims(
            self.tag[chosen],
            self.probability[chosen],
            self.outcome[chosen],
            self.customer[chosen],
            self.kind[chosen],
        )

    def by_tag(self, tag_count: int) -> list[IntArray]:
        """Return the positions of each tag's claims."""
        order = np.argsort(self.tag, kind="stable")
        return np.split(order, np.searchsorted(self.tag[order], np.arange(1, tag_count)))


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
        Share confirmed among the observed, the same with the family's prior, and its one-sided lower bound.
    base_rate, lift
        Share of all observed customers for whom it would have come true, and precision over it.
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


def prior_strength(claims: Claims, tag_count: int) -> float:
    """Choose how many claims the prior is worth: the strength under which the tags' counts are likeliest."""
    from scipy.special import betaln

    observed = claims.take((claims.outcome != UNOBSERVED) & (claims.probability >= 0.5))
    likelihood = np.zeros(len(PRIOR_STRENGTHS))
    for positions in observed.by_tag(tag_count):
        if len(positions) < 2:
            continue
        confirmed = observed.outcome[positions] == CONFIRMED
        effect = design_effect(confirmed, observed.customer[positions])
        count, hits = len(positions) / effect, confirmed.sum() / effect
        centre = float(observed.probability[positions].mean())
        for number, strength in enumerate(PRIOR_STRENGTHS):
            alpha, beta = centre * strength, (1 - centre) * strength
            likelihood[number] += betaln(alpha + hits, beta + count - hits) - betaln(alpha, beta)
    return PRIOR_STRENGTHS[int(np.argmax(likelihood))]


def choose_thresholds(claims: Claims, tag_count: int, precision: float, strength: float) -> FloatArray:
    """Choose per tag the lowest threshold from which its shrunk precision reaches the promise.

    Parameters
    ----------
    claims
        Of the choosing slice.
    precision
        What is promised.
    strength
        Of the prior, in claims.

    Returns
    -------
    Shape (tag_count,); NaN where no threshold does.
    """
    thresholds = np.full(tag_count, np.nan)
    observed = claims.take(claims.outcome != UNOBSERVED)
    for tag, positions in enumerate(observed.by_tag(tag_count)):
        if len(positions) == 0:
            continue
        best_first = positions[np.argsort(-observed.probability[positions], kind="stable")]
        probability = observed.probability[best_first]
        confirmed = observed.outcome[best_first] == CONFIRMED
        effect = design_effect(confirmed, observed.customer[best_first])
        count = np.arange(1, len(best_first) + 1)
        centre = np.cumsum(probability) / count
        shrunk = (np.cumsum(confirmed) / effect + strength * centre) / (count / effect + strength)
        whole_ties = np.r_[probability[1:] != probability[:-1], True]
        enough = np.flatnonzero((shrunk >= precision) & whole_ties)
        if len(enough):
            thresholds[tag] = probability[enough[-1]]
    return thresholds


def certify(
    claims: Claims,
    names: Sequence[str],
    thresholds: FloatArray,
    base_rates: FloatArray,
    contract: Contract,
    strength: float,
) -> list[Certificate]:
    """Judge every tag on a slice that nothing was chosen on.

    Parameters
    ----------
    claims
        Of the certifying slice.
    names, thresholds, base_rates
        Shape (tag_count,) each.
    contract
        What has to be proved: over all decision instants together, and within slack for each kind that has
        enough support.
    strength
        Of the prior, in claims.
    """
    given = claims.take(claims.probability >= np.nan_to_num(thresholds, nan=np.inf)[claims.tag])
    return [
        _certificate(
            given.take(positions), name, float(thresholds[tag]), float(base_rates[tag]), contract, strength
        )
        for tag, (name, positions) in enumerate(zip(names, given.by_tag(len(names)), strict=True))
    ]


def _certificate(
    given: Claims, name: str, threshold: float, base_rate: float, contract: Contract, strength: float
) -> Certificate:
    if np.isnan(threshold):
        return Certificate(name, threshold, False, f"no score reaches precision {contract.precision:.2f}")
    observed = given.take(given.outcome != UNOBSERVED)
    support = len(observed.tag)
    if support == 0:
        return Certificate(name, threshold, False, "no observed claim to judge by", len(given.tag))
    confirmed = observed.outcome == CONFIRMED
    precision = float(confirmed.mean())
    shrunk, lower = _shrunk_bound(observed, contract.confidence, strength)
    lift = precision / base_rate if base_rate > 0 else float("inf")
    reason = ""
    if support < contract.min_support:
        reason = f"support {support}; expected {contract.min_support}"
    elif shrunk < contract.precision:
        reason = f"precision {shrunk:.3f}; expected {contract.precision:.2f}"
    elif lower < contract.precision - contract.slack:
        reason = f"lower bound {lower:.3f}; expected {contract.precision - contract.slack:.2f}"
    elif lift < contract.lift:
        reason = f"lift {lift:.2f}; expected {contract.lift:.1f}"
    else:
        reason = _weakest_kind(observed, contract, strength)
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
    )


def _shrunk_bound(observed: Claims, confidence: float, strength: float) -> tuple[float, float]:
    from scipy.stats import beta as beta_distribution

    confirmed = observed.outcome == CONFIRMED
    effect = design_effect(confirmed, observed.customer)
    centre = float(observed.probability.mean())
    hits = confirmed.sum() / effect + strength * centre
    misses = (~confirmed).sum() / effect + strength * (1 - centre)
    return float(hits / (hits + misses)), float(beta_distribution.ppf(1 - confidence, hits, misses))


def _weakest_kind(observed: Claims, contract: Contract, strength: float) -> str:
    for kind, kind_name in enumerate(KIND_NAMES):
        part = observed.take(observed.kind == kind)
        if len(part.tag) < contract.min_support:
            continue
        shrunk, _ = _shrunk_bound(part, contract.confidence, strength)
        if shrunk < contract.precision - contract.slack:
            floor = contract.precision - contract.slack
            return f"precision {shrunk:.3f} at instants of kind {kind_name}; expected {floor:.2f}"
    return ""
