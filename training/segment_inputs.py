"""What segments are made of: recency, frequency, money and behaviour of a customer, on one scale.

Counts, money and times of customers have long tails, by which a distance between customers would mostly be
the distance of a few from everybody else. So each input is replaced by its rank among the customers it was
learnt from, the scoring of classic RFM without its five coarse steps, and then centred and divided by its
standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SECONDS_PER_DAY = 86_400.0

Kind = Literal["days", "count", "money", "share"]


@dataclass(frozen=True)
class SegmentInput:
    """One input of the clustering, and how it is told.

    Attributes
    ----------
    feature
        Name in the catalogue of customer features.
    kind
        ``days`` (the feature is in seconds), ``count``, ``money`` (minor units) or ``share``.
    words
        Of a segment, with ``{value}`` where the value belongs.
    more, less
        What customers are called who have much more or less of it than most.
    fill
        What stands for null: the ``largest`` value (never is as good as longest ago), the ``median``, or
        ``zero``.
    """

    feature: str
    kind: Kind
    words: str
    more: str
    less: str
    fill: Literal["largest", "median", "zero"] = "zero"

    def raw(self, values: npt.NDArray[Any]) -> FloatArray:
        """Return the feature in the unit it is told in; NaN for null."""
        found = np.asarray(values, np.float64)
        return found / SECONDS_PER_DAY if self.kind == "days" else found


INPUTS = (
    SegmentInput(
        "seconds_since_last_purchase", "days", "last order {value} ago", "long gone", "recent", "largest"
    ),
    SegmentInput("order_count_365d", "count", "{value} orders in 365 days", "frequent", "rare"),
    SegmentInput(
        "order_value_mean_minor", "money", "{value} an order", "large orders", "small orders", "median"
    ),
    SegmentInput(
        "seconds_since_last_activity", "days", "last seen {value} ago", "unseen", "active", "largest"
    ),
    SegmentInput(
        "discounted_line_share_90d",
        "share",
        "{value} of lines at a discount",
        "discounts",
        "full price",
        "median",
    ),
    SegmentInput("coupon_count_365d", "count", "{value} coupons in 365 days", "coupons", "no coupons"),
    SegmentInput("refund_rate_365d", "share", "{value} of spend refunded", "refunds", "no refunds"),
    SegmentInput("view_count_90d", "count", "{value} views in 90 days", "browsers", "no browsing"),
    SegmentInput("add_to_cart_count_90d", "count", "{value} in the cart in 90 days", "carts", "no carts"),
    SegmentInput("interaction_count_90d", "count", "{value} interactions in 90 days", "talkers", "silent"),
)
"""In the order in which one that repeats an earlier one is left out."""

BY_FEATURE = {one.feature: one for one in INPUTS}

SAME_AS_ANOTHER = 0.95
"""Two inputs whose ranks correlate this much say the same; the later one is left out."""

RANK_STEPS = 200
"""Steps of the learnt ranks: enough that none holds more than half a percent of the customers."""

LEAST_SPREAD = 0.05
"""Standard deviation of the ranks below which an input tells customers apart too seldom to be one."""


@dataclass(frozen=True)
class InputScale:
    """How one input is brought to the common scale; learnt once, kept in the bundle.

    Attributes
    ----------
    missing
        What stands for null, in the unit of `SegmentInput.raw`.
    values, ranks
        Shape (n_knots,): ascending values, and the rank of each, 0 to 1; equal values share their mean rank.
    mean, spread
        Of the ranks.
    """

    missing: float
    values: FloatArray
    ranks: FloatArray
    mean: float
    spread: float

    def scaled(self, raw: FloatArray) -> FloatArray:
        """Return values on the common scale, shape (n,), without NaN."""
        filled = np.where(np.isnan(raw), self.missing, raw)
        found: FloatArray = (np.interp(filled, self.values, self.ranks) - self.mean) / self.spread
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the scale fit for JSON; `from_json` takes it back."""
        return {
            "missing": self.missing,
            "values": self.values.tolist(),
            "ranks": self.ranks.tolist(),
            "mean": self.mean,
            "spread": self.spread,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> InputScale:
        """Read what `to_json` gave."""
        arrays = {name: np.array(content[name], np.float64) for name in ("values", "ranks")}
        return cls(**{**content, **arrays})


def learn_scale(one: SegmentInput, raw: FloatArray) -> InputScale | None:
    """Learn the scale of an input; None where it does not tell customers apart.

    Parameters
    ----------
    raw
        Shape (n,), NaN for null.

    >>> learn_scale(BY_FEATURE["order_count_365d"], np.array([3.0, 3.0, 3.0])) is None
    True
    """
    known = raw[~np.isnan(raw)]
    if len(known) == 0:
        return None
    missing = {"largest": float(known.max()), "median": float(np.median(known)), "zero": 0.0}[one.fill]
    filled = np.where(np.isnan(raw), missing, raw)
    steps = np.linspace(0.0, 1.0, RANK_STEPS + 1)
    values, which = np.unique(np.quantile(filled, steps, method="inverted_cdf"), return_inverse=True)
    ranks = np.bincount(which, steps) / np.bincount(which)
    found = np.interp(filled, values, ranks)
    spread = float(found.std())
    if spread < LEAST_SPREAD:
        return None
    return InputScale(missing, values, ranks, float(found.mean()), spread)


def learn_scales(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, InputScale]:
    """Learn the scales of the inputs that are worth having, by feature, in the order of `INPUTS`.

    Left out are inputs that are all null or nearly constant, and those that repeat an earlier one.

    Parameters
    ----------
    columns
        Features by name, shape (n,) each.
    """
    scales: dict[str, InputScale] = {}
    kept: list[FloatArray] = []
    for one in INPUTS:
        raw = one.raw(columns[one.feature])
        scale = learn_scale(one, raw)
        if scale is None:
            continue
        column = scale.scaled(raw)
        if any(abs(float(np.mean(column * other))) >= SAME_AS_ANOTHER for other in kept):
            continue
        scales[one.feature] = scale
        kept.append(column)
    return scales


def scaled_matrix(
    scales: Mapping[str, InputScale], columns: Mapping[str, npt.NDArray[Any]], names: Sequence[str]
) -> FloatArray:
    """Return customers on the common scale, shape (n, len(names))."""
    return np.column_stack([scales[name].scaled(BY_FEATURE[name].raw(columns[name])) for name in names])
