"""Splits by time: which instants fit, calibrate and certify a model, with an embargo between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from training.errors import TrainingDataError

FIT_ENDS_DAYS = 38
CALIBRATE_DAYS = (30, 20)
CERTIFY_DAYS = (16, 4)
"""How many days before the model's instant the slices lie, unless the source's mapping says otherwise."""

LEAST_FIT_DAYS = 14
"""Days to fit on, at least."""


@dataclass(frozen=True)
class Slice:
    """Decision days from the first to the last, both included.

    Attributes
    ----------
    first, last
        Midnights, aware.
    """

    first: datetime
    last: datetime

    def days(self, every: int = 1) -> list[datetime]:
        """Return the midnights of the slice, every so many days, counted back from the last.

        >>> from datetime import UTC
        >>> part = Slice(datetime(2017, 10, 1, tzinfo=UTC), datetime(2017, 10, 6, tzinfo=UTC))
        >>> [day.day for day in part.days(every=2)]
        [2, 4, 6]
        """
        days = [
            self.last - timedelta(days=back) for back in range(0, (self.last - self.first).days + 1, every)
        ]
        return days[::-1]


@dataclass(frozen=True)
class TagSlices:
    """The three slices of a tag model, in order of time."""

    fit: Slice
    calibrate: Slice
    certify: Slice


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant a business day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def require_fit_days(
    what: str, as_of: datetime, first_event: datetime, fit: tuple[datetime, datetime], ends_days: int
) -> None:
    """Refuse a history that leaves too few days to fit on.

    Parameters
    ----------
    what
        Such as ``tags``.
    fit
        First and last midnight of the slice to fit on.
    ends_days
        How many days before the instant it ends.

    Raises
    ------
    TrainingDataError
        With the days there are, the days it takes, and the first instant that would do.
    """
    first, last = fit
    if (last - first).days >= LEAST_FIT_DAYS:
        return
    needed = first + timedelta(days=LEAST_FIT_DAYS + ends_days)
    raise TrainingDataError(
        f"{what} as of {as_of.isoformat()}: the data begins {first_event.isoformat()}, "
        f"{(as_of - first_event) / timedelta(days=1):.0f} days before, where "
        f"{(needed - first_event) / timedelta(days=1):.0f} are needed; "
        f"expected an instant not before {needed.isoformat()}",
        "choose a later --as-of or import more history",
    )


def tag_slices(as_of: datetime, first_event: datetime, zone: ZoneInfo, warm_up_days: int = 30) -> TagSlices:
    """Return the slices of a tag model as of an instant.

    Every outcome window of 72 h closes before the next slice begins, and before the instant.

    Parameters
    ----------
    as_of
        The model's instant.
    first_event
        The data's first event; fitting begins ``warm_up_days`` later.
    zone
        Business time zone, whose midnights are the census.

    Raises
    ------
    TrainingDataError
        If fewer than 14 days are left to fit on.
    """
    today = as_of.astimezone(zone).date()

    def back(days: int) -> datetime:
        return midnight(today - timedelta(days=days), zone)

    first = midnight((first_event.astimezone(zone) + timedelta(days=warm_up_days)).date(), zone)
    slices = TagSlices(
        Slice(first, back(FIT_ENDS_DAYS)),
        Slice(back(CALIBRATE_DAYS[0]), back(CALIBRATE_DAYS[1])),
        Slice(back(CERTIFY_DAYS[0]), back(CERTIFY_DAYS[1])),
    )
    require_fit_days("tags", as_of, first_event, (slices.fit.first, slices.fit.last), FIT_ENDS_DAYS)
    return slices
