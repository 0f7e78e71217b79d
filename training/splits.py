"""Splits by time: which instants fit, calibrate and certify a model, with an embargo between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from features.mapping import Census, TagsPlan
from training.errors import TrainingDataError

OUTCOME_WINDOW = timedelta(hours=72)
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


def tag_slices(
    as_of: datetime,
    first_event: datetime,
    zone: ZoneInfo,
    warm_up_days: int = 30,
    plan: TagsPlan | None = None,
) -> TagSlices:
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
    plan
        What a source's mapping says about the slices instead.

    Raises
    ------
    TrainingDataError
        If fewer than 14 days are left to fit on, or a planned slice reaches into what follows it.
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
    if plan is not None:
        slices = _planned(plan, first, as_of, zone)
    ends_days = (as_of - slices.fit.last).days if plan is not None else FIT_ENDS_DAYS
    require_fit_days("tags", as_of, first_event, (slices.fit.first, slices.fit.last), ends_days)
    return slices


def _planned(plan: TagsPlan, first: datetime, as_of: datetime, zone: ZoneInfo) -> TagSlices:
    def part(days: Census) -> Slice:
        return Slice(midnight(days.first, zone), midnight(days.last, zone))

    slices = TagSlices(Slice(first, midnight(plan.fit_until, zone)), part(plan.calibrate), part(plan.certify))
    ends = (
        ("fit_until", slices.fit.last),
        ("calibrate", slices.calibrate.last),
        ("certify", slices.certify.last),
    )
    begins = (slices.calibrate.first, slices.certify.first, as_of)
    for (name, last), follows in zip(ends, begins, strict=True):
        if last + OUTCOME_WINDOW > follows:
            raise TrainingDataError(
                f"evaluation.tags.{name} ends {last.date()}; its outcomes reach past {follows.date()}, where "
                "what comes next begins",
                "let it end at least 72 h earlier in the source's mapping",
            )
    return slices
