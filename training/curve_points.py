"""Curves as short lists of points, for plots and reports: reliability and lift."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.metrics import share_ties

BINS = 10
"""Bins of a reliability diagram: those of `training.metrics.ece`."""

LIFT_SHARES = tuple(step / 20 for step in range(1, 21))
"""Shares of the ranking a lift curve has a point at."""


def reliability(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS
) -> list[dict[str, float]]:
    """Return what was said and what was seen in bins of equal count, ascending.

    Their mean gap, weighted by count, is `training.metrics.ece`.

    Parameters
    ----------
    labels, probabilities
        Shape (n,).

    Returns
    -------
    Per bin ``predicted`` (mean probability), ``observed`` (share of positives) and ``count``; none without
    rows.

    >>> reliability([0, 0, 1, 1], [0.1, 0.3, 0.8, 0.8], bins=2)
    [{'predicted': 0.2, 'observed': 0.0, 'count': 2}, {'predicted': 0.8, 'observed': 1.0, 'count': 2}]
    """
    positive, probability = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    if positive.size == 0:
        return []
    shared, ranked = share_ties(positive, probability)
    parts = min(bins, positive.size)
    return [
        {"predicted": float(said.mean()), "observed": float(seen.mean()), "count": len(said)}
        for said, seen in zip(np.array_split(ranked, parts), np.array_split(shared, parts), strict=True)
    ]


def lift_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> list[dict[str, float]]:
    """Return how many positives the top of a ranking holds, from its top twentieth to all of it.

    Parameters
    ----------
    labels, scores
        Shape (n,).

    Returns
    -------
    Per point ``share`` of the rows, ``gain`` (the part of all positives among them) and ``lift`` (their share
    of positives over everybody's); none if no row is positive.

    >>> lift_curve([1, 0, 0, 0], [4, 3, 2, 1])[9]
    {'share': 0.5, 'lift': 2.0, 'gain': 1.0}
    """
    positive, score = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if not positive.any():
        return []
    held = np.cumsum(share_ties(positive, -score)[0])
    counts = [max(1, round(positive.size * share)) for share in LIFT_SHARES]
    gains = [float(held[count - 1] / held[-1]) for count in counts]
    return [
        {"share": share, "lift": gain * positive.size / count, "gain": gain}
        for share, count, gain in zip(LIFT_SHARES, counts, gains, strict=True)
    ]
