"""What a feature's value says, in words: ``bought SOFT DRINKS 6 times in 30 days``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from features import money

Role = Literal["", "count", "gap", "last"]

WINDOW_WORDS = {"1h": "in the last hour", "lifetime": "so far"}
"""Of windows whose name does not tell; any other is so many hours or days."""

BESIDE: Mapping[str, str] = {
    "count": "{times} {window}",
    "gap": "usual gap {value}",
    "last": "last {value} ago",
}
"""How a feature of a role is told beside another of its topic, in this order."""

DAYS_OF_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

SINGULAR = {"categories": "category"}
KEY_WORD = re.compile(r"\b(?:the )?key\b")
PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Phrase:
    """How a feature is put in words.

    Attributes
    ----------
    said
        Of a value. ``{key}`` is the category or brand, ``{window}`` the window; the value itself is
        ``{value}`` in the feature's unit, ``{times}``, ``{percent}``, ``{weekday}`` or ``{clock}`` of hours.
    zero
        Of the value 0; ``said`` where empty.
    topic
        What features that belong together share: their contributions are added up, and told in one sentence.
    role
        Whether it is told beside another feature of its topic, and as what: see `BESIDE`.
    """

    said: str
    zero: str = ""
    topic: str = ""
    role: Role = ""


@dataclass(frozen=True)
class Subject:
    """Whom and what a sentence is about.

    Attributes
    ----------
    key
        The category or brand; empty where it is about a customer alone.
    currency
        ISO 4217 code of all amounts, where it is known.
    """

    key: str = ""
    currency: str | None = None


@dataclass(frozen=True)
class Measured:
    """What a phrase needs to know of a feature: its unit, its window, and what a null means."""

    unit: str
    window: str
    null_meaning: str


def in_words(phrase: Phrase, measured: Measured, value: float, subject: Subject) -> str:
    """Say a feature's value.

    Parameters
    ----------
    value
        NaN for null.

    >>> phrase = Phrase("bought {key} {times} {window}", "did not buy {key} {window}")
    >>> measured, tea = Measured("orders", "30d", "key never bought"), Subject("TEA")
    >>> in_words(phrase, measured, 6, tea)
    'bought TEA 6 times in 30 days'
    >>> in_words(phrase, measured, 0, tea)
    'did not buy TEA in 30 days'
    >>> in_words(phrase, measured, float("nan"), tea)
    'TEA never bought'
    """
    if not math.isfinite(value):
        return KEY_WORD.sub(lambda _: subject.key or "key", measured.null_meaning) or "not known"
    return _filled(phrase.zero if value == 0 and phrase.zero else phrase.said, measured, value, subject)


def beside(role: Role, measured: Measured, value: float, subject: Subject) -> str:
    """Say a feature's value beside another one's; empty where that would tell nothing.

    >>> beside("gap", Measured("days", "", ""), 5.2, Subject())
    'usual gap 5 days'
    """
    if not role or not math.isfinite(value) or (role == "count" and value <= 0):
        return ""
    return _filled(BESIDE[role], measured, value, subject)


def _filled(template: str, measured: Measured, value: float, subject: Subject) -> str:
    # In one pass: a key may hold braces of its own.
    return PLACE.sub(lambda place: _told(place[1], measured, value, subject), template)


def _told(place: str, measured: Measured, value: float, subject: Subject) -> str:
    match place:
        case "key":
            return subject.key
        case "window":
            return window_words(measured.window)
        case "times":
            return times(value)
        case "percent":
            return percent(value)
        case "weekday":
            return DAYS_OF_WEEK[int(value) % 7]
        case "clock":
            return f"{int(value) % 24:02d}:{int(value % 1 * 60):02d}"
    return amount(measured, value, subject)


def window_words(window: str) -> str:
    """Return a window's name as an adverb.

    >>> window_words("72h"), window_words("30d"), window_words("lifetime")
    ('in 72 hours', 'in 30 days', 'so far')
    """
    if window in WINDOW_WORDS:
        return WINDOW_WORDS[window]
    return f"in {window[:-1]} {'hours' if window.endswith('h') else 'days'}" if window else ""


def times(count: float) -> str:
    """Return how often.

    >>> times(1), times(2), times(1234)
    ('once', 'twice', '1,234 times')
    """
    return {"0": "never", "1": "once", "2": "twice"}.get(number(count), f"{number(count)} times")


def number(value: float) -> str:
    """Return a number with as many digits as one reads.

    >>> number(1234.0), number(1.44), number(12.6), number(0.034)
    ('1,234', '1.4', '13', '0.034')
    """
    if 0 < abs(value) < 0.1:
        return f"{value:.2g}"
    text = f"{value:,.1f}" if abs(value) < 10 else f"{value:,.0f}"
    return text.removesuffix(".0")


def duration(seconds: float) -> str:
    """Return a length of time in the largest unit that has two of it.

    >>> duration(20), duration(3600), duration(30 * 3600), duration(5.2 * 86400)
    ('less than a minute', '60 minutes', '30 hours', '5 days')
    """
    if seconds < 60:
        return "less than a minute"
    for length, unit in ((86400, "days"), (3600, "hours")):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else "a minute"


def percent(share: float) -> str:
    """Return a share in percent.

    >>> percent(0.403), percent(0.004), percent(0.0)
    ('40 %', 'under 1 %', '0 %')
    """
    return "under 1 %" if 0 < share < 0.01 else f"{100 * share:,.0f} %"


def amount(measured: Measured, value: float, subject: Subject) -> str:
    """Return a value in its feature's unit.

    >>> amount(Measured("orders", "", ""), 1, Subject()), amount(Measured("ratio", "", ""), 1.44, Subject())
    ('1 order', '1.4')
    """
    if measured.unit == "minor units":
        return money.in_words(value, subject.currency)
    if measured.unit in LENGTHS:
        return duration(value * LENGTHS[measured.unit])
    if measured.unit in ("ratio", ""):
        return number(value)
    if number(value) == "1":
        return f"1 {SINGULAR.get(measured.unit, measured.unit.removesuffix('s'))}"
    return f"{number(value)} {measured.unit}"


LENGTHS: Mapping[str, float] = {"seconds": 1, "hours": 3600, "days": 86400}
"""Units of time in seconds."""
