"""Which days a backtest answers for: those asked for, those of the mapping, or the data's last ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from configs.settings import Settings
from pipelines.errors import CommandError

if TYPE_CHECKING:
    from features.mapping import Census, ClvPlan
    from training.backtest import BacktestDays

DEFAULT_CLV_DAYS = 90
ASKED_DAYS, ASKED_EVERY_DAYS = 30, 2
"""How long after ``--as-of`` tags and propensities are tested, and at every which midnight."""


@dataclass(frozen=True)
class Span:
    """From the first to the last thing that customers did, messages sent to them aside. Aware."""

    first: datetime
    last: datetime

    @property
    def days(self) -> float:
        """Its length."""
        return (self.last - self.first) / timedelta(days=1)


@dataclass(frozen=True)
class ClvRun:
    """Predict at ``as_of``, compare with the ``horizon_days`` after it."""

    as_of: datetime
    horizon_days: int

    @property
    def name(self) -> str:
        """Key of its figures where there are several runs."""
        return f"{self.as_of.date()}/{self.horizon_days}d"


def data_span(events: pl.DataFrame) -> Span:
    """Return from when to when customers were seen.

    Raises
    ------
    CommandError
        If they never were.
    """
    activity = events.filter(pl.col("event_type") != "contact")["event_time"]
    first, last = activity.min(), activity.max()
    if not (isinstance(first, datetime) and isinstance(last, datetime)):
        raise CommandError(
            "a backtest needs something that customers did; the home holds contacts only",
            "import views or purchases as well",
        )
    return Span(first, last)


def days_to_test(
    span: Span,
    settings: Settings,
    planned: Census | None,
    as_of: datetime | None,
    horizon_hours: int,
) -> BacktestDays:
    """Choose the censuses of tags or propensities: only such whose whole outcome window is closed.

    Parameters
    ----------
    planned
        What the source's mapping says.
    as_of
        What was asked for.
    horizon_hours
        Length of an outcome window.

    Raises
    ------
    CommandError
        If not one window closes before the data ends.
    TrainingDataError
        If the data's span is too short to choose from.
    """
    from training.backtest import BacktestDays, span_days

    if as_of is None and planned is None:
        return BacktestDays(span_days(span.first, span.last, settings, horizon_hours), "span")
    if as_of is not None:
        wanted = [as_of + timedelta(days=day) for day in range(0, ASKED_DAYS, ASKED_EVERY_DAYS)]
    else:
        assert planned is not None  # noqa: S101 - one of the two was given
        wanted = _midnights(planned, settings)
    latest = span.last - timedelta(hours=horizon_hours)
    closed = [day for day in wanted if day <= latest]
    if not closed:
        asked = "evaluation of the mapping" if as_of is None else "--as-of"
        raise CommandError(
            f"{asked} {wanted[0].isoformat()}: no outcome window of {horizon_hours} h closes before the data "
            f"ends at {span.last.isoformat()}",
            f"choose an --as-of at or before {latest.isoformat(timespec='minutes')}",
        )
    require_begun(span, closed[0])
    return BacktestDays(closed, "mapping" if as_of is None else "option")


def _midnights(census: Census, settings: Settings) -> list[datetime]:
    from training.splits import midnight

    days = range(0, (census.last - census.first).days + 1, census.every_days)
    return [midnight(census.first + timedelta(days=day), settings.zone) for day in days]


def clv_runs(
    span: Span,
    settings: Settings,
    planned: Sequence[ClvPlan],
    as_of: datetime | None,
    horizon_days: int | None,
) -> tuple[list[ClvRun], str]:
    """Choose the cut-offs of CLV.

    Returns
    -------
    The runs, and who decided: ``option``, ``mapping`` or ``span``.
    """
    from training.splits import midnight

    if as_of is not None or horizon_days is not None:
        days = horizon_days or DEFAULT_CLV_DAYS
        return [ClvRun(as_of or _last_closed(span, settings, days), days)], "option"
    if planned:
        return [ClvRun(midnight(one.as_of, settings.zone), one.horizon_days) for one in planned], "mapping"
    return [ClvRun(_last_closed(span, settings, DEFAULT_CLV_DAYS), DEFAULT_CLV_DAYS)], "span"


def _last_closed(span: Span, settings: Settings, horizon_days: int) -> datetime:
    """Return the last midnight after which the data goes on for a whole horizon.

    Raises
    ------
    CommandError
        If too little history is left before it.
    """
    from training.clv_cutoffs import MIN_HISTORY_DAYS

    latest = (span.last - timedelta(days=horizon_days)).astimezone(settings.zone)
    midnight = latest.replace(hour=0, minute=0, second=0, microsecond=0)
    before = 2 * MIN_HISTORY_DAYS
    if midnight - span.first < timedelta(days=before):
        raise CommandError(
            f"value over {horizon_days} days needs {before} days of history before its cut-off and "
            f"{horizon_days} after it; the data has {span.days:.1f}, from {span.first.isoformat()} to "
            f"{span.last.isoformat()}",
            "import more history, or choose a shorter --horizon-days",
        )
    return midnight


def require_begun(span: Span, as_of: datetime) -> None:
    """Refuse an instant by which nothing had happened.

    Raises
    ------
    CommandError
        Naming the data's span.
    """
    if as_of <= span.first:
        raise CommandError(
            f"nothing had happened by {as_of.isoformat()}; the data goes from {span.first.isoformat()} to "
            f"{span.last.isoformat()}",
            "choose a later --as-of",
        )
