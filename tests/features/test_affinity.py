"""Features of a customer's affinity, of one worked example by hand, and what holds of all of them."""

from __future__ import annotations

import statistics
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import affinity, customer
from features.candidates import PairRule
from features.history import History
from features.windows import DAY_90, DAY_US, HOUR_72, HOUR_US, NEVER, profile_boundary, to_us
from tests.features.streams import START, event, frame, streams

ZONE = ZoneInfo("UTC")
LAG = timedelta(hours=1)
NOW = datetime(2024, 3, 15, 12, tzinfo=ZONE)
NONE, DAY = timedelta(0), timedelta(days=1)
RULE = PairRule(HOUR_72, DAY_90)
Row = dict[str, Any]


def worked_example() -> dict[str, float]:
    """Five orders of tea or milk, two lines each, and somebody else who buys tea."""
    rows = []
    for number, (days, key) in enumerate([(60, "tea"), (41, "tea"), (21, "milk"), (5, "tea"), (1, "milk")]):
        rows += [
            event(10 * number, "a", "purchase", NOW - days * DAY, NONE, category=key, amount_minor=300),
            event(10 * number + 1, "a", "purchase", NOW - days * DAY, NONE, category=key, amount_minor=200),
        ]
    rows[0]["discount_minor"] = 5
    rows += [
        event(90, "a", "view", NOW - timedelta(hours=2), NONE, category="tea"),
        event(91, "a", "contact", NOW - timedelta(hours=1), NONE, category="tea"),
        event(92, "b", "purchase", NOW - 25 * DAY, NONE, category="tea"),
        event(93, "b", "purchase", NOW - 15 * DAY, NONE, category="tea"),
        event(94, "b", "purchase", NOW - timedelta(hours=1), NONE, category="tea"),
    ]
    history = History(frame(rows), ZONE, LAG)
    customers = history.customer_rows(history.numbers(["a"]), np.array([to_us(NOW)]))
    row, pair = history.candidate_pairs("category", customers, RULE)
    texts = history.key_texts("category", pair)
    found = affinity.CATALOGUE.compute(history.pair_rows("category", customers, row, pair))
    return {name: values[texts.index("tea")].item() for name, values in found.items()}


ALL_GAPS_DAYS = [19, 36, 10]
EXPECTED = {
    "key_order_count_1h": 0,
    "key_order_count_6h": 0,
    "key_order_count_24h": 0,
    "key_order_count_72h": 0,
    "key_order_count_7d": 1,
    "key_order_count_30d": 1,
    "key_order_count_90d": 3,
    "key_order_count_365d": 3,
    "key_order_count_lifetime": 3,
    "key_attention_count_1h": 0,
    "key_attention_count_6h": 1,
    "key_attention_count_24h": 1,
    "key_attention_count_72h": 1,
    "key_attention_count_7d": 3,
    "key_attention_count_30d": 3,
    "key_attention_count_90d": 7,
    "key_view_count_1h": 0,
    **{f"key_view_count_{window}": 1 for window in ("6h", "24h", "72h", "7d", "30d", "90d")},
    **{f"key_cart_count_{window}": 0 for window in ("1h", "6h", "24h", "72h", "7d", "30d", "90d")},
    "key_moment_count_90d": 4,
    "key_spend_72h_minor": 0,
    "key_spend_7d_minor": 500,
    "key_spend_30d_minor": 500,
    "key_spend_90d_minor": 1500,
    "key_spend_365d_minor": 1500,
    # Of milk the customer bought two lines a day ago, and two before.
    "key_share_of_attention_72h": 1 / 3,
    "key_share_of_attention_7d": 3 / 5,
    "key_share_of_attention_30d": 3 / 7,
    "key_share_of_attention_90d": 7 / 11,
    "key_share_of_spend_90d": 3 / 5,
    "seconds_since_last_key_attention": 7200,
    "seconds_since_last_key_purchase": 5 * 86400,
    "seconds_since_first_key_purchase": 60 * 86400,
    "key_seconds_since_open_cart": np.nan,
    "key_gap_last_days": 36,
    "key_gap_mean_days": 27.5,
    "key_gap_sd_days": statistics.stdev([19, 36]),
    "key_overdue_ratio": 5 / 27.5,
    "key_overdue_sd_ratio": (5 - 27.5) / statistics.stdev([19, 36]),
    "key_overdue_ratio_of_all": 5 / statistics.mean(ALL_GAPS_DAYS),
    "orders_since_key": 1,
    "key_share_of_last_3_orders": 1 / 3,
    "key_share_of_last_5_orders": 3 / 5,
    "key_share_of_last_10_orders": 3 / 5,
    "key_share_of_last_20_orders": 3 / 5,
    "key_share_of_last_30_orders": 3 / 5,
    "key_share_of_orders": 3 / 5,
    "key_share_of_orders_90d": 3 / 5,
    # Every order lay ahead for three days: in 30 days one of tea of three, in all three of five.
    "key_share_of_lead_time_30d": 1 / 3,
    "key_share_of_lead_time_90d": 3 / 5,
    "key_share_of_lead_time_lifetime": 3 / 5,
    "key_discounted_share_90d": 1 / 6,
    "key_trend_30d_90d": 1,
    # As of the midnight before: b's purchase an hour ago is not in it.
    "key_popularity_30d": 3,
    "key_popularity_trend": 30 * 1 / (7 * 3),
    "key_gap_mean_of_all_days": statistics.mean(ALL_GAPS_DAYS),
}


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_a_feature_of_the_worked_example_is_what_it_is_by_hand(name: str, expected: float) -> None:
    assert worked_example()[name] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_the_worked_example_leaves_no_feature_out() -> None:
    assert set(worked_example()) == set(EXPECTED)


