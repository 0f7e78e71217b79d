"""The life-cycle stage of a customer: a plain rule on their features, no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

MEANINGS = {
    "new": "no order yet, first seen at most 90 days ago",
    "activated": "one order",
    "repeat": "two to four orders",
    "loyal": "five or more orders",
    "dormant": "silent for three times the usual gap between orders, at least 90 and at most 365 days",
}
STAGES = tuple(MEANINGS)

STAGE_FEATURES = (
    "order_count_lifetime",
    "order_gap_mean_days",
    "seconds_since_last_purchase",
    "seconds_since_first_event",
)
"""Customer features the rule reads."""

SECONDS_PER_DAY = 86_400.0
LOYAL_ORDERS = 5
BY_ORDERS = ("new", "activated", *["repeat"] * (LOYAL_ORDERS - 2), "loyal")
"""Stage of who is not dormant, by the number of orders; the last is that of more, too."""

DORMANT_DAYS_MIN, DORMANT_DAYS_MAX = 90.0, 365.0
DORMANT_GAPS = 3.0


def life_cycle_stages(features: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Return each customer's stage.

    - ``new``: no order yet, first seen at most 90 days ago;
    - ``activated``: one order;
    - ``repeat``: two to four orders;
    - ``loyal``: five or more;
    - ``dormant``: silent for three times their own mean gap between orders, but at least 90 and at most 365
      days (90 where one order or none gives no gap); it takes precedence over the others.

    Parameters
    ----------
    features
        At least `STAGE_FEATURES`, each of shape (n,).

    Returns
    -------
    n of `STAGES`.

    >>> life_cycle_stages({
    ...     "order_count_lifetime": np.array([0, 1, 7, 7]),
    ...     "order_gap_mean_days": np.array([np.nan, np.nan, 10.0, 60.0]),
    ...     "seconds_since_last_purchase": np.array([np.nan, 5.0, 100.0, 100.0]) * 86400,
    ...     "seconds_since_first_event": np.array([3.0, 5.0, 200.0, 500.0]) * 86400,
    ... })
    ['new', 'activated', 'dormant', 'loyal']
    """
    orders = features["order_count_lifetime"]
    silent = np.where(
        orders > 0, features["seconds_since_last_purchase"], features["seconds_since_first_event"]
    )
    gap = np.nan_to_num(features["order_gap_mean_days"])
    patience = np.clip(DORMANT_GAPS * gap, DORMANT_DAYS_MIN, DORMANT_DAYS_MAX)
    is_dormant = (silent > patience * SECONDS_PER_DAY).tolist()
    return [
        "dormant" if dormant else BY_ORDERS[min(int(count), LOYAL_ORDERS)]
        for dormant, count in zip(is_dormant, orders.tolist(), strict=True)
    ]
