"""The search for the likeliest parameters."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.likelihood import minimised

NUMBERS = st.floats(-3, 3)


@given(st.tuples(NUMBERS, NUMBERS))
def test_the_least_of_a_bowl_is_found_wherever_it_lies(lowest: tuple[float, float]) -> None:
    def bowl(at: np.ndarray) -> float:
        return float((at[0] - lowest[0]) ** 2 + 3 * (at[1] - lowest[1]) ** 2)

    found = minimised(bowl, [[0.0, 0.0]], [(-5.0, 5.0)] * 2)
    np.testing.assert_allclose(found, lowest, atol=1e-3)


def test_of_several_starts_the_best_end_is_kept() -> None:
    def two_valleys(at: np.ndarray) -> float:
        return float((at[0] ** 2 - 4) ** 2 + at[0])

    found = minimised(two_valleys, [[3.0], [-3.0]], [(-4.0, 4.0)])
    assert -2.1 < found[0] < -1.9
