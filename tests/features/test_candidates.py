"""Who is worth a claim: the same in bulk and online, and as it is said in plain words."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.candidates import CustomerRule, PairRule, seen_within
from features.events import EVENT_TYPES
from features.history import History
from features.tags import load_catalogue
from features.windows import DAY_30, HOUR_24, HOUR_72, HOUR_US, to_us
from tests.features import oracle
from tests.features.paths import Oracle, live_replay
from tests.features.streams import START, Scene, event, frame, scenes

UTC = ZoneInfo("UTC")
HOUR = timedelta(hours=1)
SHIPPED = load_catalogue()
ONES_OWN = [
    CustomerRule(any_of=("view", "search"), within=HOUR_24, none_since=("purchase", "refund")),
    CustomerRule(("purchase",), HOUR_72, orders_at_least=2, overdue_ratio=0.5),
]
CUSTOMER_RULES = [
    *ONES_OWN,
    *(one.candidate.customer_rule for one in SHIPPED.values() if one.key is None),
]


def in_words(rule, known, features, at_us):
    """Say it event by event; counts and ratios come from the second derivation of the features."""
    holds = True
    if rule.any_of:
        mine = [one.time for one in known if one.type in rule.any_of]
        since = [one.time for one in known if one.type in rule.none_since]
        holds = bool(mine) and max(mine) > at_us - rule.within.length_us
        holds = holds and not any(time >= max(mine) for time in since)
    if rule.orders_at_least is not None:
        holds = holds and features["order_count_lifetime"] >= rule.orders_at_least
        holds = holds and features["order_overdue_ratio"] >= rule.overdue_ratio
    return holds


@settings(max_examples=40, deadline=None)
@given(scene=scenes(), rule=st.sampled_from(CUSTOMER_RULES))
def test_a_rule_about_customers_holds_in_bulk_and_online_where_it_does_in_words(
    scene: Scene, rule: CustomerRule
) -> None:
    if not scene.rows:
        return
    names, at = scene.customers, scene.at
    events = oracle.by_customer(frame(scene.rows))
    found = [oracle.CustomerAt(events[name], at) for name in names]
    expected = [in_words(rule, one.known, one.features(), at.us) for one in found]
    history = History(frame(scene.rows), at.zone, at.lag)
    rows = history.customer_rows(history.numbers(names), np.full(len(names), at.us))
    assert rule.holds(rows).tolist() == expected
    assert rule.holds(live_replay(scene.deliveries, names, at).rows).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(
    scene=scenes(),
    orders=st.integers(2, 3),
    overdue=st.sampled_from([0.01, 0.75, 1.5]),
    ahead=st.sampled_from([0, 1, 72]),
    key_column=st.sampled_from(["category", "brand"]),
)
def test_a_purchase_is_due_in_bulk_and_online_where_its_features_say_so(
    scene: Scene, orders: int, overdue: float, ahead: int, key_column: str
) -> None:
    if not scene.rows:
        return
    names, at = scene.customers, scene.at
    rule = PairRule(orders_at_least=orders, overdue_ratio=overdue, ahead_us=ahead * HOUR_US)
    brute = Oracle(oracle.by_customer(frame(scene.rows)))
    expected = {
        (name, key)
        for name in names
        for (column, key), cells in brute.answer(name, at).pairs.items()
        if column == key_column
        and cells["key_order_count_lifetime"] >= orders
        and cells["key_gap_mean_days"] > 0
        and oracle.ratio(
            cells["seconds_since_last_key_purchase"] / 86400 + ahead / 24, cells["key_gap_mean_days"]
        )
        >= overdue
    }
    history = History(frame(scene.rows), at.zone, at.lag)
    rows = history.customer_rows(history.numbers(names), np.full(len(names), at.us))
    row, pair = history.candidate_pairs(key_column, rows, rule)
    keys = history.key_texts(key_column, pair)
    assert {(names[number], key) for number, key in zip(row.tolist(), keys, strict=True)} == expected
    of_pairs, keys = live_replay(scene.deliveries, names, at).pair_rows(key_column, rule)
    online = zip(of_pairs.customer_row.tolist(), keys, strict=True)
    assert {(names[number], key) for number, key in online} == expected


def holds_at(family: str, hours: float, *rows: dict) -> bool:
    history = History(frame(list(rows)), UTC, timedelta(0))
    at = np.array([to_us(START) + int(hours * HOUR_US)])
    return bool(SHIPPED[family].candidate.customer_rule.holds(history.customer_rows(np.zeros(1, int), at))[0])


def bought(number: int, hours: float) -> dict:
    return event(number, "a", "purchase", START + hours * HOUR, timedelta(0))


def test_a_cart_is_abandoned_only_where_nothing_was_bought_since() -> None:
    cart = event(0, "a", "add_to_cart", START + HOUR, timedelta(0))
    assert holds_at("cart_abandoner", 2, cart)
    assert holds_at("cart_abandoner", 2, bought(1, 0.5), cart)
    assert not holds_at("cart_abandoner", 2, cart, bought(1, 1))
    assert not holds_at("cart_abandoner", 2, cart, bought(1, 1.5))
    assert not holds_at("cart_abandoner", 73, cart)
    assert not holds_at("browsing_no_order", 2, cart)


@pytest.mark.parametrize(
    ("orders", "days_later", "is_slipping"), [(5, 3, True), (5, 1, False), (4, 3, False)]
)
def test_a_regular_slips_away_once_the_next_order_is_overdue(
    orders: int, days_later: int, is_slipping: bool
) -> None:
    rows = [bought(number, 48 * number) for number in range(orders)]
    assert holds_at("slipping_away", 48 * (orders - 1) + 24 * days_later, *rows) == is_slipping


def test_whoever_only_got_messages_was_not_seen() -> None:
    kinds = ["contact", *(name for name in EVENT_TYPES if name != "contact")]
    rows = [event(number, f"c{number:02}", kind, START, timedelta(0)) for number, kind in enumerate(kinds)]
    history = History(frame(rows), UTC, timedelta(0))
    everyone = np.arange(len(kinds))
    looked = ((HOUR_72, 71.9, True), (HOUR_72, 72, False), (DAY_30, 719, True), (DAY_30, 720, False))
    for window, hours, seen in looked:
        at = np.full(len(kinds), to_us(START) + int(hours * HOUR_US))
        found = seen_within(history.customer_rows(everyone, at), window)
        assert found.tolist() == [False] + [seen] * (len(kinds) - 1)
