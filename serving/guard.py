"""Whether a customer may be contacted at an instant, and why not. Pure: everything it looks at is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from zoneinfo import ZoneInfo

from features.windows import from_us, to_us

DAY_US = 24 * 3600 * 1_000_000
WEEK_US = 7 * DAY_US


@dataclass(frozen=True)
class Standing:
    """What is known of one customer.

    Attributes
    ----------
    may_market
        Whether the customer agreed to marketing.
    is_taken_over
        Whether a person looks after the customer now.
    zone
        The customer's own time zone.
    contacts_us
        When the customer was contacted, microseconds since the epoch; some may be older than a week.
    """

    may_market: bool
    wants_quiet: bool
    is_taken_over: bool
    zone: ZoneInfo
    contacts_us: Sequence[int] = ()


@dataclass(frozen=True)
class Limits:
    """How often and when customers may be contacted.

    Attributes
    ----------
    quiet_from, quiet_until
        Quiet hours of the customer's day, without their end; they may go past midnight. Both the same: none.
    """

    per_day: int
    per_week: int
    quiet_from: time
    quiet_until: time


@dataclass(frozen=True)
class Verdict:
    """What the guard says.

    Attributes
    ----------
    reason
        Why not; None if it is allowed.
    is_only_quiet
        Whether the quiet hours are the only reason: at their end (`quiet_end_us`) it may be asked again.
    """

    reason: str | None = None
    is_only_quiet: bool = False

    @property
    def is_allowed(self) -> bool:
        """Whether the customer may be contacted."""
        return self.reason is None


ALLOWED = Verdict()


def judge(standing: Standing, limits: Limits, now_us: int) -> Verdict:
    """Decide whether a customer may be contacted.

    Consent comes first, then what holds until somebody changes it, then the frequency cap, quiet hours last:
    what can be put off is put off only if nothing else stands against it.

    Parameters
    ----------
    now_us
        The instant, microseconds since the epoch, UTC. Contacts stamped later count too.
    """
    if not standing.may_market:
        return Verdict("no consent to marketing")
    if standing.wants_quiet:
        return Verdict("do not disturb")
    if standing.is_taken_over:
        return Verdict("taken over by a person")
    # A cap of none at all needs no contact to be reached.
    if sum(at_us > now_us - DAY_US for at_us in standing.contacts_us) >= limits.per_day:
        return Verdict(f"frequency cap: {limits.per_day} a day")
    if sum(at_us > now_us - WEEK_US for at_us in standing.contacts_us) >= limits.per_week:
        return Verdict(f"frequency cap: {limits.per_week} a week")
    if is_quiet(now_us, limits, standing.zone):
        shown = f"{limits.quiet_from:%H:%M}-{limits.quiet_until:%H:%M}"
        return Verdict(f"quiet hours: {shown}", is_only_quiet=True)
    return ALLOWED


def is_quiet(now_us: int, limits: Limits, zone: ZoneInfo) -> bool:
    """Tell whether the clock on the customer's wall stands within the quiet hours."""
    if limits.quiet_from == limits.quiet_until:
        return False
    local = from_us(now_us).astimezone(zone).time()
    if limits.quiet_from < limits.quiet_until:
        return limits.quiet_from <= local < limits.quiet_until
    return local >= limits.quiet_from or local < limits.quiet_until


def quiet_end_us(now_us: int, limits: Limits, zone: ZoneInfo) -> int:
    """Return the first full minute from an instant on that is not within the quiet hours.

    Days have 23 to 25 hours, and a clock set back may strike the end twice: so the wall's clock is looked at
    minute by minute.
    """
    instant = from_us(now_us).replace(second=0, microsecond=0)
    if to_us(instant) < now_us:
        instant += timedelta(minutes=1)
    while is_quiet(to_us(instant), limits, zone):
        instant += timedelta(minutes=1)
    return to_us(instant)
