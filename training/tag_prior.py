"""How far a tag may be judged by its family, and how far claims of one customer may be counted.

Every tag borrows: its counts are added to a Beta prior, as strong as tags agree with their calibrated
probabilities (empirical Bayes; Casella 1985). Claims of one customer about one tag go together, so counts are
divided by a design effect before they are believed (Kish 1965).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.outcomes import CONFIRMED, UNOBSERVED
from features.windows import IntArray
from training.calibration import LIKELY
from training.tag_claims import Claims

FloatArray = npt.NDArray[np.float64]

PRIOR_STRENGTHS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
"""Claims the prior may be worth: their mean, weighted by how likely the choosing claims are under each."""


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
    weight = np.exp(likelihood - likelihood.max())
    # The likeliest alone jumps from one end to the other where a slice tells little.
    return Prior(float(np.average(PRIOR_STRENGTHS, weights=weight)), correlation)
