"""Who is of high value: the top tenth by expected net spend, its cut-off learnt in training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TAG_ID = "high_value"
TOP_SHARE = 0.1

CUT_OFF = "high_value_minor"
"""Under which the bundle of customer lifetime value keeps the cut-off."""


def high_value_cut_off(expected_minor: npt.NDArray[np.float64]) -> int | None:
    """Return the expected spend from which on a customer is in the top tenth of those trained on.

    Parameters
    ----------
    expected_minor
        Shape (n,): expected net spend of everybody who ever bought, minor units.

    Returns
    -------
    Minor units; None of nobody, or where a tenth is expected to spend nothing.

    >>> high_value_cut_off(np.arange(1.0, 21.0))
    19
    """
    if len(expected_minor) == 0:
        return None
    place = len(expected_minor) - max(1, round(TOP_SHARE * len(expected_minor)))
    cut_off = round(float(np.partition(expected_minor, place)[place]))
    return cut_off if cut_off > 0 else None
