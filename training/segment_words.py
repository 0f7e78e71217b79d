"""A segment in a sentence, from what is typical of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from training.segment_inputs import BY_FEATURE, INPUTS, Kind

ALWAYS_TOLD = ("order_count_365d", "order_value_mean_minor", "seconds_since_last_purchase")
"""Frequency, money and recency, which every sentence begins with."""

STANDS_OUT = 0.5
"""Standard deviations from the mean of everybody, from which on a segment stands out by an input."""

STANDING_OUT_TOLD = 2
NAME_WORDS = 2
NAME_CHARACTERS = 30

PLURAL_OF_ONE = re.compile(r"^1 (\w+)s\b")

MINOR_DIGITS = {"BIF": 0, "CLP": 0, "JPY": 0, "KRW": 0, "PYG": 0, "UGX": 0, "VND": 0, "BHD": 3, "KWD": 3}
"""Decimals of currencies whose minor unit is not a hundredth (ISO 4217)."""


@dataclass(frozen=True)
class SegmentFacts:
    """What is known of a segment.

    Attributes
    ----------
    share
        Of all customers, 0 to 1.
    typical, typical_of_all
        By feature what is typical of the segment and of everybody, in days, pieces, minor units or 0 to 1;
        an input that the data does not have is missing.
    centre
        By feature the centroid on the common scale: standard deviations from the mean.
    """

    share: float
    typical: Mapping[str, float]
    typical_of_all: Mapping[str, float]
    centre: Mapping[str, float]


def shown(value: float, kind: Kind, currency: str | None) -> str:
    """Write a value with its unit.

    >>> shown(2730.5, "money", "USD"), shown(2730.5, "money", "JPY"), shown(0.2, "days", None)
    ('27.30 USD', '2,730 JPY', 'less than a day')
    >>> shown(1.2, "days", None), shown(43.0, "count", None), shown(0.4, "count", None)
    ('1 day', '43', '0.4')
    >>> shown(0.525, "share", None), shown(0.004, "share", None)
    ('52 %', '0.4 %')
    """
    if kind == "money":
        digits = MINOR_DIGITS.get(currency or "", 2)
        return f"{value / 10**digits:,.{digits}f}" + (f" {currency}" if currency else "")
    if kind == "share":
        return f"{100 * value:.0f} %" if value < 0.0005 or value >= 0.01 else f"{100 * value:.1f} %"
    if kind == "days":
        return "less than a day" if value < 0.5 else "1 day" if value < 1.5 else f"{value:,.0f} days"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def sentence(facts: SegmentFacts, currency: str | None) -> str:
    """Describe a segment: its size, recency, frequency and money, and what sets it apart.

    >>> facts = SegmentFacts(
    ...     0.13,
    ...     {"order_count_365d": 43.0, "order_value_mean_minor": 2730.0, "coupon_count_365d": 12.0},
    ...     {"order_count_365d": 20.0, "order_value_mean_minor": 2800.0, "coupon_count_365d": 1.0},
    ...     {"order_count_365d": 1.2, "order_value_mean_minor": 0.0, "coupon_count_365d": 0.9},
    ... )
    >>> sentence(facts, "USD")
    '13 % of customers: 43 orders in 365 days, 27.30 USD an order; 12 coupons in 365 days (all: 1)'
    """
    told = [_told(facts, feature, currency) for feature in ALWAYS_TOLD if feature in facts.typical]
    apart = [
        f"{_told(facts, feature, currency)} (all: {_of_all(facts, feature, currency)})"
        for feature, centre in _by_distance(facts)
        if feature not in ALWAYS_TOLD and feature in facts.typical and abs(centre) >= STANDS_OUT
    ]
    parts = [", ".join(told), *apart[:STANDING_OUT_TOLD]]
    return f"{shown(facts.share, 'share', None)} of customers: " + "; ".join(part for part in parts if part)


def short_name(facts: SegmentFacts) -> str:
    """Name a segment by what sets it apart most, at most 30 characters; ``average`` if nothing does.

    >>> short_name(SegmentFacts(0.2, {}, {}, {"order_count_365d": 1.4, "coupon_count_365d": -0.7}))
    'frequent, no coupons'
    """
    words: list[str] = []
    for feature, centre in _by_distance(facts):
        if abs(centre) < STANDS_OUT:
            break
        one = BY_FEATURE[feature]
        word = one.more if centre > 0 else one.less
        if len(words) < NAME_WORDS and len(", ".join([*words, word])) <= NAME_CHARACTERS:
            words.append(word)
    return ", ".join(words) or "average"


def _by_distance(facts: SegmentFacts) -> list[tuple[str, float]]:
    order = [one.feature for one in INPUTS]
    return sorted(facts.centre.items(), key=lambda entry: (-abs(entry[1]), order.index(entry[0])))


def _told(facts: SegmentFacts, feature: str, currency: str | None) -> str:
    one = BY_FEATURE[feature]
    words = one.words.format(value=shown(facts.typical[feature], one.kind, currency))
    return PLURAL_OF_ONE.sub(r"1 \1", words)


def _of_all(facts: SegmentFacts, feature: str, currency: str | None) -> str:
    return shown(facts.typical_of_all[feature], BY_FEATURE[feature].kind, currency)
