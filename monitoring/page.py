"""What every HTML page of ours is made with: one template environment, and one way to write figures."""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from training.backtest_figures import DASH

if TYPE_CHECKING:
    from jinja2 import Environment


def page_environment() -> Environment:
    """Return the templates of `monitoring/templates`, escaping every value."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("monitoring", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        share=share,
        times=times,
        decimals=decimals,
        count=lambda value: f"{value:,}",
        plain=plain,
        finite=lambda value: value if math.isfinite(value) else None,
    )
    return environment


def installed_version() -> str:
    """Return Tagtide's version, for the foot of a page."""
    try:
        return version("tagtide")
    except PackageNotFoundError:
        return "(not installed)"


def share(value: float | None, digits: int = 1) -> str:
    """Show a share as a percentage.

    >>> share(0.8378), share(None)
    ('83.8%', '–')
    """
    return DASH if value is None or math.isnan(value) else f"{value:.{digits}%}"


def times(value: float | None) -> str:
    """Show a ratio.

    >>> times(2.345), times(155.08), times(None)
    ('2.35×', '155×', '–')
    """
    if value is None:
        return DASH
    return f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def decimals(value: float | None, digits: int) -> str:
    """Show a number with so many decimals.

    >>> decimals(0.76543, 3), decimals(float("nan"), 3)
    ('0.765', '–')
    """
    return DASH if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def plain(value: float) -> str:
    """Show a number of unknown size.

    >>> plain(1234567.0), plain(12.3456), plain(0.0), plain(0.01234)
    ('1,234,567', '12.3', '0', '0.0123')
    """
    if math.isnan(value):
        return DASH
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
