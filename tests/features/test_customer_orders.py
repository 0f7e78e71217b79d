from __future__ import annotations

import statistics
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.features.customer_looks import look, seen

UTC = ZoneInfo("UTC")
NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def orders(*ago, late=None, now=NOW):
    late = late or {}
    rows = [
        seen(NOW - at, "purchase", amount_minor=100 * (number + 1), late=late.get(number, 0 * DAY))
        for number, at in enumerate(ago)
    ]
    return look(rows, now)


def test_the_last_gap_is_the_one_before_the_latest_order_to_the_microsecond():
    found = orders(50 * DAY, 20 * DAY, 2 * DAY - MICROSECOND)
    assert found["order_gap_last_days"] == (18 * 86400 + 1e-6) / 86400
    assert found["order_gap_last_days"] != 18
    assert found["order_gap_mean_days"] == 24


def test_a_late_order_has_no_gap_and_leaves_the_last_one_as_it_was():
    # The order of 10 days ago becomes known an hour ago, behind that of 2 days ago.
    found = orders(30 * DAY, 2 * DAY, 10 * DAY, late={2: 10 * DAY - HOUR})
    assert found["order_gap_last_days"] == 28
    assert found["order_count_lifetime"] == 3
    assert found["order_gap_mean_days"] == 28


def test_an_order_before_is_one_that_was_known_before():
    # At the time of the latest order only that of 30 days ago was known.
    found = orders(30 * DAY, 10 * DAY, 2 * DAY, late={1: 9 * DAY})
    assert found["order_gap_last_days"] == 28
    in_time = orders(30 * DAY, 10 * DAY, 2 * DAY, late={1: 7 * DAY})
    assert in_time["order_gap_last_days"] == 8


def test_two_orders_of_one_time_have_no_gap_between_them():
    found = orders(30 * DAY, 2 * DAY, 2 * DAY, late={2: HOUR})
    assert found["order_count_lifetime"] == 3
    assert found["order_gap_last_days"] == 28


@pytest.mark.parametrize("ago", [(), (9 * DAY,)])
def test_fewer_than_two_orders_have_no_gap(ago):
    rows = [seen(NOW - at, "purchase") for at in ago]
    found = look([seen(NOW - DAY, "view"), *rows], NOW)
    for name in ("order_gap_last_days", "order_gap_mean_days", "order_gap_sd_days", "order_overdue_sd_ratio"):
        assert np.isnan(found[name]), name


def test_the_next_order_is_overdue_by_standard_deviations_of_the_gaps():
    gaps = [10, 20, 33]
    found = orders(68 * DAY, 58 * DAY, 38 * DAY, 5 * DAY)
    assert found["order_overdue_sd_ratio"] == pytest.approx((5 - 21) / statistics.stdev(gaps), rel=1e-12)
    assert found["order_gap_sd_days"] == pytest.approx(statistics.stdev(gaps), rel=1e-12)


def test_orders_like_clockwork_are_overdue_by_no_number_of_deviations():
    found = orders(21 * DAY, 14 * DAY, 7 * DAY)
    assert found["order_gap_sd_days"] == 0
    assert np.isnan(found["order_overdue_sd_ratio"])


def test_recency_frequency_and_value_are_those_of_buy_till_you_die_models():
    found = orders(100 * DAY, 40 * DAY, 10 * DAY)
    assert found["rfm_repeat_order_count"] == 2
    assert found["rfm_recency_days"] == 90
    assert found["rfm_age_days"] == 100
    assert found["rfm_monetary_minor"] == 200


def test_one_order_is_repeated_never_and_after_none_there_is_no_age():
    once = orders(8 * DAY)
    assert (once["rfm_repeat_order_count"], once["rfm_recency_days"], once["rfm_age_days"]) == (0, 0, 8)
    never = look([seen(NOW - DAY, "view")], NOW)
    assert never["rfm_repeat_order_count"] == 0
    for name in ("rfm_recency_days", "rfm_age_days", "rfm_monetary_minor"):
        assert np.isnan(never[name]), name


def test_a_first_purchase_that_becomes_known_late_makes_the_customer_older():
    found = orders(20 * DAY, 50 * DAY, late={1: 50 * DAY - HOUR})
    assert found["rfm_age_days"] == 50
    assert found["rfm_recency_days"] == 30
    assert orders(20 * DAY, 50 * DAY, late={1: 50 * DAY + HOUR})["rfm_age_days"] == 20
