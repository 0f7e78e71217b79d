from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from training.comparison_rows import AFTER_BOTH, CERTIFYING, LEAST_DAYS, MOST_DAYS, comparison_days
from training.errors import TrainingDataError
from training.splits import Slice, tag_slices

ZONE = ZoneInfo("Europe/London")
TRAINED = datetime(2024, 5, 30, 10, 0, tzinfo=UTC)
FIRST_EVENT = datetime(2024, 1, 1, tzinfo=UTC)
CERTIFY = tag_slices(TRAINED, FIRST_EVENT, ZONE).certify


def days(until: datetime, horizon_hours: int = 72):
    return comparison_days(TRAINED, until, horizon_hours, CERTIFY, ZONE)


def test_days_after_both_models_are_taken_where_there_are_enough():
    until = TRAINED + timedelta(days=3 + LEAST_DAYS)
    found = days(until)
    assert found.chosen == AFTER_BOTH
    assert len(found.days) == LEAST_DAYS
    assert all(TRAINED <= day <= until - timedelta(hours=72) for day in found.days)
    assert {day.astimezone(ZONE).hour for day in found.days} == {0}


def test_with_fewer_the_later_models_certifying_slice_is_taken_and_that_is_said():
    found = days(TRAINED + timedelta(days=2 + LEAST_DAYS))
    assert found.chosen == CERTIFYING
    assert set(found.days) <= set(CERTIFY.days())
    assert found.days[-1] == CERTIFY.last


def test_every_outcome_of_a_compared_day_is_closed_and_later_than_what_was_calibrated_on():
    for extra in range(40):
        until = TRAINED + timedelta(days=extra)
        found = days(until)
        assert found.days[-1] + timedelta(hours=72) <= until
        calibrated = tag_slices(TRAINED, FIRST_EVENT, ZONE).calibrate
        assert found.days[0] > calibrated.last + timedelta(hours=72)
        assert len(found.days) <= MOST_DAYS


def test_without_a_closed_outcome_there_is_nothing_to_compare_on():
    early = Slice(TRAINED - timedelta(days=2), TRAINED)
    with pytest.raises(TrainingDataError, match="no outcome window of 720 h closes"):
        comparison_days(TRAINED, TRAINED, 720, early, ZONE)
