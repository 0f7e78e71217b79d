"""Whether a model's inputs still look as they did: the population stability index of every feature.

``PSI = sum over bins of (c - r) ln(c / r)`` with ``r`` and ``c`` the shares of reference and current rows in
a bin. It is the symmetrised Kullback-Leibler divergence of the two histograms: 0 when they agree.

The usual reading, a convention of credit scoring and no theorem [1]: below 0.1 nothing to see, 0.1 to 0.25
look closer, above 0.25 the population has changed. Equal populations still give about
``(bins - 1)(1/n_reference + 1/n_current)`` by chance [2]; where that alone could reach 0.1, no verdict is
given.

[1] Siddiqi, N. (2006). Credit Risk Scorecards. Wiley.
[2] Yurdakul, B. (2018). Statistical Properties of Population Stability Index. Western Michigan University.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from configs.errors import did_you_mean
from monitoring.errors import MonitoringError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Verdict = Literal["stable", "look closer", "drifted", "too few rows"]

LOOK_CLOSER_PSI = 0.10
DRIFTED_PSI = 0.25

BINS = 10
"""Quantile bins of the reference, besides the one for missing values."""

LEAST_SHARE = 1e-4
"""Stands for the share of an empty bin, whose logarithm does not exist."""


@dataclass(frozen=True)
class DriftInputs:
    """Rows of a model's inputs, then and now.

    Attributes
    ----------
    reference, current
        One row per scored case; numeric or boolean columns, null or NaN is missing.
    features
        Columns of both to compare.
    reference_described, current_described
        What the rows are, in words.
    """

    reference: pl.DataFrame
    current: pl.DataFrame
    features: tuple[str, ...]
    reference_described: str
    current_described: str

    @property
    def is_empty(self) -> bool:
        """Whether a side has no rows, so that nothing can be said."""
        return self.reference.is_empty() or self.current.is_empty()


@dataclass(frozen=True)
class FeatureDrift:
    """One feature, then and now.

    Attributes
    ----------
    psi
        Population stability index; NaN if either side has no rows.
    chance_psi
        What equal populations of these sizes would give on average.
    missing_reference, missing_current
        Shares of rows without a value, 0 to 1.
    median_reference, median_current
        Of the rows with a value; NaN if there is none.
    """

    feature: str
    psi: float
    chance_psi: float
    verdict: Verdict
    missing_reference: float
    missing_current: float
    median_reference: float
    median_current: float


def input_drift(inputs: DriftInputs) -> tuple[FeatureDrift, ...]:
    """Compare every feature over all rows, most drifted first.

    Raises
    ------
    MonitoringError
        If a feature is not a numeric column of both frames.
    """
    found = []
    for feature in inputs.features:
        then = _values(inputs.reference, feature, "reference")
        now = _values(inputs.current, feature, "current")
        psi, bins = population_stability(then, now)
        chance = (bins - 1) * (1 / then.size + 1 / now.size) if then.size and now.size else np.inf
        found.append(
            FeatureDrift(
                feature=feature,
                psi=psi,
                chance_psi=chance,
                verdict=_verdict(psi, chance),
                missing_reference=_missing_share(then),
                missing_current=_missing_share(now),
                median_reference=_median(then),
                median_current=_median(now),
            )
        )
    return tuple(sorted(found, key=lambda row: (np.isnan(row.psi), -row.psi, row.feature)))


def population_stability(reference: FloatArray, current: FloatArray) -> tuple[float, int]:
    """Return the PSI of one feature and the number of bins it was summed over.

    Bins are the reference's distinct values where there are at most `BINS` of them (so a constant column has
    one), its deciles otherwise. Values between or beyond distinct values share one further bin; so do missing
    values. A bin empty on both sides adds nothing.

    Parameters
    ----------
    reference, current
        Shapes (n,) and (m,); NaN is missing.

    Returns
    -------
    (NaN, 0) if either side has no rows.

    >>> population_stability(np.array([1.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    (0.0, 1)
    >>> psi, bins = population_stability(np.array([0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0]))
    >>> round(psi, 4), bins
    (0.2747, 2)
    """
    if not reference.size or not current.size:
        return float("nan"), 0
    known = reference[~np.isnan(reference)]
    distinct = np.unique(known)
    if distinct.size <= BINS:
        then, now = _codes_by_value(reference, distinct), _codes_by_value(current, distinct)
    else:
        inner = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(known, inner, method="inverted_cdf"))
        then, now = _codes_by_edge(reference, edges), _codes_by_edge(current, edges)
    size = int(max(then.max(), now.max())) + 1
    counts_then, counts_now = np.bincount(then, minlength=size), np.bincount(now, minlength=size)
    used = (counts_then + counts_now) > 0
    r = np.maximum(counts_then[used] / reference.size, LEAST_SHARE)
    c = np.maximum(counts_now[used] / current.size, LEAST_SHARE)
    return float(np.sum((c - r) * np.log(c / r))), int(used.sum())


def _codes_by_value(values: FloatArray, distinct: FloatArray) -> IntArray:
    """Return each value's place in ``distinct``; then a code for strangers, then one for missing."""
    place = np.searchsorted(distinct, values)
    if distinct.size:
        is_known = distinct[np.minimum(place, distinct.size - 1)] == values
    else:
        is_known = np.zeros(values.shape, dtype=bool)
    codes = np.where(is_known, place, distinct.size)
    return np.where(np.isnan(values), distinct.size + 1, codes).astype(np.int64)


def _codes_by_edge(values: FloatArray, edges: FloatArray) -> IntArray:
    """Return each value's quantile bin, right edge included; missing values get the last code."""
    codes = np.searchsorted(edges, values, side="left")
    return np.where(np.isnan(values), edges.size + 1, codes).astype(np.int64)


def _verdict(psi: float, chance_psi: float) -> Verdict:
    if np.isnan(psi) or chance_psi >= LOOK_CLOSER_PSI:
        return "too few rows"
    if psi < LOOK_CLOSER_PSI:
        return "stable"
    return "look closer" if psi < DRIFTED_PSI else "drifted"


def _values(frame: pl.DataFrame, feature: str, which: str) -> FloatArray:
    if feature not in frame.columns:
        raise MonitoringError(
            f"{which} rows have no column {feature!r}{did_you_mean(feature, frame.columns)}",
            "rebuild the features with `tagtide features`",
        )
    kind = frame.schema[feature]
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
        raise MonitoringError(f"feature {feature!r} of the {which} rows is {kind}; expected a number")
    return frame[feature].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _missing_share(values: FloatArray) -> float:
    return float(np.isnan(values).mean()) if values.size else float("nan")


def _median(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")
