from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from features import customer
from features.customer_rows import CustomerRows
from features.history import History
from features.lazy_columns import LazyColumns
from features.profile import CUSTOMER_FIELDS, SPEND, Profile, empty_profile
from features.windows import DAY_7, HOUR_24, HOUR_72, IntArray, to_us
from tests.features.streams import event, frame

ZONE = ZoneInfo("Asia/Shanghai")
LAG = timedelta(hours=1)
NONE = timedelta(0)
NOON = datetime(2024, 3, 15, 12, tzinfo=ZONE)
NOON_US = to_us(NOON)
HOUR_AGO = NOON - timedelta(hours=1)


def test_only_what_is_asked_for_is_looked_up_and_that_once() -> None:
    history = History(frame([event(0, "a", "purchase", NOON, NONE)]), ZONE, LAG)
    looked_up = []

    def field(name: str) -> IntArray:
        looked_up.append(name)
        return np.zeros(1, np.int64)

    profile = Profile(np.array([to_us(NOON)]), LazyColumns(CUSTOMER_FIELDS, field))
    rows = CustomerRows(history.customers, np.array([0]), np.array([to_us(NOON)]), profile, ZONE)
    customer.CATALOGUE.compute(rows, ["spend_90d_minor", "order_value_mean_90d_minor", "refund_rate_90d"])
    assert sorted(looked_up) == ["order_count@90d", "refund_minor@90d", "spend_minor@90d"]


def test_a_long_window_is_the_profile_and_what_became_known_since_and_a_short_one_only_what_is_known() -> (
    None
):
    rows = [event(0, "a", "purchase", HOUR_AGO, NONE, amount_minor=7, item_id="i")]
    history = History(frame(rows), ZONE, LAG)
    profile = empty_profile(CUSTOMER_FIELDS, np.array([to_us(NOON - timedelta(hours=12))]))
    profile.fields["spend_minor@7d"][:] = 100
    profile.fields["purchase_distinct_item_count@7d"][:] = 3
    seen = CustomerRows(history.customers, np.array([0]), np.array([NOON_US]), profile, ZONE)
    assert seen.total(SPEND, DAY_7).tolist() == [107]
    assert seen.total(SPEND, HOUR_24).tolist() == [7]
    # Different values do not add up: those of days are the profile's.
    assert seen.distinct("purchase", "item", DAY_7).tolist() == [3]
    assert seen.distinct("purchase", "item", HOUR_72).tolist() == [1]


def test_the_latest_and_the_first_of_profile_and_memory_are_taken() -> None:
    rows = [event(0, "a", "purchase", HOUR_AGO, NONE)]
    history = History(frame(rows), ZONE, LAG)
    for in_profile, first, last in ((5, 5, to_us(HOUR_AGO)), (NOON_US, to_us(HOUR_AGO), NOON_US)):
        profile = empty_profile(CUSTOMER_FIELDS, np.array([to_us(NOON - timedelta(hours=12))]))
        profile.fields["last_purchase"][:] = profile.fields["first_purchase"][:] = in_profile
        seen = CustomerRows(history.customers, np.array([0]), np.array([NOON_US]), profile, ZONE)
        assert (seen.first_purchase.tolist(), seen.last("purchase").tolist()) == ([first], [last])
