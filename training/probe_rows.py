"""Rows that lead a model of trees everywhere it can go: to find out whether two engines agree on it."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

NULL_SHARE = 0.1
UNSEEN = 40
"""Numbers beyond the largest category a model knows that are tried as well."""

IS_CATEGORICAL = 1
"""Bit of a split's ``decision_type`` in LightGBM's text."""

EVERYWHERE = np.array([np.nan, 0.0, -0.0, 1e-35, -1e-35, 1e-36, 1e300, -1e300])
"""Tried in every numeric column; what is nearer to 0 than 1e-35 LightGBM takes for 0."""

NO_CATEGORIES = np.array([np.nan, -1.0, -7.0, 0.5, 2.0**31 - 1])


def probe_rows(text: str, count: int, seed: int = 0) -> FloatArray:
    """Make rows of a model's own thresholds and categories, and of what lies just beside them.

    Every threshold of the model occurs at least once, exactly, one double and one single-precision step above
    and below it, if ``count`` admits so many; every category and some that no split knows; and NaN. All else
    is finite.

    Parameters
    ----------
    text
        The model as LightGBM's text.
    count
        Rows wanted.

    Returns
    -------
    Shape (count, n_features).
    """
    rng = np.random.default_rng(seed)
    width = int(_line(text, "max_feature_idx")) + 1
    feature = _numbers(text, "split_feature").astype(np.int64)
    threshold = _numbers(text, "threshold")
    is_category = _numbers(text, "decision_type").astype(np.int64) & IS_CATEGORICAL == IS_CATEGORICAL
    known = _category_count(text)
    rows = np.empty((count, width))
    for column in range(width):
        here = feature == column
        if (here & is_category).any():
            pool = np.r_[NO_CATEGORIES, np.arange(float(known + UNSEEN))]
        else:
            finite = here & np.isfinite(threshold)
            pool = np.r_[EVERYWHERE, _around(np.unique(threshold[finite]))]
        rows[:, column] = rng.permutation(np.resize(rng.permutation(pool), count))
    rows[rng.random(rows.shape) < NULL_SHARE] = np.nan
    return rows


def _around(values: FloatArray) -> FloatArray:
    single = values.astype(np.float32)
    steps = [np.nextafter(single, np.float32(end)).astype(np.float64) for end in (-np.inf, np.inf)]
    ends = [np.nextafter(values, end) for end in (-np.inf, np.inf)]
    return np.concatenate([values, *ends, single.astype(np.float64), *steps])


def _category_count(text: str) -> int:
    """Return how many categories the bit sets of categorical splits have room for."""
    words = re.findall(r"^cat_boundaries=(.+)$", text, re.MULTILINE)
    return max((32 * int(np.diff(_parsed(one)).max()) for one in words), default=0)


def _numbers(text: str, name: str) -> FloatArray:
    """Return the numbers in a line of every tree, one tree after the other."""
    return _parsed(" ".join(re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)))


def _parsed(numbers: str) -> FloatArray:
    return np.array(numbers.split(), np.float64)


def _line(text: str, name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"a model's text without the line {name}=")
    return found[1]
