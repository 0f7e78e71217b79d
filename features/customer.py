"""Features of a customer at an instant. A new one is one function, here or in a module of its concept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features import customer_distinct, customer_orders, customer_rhythm, customer_sessions
from features.customer_rows import (
    AGEING_SERVICES,
    CATALOGUE,
    CONTEXT_SERVICES,
    PROPENSITY_SERVICES,
    WINDOWS,
    WORTH_SERVICES,
    CustomerRows,
)
from features.definitions import (
    CUSTOMER_SERVICES,
    EVERY_SERVICE,
    FeatureDefinition,
    FloatArray,
    ratio,
    seconds_between,
)
from features.events import EVENT_TYPES
from features.memory import ACTIVITY_TYPES
from features.phrases import Phrase
from features.profile import (
    COUNTS,
    COUPON,
    COUPON_LINES,
    DISCOUNT,
    DISCOUNTED_LINES,
    LINE_COUNT,
    ORDER_COUNT,
    REDUCED_ORDERS,
    REFUND,
    SPEND,
)
from features.topics import Topic
from features.windows import (
    DAY_7,
    DAY_30,
    DAY_90,
    DAY_365,
    HOUR_24,
    HOUR_72,
    LIFETIME,
    NEVER,
    SHORT_WINDOWS,
    IntArray,
    Window,
)

__all__ = ["CATALOGUE", "CONCEPTS", "CustomerRows", "catalogue"]

CONCEPTS = (customer_orders, customer_rhythm, customer_sessions, customer_distinct)
"""Modules whose features are in the catalogue beside those declared here."""

_feature, _windowed = CATALOGUE.feature, CATALOGUE.windowed


def catalogue() -> list[FeatureDefinition]:
    """Return every customer feature."""
    return CATALOGUE.definitions()


@_windowed(
    "order_count_{window}",
    (*WINDOWS, LIFETIME),
    unit="orders",
    services={
        **dict.fromkeys(SHORT_WINDOWS, CUSTOMER_SERVICES),
        **dict.fromkeys((HOUR_72, DAY_7), CONTEXT_SERVICES),
        **dict.fromkeys((DAY_30, DAY_90), EVERY_SERVICE),
        **dict.fromkeys((DAY_365, LIFETIME), AGEING_SERVICES),
    },
    phrase=Phrase("ordered {times} {window}", "did not order {window}", Topic.ORDERS, "count"),
)
def order_count(rows: CustomerRows, window: Window) -> IntArray:
    """Orders in the window."""
    return rows.total(ORDER_COUNT, window)


@_windowed(
    "spend_{window}_minor",
    (*WINDOWS, LIFETIME),
    unit="minor units",
    services={
        **dict.fromkeys((HOUR_72, DAY_7), CUSTOMER_SERVICES),
        **dict.fromkeys((DAY_30, DAY_90), WORTH_SERVICES),
        **dict.fromkeys((DAY_365, LIFETIME), AGEING_SERVICES),
    },
    phrase=Phrase("spent {value} {window}", "spent nothing {window}", Topic.SPENDING),
)
def spend(rows: CustomerRows, window: Window) -> IntArray:
    """Paid for purchases in the window, before refunds."""
    return rows.total(SPEND, window)


@_windowed(
    "line_count_{window}",
    (*WINDOWS, LIFETIME),
    unit="lines",
    services={
        HOUR_72: CONTEXT_SERVICES,
        DAY_7: CUSTOMER_SERVICES,
        DAY_30: EVERY_SERVICE,
        DAY_90: WORTH_SERVICES,
    },
    phrase=Phrase("bought {value} {window}", "bought nothing {window}", Topic.SPENDING),
)
def line_count(rows: CustomerRows, window: Window) -> IntArray:
    """Purchase lines in the window."""
    return rows.total(LINE_COUNT, window)


@_windowed(
    "refund_{window}_minor",
    (*WINDOWS, LIFETIME),
    unit="minor units",
    services={
        DAY_30: CUSTOMER_SERVICES,
        DAY_90: WORTH_SERVICES,
        LIFETIME: AGEING_SERVICES,
    },
    phrase=Phrase("was refunded {value} {window}", "was refunded nothing {window}", Topic.REFUNDS),
)
def refund(rows: CustomerRows, window: Window) -> IntArray:
    """Refunded in the window."""
    return rows.total(REFUND, window)


@_windowed(
    "net_spend_{window}_minor",
    (DAY_30, DAY_90, DAY_365, LIFETIME),
    unit="minor units",
    services=(),
    phrase=Phrase(
        "spent {value} net of refunds {window}", "spent nothing net of refunds {window}", Topic.SPENDING
    ),
)
def net_spend(rows: CustomerRows, window: Window) -> IntArray:
    """Paid for purchases less what was refunded in the window; negative where more was refunded."""
    return rows.total(SPEND, window) - rows.total(REFUND, window)


_REDUCTION_SERVICES = dict.fromkeys((DAY_30, DAY_90), CUSTOMER_SERVICES)


@_windowed(
    "discount_{window}_minor",
    (DAY_30, DAY_90, DAY_365),
    unit="minor units",
    services=_REDUCTION_SERVICES,
    phrase=Phrase(
        "saved {value} by discounts {window}", "saved nothing by discounts {window}", Topic.REDUCTIONS
    ),
)
def discount(rows: CustomerRows, window: Window) -> IntArray:
    """Promotional reductions on purchases in the window."""
    return rows.total(DISCOUNT, window)


@_windowed(
    "coupon_{window}_minor",
    (DAY_30, DAY_90, DAY_365),
    unit="minor units",
    services=_REDUCTION_SERVICES,
    phrase=Phrase("saved {value} by coupons {window}", "saved nothing by coupons {window}", Topic.REDUCTIONS),
)
def coupon(rows: CustomerRows, window: Window) -> IntArray:
    """Coupon reductions on purchases in the window."""
    return rows.total(COUPON, window)


@dataclass(frozen=True)
class _Deed:
    """What a type of event is called: ``did`` in "<did> 3 times", ``not_done`` in "<not_done> in 7 days"."""

    did: str
    not_done: str
    noun: str
    topic: Topic

    @property
    def did_last(self) -> str:
        return (
            f"was last {self.did.removeprefix('was ')}" if self.did.startswith("was ") else f"last {self.did}"
        )


_DEEDS = {
    "view": _Deed("viewed something", "viewed nothing", "view", Topic.VIEWS),
    "search": _Deed("searched", "did not search", "search", Topic.SEARCHES),
    "add_to_cart": _Deed(
        "put something in the cart", "put nothing in the cart", "addition to the cart", Topic.CART
    ),
    "remove_from_cart": _Deed(
        "took something out of the cart", "took nothing out of the cart", "removal from the cart", Topic.CART
    ),
    "purchase": _Deed("bought something", "bought nothing", "purchase", Topic.ORDERS),
    "refund": _Deed("sent something back", "sent nothing back", "refund", Topic.REFUNDS),
    "interaction": _Deed("got in touch", "did not get in touch", "interaction", Topic.INTERACTIONS),
    "referral": _Deed("referred somebody", "referred nobody", "referral", Topic.REFERRALS),
    "contact": _Deed("was contacted", "was not contacted", "contact", Topic.CONTACTS),
    "coupon": _Deed("redeemed a coupon", "redeemed no coupon", "coupon redeemed", Topic.COUPONS),
}


def _declare_per_type(event_type: str) -> None:
    deed = _DEEDS[event_type]

    def counted(rows: CustomerRows, window: Window) -> IntArray:
        return rows.total(COUNTS[event_type], window)

    def since(rows: CustomerRows) -> FloatArray:
        return seconds_between(rows.last(event_type), rows.instants)

    counted.__doc__ = f"Events of type {event_type} in the window."
    since.__doc__ = f"Time since the latest event of type {event_type}."
    since.__name__ = f"seconds_since_last_{event_type}"
    if event_type != "purchase":
        of_value = event_type in ("interaction", "referral")
        read_by = dict.fromkeys((HOUR_24, HOUR_72, DAY_7, DAY_30, DAY_90), CUSTOMER_SERVICES)
        if of_value:
            read_by[DAY_90] = WORTH_SERVICES
        windows = (*WINDOWS, LIFETIME) if of_value else WINDOWS
        how_often = Phrase(
            f"{deed.did} {{times}} {{window}}", f"{deed.not_done} {{window}}", deed.topic, "count"
        )
        _windowed(
            f"{event_type}_count_{{window}}", windows, unit="events", services=read_by, phrase=how_often
        )(counted)
    services = EVERY_SERVICE if event_type == "purchase" else CUSTOMER_SERVICES
    when = Phrase(f"{deed.did_last} {{value}} ago", "", deed.topic, "last")
    _feature(unit="seconds", null=f"no {deed.noun} yet", services=services, phrase=when)(since)


for _event_type in EVENT_TYPES:
    _declare_per_type(_event_type)


@_feature(
    unit="seconds",
    null="no activity yet",
    services=PROPENSITY_SERVICES,
    phrase=Phrase("last active {value} ago", "", Topic.VISITS),
)
def seconds_since_last_activity(rows: CustomerRows) -> FloatArray:
    """Time since the latest event of any type but contact."""
    latest = np.maximum.reduce([rows.last(event_type) for event_type in ACTIVITY_TYPES])
    return seconds_between(latest, rows.instants)


@_feature(
    unit="seconds",
    null="no purchase yet",
    services=AGEING_SERVICES,
    phrase=Phrase("first bought {value} ago", topic=Topic.TENURE),
)
def seconds_since_first_purchase(rows: CustomerRows) -> FloatArray:
    """Time since the first purchase."""
    return seconds_between(rows.first_purchase, rows.instants)


@_feature(
    unit="seconds",
    null="no event yet",
    services=("high_intent_v1",),
    phrase=Phrase("first seen {value} ago", topic=Topic.TENURE),
)
def seconds_since_first_event(rows: CustomerRows) -> FloatArray:
    """Time since the first event of any type."""
    return seconds_between(rows.first("first_event", EVENT_TYPES), rows.instants)


@_feature(
    unit="ratio",
    null="no purchase in 90 days",
    phrase=Phrase("{percent} of what was bought in 90 days was discounted", topic=Topic.REDUCTIONS),
)
def discounted_line_share_90d(rows: CustomerRows) -> FloatArray:
    """Share of the purchase lines of 90 days bought at a discount."""
    return ratio(rows.total(DISCOUNTED_LINES, DAY_90), rows.total(LINE_COUNT, DAY_90))


@_feature(
    unit="ratio",
    null="no purchase in 90 days",
    phrase=Phrase("{percent} of what was bought in 90 days was bought with a coupon", topic=Topic.REDUCTIONS),
)
def coupon_line_share_90d(rows: CustomerRows) -> FloatArray:
    """Share of the purchase lines of 90 days bought with a coupon."""
    return ratio(rows.total(COUPON_LINES, DAY_90), rows.total(LINE_COUNT, DAY_90))


@_windowed(
    "reduced_order_share_{window}",
    (DAY_30, DAY_90, LIFETIME),
    unit="ratio",
    dtype="float",
    null="no order in the window",
    services=("deal_seeker_v1",),
    phrase=Phrase(
        "{percent} of the orders {window} had a coupon, or saved a tenth or more", topic=Topic.REDUCTIONS
    ),
)
def reduced_order_share(rows: CustomerRows, window: Window) -> FloatArray:
    """Share of the orders in the window that had a coupon, or saved at least a tenth of what was paid."""
    return ratio(rows.total(REDUCED_ORDERS, window), rows.total(ORDER_COUNT, window))


def _full_price_90d(rows: CustomerRows) -> IntArray:
    return rows.total(SPEND, DAY_90) + rows.total(DISCOUNT, DAY_90) + rows.total(COUPON, DAY_90)


@_feature(
    unit="ratio",
    null="nothing bought that costs anything in 90 days",
    services=PROPENSITY_SERVICES,
    phrase=Phrase("discounts took {percent} off the full price in 90 days", topic=Topic.REDUCTIONS),
)
def discount_share_90d(rows: CustomerRows) -> FloatArray:
    """Promotional reductions over the full price of the purchases of 90 days."""
    return ratio(rows.total(DISCOUNT, DAY_90), _full_price_90d(rows))


@_feature(
    unit="ratio",
    null="nothing bought that costs anything in 90 days",
    services=(),
    phrase=Phrase("coupons took {percent} off the full price in 90 days", topic=Topic.REDUCTIONS),
)
def coupon_share_90d(rows: CustomerRows) -> FloatArray:
    """Coupon reductions over the full price of the purchases of 90 days."""
    return ratio(rows.total(COUPON, DAY_90), _full_price_90d(rows))


@_windowed(
    "refund_rate_{window}",
    (DAY_90, DAY_365),
    unit="ratio",
    dtype="float",
    null="no spend",
    services=(),
    phrase=Phrase("was refunded {percent} of the spend {window}", topic=Topic.REFUNDS),
)
def refund_rate(rows: CustomerRows, window: Window) -> FloatArray:
    """Refunded over paid in the window."""
    return ratio(rows.total(REFUND, window), rows.total(SPEND, window))


@_feature(
    unit="ratio",
    null="no view in 30 days",
    services=(),
    phrase=Phrase("put something in the cart {value} times a view in 30 days", topic=Topic.CART),
)
def view_to_cart_ratio_30d(rows: CustomerRows) -> FloatArray:
    """Times something was put in the cart over views, in 30 days."""
    return ratio(rows.total(COUNTS["add_to_cart"], DAY_30), rows.total(COUNTS["view"], DAY_30))


@_feature(
    unit="ratio",
    null="nothing put in the cart in 30 days",
    services=(),
    phrase=Phrase(
        "ordered {value} times for each time something was put in the cart in 30 days", topic=Topic.CART
    ),
)
def cart_to_order_ratio_30d(rows: CustomerRows) -> FloatArray:
    """Orders over times something was put in the cart, in 30 days."""
    return ratio(rows.total(ORDER_COUNT, DAY_30), rows.total(COUNTS["add_to_cart"], DAY_30))


@_feature(
    unit="seconds",
    null="no cart, or something bought or taken out no earlier",
    services=PROPENSITY_SERVICES,
    phrase=Phrase("has had something in the cart for {value}", topic=Topic.CART),
)
def seconds_since_open_cart(rows: CustomerRows) -> FloatArray:
    """Time since something was put in the cart, if nothing was bought or taken out since."""
    added = rows.last("add_to_cart")
    is_open = (added > rows.last("purchase")) & (added > rows.last("remove_from_cart"))
    return seconds_between(np.where(is_open, added, NEVER), rows.instants)
