from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.windows import DAY_US, to_us
from monitoring.campaigns import SpendAxis, campaigns_of
from monitoring.errors import CampaignError
from tests.monitoring.campaign_shop import START, bought, contacted, events_of, redeemed

UTC_ZONE, SHANGHAI = ZoneInfo("UTC"), ZoneInfo("Asia/Shanghai")


def campaigns(rows, window_days=7, zone=UTC_ZONE):
    events = events_of(rows)
    axis = SpendAxis(events)
    return {one.name: one for one in campaigns_of(events, axis, zone, window_days)}, axis


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(0, 500), st.booleans()),
        min_size=1,
        max_size=40,
    ),
    st.integers(-2, 22),
    st.integers(0, 12),
)
def test_spend_between_is_the_sum_by_hand(rows, after, length):
    events = events_of(
        [
            (name, "refund" if is_refund else "purchase", float(day), {"amount_minor": amount})
            for name, day, amount, is_refund in rows
        ]
        + [("d", "view", 1.0, {})]
    )
    axis = SpendAxis(events)
    names = axis.customers.tolist()
    first, last = to_us(START) + after * DAY_US, to_us(START) + (after + length) * DAY_US
    size = len(names)
    found = axis.between(np.arange(size), np.full(size, first), np.full(size, last))
    by_hand = [
        sum(
            -amount if is_refund else amount
            for owner, day, amount, is_refund in rows
            if owner == name and after < day <= after + length
        )
        for name in names
    ]
    assert found.tolist() == by_hand
    has = axis.has_bought_by(np.arange(size), np.full(size, last))
    assert has.tolist() == [
        any(owner == name and day <= after + length for owner, day, _, _ in rows) for name in names
    ]


def test_contacts_of_one_item_are_one_campaign_and_a_window_begins_with_the_first():
    found, axis = campaigns(
        [contacted("a", 1), contacted("a", 3), contacted("b", 2), contacted("a", 5, "c2"), bought("a", 0, 1)]
    )
    assert list(found) == ["c1", "c2"]
    one = found["c1"]
    assert axis.customers[one.customer].tolist() == ["a", "b"]
    assert ((one.contacted_us - to_us(START)) // DAY_US).tolist() == [1, 2]
    assert one.contacts.tolist() == [2, 1]


def test_a_contact_without_a_campaign_belongs_to_its_local_day():
    found, _ = campaigns([contacted("a", 0.0, None), contacted("b", 0.6, None)], zone=SHANGHAI)
    assert list(found) == ["2024-01-01", "2024-01-02"]


def test_the_same_name_from_two_sources_is_two_campaigns():
    found, _ = campaigns([contacted("a", 1), contacted("a", 2, source="other")])
    assert list(found) == ["shop:c1", "other:c1"]


def test_a_redemption_belongs_to_the_latest_contact_whose_window_runs():
    found, _ = campaigns(
        [
            contacted("a", 1, "early"),
            contacted("a", 4, "late"),
            redeemed("a", 6, 50, order_id="o1"),
            bought("a", 6, 700, order_id="o1"),
            bought("a", 6, 300, order_id="o1"),
            bought("a", 7, 9_999, order_id="o2"),
            redeemed("a", 12, 80, order_id="o3"),
            bought("a", 12, 500, order_id="o3"),
        ]
    )
    late, early = found["late"], found["early"]
    assert (late.redemptions[0], late.coupon_minor[0], late.redeemed_order_minor[0]) == (1, 50, 1_000)
    assert (early.redemptions[0], early.redeemed_order_minor[0]) == (0, 0)


@pytest.mark.parametrize(("day", "counts"), [(1.0, False), (1.01, True), (8.0, True), (8.01, False)])
def test_the_window_of_a_redemption_is_open_on_the_left_and_closed_on_the_right(day, counts):
    found, _ = campaigns([contacted("a", 1), redeemed("a", day, 5), bought("a", day, 100)])
    assert found["c1"].redemptions.tolist() == [int(counts)]
    assert found["c1"].redeemed_order_minor.tolist() == [100 if counts else 0]


def test_two_coupons_of_one_order_count_it_once_and_without_an_order_id_the_instant_is_the_order():
    found, _ = campaigns(
        [contacted("a", 1), redeemed("a", 2, 5), redeemed("a", 2, 7), bought("a", 2, 100), bought("a", 2, 50)]
    )
    one = found["c1"]
    assert (one.redemptions[0], one.coupon_minor[0], one.redeemed_order_minor[0]) == (2, 12, 150)


def test_what_was_sent_back_of_a_redeemed_order_is_taken_off():
    found, _ = campaigns(
        [
            contacted("a", 1),
            redeemed("a", 2, 5, order_id="o"),
            bought("a", 2, 100, order_id="o"),
            ("a", "refund", 4.0, {"amount_minor": 40, "order_id": "o"}),
        ]
    )
    assert found["c1"].redeemed_order_minor.tolist() == [60]


def test_a_coupon_of_somebody_who_was_not_contacted_is_nobodys():
    found, _ = campaigns([contacted("a", 1), redeemed("b", 2, 5), bought("b", 2, 100)])
    assert found["c1"].redemptions.tolist() == [0]


def test_without_contacts_the_missing_event_is_named():
    with pytest.raises(CampaignError, match="no event of type contact") as refusal:
        campaigns([bought("a", 1, 100), redeemed("a", 1, 5)])
    assert "item_id names the campaign" in refusal.value.next_step