def known_us(row: Row) -> int:
    return max(to_us(row["event_time"]), to_us(row["ingested_at"]))


@settings(max_examples=100, deadline=None)
@given(rows=streams(max_events=25), hours=st.integers(0, 24 * 100))
def test_a_pair_is_worth_a_claim_after_attention_lately_or_at_two_moments(
    rows: list[Row], hours: int
) -> None:
    if not rows:
        return
    now_us = to_us(START) + hours * HOUR_US
    boundary = int(profile_boundary(np.array([now_us]), ZONE, LAG)[0])
    history = History(frame(rows), ZONE, LAG)
    everyone = np.arange(len(history.columns.customers))
    customers = history.customer_rows(everyone, np.full(len(everyone), now_us))
    row, pair = history.candidate_pairs("category", customers, RULE)
    found = list(
        zip(
            [history.columns.customers[number] for number in row.tolist()],
            history.key_texts("category", pair),
            strict=True,
        )
    )
    expected = []
    attention = [
        each
        for each in rows
        if each["event_type"] in {"view", "add_to_cart", "purchase"}
        and each["category"] is not None
        and known_us(each) <= now_us
    ]
    for name, key in sorted({(each["customer_id"], each["category"]) for each in attention}):
        moments = {
            (known_us(each), to_us(each["event_time"]))
            for each in attention
            if (each["customer_id"], each["category"]) == (name, key)
        }
        lately = any(time > now_us - 72 * HOUR_US for _, time in moments)
        if lately or sum(time > boundary - 90 * DAY_US for _, time in moments) >= 2:
            expected.append((name, key))
    assert sorted(found) == expected


WINDOWS_US = {f"{hours}h": (hours * HOUR_US, False) for hours in (1, 6, 24, 72)} | {
    f"{days}d": (days * DAY_US, True) for days in (7, 30, 90)
}


def expected_of_pair(mine: list[Row], of_key: list[Row], now_us: int, boundary: int) -> dict[str, float]:
    """What attention to a key and the times of its purchases come to, event by event."""
    found: dict[str, float] = {}
    for window, (length_us, is_long) in WINDOWS_US.items():
        after = (boundary if is_long else now_us) - length_us
        inside = [each["event_type"] for each in of_key if to_us(each["event_time"]) > after]
        attention = sum(to_us(each["event_time"]) > after for each in mine)
        found[f"key_view_count_{window}"] = inside.count("view")
        found[f"key_cart_count_{window}"] = inside.count("add_to_cart")
        found[f"key_attention_count_{window}"] = len(inside)
        if window not in ("1h", "6h", "24h"):
            share = len(inside) / attention if attention else np.nan
            found[f"key_share_of_attention_{window}"] = share

    def times(event_type: str) -> list[int]:
        return [to_us(each["event_time"]) for each in of_key if each["event_type"] == event_type]

    bought, added = times("purchase"), times("add_to_cart")
    is_open = added and max(added) > max(bought, default=NEVER)
    found["key_seconds_since_open_cart"] = (now_us - max(added)) / 1e6 if is_open else np.nan
    found["seconds_since_first_key_purchase"] = (now_us - min(bought)) / 1e6 if bought else np.nan
    latest, gap = None, np.nan
    moments = {
        (known_us(each), to_us(each["event_time"])) for each in of_key if each["event_type"] == "purchase"
    }
    for _, time in sorted(moments):
        if latest is not None and time > latest:
            gap = (time - latest) / DAY_US
        latest = time if latest is None else max(time, latest)
    found["key_gap_last_days"] = gap
    return found


