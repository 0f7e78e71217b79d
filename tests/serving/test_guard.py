"""The guard, against a second telling of its rules, and over days that are no 24 hours long."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.windows import to_us
from serving.guard import ALLOWED, DAY_US, WEEK_US, Limits, Standing, is_quiet, judge, quiet_end_us

NOON_US = to_us(datetime(2024, 6, 3, 12, tzinfo=UTC))
MINUTE_US = 60_000_000
NO_QUIET = time(0)


def us(day):
    return to_us(datetime.fromisoformat(day).replace(tzinfo=UTC))


zones = st.sampled_from(
    ["UTC", "Asia/Shanghai", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
).map(ZoneInfo)
times = st.times().map(lambda one: one.replace(second=0, microsecond=0))
# Around both changes of the clocks in the zones above, and anywhere else.
instants = st.one_of(
    st.integers(us("2024-03-09"), us("2024-04-08")),
    st.integers(us("2024-10-04"), us("2024-11-05")),
    st.integers(us("2020-01-01"), us("2030-01-01")),
)


def limits(per_day=1, per_week=3, quiet_from=NO_QUIET, quiet_until=NO_QUIET):
    return Limits(per_day, per_week, quiet_from, quiet_until)


def standing(**changes):
    told = {"may_market": True, "wants_quiet": False, "is_taken_over": False, "zone": ZoneInfo("UTC")}
    return Standing(**(told | changes))


@given(
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(-10 * DAY_US, DAY_US), max_size=6),
    st.integers(0, 3),
    st.integers(0, 5),
    zones,
    times,
    times,
    instants,
)
def test_it_allows_exactly_where_no_rule_forbids(
    may_market, wants_quiet, is_taken_over, ages, per_day, per_week, zone, quiet_from, quiet_until, now_us
):
    contacts = [now_us + age for age in ages]
    one = Standing(may_market, wants_quiet, is_taken_over, zone, contacts)
    verdict = judge(one, limits(per_day, per_week, quiet_from, quiet_until), now_us)
    of_a_day = [at for at in contacts if now_us - at < DAY_US]
    of_a_week = [at for at in contacts if now_us - at < WEEK_US]
    minute = (datetime.fromtimestamp(now_us // 1_000_000, zone).strftime("%H:%M"),)
    start, end = (f"{at:%H:%M}" for at in (quiet_from, quiet_until))
    sleeps = start <= minute[0] < end if start <= end else not end <= minute[0] < start
    forbidden = {
        "no consent to marketing": not may_market,
        "do not disturb": wants_quiet,
        "taken over by a person": is_taken_over,
        f"frequency cap: {per_day} a day": len(of_a_day) >= per_day,
        f"frequency cap: {per_week} a week": len(of_a_week) >= per_week,
        f"quiet hours: {start}-{end}": sleeps,
    }
    reasons = [reason for reason, holds in forbidden.items() if holds]
    assert verdict.is_allowed == (not reasons)
    assert verdict.reason == (reasons[0] if reasons else None)
    assert verdict.is_only_quiet == (len(reasons) == 1 and sleeps)


@given(zones, times, times, instants)
def test_the_end_of_quiet_hours_is_the_first_minute_that_is_not_quiet(zone, start, end, now_us):
    of = limits(quiet_from=start, quiet_until=end)
    found = quiet_end_us(now_us, of, zone)
    assert found >= now_us
    assert not is_quiet(found, of, zone)
    before = range(found - MINUTE_US, max(now_us, found - 200 * MINUTE_US), -MINUTE_US)
    assert all(is_quiet(at, of, zone) for at in before)
    if not is_quiet(now_us, of, zone):
        assert found - now_us < MINUTE_US


@given(zones, times, times, st.dates(), st.times())
def test_quiet_hours_are_the_walls_whatever_the_day(zone, start, end, day, at):
    """Asked for a wall's time, on any day in any zone, the answer depends on that time alone."""
    of = limits(quiet_from=start, quiet_until=end)
    there = datetime.combine(day.replace(year=2024), at, tzinfo=zone)
    if there.astimezone(UTC).astimezone(zone).time() != at:
        return  # an hour that the clocks left out
    somewhere = datetime.combine(date(2024, 6, 3), at, tzinfo=UTC)
    assert is_quiet(to_us(there), of, zone) == is_quiet(to_us(somewhere), of, ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("at", "zone", "end"),
    [
        ("2024-03-30T23:30", "Europe/London", "2024-03-31T08:00"),  # nine is an hour earlier the next morning
        ("2024-10-26T22:30", "Europe/London", "2024-10-27T09:00"),  # and an hour later in autumn
        ("2024-06-03T14:00", "Asia/Shanghai", "2024-06-04T01:00"),
        ("2024-06-03T00:59:59.5", "Asia/Shanghai", "2024-06-03T01:00"),
    ],
)
def test_nine_in_the_morning_is_the_customers_nine(at, zone, end):
    of = limits(quiet_from=time(21), quiet_until=time(9))
    now_us = to_us(datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert quiet_end_us(now_us, of, ZoneInfo(zone)) == to_us(datetime.fromisoformat(end).replace(tzinfo=UTC))


def test_a_contact_stops_counting_after_exactly_a_day_and_a_week():
    one = standing(contacts_us=[NOON_US])
    assert not judge(one, limits(), NOON_US + DAY_US - 1).is_allowed
    assert judge(one, limits(), NOON_US + DAY_US) == ALLOWED
    three = standing(contacts_us=[NOON_US, NOON_US + DAY_US, NOON_US + 2 * DAY_US])
    last = NOON_US + WEEK_US
    assert judge(three, limits(), last - 1).reason == "frequency cap: 3 a week"
    assert judge(three, limits(), last) == ALLOWED


def test_a_contact_stamped_a_little_ahead_counts():
    assert not judge(standing(contacts_us=[NOON_US + MINUTE_US]), limits(), NOON_US).is_allowed


def test_however_many_triggers_come_no_customer_is_contacted_oftener_than_the_cap():
    """A year of asking every 37 minutes, each permission taken."""
    of, sent = limits(quiet_from=time(21), quiet_until=time(9)), []
    zone = ZoneInfo("Europe/London")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(365 * 24 * 60 // 37):
        now_us = to_us(start + timedelta(minutes=37 * number))
        if judge(standing(contacts_us=sent[-10:], zone=zone), of, now_us).is_allowed:
            sent.append(now_us)
    assert all(later - earlier >= DAY_US for earlier, later in pairwise(sent))
    assert all(later - earlier >= WEEK_US for earlier, later in zip(sent, sent[3:], strict=False))
    hours = {datetime.fromtimestamp(at // 1_000_000, zone).hour for at in sent}
    assert hours <= set(range(9, 21))
    assert len(sent) > 100
