"""Affinity features derived a second time, from their words alone; see `tests.features.oracle`."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import nan
from typing import NamedTuple

from tests.features.oracle import (
    LONG,
    PLACE,
    SHORT,
    W9,
    CustomerAt,
    Event,
    Gaps,
    Instant,
    Tally,
    Value,
    moments,
    ratio,
    seconds,
)


def is_candidate(mine: Sequence[Event], at: Instant, within: str, repeat_within: str) -> bool:
    """Tell whether a key deserves a claim: a moment of attention lately, or two over a longer time."""
    ages = [at.age(time) for _, time in moments(mine)]
    return any(age <= PLACE[within] for age in ages) or sum(age <= PLACE[repeat_within] for age in ages) >= 2


class KeyFacts(NamedTuple):
    """What all customers did with a category or brand, as of a profile's boundary."""

    orders_7d: int
    orders_30d: int
    gap_count: int
    gap_minutes: int


class Keys:
    """Categories or brands over all customers."""

    def __init__(self, customers: Mapping[str, Sequence[Event]], column: str) -> None:
        bought: dict[str, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
        for customer, events in customers.items():
            for event in events:
                if event.type == "purchase" and (key := getattr(event, column)) is not None:
                    bought[key][customer].append(event)
        self._orders = {key: [moments(each) for each in who.values()] for key, who in bought.items()}
        self._found: dict[tuple[str, int], KeyFacts] = {}

    def of(self, key: str, at: Instant) -> KeyFacts:
        if (key, at.boundary) not in self._found:
            then = Instant(at.boundary, at.zone, timedelta(0))
            orders_7d = orders_30d = gap_count = gap_minutes = 0
            for mine in self._orders.get(key, ()):
                known = mine[: bisect_right(mine, at.boundary, key=lambda order: order[0])]
                orders_7d += sum(time > at.boundary - LONG["7d"] for _, time in known)
                orders_30d += sum(time > at.boundary - LONG["30d"] for _, time in known)
                gaps = Gaps(known, then)
                gap_count += gaps.tally("count", "lifetime")
                gap_minutes += gaps.tally("minutes", "lifetime")
            self._found[key, at.boundary] = KeyFacts(orders_7d, orders_30d, gap_count, gap_minutes)
        return self._found[key, at.boundary]


def pair_features(customer: CustomerAt, mine: Sequence[Event], of_all: KeyFacts) -> dict[str, Value]:
    """Return every affinity feature to a key, from the attention paid to it and what all did with it."""
    at, total, of_customer = customer.at, Tally(), customer.tally
    latest: dict[str, int] = {}
    for event in mine:
        age = at.age(event.time)
        latest[event.type] = max(event.time, latest.get(event.type, event.time))
        total.add("attention", age)
        total.add(event.type, age)
        if event.type == "purchase":
            total.add("spend", age, event.amount)
            total.add("discounted_lines", age, int(event.discount > 0))
    for _, time in moments(mine):
        total.add("moment", at.age(time))
    bought = [event for event in mine if event.type == "purchase"]
    orders = moments(bought)
    for _, time in orders:
        total.add("order", at.age(time))
    held, gaps, everything = set(orders), Gaps(orders, at), len(customer.orders)
    since = seconds(latest.get("purchase"), at.us)
    mean_of_all = ratio(of_all.gap_minutes / 1440, of_all.gap_count)
    cart, last_purchase = latest.get("add_to_cart"), latest.get("purchase")
    is_open = cart is not None and (last_purchase is None or cart > last_purchase)

    found: dict[str, Value] = {}
    for w in (*SHORT, "7d", "30d", "90d"):
        found[f"key_attention_count_{w}"] = total("attention", w)
        found[f"key_view_count_{w}"] = total("view", w)
        found[f"key_cart_count_{w}"] = total("add_to_cart", w)
    found |= {f"key_order_count_{w}": total("order", w) for w in W9}
    for w in ("30d", "90d", "lifetime"):
        lead, any_lead = gaps.tally("lead", w), Gaps(customer.orders, at).tally("lead", w)
        found[f"key_share_of_lead_time_{w}"] = min(lead / any_lead, 1.0) if any_lead else nan
    found |= {f"key_spend_{w}_minor": total("spend", w) for w in ("72h", *LONG)}
    for w in ("72h", "7d", "30d", "90d"):
        found[f"key_share_of_attention_{w}"] = ratio(total("attention", w), of_customer("attention", w))
    for limit in (3, 5, 10, 20, 30):
        of_last = sum(order in held for order in customer.orders[-limit:])
        found[f"key_share_of_last_{limit}_orders"] = ratio(of_last, min(everything, limit))
    return found | {
        "key_moment_count_90d": total("moment", "90d"),
        "seconds_since_last_key_attention": seconds(max(latest.values(), default=None), at.us),
        "seconds_since_last_key_purchase": since,
        "seconds_since_first_key_purchase": seconds(min((e.time for e in bought), default=None), at.us),
        "key_seconds_since_open_cart": seconds(cart if is_open else None, at.us),
        "key_gap_mean_days": gaps.mean_days("lifetime"),
        "key_gap_sd_days": gaps.sd_days(),
        "key_gap_last_days": gaps.last_days(),
        "key_overdue_ratio": ratio(since / 86400, gaps.mean_days("lifetime")),
        "key_overdue_ratio_of_all": ratio(since / 86400, mean_of_all),
        "key_overdue_sd_ratio": gaps.overdue_sd_ratio(since),
        "orders_since_key": float(everything - 1 - customer.ordinal[orders[-1]]) if orders else nan,
        "key_share_of_orders": ratio(len(orders), everything),
        "key_share_of_orders_90d": ratio(total("order", "90d"), of_customer("order", "90d")),
        "key_share_of_spend_90d": ratio(total("spend", "90d"), of_customer("spend", "90d")),
        "key_discounted_share_90d": ratio(total("discounted_lines", "90d"), total("purchase", "90d")),
        "key_trend_30d_90d": ratio(3 * total("order", "30d"), total("order", "90d")),
        "key_popularity_30d": of_all.orders_30d,
        "key_popularity_trend": ratio(30 * of_all.orders_7d, 7 * of_all.orders_30d),
        "key_gap_mean_of_all_days": mean_of_all,
    }
