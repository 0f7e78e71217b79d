from __future__ import annotations

import pytest

from training.segment_inputs import INPUTS
from training.segment_words import NAME_CHARACTERS, SegmentFacts, sentence, short_name, shown

ALL = {"order_count_365d": 20.0, "order_value_mean_minor": 2500.0, "seconds_since_last_purchase": 12.0}


def facts(centre, **typical):
    return SegmentFacts(0.25, ALL | typical, ALL | dict.fromkeys(typical, 1.0), centre)


def test_a_sentence_has_units_money_and_days():
    told = sentence(facts({}), "GBP")
    assert told == "25 % of customers: 20 orders in 365 days, 25.00 GBP an order, last order 12 days ago"


def test_what_sets_a_segment_apart_stands_beside_everybodys():
    told = sentence(facts({"coupon_count_365d": 1.0}, coupon_count_365d=9.0), None)
    assert told.endswith("last order 12 days ago; 9 coupons in 365 days (all: 1)")


def test_what_is_hardly_different_or_not_known_is_not_told():
    assert "coupons" not in sentence(facts({"coupon_count_365d": 0.4}, coupon_count_365d=2.0), None)
    assert "refunded" not in sentence(facts({"refund_rate_365d": -2.0}), None)


def test_one_is_no_plural():
    told = sentence(SegmentFacts(0.5, ALL | {"order_count_365d": 1.0}, ALL, {}), None)
    assert ": 1 order in 365 days," in told


@pytest.mark.parametrize(
    ("value", "kind", "currency", "expected"),
    [
        (123456.0, "money", None, "1,234.56"),
        (1234.0, "money", "KWD", "1.234 KWD"),
        (99.0, "days", None, "99 days"),
        (9.96, "count", None, "10"),
        (1.04, "count", None, "1"),
        (0.00001, "share", None, "0 %"),
    ],
)
def test_values_are_told_in_their_unit(value, kind, currency, expected):
    assert shown(value, kind, currency) == expected


def test_a_name_says_what_is_strongest_and_fits_a_label():
    assert (
        short_name(facts({"order_count_365d": 2.0, "seconds_since_last_purchase": -1.0}))
        == "frequent, recent"
    )
    assert short_name(facts({"order_count_365d": 0.1})) == "average"
    for first in INPUTS:
        for second in INPUTS:
            for sign in (-1, 1):
                name = short_name(facts({first.feature: 2.0, second.feature: sign * 1.5}))
                assert 0 < len(name) <= NAME_CHARACTERS
