"""Cut-offs of the CLV model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.clv_cutoffs import MIN_HISTORY_DAYS, closed_cutoffs, trainable_horizon
from training.errors import TrainingDataError
from training.spend_history import DAY_US


@given(st.integers(0, 900), st.integers(1, 400))
def test_every_window_is_closed_and_every_cut_off_has_a_history(span: int, horizon: int) -> None:
    cutoffs = closed_cutoffs(0, span * DAY_US, horizon)
    assert cutoffs == sorted(cutoffs, reverse=True)
    assert len(set(cutoffs)) == len(cutoffs) <= 6
    for cutoff in cutoffs:
        assert cutoff + horizon * DAY_US <= span * DAY_US
        assert cutoff >= max(MIN_HISTORY_DAYS, horizon // 2) * DAY_US


@given(st.integers(60, 900), st.sampled_from([90, 183, 365]))
def test_the_trainable_horizon_is_the_longest_that_has_a_cut_off(span: int, horizon: int) -> None:
    days = trainable_horizon(0, span * DAY_US, horizon)
    assert closed_cutoffs(0, span * DAY_US, days)
    assert days == horizon or not closed_cutoffs(0, span * DAY_US, days + 1)


def test_less_than_two_months_of_history_is_too_little() -> None:
    with pytest.raises(
        TrainingDataError, match="at least 60 days of history before the as-of instant, got 59"
    ):
        trainable_horizon(0, 59 * DAY_US, 90)
