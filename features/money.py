"""Money as people read it: major units, with the currency where the sources name one."""

from __future__ import annotations

from configs.home import Home
from features.errors import SourceError
from features.sources import imported_mapping, imported_sources

WITHOUT_MINOR_UNIT = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]  # ISO 4217
)
WITH_THOUSANDTHS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])


def in_words(amount_minor: float, currency: str | None) -> str:
    """Return an amount of minor units for people to read.

    Parameters
    ----------
    currency
        ISO 4217 code. Without one nobody knows how many minor units a major one has, so they stay minor.

    >>> in_words(123456, "GBP"), in_words(1200, "JPY"), in_words(50, None)
    ('1,234.56 GBP', '1,200 JPY', '50 minor units')
    """
    if currency is None:
        return f"{amount_minor:,.0f} minor units"
    digits = 0 if currency in WITHOUT_MINOR_UNIT else 3 if currency in WITH_THOUSANDTHS else 2
    return f"{amount_minor / 10**digits:,.{digits}f} {currency}"


def home_currency(home: Home) -> str | None:
    """Return the currency of a home's amounts: that of its sources; None where they name none or several."""
    try:
        named = {imported_mapping(home, source).currency for source in imported_sources(home)} - {None}
    except SourceError:
        # Nothing but words depends on it: whoever imports again is told what is wrong.
        return None
    return named.pop() if len(named) == 1 else None
