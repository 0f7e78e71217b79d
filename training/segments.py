"""Customer segments: k-means on the ranks of recency, frequency, money and behaviour as of an instant.

How many there are is decided by whether they would come out again [1]: for each number from four to eight,
pairs of bootstrap samples are clustered, everybody is assigned by both, and the two are compared by the
adjusted Rand index [2]. Taken is the number with the highest mean index. Fewer than four are nearly always
more stable and tell a shop too little; a silhouette [3], measured beside it, nearly always asks for two.

[1] Fang & Wang 2012, Selection of the number of clusters via the bootstrap method, CSDA 56(3):468-477.
[2] Hubert & Arabie 1985, Comparing partitions, Journal of Classification 2:193-218.
[3] Rousseeuw 1987, Silhouettes, Journal of Computational and Applied Mathematics 20:53-65.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.artifact import Bundle
from training.errors import TrainingDataError
from training.segment_inputs import InputScale, learn_scales, scaled_matrix

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

TASK = "segments"
ROLE = "centroids"
"""Under which the bundle lists the features that the centroids are made of."""

COUNTS = range(4, 9)
"""Numbers of segments tried: more than eight nobody remembers."""

PAIRS = 20
"""Pairs of bootstrap samples that a number is judged by: its mean index then has a standard error of about
0.03."""

STARTS = 4
FINAL_STARTS = 20
SAMPLE_MAX = 2_500
"""Customers that stability and silhouette are judged on, at most; centroids are fitted on all."""
FIT_MAX = 100_000
LEAST_CUSTOMERS = 100
LEAST_INPUTS = 2


@dataclass(frozen=True)
class Clustering:
    """A clustering of customers, and what speaks for its number.

    Attributes
    ----------
    scales
        By feature how an input is scaled, in the order of the centroids' columns.
    centroids
        Shape (n_clusters, n_inputs), on the common scale.
    stability, silhouette
        By number of clusters tried: mean adjusted Rand index between bootstrap samples, and mean silhouette.
    """

    scales: Mapping[str, InputScale]
    centroids: FloatArray
    stability: Mapping[int, float]
    silhouette: Mapping[int, float]


class SegmentModel:
    """Puts customers into segments: the nearest centroid, in plain NumPy. Safe to share between threads.

    Parameters
    ----------
    bundle
        Of task `TASK`.

    Attributes
    ----------
    numbers
        Shape (n_segments,): the number of each centroid.
    descriptions
        By number the sentence about it.
    """

    def __init__(self, bundle: Bundle) -> None:
        content = bundle.content
        self.names: Sequence[str] = list(bundle.features[ROLE])
        self.numbers: IntArray = np.array([one["number"] for one in content["segments"]], np.int64)
        self.descriptions: Mapping[int, str] = {
            int(one["number"]): str(one["description"]) for one in content["segments"]
        }
        self.highest = int(content["highest_number"])
        self._scales = {name: InputScale.from_json(content["scales"][name]) for name in self.names}
        self._centroids = np.array([one["centroid"] for one in content["segments"]], np.float64)

    def assign(self, columns: Mapping[str, npt.NDArray[Any]]) -> IntArray:
        """Return each customer's segment number.

        Parameters
        ----------
        columns
            At least the features `names`, shape (n,) each, NaN for null.

        Returns
        -------
        Shape (n,), int64.
        """
        return self.numbers[nearest(scaled_matrix(self._scales, columns, self.names), self._centroids)]


def nearest(points: FloatArray, centroids: FloatArray) -> IntArray:
    """Return the nearest centroid of each point, the first of several equally near.

    >>> nearest(np.array([[0.1], [0.9], [0.5]]), np.array([[0.0], [1.0]]))
    array([0, 1, 0])
    """
    # |x - c|² = |x|² - 2 x·c + |c|², of which the first is the same for every centroid
    distance = (centroids**2).sum(axis=1) - 2.0 * points @ centroids.T
    found: IntArray = distance.argmin(axis=1).astype(np.int64)
    return found


def fit_clustering(
    columns: Mapping[str, npt.NDArray[Any]],
    *,
    seed: int,
    counts: Sequence[int] = COUNTS,
    say: Callable[[str], None] | None = None,
) -> Clustering:
    """Choose the number of clusters and fit them.

    Parameters
    ----------
    columns
        Features by name, every one of `training.segment_inputs.INPUTS`, shape (n_customers,) each.
    counts
        Numbers of clusters to try.
    say
        Told of the progress.

    Raises
    ------
    TrainingDataError
        If there are too few customers, or fewer than two inputs tell them apart.
    """
    from threadpoolctl import threadpool_limits

    size = len(next(iter(columns.values()))) if columns else 0
    if size < LEAST_CUSTOMERS:
        raise TrainingDataError(
            f"segments need {LEAST_CUSTOMERS} customers who did something; there are {size}",
            "import more events",
        )
    scales = learn_scales(columns)
    if len(scales) < LEAST_INPUTS:
        found = ", ".join(scales) or "none"
        raise TrainingDataError(
            f"segments need {LEAST_INPUTS} features that tell customers apart; there is {found}",
            "import purchases with amounts over more than one day",
        )
    points = scaled_matrix(scales, columns, list(scales))
    rng = np.random.default_rng(seed)
    sample = points if size <= SAMPLE_MAX else points[rng.choice(size, SAMPLE_MAX, replace=False)]
    distinct = len(np.unique(sample, axis=0))
    possible = [count for count in counts if count < distinct] or [min(distinct, *counts)]
    stability, silhouette = {}, {}
    fitted = points if size <= FIT_MAX else points[rng.choice(size, FIT_MAX, replace=False)]
    # Sums by several threads differ in the last digit from run to run, and so would the bundle's hash.
    with threadpool_limits(limits=1):
        for count in possible:
            if say is not None:
                say(f"trying {count} segments")
            stability[count] = _stability(sample, count, rng)
            silhouette[count] = _silhouette(sample, count, seed)
        centroids = _k_means(fitted, chosen_count(stability), FINAL_STARTS, seed)
    return Clustering(scales, centroids, stability, silhouette)


def chosen_count(stability: Mapping[int, float]) -> int:
    """Return the most stable number of clusters, the largest of several.

    >>> chosen_count({4: 0.60, 5: 0.80, 6: 0.80, 7: 0.5})
    6
    """
    return max(stability, key=lambda count: (stability[count], count))


def explained_share(points: FloatArray, clusters: IntArray) -> float:
    """Return the share of the variance that lies between clusters: 1 - within ÷ total sum of squares.

    >>> round(explained_share(np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([0, 0, 1, 1])), 3)
    0.99
    """
    _, which = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(which)
    means = np.stack([np.bincount(which, column) / sizes for column in points.T], axis=1)
    within = float(((points - means[which]) ** 2).sum())
    total = float(((points - points.mean(axis=0)) ** 2).sum())
    return 1.0 - within / total if total > 0 else 0.0


def _k_means(points: FloatArray, count: int, starts: int, seed: int) -> FloatArray:
    from sklearn.cluster import KMeans

    model = KMeans(count, n_init=starts, random_state=seed).fit(points)
    centroids: FloatArray = np.asarray(model.cluster_centers_, np.float64)
    return centroids


def _stability(points: FloatArray, count: int, rng: np.random.Generator) -> float:
    from sklearn.metrics import adjusted_rand_score

    found = []
    for _ in range(PAIRS):
        pair = []
        for _ in range(2):
            drawn = points[rng.integers(0, len(points), len(points))]
            if len(np.unique(drawn, axis=0)) < count:
                return 0.0
            centroids = _k_means(drawn, count, STARTS, int(rng.integers(2**31)))
            pair.append(nearest(points, centroids))
        found.append(adjusted_rand_score(*pair))
    return float(np.mean(found))


def _silhouette(points: FloatArray, count: int, seed: int) -> float:
    from sklearn.metrics import silhouette_score

    clusters = nearest(points, _k_means(points, count, STARTS, seed))
    if len(np.unique(clusters)) < 2:
        return float("nan")
    return float(silhouette_score(points, clusters))
