"""Everything a monitoring report says, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime

from monitoring.drift import FeatureDrift
from monitoring.key_numbers import KeyNumber
from monitoring.precision import DayPrecision, PrecisionRow, ProvisionalRow
from monitoring.served_propensity import PropensityRow


@dataclass(frozen=True)
class SuspendedTag:
    """A tag that is not given out, and why."""

    family: str
    tag_id: str
    reason: str


@dataclass(frozen=True)
class Figures:
    """What a report says.

    Attributes
    ----------
    title, source
        What the report is called, and whose events it is about.
    as_of
        The instant everything is told from: nothing known later is in it.
    since, until
        Claims assigned in ``(since, until]`` are reported; null if there is no claim.
    time_zone
        Business zone: days begin at its midnights.
    numbers
        The four, in their fixed order.
    controls
        Pairs scored but not assigned, by family: what not tagging missed.
    useful_tags_per_customer_day
        By family.
    customer_days
        The census they were divided by.
    drift_reference, drift_current
        Which rows were compared, in words; empty if drift was not measured.
    notes
        What a reader should know before trusting a figure.
    """

    title: str
    source: str
    as_of: datetime
    since: datetime | None
    until: datetime | None
    time_zone: str
    numbers: tuple[KeyNumber, KeyNumber, KeyNumber, KeyNumber]
    families: tuple[PrecisionRow, ...]
    tags: tuple[PrecisionRow, ...]
    days: tuple[DayPrecision, ...]
    provisional: tuple[ProvisionalRow, ...]
    controls: tuple[PrecisionRow, ...]
    useful_tags_per_customer_day: Mapping[str, float]
    customer_days: int
    propensity: tuple[PropensityRow, ...]
    drift: tuple[FeatureDrift, ...] = ()
    drift_reference: str = ""
    drift_current: str = ""
    suspended: tuple[SuspendedTag, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the figures fit for `json.dumps`: instants as ISO text, NaN as null."""
        cleaned = _cleaned(asdict(self))
        if not isinstance(cleaned, dict):
            raise TypeError("figures are not a mapping")
        return cleaned


def _cleaned(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _cleaned(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
