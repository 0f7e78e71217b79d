"""Customers of four plain kinds, as feature columns, and who is of which kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.segment_inputs import INPUTS

KINDS = {"heavy": (2.0, 100.0, 2000.0), "big": (30.0, 8.0, 9000.0), "small": (12.0, 30.0, 500.0)}
KINDS |= {"gone": (300.0, 1.0, 1500.0)}
"""Days since the last order, orders in a year, minor units an order."""


def customers(each: int = 100, seed: int = 0) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(len(KINDS)), each)
    days, orders, value = (
        np.array([one[place] for one in KINDS.values()])[kind] * rng.lognormal(0.0, 0.1, len(kind))
        for place in range(3)
    )
    columns: dict[str, npt.NDArray[Any]] = {one.feature: np.zeros(len(kind)) for one in INPUTS}
    columns |= {
        "seconds_since_last_purchase": days * 86400,
        "seconds_since_last_activity": days * 86400,
        "order_count_365d": np.round(orders).astype(np.int64),
        "order_value_mean_minor": value,
        "spend_365d_minor": np.round(orders * value).astype(np.int64),
        "discounted_line_share_90d": np.full(len(kind), np.nan),
    }
    return columns, kind
