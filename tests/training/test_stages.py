"""Life-cycle stages."""

from __future__ import annotations

import numpy as np
import pytest

from features.customer import catalogue
from training.stages import STAGE_FEATURES, STAGES, life_cycle_stages

NAN = float("nan")


def stage(orders: int, gap_days: float, last_days: float, first_days: float) -> str:
    return life_cycle_stages(
        {
            "order_count_lifetime": np.array([orders]),
            "order_gap_mean_days": np.array([gap_days]),
            "seconds_since_last_purchase": np.array([last_days * 86400]),
            "seconds_since_first_event": np.array([first_days * 86400]),
        }
    )[0]


def test_every_input_is_a_feature_of_the_catalogue() -> None:
    assert set(STAGE_FEATURES) <= {definition.name for definition in catalogue()}


@pytest.mark.parametrize(
    ("orders", "gap", "last", "first", "expected"),
    [
        (0, NAN, NAN, 0.0, "new"),
        (0, NAN, NAN, 91.0, "dormant"),
        (0, NAN, NAN, NAN, "new"),
        (1, NAN, 90.0, 90.0, "activated"),
        (1, NAN, 90.1, 90.1, "dormant"),
        (2, 20.0, 10.0, 30.0, "repeat"),
        (4, 20.0, 10.0, 70.0, "repeat"),
        (5, 20.0, 10.0, 90.0, "loyal"),
        (5, 5.0, 89.0, 300.0, "loyal"),
        (5, 5.0, 91.0, 300.0, "dormant"),
        (5, 50.0, 149.0, 500.0, "loyal"),
        (5, 50.0, 151.0, 500.0, "dormant"),
        (3, 300.0, 364.0, 900.0, "repeat"),
        (3, 300.0, 366.0, 900.0, "dormant"),
    ],
)
def test_the_stage_follows_the_rule_to_the_day(
    orders: int, gap: float, last: float, first: float, expected: str
) -> None:
    found = stage(orders, gap, last, first)
    assert found == expected
    assert found in STAGES
    assert type(found) is str
