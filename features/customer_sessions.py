"""Sessions of a customer: runs of activity without a pause of more than 30 minutes."""

from __future__ import annotations

from features.customer_rows import CATALOGUE, PROPENSITY_SERVICES, CustomerRows
from features.definitions import FloatArray, ratio, seconds_between
from features.memory import ACTIVITY_TYPES
from features.phrases import Phrase
from features.profile import ACTIVITY, SESSIONS
from features.topics import Topic
from features.windows import DAY_7, DAY_30, DAY_90, HOUR_24, HOUR_72, IntArray, Window


@CATALOGUE.windowed(
    "session_count_{window}",
    (HOUR_24, HOUR_72, DAY_7, DAY_30, DAY_90),
    unit="sessions",
    services={DAY_30: PROPENSITY_SERVICES},
    phrase=Phrase("visited {times} {window}", "did not visit {window}", Topic.VISITS, "count"),
)
def session_count(rows: CustomerRows, window: Window) -> IntArray:
    """Sessions begun in the window."""
    return rows.total(SESSIONS, window)


@CATALOGUE.feature(
    unit="seconds",
    null="no activity yet",
    services=(),
    phrase=Phrase("last visited {value} ago", "", Topic.VISITS, "last"),
)
def seconds_since_last_session_start(rows: CustomerRows) -> FloatArray:
    """Time since the latest session began."""
    began = rows.largest("last_session_start", ACTIVITY_TYPES, "session_start_time")
    return seconds_between(began, rows.instants)


@CATALOGUE.feature(
    unit="events",
    null="no session begun in 30 days",
    services=PROPENSITY_SERVICES,
    phrase=Phrase("{value} a visit in 30 days", topic=Topic.VISITS),
)
def activity_per_session_30d(rows: CustomerRows) -> FloatArray:
    """Events of any type but contact of 30 days, over the sessions begun in them."""
    return ratio(rows.total(ACTIVITY, DAY_30), rows.total(SESSIONS, DAY_30))
