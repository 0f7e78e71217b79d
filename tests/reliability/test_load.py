"""Overload, the end of a service, and long service."""

import time

import pytest

from tests.reliability.load import SCORING_SECONDS, overload, soak, stop_under_way
from tests.reliability.service import services


def holds(found, seconds):
    for kind in ("writes", "reads"):
        of_kind = found[kind]
        assert of_kind["replies"].keys() <= {"200", "202", "429"}, found
        assert of_kind["replies"]["429"] > 0, found
        assert of_kind["refused_without_retry_after"] == 0, found
        assert of_kind["accepted_p99_seconds"] < seconds, found
        assert of_kind["normal_again_seconds"] < seconds, found


def test_more_than_it_can_do_is_refused_with_retry_after_and_it_is_back_to_normal_at_once(home):
    with services(home, scoring_seconds=SCORING_SECONDS) as (service,):
        holds(overload(service, 1.5), 60)


@pytest.mark.slow
def test_so_it_is_after_half_a_minute_of_four_times_its_capacity(home):
    with services(home, scoring_seconds=SCORING_SECONDS) as (service,):
        holds(overload(service, 30), 20)


def test_asked_to_end_it_answers_what_is_under_way_and_leaves_no_process(home):
    with services(home, scoring_seconds=1.0) as (service,):
        found = stop_under_way(service)
    assert found["under_way"] == found["requests"]
    assert found["statuses"] == {"202": found["requests"]}
    assert (found["exit_code"], found["orphans"]) == (0, 0)
    assert found["seconds"] < 10


def test_ten_seconds_of_service_pass_without_an_error(service):
    began = time.monotonic()
    found = soak(service, 10, 5)
    assert found["errors"] == {}
    assert found["requests"] > 30
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_ten_minutes_of_service_pass_without_an_error_and_need_no_more_memory(home):
    with services(home) as (service,):
        found = soak(service, 600, 90)
    assert found["errors"] == {}
    assert found["rss_growth_share"] < 0.05, found
