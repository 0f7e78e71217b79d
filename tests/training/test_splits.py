"""Slices by time: in order, apart, closed before the model's instant."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.mapping import Census, TagsPlan
from training.errors import TrainingDataError
from training.propensity_rows import PropensitySlices, propensity_slices
from training.splits import Slice, TagSlices, midnight, tag_slices

# two hemispheres, half an hour, a clock change at midnight, a day that was left out, and none of it
ZONES = (
    "UTC",
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Asia/Shanghai",
)
zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.datetimes(
    min_value=datetime(2009, 1, 1),  # noqa: DTZ001 -- hypothesis adds the zone itself
    max_value=datetime(2018, 12, 31),  # noqa: DTZ001 -- likewise
    timezones=st.just(UTC),
)
ages = st.timedeltas(timedelta(0), timedelta(days=400))
HORIZON = timedelta(hours=72)


def in_utc(instant: datetime) -> datetime:
    """Between two instants of one zone Python counts wall-clock time; windows are real time."""
    return instant.astimezone(UTC)


def parts_of(slices: TagSlices | PropensitySlices) -> list[Slice]:
    assert slices.certify is not None
    return [slices.fit, slices.calibrate, slices.certify]


@given(instants, ages, zones)
def test_no_outcome_window_reaches_into_a_later_slice_or_past_the_instant(
    as_of: datetime, age: timedelta, zone: ZoneInfo
) -> None:
    try:
        slices = tag_slices(as_of, as_of - age, zone)
    except TrainingDataError:
        return
    parts = parts_of(slices)
    ends = [*(in_utc(part.first) for part in parts[1:]), as_of]
    for part, end in zip(parts, ends, strict=True):
        assert in_utc(part.first) < in_utc(part.last)
        assert in_utc(part.last) + HORIZON < end


@given(instants, ages, zones, st.sampled_from([72, 100, 168, 720]))
def test_no_propensity_window_reaches_into_a_later_slice_or_past_the_instant(
    as_of: datetime, age: timedelta, zone: ZoneInfo, hours: int
) -> None:
    try:
        slices = propensity_slices(as_of, hours, as_of - age, zone)
    except TrainingDataError:
        return
    parts = parts_of(slices)
    ends = [*(in_utc(part.first) for part in parts[1:]), as_of]
    for part, end in zip(parts, ends, strict=True):
        assert in_utc(part.last) + timedelta(hours=hours) < end


@given(instants, zones)
def test_fitting_begins_thirty_local_days_after_the_first_event(as_of: datetime, zone: ZoneInfo) -> None:
    first_event = as_of - timedelta(days=200)
    begin = tag_slices(as_of, first_event, zone).fit.first
    assert begin.date() == first_event.astimezone(zone).date() + timedelta(days=30)
    assert tag_slices(as_of, first_event, zone, warm_up_days=0).fit.first.date() == (
        first_event.astimezone(zone).date()
    )


@given(instants, zones)
def test_slices_lie_as_many_local_days_before_the_instant_as_the_design_says(
    as_of: datetime, zone: ZoneInfo
) -> None:
    slices, today = tag_slices(as_of, as_of - timedelta(days=200), zone), as_of.astimezone(zone).date()
    edges = [
        slices.fit.last,
        slices.calibrate.first,
        slices.calibrate.last,
        slices.certify.first,
        slices.certify.last,
    ]
    assert [(today - edge.date()).days for edge in edges] == [38, 30, 20, 16, 4]


@given(instants, zones, st.integers(1, 4))
def test_the_days_of_a_slice_are_midnights_counted_back_from_its_last(
    as_of: datetime, zone: ZoneInfo, every: int
) -> None:
    part = tag_slices(as_of, as_of - timedelta(days=150), zone).fit
    days = part.days(every)
    assert days[-1] == part.last
    assert in_utc(days[0]) >= in_utc(part.first)
    assert in_utc(days[0]) - in_utc(part.first) < timedelta(days=every, hours=2)
    dates = [day.date() for day in days]
    assert all((later - earlier).days == every for earlier, later in itertools.pairwise(dates))
    assert days == [midnight(day, zone) for day in dates]


def test_a_day_of_a_clock_change_is_one_day_of_the_slice() -> None:
    zone = ZoneInfo("Europe/London")
    days = Slice(midnight(date(2017, 10, 28), zone), datetime(2017, 10, 31, tzinfo=zone))
    assert [in_utc(day).isoformat() for day in days.days()] == [
        "2017-10-27T23:00:00+00:00",
        "2017-10-28T23:00:00+00:00",
        "2017-10-30T00:00:00+00:00",
        "2017-10-31T00:00:00+00:00",
    ]


@given(instants, zones)
def test_the_instant_a_refusal_names_is_the_first_that_will_do(first_event: datetime, zone: ZoneInfo) -> None:
    with pytest.raises(TrainingDataError) as caught:
        tag_slices(first_event + timedelta(days=20), first_event, zone)
    needed = datetime.fromisoformat(caught.value.message.rpartition("not before ")[2])
    assert (tag_slices(needed, first_event, zone).fit.last.date() - needed.date()).days == -38
    with pytest.raises(TrainingDataError):
        tag_slices(in_utc(needed) - timedelta(microseconds=1), first_event, zone)


def test_too_short_a_history_is_refused_with_its_dates() -> None:
    first = datetime(2024, 1, 1, tzinfo=UTC)
    with pytest.raises(TrainingDataError) as caught:
        tag_slices(datetime(2024, 3, 1, tzinfo=UTC), first, ZoneInfo("UTC"))
    assert caught.value.message == (
        "tags as of 2024-03-01T00:00:00+00:00: the data begins 2024-01-01T00:00:00+00:00, 60 days before, "
        "where 82 are needed; "
        "expected an instant not before 2024-03-23T00:00:00+00:00"
    )
    assert caught.value.next_step == "choose a later --as-of or import more history"


def test_a_longer_horizon_needs_a_longer_history() -> None:
    first, zone = datetime(2024, 1, 1, tzinfo=UTC), ZoneInfo("UTC")
    as_of = first + timedelta(days=85)
    assert propensity_slices(as_of, 72, first, zone).fit.last == as_of - timedelta(days=38)
    with pytest.raises(
        TrainingDataError,
        match=r"propensity within 168 h as of 2024-03-26.*, 85 days before, where 94 are needed",
    ):
        propensity_slices(as_of, 168, first, zone)


def planned(fit_until: date, calibrate_until: date, certify_until: date) -> TagsPlan:
    return TagsPlan(
        census=Census(first=date(2024, 6, 1), last=date(2024, 6, 11)),
        fit_until=fit_until,
        calibrate=Census(first=date(2024, 4, 20), last=calibrate_until),
        certify=Census(first=date(2024, 5, 10), last=certify_until),
    )


def test_a_mapping_may_say_where_the_slices_lie() -> None:
    zone = ZoneInfo("Europe/London")
    plan = planned(date(2024, 4, 10), date(2024, 5, 1), date(2024, 5, 25))
    found = tag_slices(midnight(date(2024, 6, 1), zone), datetime(2024, 1, 1, tzinfo=UTC), zone, plan=plan)
    edges = [edge.date() for part in parts_of(found) for edge in (part.first, part.last)]
    assert edges == [
        *(date(2024, 1, 31), date(2024, 4, 10)),
        *(date(2024, 4, 20), date(2024, 5, 1)),
        *(date(2024, 5, 10), date(2024, 5, 25)),
    ]


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (planned(date(2024, 4, 18), date(2024, 5, 1), date(2024, 5, 25)), "fit_until"),
        (planned(date(2024, 4, 10), date(2024, 5, 8), date(2024, 5, 25)), "calibrate"),
        (planned(date(2024, 4, 10), date(2024, 5, 1), date(2024, 5, 30)), "certify"),
    ],
)
def test_a_planned_slice_whose_outcomes_reach_into_what_follows_is_refused(
    plan: TagsPlan, field: str
) -> None:
    with pytest.raises(TrainingDataError, match=rf"evaluation\.tags\.{field} ends 2024"):
        tag_slices(
            datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), ZoneInfo("UTC"), plan=plan
        )
