"""Customer features of one worked example, each value by hand, and what holds of all of them."""

from __future__ import annotations

import math
import statistics
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from features import customer
from features.events import EVENT_TYPES
from features.history import History
from features.outcomes import judge
from features.tags import load_catalogue
from features.windows import to_us
from tests.features.customer_looks import look, seen
from tests.features.streams import event, frame

ZONE = ZoneInfo("Asia/Shanghai")
LAG = timedelta(hours=1)
NOON = datetime(2024, 3, 15, 12, tzinfo=ZONE)
"""A Friday. Its profile ends at the midnight before."""

NONE = timedelta(0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ORDERS = (100 * DAY, 60 * DAY, 40 * DAY, 10 * DAY, 2 * DAY, 30 * timedelta(minutes=1))
"""How long before noon: two lines each, of 1000 and 500; the first discounted, the second with a coupon."""


@cache
def worked_example() -> dict[str, float]:
    rows = []
    for number, ago in enumerate(ORDERS):
        for line, amount in enumerate((1000, 500)):
            rows.append(
                event(
                    10 * number + line,
                    "a",
                    "purchase",
                    NOON - ago,
                    NONE,
                    amount_minor=amount,
                    discount_minor=50 if line == 0 else 0,
                    coupon_minor=20 if line == 1 and ago <= 40 * DAY else None,
                    quantity=2,
                )
            )
    rows += [
        event(100, "a", "refund", NOON - 3 * DAY, NONE, amount_minor=400),
        event(101, "a", "refund", NOON - 80 * DAY, NONE, amount_minor=300),
        event(102, "a", "view", NOON - 23 * HOUR, NONE),
        event(103, "a", "view", NOON - 25 * HOUR, NONE),
        event(104, "a", "view", NOON - 101 * DAY, NONE),
        event(105, "a", "contact", NOON - 90 * DAY, NONE),
    ]
    return look(rows, NOON)


GAPS_DAYS = [40, 20, 30, 8, 2 - 30 / 1440]
RECENT_GAPS_DAYS = GAPS_DAYS
EXPECTED: dict[str, float] = {
    **{f"order_count_{window}": 1 for window in ("1h", "6h", "24h")},
    "order_count_72h": 2,
    "order_count_7d": 2,
    "order_count_30d": 3,
    "order_count_90d": 5,
    "order_count_365d": 6,
    "order_count_lifetime": 6,
    **{f"spend_{window}_minor": 1500 for window in ("1h", "6h", "24h")},
    "spend_72h_minor": 3000,
    "spend_7d_minor": 3000,
    "spend_30d_minor": 4500,
    "spend_90d_minor": 7500,
    "spend_365d_minor": 9000,
    "spend_lifetime_minor": 9000,
    **{f"line_count_{window}": 2 for window in ("1h", "6h", "24h")},
    "line_count_72h": 4,
    "line_count_7d": 4,
    "line_count_30d": 6,
    "line_count_90d": 10,
    "line_count_365d": 12,
    "line_count_lifetime": 12,
    "refund_72h_minor": 0,
    "refund_7d_minor": 400,
    "refund_30d_minor": 400,
    "refund_365d_minor": 700,
    "net_spend_30d_minor": 4100,
    "net_spend_90d_minor": 6800,
    "net_spend_365d_minor": 8300,
    "net_spend_lifetime_minor": 8300,
    "refund_90d_minor": 700,
    "refund_lifetime_minor": 700,
    "discount_30d_minor": 150,
    "discount_90d_minor": 250,
    "discount_365d_minor": 300,
    "coupon_365d_minor": 80,
    "coupon_30d_minor": 60,
    "coupon_90d_minor": 80,
    "view_count_1h": 0,
    "view_count_6h": 0,
    "view_count_365d": 3,
    "contact_count_365d": 1,
    "view_count_24h": 1,
    "view_count_72h": 2,
    "view_count_7d": 2,
    "view_count_90d": 2,
    # Ninety days before the profile's midnight, not before noon.
    "contact_count_90d": 1,
    "seconds_since_last_view": 23 * 3600,
    "seconds_since_last_purchase": 1800,
    "seconds_since_last_refund": 3 * 86400,
    "seconds_since_last_contact": 90 * 86400,
    "seconds_since_last_search": math.nan,
    "seconds_since_last_activity": 1800,
    "seconds_since_open_cart": math.nan,
    "seconds_since_first_purchase": 100 * 86400,
    "seconds_since_first_event": 101 * 86400,
    "order_gap_mean_days": statistics.mean(GAPS_DAYS),
    "order_gap_mean_90d_days": statistics.mean(RECENT_GAPS_DAYS),
    "order_gap_sd_days": statistics.stdev(GAPS_DAYS),
    "order_overdue_ratio": 30 / 1440 / statistics.mean(RECENT_GAPS_DAYS),
    "order_value_mean_90d_minor": 1500,
    "order_value_mean_minor": 1500,
    "lines_per_order_30d": 2,
    "discounted_line_share_90d": 0.5,
    "coupon_line_share_90d": 0.4,
    # Those of 40 days ago or less had a coupon; 50 of 1500 is no tenth.
    "reduced_order_share_30d": 1,
    "reduced_order_share_90d": 0.8,
    "reduced_order_share_lifetime": 4 / 6,
    "discount_share_90d": 250 / (7500 + 250 + 80),
    "coupon_share_90d": 80 / (7500 + 250 + 80),
    "refund_rate_90d": 700 / 7500,
    "refund_rate_365d": 700 / 9000,
    "view_to_cart_ratio_30d": 0,
    "cart_to_order_ratio_30d": math.nan,
    "rfm_repeat_order_count": 5,
    "rfm_recency_days": 100 - 30 / 1440,
    "rfm_age_days": 100,
    "rfm_monetary_minor": 1500,
    "order_gap_last_days": 2 - 30 / 1440,
    "order_overdue_sd_ratio": (30 / 1440 - statistics.mean(GAPS_DAYS)) / statistics.stdev(GAPS_DAYS),
    "order_trend_30d_90d": 9 / 5,
    "weekday": 4,
    "hour_of_day": 12,
}


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_a_feature_of_the_worked_example_is_what_it_is_by_hand(name: str, expected: float) -> None:
    assert worked_example()[name] == pytest.approx(expected, nan_ok=True, rel=1e-12)


def test_the_share_of_orders_on_the_coming_weekdays_counts_today_and_two_more() -> None:
    weekdays = [(NOON - ago).weekday() for ago in ORDERS]
    coming = {4, 5, 6}
    found = worked_example()
    assert found["order_share_on_next_3_weekdays"] == sum(day in coming for day in weekdays) / 6
    assert found["order_share_on_next_3_weekdays_90d"] == sum(day in coming for day in weekdays[1:]) / 5


def test_each_feature_says_its_unit_and_meaning_and_each_that_may_be_null_what_null_means() -> None:
    definitions = customer.catalogue()
    assert len({definition.name for definition in definitions}) == len(definitions)
    for definition in definitions:
        assert definition.unit, definition.name
        assert definition.meaning.endswith("."), definition.name
        assert definition.window == "" or definition.window in definition.name, definition.name
        if definition.null_meaning:
            assert definition.dtype == "float", definition.name


def test_of_a_customer_without_a_past_counts_are_zero_and_the_rest_is_null_as_declared() -> None:
    history = History(frame([event(0, "a", "view", NOON, NONE)]), ZONE, LAG)
    before = np.array([to_us(NOON) - 1])
    found = customer.CATALOGUE.compute(history.customer_rows(history.numbers(["a"]), before))
    for definition in customer.catalogue():
        value = found[definition.name][0]
        if definition.null_meaning:
            assert np.isnan(value), definition.name
        elif definition.name not in {"weekday", "hour_of_day"}:
            assert value == 0, definition.name


def test_every_type_of_event_has_its_count_and_its_time_since() -> None:
    names = {definition.name for definition in customer.catalogue()}
    for name in EVENT_TYPES:
        assert f"seconds_since_last_{name}" in names
        assert (f"{name}_count_72h" in names) == (name != "purchase")


def test_the_hour_and_weekday_are_those_of_the_business_zone() -> None:
    history = History(frame([event(0, "a", "view", NOON, NONE)]), ZONE, LAG)
    instants = np.array([to_us(NOON) + hours * 3_600_000_000 for hours in (0, 11, 12, 36)])
    rows = history.customer_rows(np.zeros(4, np.int64), instants)
    found = customer.CATALOGUE.compute(rows, ["weekday", "hour_of_day"])
    assert found["hour_of_day"].tolist() == [12, 23, 0, 0]
    assert found["weekday"].tolist() == [4, 4, 5, 6]


@pytest.mark.parametrize(
    ("cart", "purchase", "removal", "is_open"),
    [
        (2, None, None, True),
        (2, 3, 3, True),
        (2, 2, None, False),
        (2, None, 2, False),
        (2, 1, None, False),
        (2, 3, 1, False),
        (None, 3, None, False),
    ],
)
def test_a_cart_is_open_while_nothing_was_bought_or_taken_out_since(
    cart: int | None, purchase: int | None, removal: int | None, is_open: bool
) -> None:
    ago = {"add_to_cart": cart, "purchase": purchase, "remove_from_cart": removal}
    rows = [seen(NOON - hours * HOUR, name) for name, hours in ago.items() if hours is not None]
    found = look(rows, NOON, ["seconds_since_open_cart"])["seconds_since_open_cart"]
    assert found == 7200 if is_open else math.isnan(found)


def test_a_cart_filled_again_after_an_order_is_open_and_one_that_came_in_late_is_not() -> None:
    bought = [seen(NOON - 5 * HOUR, "add_to_cart"), seen(NOON - 3 * HOUR, "purchase")]
    anew = seen(NOON - 2 * HOUR, "add_to_cart")
    late = seen(NOON - 4 * HOUR, "add_to_cart", late=3 * HOUR)
    assert look([*bought, anew], NOON)["seconds_since_open_cart"] == 7200
    assert math.isnan(look([*bought, late], NOON)["seconds_since_open_cart"])


def test_the_way_from_views_over_carts_to_orders_is_counted_over_30_days() -> None:
    rows = [
        *(seen(NOON - number * DAY, "view") for number in range(8)),
        *(seen(NOON - number * DAY, "add_to_cart") for number in (1, 2, 3, 29)),
        seen(NOON - DAY, "purchase"),
        seen(NOON - DAY, "purchase"),
        seen(NOON - 40 * DAY, "add_to_cart"),
    ]
    found = look(rows, NOON)
    assert found["view_to_cart_ratio_30d"] == 0.5
    assert found["cart_to_order_ratio_30d"] == 0.25
    assert math.isnan(look(rows[8:], NOON)["view_to_cart_ratio_30d"])


def test_who_was_refunded_more_than_paid_spent_less_than_nothing() -> None:
    rows = [
        seen(NOON - 100 * DAY, "purchase", amount_minor=900),
        seen(NOON - 2 * DAY, "purchase", amount_minor=100),
        seen(NOON - DAY, "refund", amount_minor=900),
    ]
    found = look(rows, NOON)
    assert found["net_spend_30d_minor"] == -800
    assert found["net_spend_lifetime_minor"] == 100
    assert (found["refund_rate_90d"], found["refund_rate_365d"]) == (9, 0.9)
    assert math.isnan(look(rows[2:], NOON)["refund_rate_90d"])


def test_what_cost_nothing_has_no_share_of_reductions() -> None:
    free = look([seen(NOON - DAY, "purchase")], NOON)
    assert math.isnan(free["discount_share_90d"])
    assert math.isnan(free["coupon_share_90d"])
    given = look([seen(NOON - DAY, "purchase", discount_minor=300, coupon_minor=100)], NOON)
    assert (given["discount_share_90d"], given["coupon_share_90d"]) == (0.75, 0.25)


@pytest.mark.parametrize("saved", [(0, 0), (0, 149), (150, 0), (75, 75)])
@pytest.mark.parametrize("coupon", [0, 1])
def test_an_order_is_reduced_where_it_as_a_whole_fulfils_what_is_claimed_of_a_deal_seeker(
    saved: tuple[int, int], coupon: int
) -> None:
    lines = [
        event(number, "a", "purchase", NOON, NONE, amount_minor=paid, discount_minor=off, coupon_minor=used)
        for number, (paid, off, used) in enumerate(zip((1000, 500), saved, (0, coupon), strict=True))
    ]
    before, after = NOON - HOUR, NOON + HOUR
    claim = pl.DataFrame({"customer_id": ["a"], "key": [None], "assigned_at": [before]})
    outcome = judge(frame(lines), claim, load_catalogue()["deal_seeker"])[0]
    share = look(lines, after, ["reduced_order_share_30d"])["reduced_order_share_30d"]
    assert outcome == ("confirmed" if share == 1 else "refuted")
    assert share == float(coupon > 0 or sum(saved) >= 150)


def test_a_contact_is_no_activity() -> None:
    rows = [seen(NOON - 2 * HOUR, "interaction"), seen(NOON - HOUR, "contact")]
    assert look(rows, NOON)["seconds_since_last_activity"] == 7200
    assert math.isnan(look(rows[1:], NOON)["seconds_since_last_activity"])


def test_no_rows_give_no_values() -> None:
    history = History(frame([]), ZONE, LAG)
    nothing = np.empty(0, np.int64)
    found = customer.CATALOGUE.compute(history.customer_rows(nothing, nothing))
    assert {len(values) for values in found.values()} == {0}
