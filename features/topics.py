"""What features are about: those of one topic are told together when a prediction is explained."""

from __future__ import annotations

from enum import StrEnum


class Topic(StrEnum):
    """A topic that features of several functions share; one function's features are a topic of their own."""

    BUYING_KEY = "buying the key"
    LOOKING_AT_KEY = "looking at the key"
    POPULARITY = "popularity of the key"
    ORDERS = "orders"
    SPENDING = "spending"
    REDUCTIONS = "reductions"
    RHYTHM = "rhythm"
    TENURE = "tenure"
    VISITS = "visits"
    VIEWS = "view"
    SEARCHES = "search"
    CART = "cart"
    REFUNDS = "refund"
    INTERACTIONS = "interaction"
    REFERRALS = "referral"
    CONTACTS = "contact"
    COUPONS = "coupon"
