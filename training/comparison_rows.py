"""On which days two models may be compared: later than anything that either was fitted or calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from training.errors import TrainingDataError
from training.splits import Slice, midnight

LEAST_DAYS = 3
"""Censuses without which what came after both models is too little to compare on."""

MOST_DAYS = 10
"""Censuses looked at, evenly spread."""

AFTER_BOTH = "the days after both were trained, which neither has seen"
CERTIFYING = "the certifying slice of the later one, on which neither was fitted or calibrated"


@dataclass(frozen=True)
class ComparisonDays:
    """Censuses that two models answer for.

    Attributes
    ----------
    days
        Midnights, aware, ascending.
    chosen
        Which slice they are, in words.
    """

    days: Sequence[datetime]
    chosen: str


def comparison_days(
    later_as_of: datetime, known_until: datetime, horizon_hours: int, certify: Slice, zone: ZoneInfo
) -> ComparisonDays:
    """Choose the censuses.

    Parameters
    ----------
    later_as_of
        Instant of the model trained later.
    known_until
        Until when outcomes are known: every outcome window closes by then.
    certify
        The later model's certifying slice, taken where too few days came after it.

    Raises
    ------
    TrainingDataError
        If no census is left.
    """
    closed = known_until - timedelta(hours=horizon_hours)
    first = later_as_of.astimezone(zone).date()
    after = [midnight(first + timedelta(days=day), zone) for day in range((closed - later_as_of).days + 2)]
    after = [day for day in after if later_as_of <= day <= closed]
    if len(after) >= LEAST_DAYS:
        return ComparisonDays(_spread(after), AFTER_BOTH)
    certified = [day for day in certify.days() if day <= closed]
    if not certified:
        raise TrainingDataError(
            f"nothing to compare on: no outcome window of {horizon_hours} h closes by "
            f"{known_until.isoformat()}",
            "import later events, or choose a later --as-of",
        )
    return ComparisonDays(_spread(certified), CERTIFYING)


def _spread(days: Sequence[datetime]) -> list[datetime]:
    """Take every so many of the days, the last among them.

    >>> from datetime import UTC
    >>> [day.day for day in _spread([datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 14)])]
    [1, 3, 5, 7, 9, 11, 13]
    """
    step = -(-len(days) // MOST_DAYS)
    return list(days[::-1][::step][::-1])
