"""In which currency a home's money is told."""

from __future__ import annotations

from configs.home import Home


def currency_of(home: Home) -> str | None:
    """Return the ISO code that every imported source names, None where they name none or several."""
    from features.sources import imported_mapping, imported_sources

    named = {imported_mapping(home, source).currency for source in imported_sources(home)}
    return named.pop() if len(named) == 1 else None
