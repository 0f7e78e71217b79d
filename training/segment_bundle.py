"""Segments as a bundle: who is clustered, how segments are numbered and told, and their baseline."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from features import customer
from features.windows import LIFETIME, WindowRows, to_us
from training.artifact import Bundle
from training.datasets import ACTIVITY
from training.errors import BundleError, TrainingDataError
from training.model_inputs import dtypes_of, require_features
from training.segment_inputs import BY_FEATURE, INPUTS, scaled_matrix
from training.segment_labels import keep_numbers
from training.segment_words import ALWAYS_TOLD, SegmentFacts, sentence, short_name
from training.segments import (
    ROLE,
    TASK,
    Clustering,
    SegmentModel,
    explained_share,
    fit_clustering,
    nearest,
)

if TYPE_CHECKING:
    from training.workbench import Workbench

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]

SPEND = "spend_365d_minor"
"""By which segments are numbered at first: the one that spends most is the first."""

RFM = ("seconds_since_last_purchase", "order_count_365d", "order_value_mean_minor")
RFM_STEPS = 5
"""The baseline: classic scores of one to five each."""


def train_segments(
    bench: Workbench,
    previous: Bundle | None = None,
    *,
    currency: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Bundle:
    """Cluster everybody who did something by the workbench's instant.

    The features come straight from the kernel: all are of one instant, so there is nothing to join.

    Parameters
    ----------
    previous
        The clustering before, whose numbers are kept where a segment is still the same.
    currency
        ISO code that money is told in; None leaves it out.

    Raises
    ------
    TrainingDataError
        If there are too few customers, or too little that tells them apart.
    """
    columns = _columns(bench, _still_readable(previous))
    model = None if previous is None or _still_readable(previous) is None else SegmentModel(previous)
    found = fit_clustering(columns, seed=bench.settings.seed, say=say)
    return segment_bundle(
        columns,
        found,
        model,
        currency=currency,
        as_of=bench.as_of.isoformat(),
        fingerprint=bench.fingerprint,
    )


def segment_bundle(
    columns: Columns,
    found: Clustering,
    previous: SegmentModel | None,
    *,
    currency: str | None,
    as_of: str,
    fingerprint: Mapping[str, Any],
) -> Bundle:
    """Number the clusters, describe them, and measure them beside the plain RFM score.

    Parameters
    ----------
    columns
        The features of the customers that were clustered, shape (n,) each.
    previous
        The clustering before, if its features can still be computed; they are in ``columns`` then.
    """
    names = list(found.scales)
    points = scaled_matrix(found.scales, columns, names)
    clusters, centroids = _by_spend(nearest(points, found.centroids), found.centroids, columns)
    numbering = keep_numbers(
        clusters,
        len(centroids),
        None if previous is None else previous.assign(columns),
        0 if previous is None else previous.highest,
    )
    raw = {one.feature: one.raw(columns[one.feature]) for one in INPUTS}
    told = [*names, *(name for name in ALWAYS_TOLD if name not in names and not np.isnan(raw[name]).all())]
    of_all = _typical(raw, told, np.ones(len(points), bool))
    segments = []
    for cluster, centroid in enumerate(centroids):
        members = clusters == cluster
        facts = SegmentFacts(
            float(members.mean()),
            _typical(raw, told, members),
            of_all,
            dict(zip(names, centroid.tolist(), strict=True)),
        )
        segments.append(
            {
                "number": numbering.numbers[cluster],
                "name": short_name(facts),
                "description": sentence(facts, currency),
                "customers": int(members.sum()),
                "share": facts.share,
                "spend_365d_minor": int(columns[SPEND][members].sum()),
                "typical": dict(facts.typical),
                "centroid": centroid.tolist(),
            }
        )
    count = len(centroids)
    return Bundle(
        task=TASK,
        as_of=as_of,
        models={},
        features={ROLE: names},
        dtypes=dtypes_of(names),
        content={
            "segments": sorted(segments, key=lambda one: one["number"]),
            "highest_number": numbering.highest,
            "scales": {name: scale.to_json() for name, scale in found.scales.items()},
            "typical_of_all": of_all,
            "currency": currency,
            "left_out": [one.feature for one in INPUTS if one.feature not in names],
            "stability_by_count": {str(number): index for number, index in found.stability.items()},
            "silhouette_by_count": {str(number): index for number, index in found.silhouette.items()},
        },
        fingerprint=fingerprint,
        metrics={
            "segments": count,
            "customers": len(points),
            "stability": found.stability[count],
            "silhouette": found.silhouette[count],
            "explained_share": explained_share(points, clusters),
            "kept_number_share": numbering.kept_share,
            "baseline_rfm": {"explained_share": explained_share(points, rfm_groups(raw, count))},
        },
        versions={name: importlib.metadata.version(name) for name in ("numpy", "scikit-learn", "scipy")},
    )


def rfm_groups(raw: Mapping[str, FloatArray], count: int) -> IntArray:
    """Return the plain RFM grouping: the sum of three scores of one to five, cut into groups of equal size.

    Parameters
    ----------
    raw
        By feature the values of `RFM`, NaN for null.
    count
        Number of groups; ties may leave fewer.
    """
    total = np.zeros(len(next(iter(raw.values()))))
    for name in RFM:
        values = -raw[name] if BY_FEATURE[name].kind == "days" else raw[name]
        filled = np.where(np.isnan(values), -np.inf, values)
        edges = np.quantile(filled, np.arange(1, RFM_STEPS) / RFM_STEPS, method="higher")
        total += np.searchsorted(edges, filled, side="right")
    cuts = np.quantile(total, np.arange(1, count) / count)
    groups: IntArray = np.searchsorted(cuts, total, side="right").astype(np.int64)
    return groups


def _still_readable(previous: Bundle | None) -> Bundle | None:
    """Return the clustering before unless it reads a feature that is no more: then numbers start anew."""
    if previous is None:
        return None
    try:
        require_features(previous)
    except BundleError:
        return None
    return previous


def _columns(bench: Workbench, previous: Bundle | None) -> dict[str, npt.NDArray[Any]]:
    everyone = np.arange(len(bench.history.columns.customers))
    at = np.full(len(everyone), to_us(bench.as_of))
    active = WindowRows(bench.history.customers, everyone, at).sum(ACTIVITY, LIFETIME.length_us) > 0
    if not active.any():
        raise TrainingDataError(
            f"nobody did anything by {bench.as_of.isoformat()}", "import events other than contacts"
        )
    wanted = {one.feature for one in INPUTS} | {SPEND}
    if previous is not None:
        wanted |= set(previous.features[ROLE])
    rows = bench.history.customer_rows(everyone[active], at[active])
    return customer.CATALOGUE.compute(rows, sorted(wanted))


def _by_spend(clusters: IntArray, centroids: FloatArray, columns: Columns) -> tuple[IntArray, FloatArray]:
    """Put clusters in the order of their customers' mean spend, highest first; empty ones are dropped."""
    sizes = np.bincount(clusters, minlength=len(centroids))
    spend = np.bincount(clusters, columns[SPEND], len(centroids)) / np.maximum(sizes, 1)
    order = [one for one in np.argsort(-spend, kind="stable").tolist() if sizes[one]]
    place = np.zeros(len(centroids), np.int64)
    place[order] = np.arange(len(order))
    return place[clusters], centroids[order]


def _typical(
    raw: Mapping[str, FloatArray], names: list[str], members: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return what is typical of some customers: the median, or of a share, or where that is 0, the mean."""
    typical = {}
    for name in names:
        known = raw[name][members]
        known = known[~np.isnan(known)]
        if len(known) == 0:
            continue
        middle = float(np.median(known))
        typical[name] = float(known.mean()) if BY_FEATURE[name].kind == "share" or middle == 0 else middle
    return typical
