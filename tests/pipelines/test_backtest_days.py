from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from configs.settings import load_settings
from features.mapping import Census, ClvPlan
from pipelines.backtest_days import ClvRun, Span, clv_runs, data_span, days_to_test
from pipelines.errors import CommandError
from tests.features.made_events import MONDAY, events

YEAR = Span(datetime(2024, 1, 1, 9, tzinfo=UTC), datetime(2024, 12, 30, 20, tzinfo=UTC))


@pytest.fixture
def settings(home):
    return load_settings(home.root, {}).settings


def test_the_span_reaches_over_what_customers_did():
    span = data_span(events(24 * 20))
    assert (span.first, span.last) == (MONDAY, MONDAY + timedelta(hours=24 * 20 - 1))
    with pytest.raises(CommandError, match="contacts only"):
        data_span(events(5, event_type="contact"))


def test_the_days_asked_for_end_with_the_last_closed_window(settings):
    last = MONDAY + timedelta(hours=24 * 20 - 1)
    span = Span(MONDAY, last)
    found = days_to_test(span, settings, None, MONDAY + timedelta(days=3), 72)
    assert found.decided_by == "option"
    assert found.days == [MONDAY + timedelta(days=day) for day in (3, 5, 7, 9, 11, 13, 15)]
    assert found.days[-1] + timedelta(hours=72) <= last
    with pytest.raises(CommandError, match="no outcome window of 72 h closes before the data ends"):
        days_to_test(span, settings, None, last, 72)


def test_days_of_the_mapping_are_left_out_where_the_data_ends_before_their_window(settings):
    census = Census(first=date(2024, 12, 20), last=date(2024, 12, 30), every_days=2)
    found = days_to_test(YEAR, settings, census, None, 72)
    assert (found.decided_by, [day.day for day in found.days]) == ("mapping", [20, 22, 24, 26])
    with pytest.raises(CommandError, match="evaluation of the mapping 2024-12-20") as refused:
        days_to_test(YEAR, settings, census, None, 24 * 30)
    assert refused.value.next_step == "choose an --as-of at or before 2024-11-30T20:00+00:00"


def test_an_option_goes_before_the_mapping_and_the_mapping_before_the_span(settings):
    census = Census(first=date(2024, 10, 1), last=date(2024, 10, 3))
    at = datetime(2024, 11, 1, tzinfo=UTC)
    assert days_to_test(YEAR, settings, census, at, 72).decided_by == "option"
    assert days_to_test(YEAR, settings, census, None, 72).decided_by == "mapping"
    assert days_to_test(YEAR, settings, None, None, 72).decided_by == "span"


def test_value_is_measured_at_the_last_midnight_whose_horizon_is_closed(settings):
    runs, decided_by = clv_runs(YEAR, settings, (), None, None)
    assert (runs, decided_by) == ([ClvRun(datetime(2024, 10, 1, tzinfo=UTC), 90)], "span")
    (thirty,), decided_by = clv_runs(YEAR, settings, (), None, 30)
    assert (thirty.as_of, decided_by) == (datetime(2024, 11, 30, tzinfo=UTC), "option")
    shanghai = settings.model_copy(update={"time_zone": "Asia/Shanghai"})
    (there,), _ = clv_runs(YEAR, shanghai, (), None, 30)
    assert there.as_of == datetime(2024, 11, 30, 16, tzinfo=UTC)


def test_value_is_measured_as_the_mapping_says_unless_an_option_does(settings):
    plan = (
        ClvPlan(as_of=date(2024, 6, 9), horizon_days=183),
        ClvPlan(as_of=date(2024, 9, 9), horizon_days=90),
    )
    runs, decided_by = clv_runs(YEAR, settings, plan, None, None)
    assert ([run.name for run in runs], decided_by) == (["2024-06-09/183d", "2024-09-09/90d"], "mapping")
    at = datetime(2024, 5, 1, tzinfo=UTC)
    assert clv_runs(YEAR, settings, plan, at, None) == ([ClvRun(at, 90)], "option")


def test_a_span_too_short_for_value_is_told_what_is_needed(settings):
    month = Span(MONDAY, MONDAY + timedelta(days=31))
    with pytest.raises(CommandError, match=r"needs 60 days .* and 90 after it; the data has 31\.0"):
        clv_runs(month, settings, (), None, None)
    exactly = Span(MONDAY, MONDAY + timedelta(days=150))
    (run,), _ = clv_runs(exactly, settings, (), None, None)
    assert run.as_of == MONDAY + timedelta(days=60)


def test_an_instant_before_the_data_is_refused_with_its_span(settings):
    with pytest.raises(CommandError, match=r"nothing had happened by 2023-.*the data goes from 2024-01-01"):
        days_to_test(YEAR, settings, None, datetime(2023, 5, 1, tzinfo=UTC), 72)
