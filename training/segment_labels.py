"""Stable numbers: a segment keeps its number from one clustering to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

SAME_SEGMENT = 0.5
"""Customers in both over customers in either, from which on two segments are the same one. Below a half a
cluster counts as dissolved [1].

[1] Hennig 2007, Cluster-wise assessment of cluster stability, CSDA 52(1):258-271.
"""


@dataclass(frozen=True)
class Numbering:
    """Which number each new cluster bears.

    Attributes
    ----------
    numbers
        Shape (n_clusters,): the number of cluster 0, 1, …
    highest
        The highest number ever given; one that is free again is not given a second time.
    kept_share
        Share of the customers whose cluster kept the number of an earlier one.
    """

    numbers: tuple[int, ...]
    highest: int
    kept_share: float


def keep_numbers(
    clusters: IntArray, cluster_count: int, previous: IntArray | None, highest: int = 0
) -> Numbering:
    """Number clusters after those of the clustering before, matched by the customers they share.

    The pairs are those with the greatest total overlap (Jaccard index), found by the Hungarian algorithm
    [Kuhn 1955]; a cluster whose partner shares less than `SAME_SEGMENT` with it gets a new number.

    Parameters
    ----------
    clusters
        Shape (n,): each customer's new cluster, 0 to ``cluster_count - 1``.
    previous
        Shape (n,): the number of the segment that the clustering before puts the same customer in today;
        None if there was none. Then clusters are numbered from 1 in their order.
    highest
        The highest number given before.

    >>> keep_numbers(np.array([0, 0, 1, 1, 2]), 3, np.array([4, 4, 2, 2, 2]), 4).numbers
    (4, 2, 5)
    """
    if previous is None:
        return Numbering(tuple(range(1, cluster_count + 1)), max(cluster_count, highest), 1.0)
    from scipy.optimize import linear_sum_assignment

    known, old = np.unique(previous, return_inverse=True)
    shared = np.zeros((cluster_count, len(known)), np.int64)
    np.add.at(shared, (clusters, old), 1)
    either = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None, :] - shared
    overlap = shared / np.maximum(either, 1)
    numbers = np.zeros(cluster_count, np.int64)
    for new, earlier in zip(*linear_sum_assignment(-overlap), strict=True):
        if overlap[new, earlier] >= SAME_SEGMENT:
            numbers[new] = known[earlier]
    kept = numbers > 0
    highest = max(highest, int(known.max(initial=0)))
    numbers[~kept] = highest + 1 + np.arange(int((~kept).sum()))
    share = float(kept[clusters].mean()) if len(clusters) else 1.0
    return Numbering(tuple(numbers.tolist()), max(highest, int(numbers.max(initial=0))), share)
