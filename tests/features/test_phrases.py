from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import affinity, customer
from features.definitions import FeatureDefinition
from features.feast_objects import SERVICES
from features.phrases import Measured, Phrase, Subject, amount, duration, in_words, number, percent, times

EVERY = {one.name: one for one in (*customer.catalogue(), *affinity.catalogue())}
READ = sorted(set(customer.CATALOGUE.names(*SERVICES)) | set(affinity.CATALOGUE.names(*SERVICES)))
MILK = Subject("FLUID MILK PRODUCTS", "USD")


@pytest.mark.parametrize("name", READ)
def test_every_feature_that_a_service_reads_has_a_phrase(name: str) -> None:
    assert EVERY[name].phrase is not None, f"declare {name} with phrase=Phrase(...)"


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_feature_is_about_a_key_exactly_where_it_belongs_to_one(name: str) -> None:
    phrase = EVERY[name].phrase
    if phrase is not None:
        of_pair = name in {one.name for one in affinity.catalogue()}
        assert ("{key}" in phrase.said) is of_pair
        assert ("{window}" in phrase.said) is bool(EVERY[name].window)


@given(st.sampled_from(sorted(EVERY)), st.floats(), st.sampled_from(["牛奶", "{value} & Co.", r"\1", "TEA"]))
def test_any_value_of_any_feature_is_said_with_its_key_as_it_is(name: str, value: float, key: str) -> None:
    one = EVERY[name]
    said = one.in_words(value, Subject(key, "CNY"))
    assert said
    assert "nan" not in said.lower().split()
    without_key = said.replace(key, "")
    assert "{" not in without_key
    if math.isfinite(value) and one.phrase is not None and "{key}" in one.phrase.said:
        assert key in said


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("key_order_count_30d", 6, "bought FLUID MILK PRODUCTS 6 times in 30 days"),
        ("key_order_count_24h", 0, "did not buy FLUID MILK PRODUCTS in 24 hours"),
        ("key_order_count_lifetime", 1, "bought FLUID MILK PRODUCTS once so far"),
        ("key_order_count_1h", 2, "bought FLUID MILK PRODUCTS twice in the last hour"),
        ("key_gap_mean_days", 5.2, "usually buys FLUID MILK PRODUCTS every 5 days"),
        ("key_gap_mean_days", math.nan, "FLUID MILK PRODUCTS bought fewer than twice"),
        ("seconds_since_last_key_purchase", math.nan, "FLUID MILK PRODUCTS never bought"),
        ("seconds_since_last_key_attention", math.nan, "no attention to FLUID MILK PRODUCTS yet"),
        ("seconds_since_last_key_purchase", 5 * 86400, "last bought FLUID MILK PRODUCTS 5 days ago"),
        ("key_share_of_last_5_orders", 0.4, "FLUID MILK PRODUCTS was in 40 % of the latest 5 orders"),
        ("key_share_of_last_5_orders", 0, "FLUID MILK PRODUCTS was in none of the latest 5 orders"),
        ("key_spend_90d_minor", 123456, "spent 1,234.56 USD on FLUID MILK PRODUCTS in 90 days"),
        ("orders_since_key", 1, "1 order since the last one with FLUID MILK PRODUCTS"),
        ("spend_30d_minor", 0, "spent nothing in 30 days"),
        ("order_count_7d", 3, "ordered 3 times in 7 days"),
        ("seconds_since_last_view", 3 * 3600, "last viewed something 3 hours ago"),
        ("seconds_since_last_contact", 86400, "was last contacted 24 hours ago"),
        ("seconds_since_last_purchase", math.nan, "no purchase yet"),
        ("contact_count_24h", 0, "was not contacted in 24 hours"),
        ("weekday", 5, "it is Saturday"),
        ("hour_of_day", 14.5, "it is 14:30"),
    ],
)
def test_features_read_as_people_say_them(name: str, value: float, expected: str) -> None:
    assert EVERY[name].in_words(value, MILK) == expected


def test_a_feature_without_a_phrase_is_told_by_its_meaning() -> None:
    plain = FeatureDefinition("n", "float", "orders", "", "Orders on a Sunday.", "no order yet")
    assert plain.in_words(3, MILK) == "Orders on a Sunday: 3 orders"
    assert plain.in_words(math.nan, MILK) == "no order yet"
    assert (plain.topic, plain.role, plain.beside(3, MILK)) == ("n", "", "")


def test_a_count_of_none_is_not_told_beside_another_feature() -> None:
    assert EVERY["key_order_count_30d"].beside(6, MILK) == "6 times in 30 days"
    assert EVERY["key_order_count_30d"].beside(0, MILK) == ""
    assert EVERY["key_gap_mean_days"].beside(math.nan, MILK) == ""


def test_money_without_a_currency_stays_in_minor_units() -> None:
    assert EVERY["spend_30d_minor"].in_words(1250, Subject()) == "spent 1,250 minor units in 30 days"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "less than a minute"),
        (60, "a minute"),
        (119, "2 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (2 * 86400, "2 days"),
        (1000 * 86400, "1,000 days"),
    ],
)
def test_a_length_of_time_is_told_in_a_unit_of_which_there_are_some(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_numbers_have_as_many_digits_as_one_reads() -> None:
    assert [number(one) for one in (0, 0.034, 0.5, 9.96, 12.4, 1e6)] == [
        *("0", "0.034", "0.5", "10", "12", "1,000,000")
    ]
    assert [times(one) for one in (0, 1, 2, 2.5)] == ["never", "once", "twice", "2.5 times"]
    assert [percent(one) for one in (0, 0.001, 0.5, 1)] == ["0 %", "under 1 %", "50 %", "100 %"]
    units = ("categories", "lines", "standard deviations")
    assert [amount(Measured(unit, "", ""), 1, MILK) for unit in units] == [
        *("1 category", "1 line", "1 standard deviation")
    ]


def test_a_null_that_nobody_explained_is_called_not_known() -> None:
    assert in_words(Phrase("{value}"), Measured("orders", "", ""), math.nan, MILK) == "not known"