@settings(max_examples=100, deadline=None)
@given(rows=streams(max_events=40), hours=st.integers(0, 24 * 100))
def test_windows_shares_carts_and_gaps_of_a_key_are_those_that_looking_at_every_event_finds(
    rows: list[Row], hours: int
) -> None:
    now_us = to_us(START) + hours * HOUR_US
    attention = [
        each
        for each in rows
        if each["event_type"] in {"view", "add_to_cart", "purchase"} and known_us(each) <= now_us
    ]
    if not rows:
        return
    history = History(frame(rows), ZONE, LAG)
    boundary = int(profile_boundary(np.array([now_us]), ZONE, LAG)[0])
    index, _ = history.pairs("category")
    customers = history.customer_rows(index.customer, np.full(len(index), now_us))
    everyone = np.arange(len(index))
    pair_rows = history.pair_rows("category", customers, everyone, everyone)
    keys = history.key_texts("category", everyone)
    found = affinity.CATALOGUE.compute(pair_rows, list(expected_of_pair([], [], now_us, boundary)))
    for number, key in enumerate(keys):
        name = history.columns.customers[int(index.customer[number])]
        mine = [each for each in attention if each["customer_id"] == name]
        expected = expected_of_pair(
            mine, [each for each in mine if each["category"] == key], now_us, boundary
        )
        for feature, value in expected.items():
            assert found[feature][number] == pytest.approx(value, rel=1e-12, nan_ok=True), feature


def test_of_more_orders_than_are_remembered_only_the_latest_count() -> None:
    start = NOW - 40 * DAY
    rows = [
        event(number, "a", "purchase", start + number * DAY, NONE, category="tea" if number < 10 else "milk")
        for number in range(38)
    ]
    rows.append(event(99, "a", "view", NOW, NONE, category="tea"))
    history = History(frame(rows), ZONE, LAG)
    customers = history.customer_rows(history.numbers(["a"]), np.array([to_us(NOW)]))
    pair = np.array([history.columns.categories.index("tea")])
    found = affinity.CATALOGUE.compute(history.pair_rows("category", customers, np.array([0]), pair))
    assert found["key_share_of_last_20_orders"].tolist() == [0]
    assert found["key_share_of_last_30_orders"].tolist() == [2 / 30]
    assert found["orders_since_key"].tolist() == [28]


def test_orders_since_the_boundary_push_the_older_ones_back() -> None:
    keys = ["tea", "tea", "milk", "tea", "milk", "tea"]
    ago = [4 * DAY, 3 * DAY, 2 * DAY, *(timedelta(hours=hours) for hours in (3, 2, 1))]
    rows = [
        event(number, "a", "purchase", NOW - before, NONE, category=key)
        for number, (before, key) in enumerate(zip(ago, keys, strict=True))
    ]
    history = History(frame(rows), ZONE, LAG)
    customers = history.customer_rows(history.numbers(["a"]), np.array([to_us(NOW)]))
    assert int(customers.profile.boundary[0]) == to_us(NOW.replace(hour=0))
    found = history.pair_rows("category", customers, np.zeros(2, np.int64), np.array([0, 1]))
    assert history.key_texts("category", np.array([0, 1])) == ["milk", "tea"]
    assert [f"{bits:06b}" for bits in found.recent_order_bits.tolist()] == ["001010", "110101"]
    shares = affinity.CATALOGUE.compute(found, ["key_share_of_last_3_orders", "key_share_of_last_5_orders"])
    assert shares["key_share_of_last_3_orders"].tolist() == [1 / 3, 2 / 3]
    assert shares["key_share_of_last_5_orders"].tolist() == [2 / 5, 3 / 5]


def test_each_feature_says_its_unit_and_meaning() -> None:
    definitions = affinity.catalogue()
    assert len({definition.name for definition in definitions}) == len(definitions)
    for definition in definitions:
        assert definition.unit, definition.name
        assert definition.meaning.endswith("."), definition.name
        assert (definition.dtype == "float") == bool(definition.null_meaning), definition.name


def test_models_of_pairs_read_of_the_customer_some_context_and_no_name_is_in_both_catalogues() -> None:
    names = {definition.name for definition in customer.catalogue()}
    context = customer.CATALOGUE.names("interest_v1")
    assert context == customer.CATALOGUE.names("brand_preference_v1")
    assert {"weekday", "order_count_90d"} <= set(context) < names
    assert not names & {definition.name for definition in affinity.catalogue()}
