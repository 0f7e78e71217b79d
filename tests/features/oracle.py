"""Customer features derived a second time, from their words alone: plain Python, one customer at one instant.

Nothing of the package's arithmetic is used here, and no array library: integers, and one floating-point
operation after the other. Events are known at ``max(event_time, ingested_at)``; those known at the instant
are walked once, in known order, and fall into windows by age. Affinity features are in `oracle_pairs`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from math import nan, sqrt
from typing import NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SHORT = {"1h": HOUR, "6h": 6 * HOUR, "24h": 24 * HOUR, "72h": 72 * HOUR}
LONG = {"7d": 7 * DAY, "30d": 30 * DAY, "90d": 90 * DAY, "365d": 365 * DAY}
W8 = (*SHORT, *LONG)
W9 = (*W8, "lifetime")
PLACE = {window: place for place, window in enumerate(W9)}

COUNTED_TYPES = (
    *("view", "search", "add_to_cart", "remove_from_cart", "refund"),
    *("interaction", "referral", "contact", "coupon"),
)
TYPES = (*COUNTED_TYPES, "purchase")
DISTINCT_TYPES = frozenset(
    ("view", "add_to_cart", "remove_from_cart", "purchase", "refund", "interaction", "coupon")
)
DISTINCT_COLUMNS = ("item", "category", "brand")
ATTENTION = frozenset(("view", "add_to_cart", "purchase"))
SESSION_PAUSE = 30 * MINUTE
DAY_PARTS = ("night", "morning", "afternoon", "evening")
SATURDAY = 5

Value = int | float
Moment = tuple[int, int]
"""When something became known, and when it happened: what happened and became known together is one."""


class Event(NamedTuple):
    """What the features look at in an event; times in µs since the epoch, no money is 0."""

    known: int
    time: int
    type: str
    item: str | None
    category: str | None
    brand: str | None
    amount: int
    discount: int
    coupon: int


def microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def from_microseconds(time: int) -> datetime:
    return EPOCH + timedelta(microseconds=time)


def by_customer(events: pl.DataFrame) -> dict[str, list[Event]]:
    """Lay out a frame of the event schema as each customer's events in known order."""
    found: dict[str, list[Event]] = defaultdict(list)
    for row in events.iter_rows(named=True):
        time, arrival = microseconds(row["event_time"]), microseconds(row["ingested_at"])
        money = (row[name] or 0 for name in ("amount_minor", "discount_minor", "coupon_minor"))
        texts = (row[name] for name in ("item_id", "category", "brand"))
        found[row["customer_id"]].append(Event(max(time, arrival), time, row["event_type"], *texts, *money))
    return {customer: sorted(rows, key=lambda event: event[:2]) for customer, rows in found.items()}


@lru_cache(maxsize=500_000)
def local(time: int, zone: ZoneInfo) -> tuple[int, int]:
    """Return the weekday (Monday is 0) and the hour on the clock of an instant."""
    shown = from_microseconds(time).astimezone(zone)
    return shown.weekday(), shown.hour


def midnight(time: int, zone: ZoneInfo) -> int:
    """Return when the local day of an instant began."""
    day = from_microseconds(time).astimezone(zone).date()
    return microseconds(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC))


@dataclass(frozen=True)
class Instant:
    """An instant, and which profile is out by then."""

    us: int
    zone: ZoneInfo
    lag: timedelta

    @classmethod
    def of(cls, time: datetime, zone: ZoneInfo, lag: timedelta) -> Instant:
        return cls(microseconds(time), zone, lag)

    @cached_property
    def boundary(self) -> int:
        """The latest local midnight at least the publication lag ago."""
        return midnight(self.us - self.lag // timedelta(microseconds=1), self.zone)

    @cached_property
    def edges(self) -> list[int]:
        """Left edges of the windows, the longest first; what lies on an edge is out."""
        short = [self.us - length for length in SHORT.values()]
        long = [self.boundary - length for length in LONG.values()]
        return [*short, *long][::-1]

    def age(self, time: int) -> int:
        """Return the place of the shortest window that holds an event of that time; longer ones do too."""
        return len(W8) - bisect_left(self.edges, time)


class Tally:
    """Sums over the windows, filled by age."""

    def __init__(self) -> None:
        self._by_age: dict[str, list[int]] = {}

    def add(self, name: str, age: int, value: int = 1) -> None:
        by_age = self._by_age.get(name)
        if by_age is None:
            by_age = self._by_age[name] = [0] * len(W9)
        by_age[age] += value

    def __call__(self, name: str, window: str) -> int:
        by_age = self._by_age.get(name)
        return 0 if by_age is None else sum(by_age[: PLACE[window] + 1])


def ratio(part: Value, whole: Value) -> float:
    """Divide; null by nothing."""
    return float(part) / float(whole) if whole else nan


def seconds(earlier: int | None, later: int) -> float:
    return nan if earlier is None else float(later - earlier) / SECOND


def days(earlier: int | None, later: int | None) -> float:
    """Return exact seconds over those of a day."""
    return nan if later is None else seconds(earlier, later) / 86400


def moments(events: Iterable[Event]) -> list[Moment]:
    """Return the distinct moments of some events, in known order."""
    return sorted({event[:2] for event in events})


class Gaps:
    """Times between orders, in whole minutes; an order behind one known earlier has none."""

    def __init__(self, orders: Sequence[Moment], at: Instant) -> None:
        self.tally = Tally()
        self.last_us: int | None = None
        self.squared = 0
        latest: int | None = None
        for _, time in orders:
            if latest is None or time > latest:
                lead = 72 * 60 if latest is None else min((time - latest) // MINUTE, 72 * 60)
                self.tally.add("lead", at.age(time), lead)
            if latest is not None and time > latest:
                self.last_us = time - latest
                age, minutes = at.age(time), (time - latest) // MINUTE
                self.tally.add("count", age)
                self.tally.add("minutes", age, minutes)
                self.squared += minutes * minutes
            latest = time if latest is None else max(latest, time)

    def mean_days(self, window: str) -> float:
        return ratio(self.tally("minutes", window) / 1440, self.tally("count", window))

    def sd_days(self) -> float:
        """Sample standard deviation from count, sum and sum of squares; null of fewer than two gaps."""
        count, total = self.tally("count", "lifetime"), self.tally("minutes", "lifetime")
        if count < 2:
            return nan
        if count * self.squared == total * total:
            return 0.0
        return sqrt(max((self.squared - float(total) * float(total) / count) / (count - 1), 0.0)) / 1440

    def last_days(self) -> float:
        return nan if self.last_us is None else days(0, self.last_us)

    def overdue_sd_ratio(self, since_last_seconds: float) -> float:
        """How many standard deviations past the mean gap it is by now."""
        return ratio(since_last_seconds / 86400 - self.mean_days("lifetime"), self.sd_days())


def session_starts(events: Iterable[Event]) -> list[int]:
    """Return when sessions began: more than half an hour past all that was known to have been done."""
    starts: list[int] = []
    latest: int | None = None
    for _, time in moments(events):
        if latest is None or time - latest > SESSION_PAUSE:
            starts.append(time)
        latest = time if latest is None else max(latest, time)
    return starts


class CustomerAt:
    """What is known of one customer at an instant."""

    def __init__(self, events: Sequence[Event], at: Instant) -> None:
        self.at = at
        self.known = events[: bisect_right(events, at.us, key=lambda event: event.known)]
        self.tally = Tally()
        self.latest: dict[str, int] = {}
        self.first_purchase: int | None = None
        self.first_event: int | None = None
        self.distinct: dict[tuple[str, str, bool], dict[str, int]] = defaultdict(dict)
        self.purchases: list[Event] = []
        for event in self.known:
            self._walk(event, at.age(event.time))
        self.orders = moments(self.purchases)
        for order in self.orders:
            self._walk_order(order, at.age(order[1]))
        self.gaps = Gaps(self.orders, at)

    def _walk(self, event: Event, age: int) -> None:
        tally, kind, time = self.tally, event.type, event.time
        tally.add(kind, age)
        self.latest[kind] = max(time, self.latest.get(kind, time))
        self.first_event = time if self.first_event is None else min(self.first_event, time)
        if kind != "contact":
            tally.add("activity", age)
        if kind in ATTENTION:
            tally.add("attention", age)
        if kind == "refund":
            tally.add("refunded", age, event.amount)
        if kind == "purchase":
            self.purchases.append(event)
            self.first_purchase = time if self.first_purchase is None else min(self.first_purchase, time)
            tally.add("spend", age, event.amount)
            tally.add("discount", age, event.discount)
            tally.add("coupon_reduction", age, event.coupon)
            tally.add("discounted_lines", age, int(event.discount > 0))
            tally.add("coupon_lines", age, int(event.coupon > 0))
        if kind in DISTINCT_TYPES:
            in_profile = event.known <= self.at.boundary
            for column, value in zip(DISTINCT_COLUMNS, event[3:6], strict=True):
                if value is not None:
                    _youngest(self.distinct[kind, column, False], value, age)
                    if in_profile:
                        _youngest(self.distinct[kind, column, True], value, age)

    def _walk_order(self, order: Moment, age: int) -> None:
        weekday, hour = local(order[1], self.at.zone)
        lines = [one for one in self.purchases if (one.known, one.time) == order]
        saved, paid = sum(one.discount for one in lines), sum(one.amount for one in lines)
        self.tally.add("order", age)
        self.tally.add("reduced_order", age, int(any(one.coupon for one in lines) or saved >= 0.1 * paid))
        self.tally.add(f"order_weekday_{weekday}", age)
        self.tally.add(f"order_{DAY_PARTS[hour // 6]}", age)

    def features(self) -> dict[str, Value]:
        """Return every customer feature by name."""
        return {
            **self._counts(),
            **self._money(),
            **self._distinct_counts(),
            **self._recencies(),
            **self._orders(),
            **self._rhythm(),
            **self._sessions(),
            **self._shares(),
        }

    def _counts(self) -> dict[str, Value]:
        count = self.tally
        found: dict[str, Value] = {f"{kind}_count_{w}": count(kind, w) for kind in COUNTED_TYPES for w in W8}
        found |= {f"{kind}_count_lifetime": count(kind, "lifetime") for kind in ("interaction", "referral")}
        found |= {f"line_count_{w}": count("purchase", w) for w in W9}
        return found | {f"order_count_{w}": count("order", w) for w in W9}

    def _money(self) -> dict[str, Value]:
        total = self.tally
        found: dict[str, Value] = {f"spend_{w}_minor": total("spend", w) for w in W9}
        found |= {f"refund_{w}_minor": total("refunded", w) for w in W9}
        for w in ("30d", "90d", "365d"):
            found[f"discount_{w}_minor"] = total("discount", w)
            found[f"coupon_{w}_minor"] = total("coupon_reduction", w)
        for w in ("30d", "90d", "365d", "lifetime"):
            found[f"net_spend_{w}_minor"] = total("spend", w) - total("refunded", w)
        return found

    def _distinct_counts(self) -> dict[str, Value]:
        """Distinct values: of short windows as known now, of long ones as of the profile."""
        found: dict[str, Value] = {}
        for kind in DISTINCT_TYPES:
            for column in DISTINCT_COLUMNS:
                for in_profile, windows in ((False, SHORT), (True, LONG)):
                    ages = sorted(self.distinct[kind, column, in_profile].values())
                    for w in windows:
                        found[f"{kind}_distinct_{column}_count_{w}"] = bisect_right(ages, PLACE[w])
        return found

    def _recencies(self) -> dict[str, Value]:
        now, latest = self.at.us, self.latest
        found: dict[str, Value] = {f"seconds_since_last_{k}": seconds(latest.get(k), now) for k in TYPES}
        activity = max((time for kind, time in latest.items() if kind != "contact"), default=None)
        cart = latest.get("add_to_cart")
        closed = [latest[kind] for kind in ("purchase", "remove_from_cart") if kind in latest]
        is_open = cart is not None and all(cart > time for time in closed)
        return found | {
            "seconds_since_last_activity": seconds(activity, now),
            "seconds_since_first_purchase": seconds(self.first_purchase, now),
            "seconds_since_first_event": seconds(self.first_event, now),
            "seconds_since_open_cart": seconds(cart if is_open else None, now),
        }

    def _orders(self) -> dict[str, Value]:
        total, gaps, orders = self.tally, self.gaps, len(self.orders)
        since = seconds(self.latest.get("purchase"), self.at.us)
        recent = gaps.mean_days("90d")
        return {
            "order_gap_mean_days": gaps.mean_days("lifetime"),
            "order_gap_mean_90d_days": recent,
            "order_gap_sd_days": gaps.sd_days(),
            "order_gap_last_days": gaps.last_days(),
            "order_overdue_ratio": ratio(
                since / 86400, gaps.mean_days("lifetime") if recent != recent else recent
            ),
            "order_overdue_sd_ratio": gaps.overdue_sd_ratio(since),
            "order_value_mean_90d_minor": ratio(total("spend", "90d"), total("order", "90d")),
            "order_value_mean_minor": ratio(total("spend", "lifetime"), orders),
            "lines_per_order_30d": ratio(total("purchase", "30d"), total("order", "30d")),
            "order_trend_30d_90d": ratio(3 * total("order", "30d"), total("order", "90d")),
            "rfm_repeat_order_count": max(orders - 1, 0),
            "rfm_recency_days": days(self.first_purchase, self.latest.get("purchase")),
            "rfm_age_days": days(self.first_purchase, self.at.us),
            "rfm_monetary_minor": ratio(total("spend", "lifetime"), orders),
        }

    def _rhythm(self) -> dict[str, Value]:
        total, zone = self.tally, self.at.zone
        weekday, hour = local(self.at.us, zone)
        found: dict[str, Value] = {
            "weekday": weekday,
            "hour_of_day": float(self.at.us - midnight(self.at.us, zone)) / HOUR,
        }
        for window, suffix in (("lifetime", ""), ("90d", "_90d")):
            ahead = sum(total(f"order_weekday_{(weekday + day) % 7}", window) for day in range(3))
            found[f"order_share_on_next_3_weekdays{suffix}"] = ratio(ahead, total("order", window))
        orders = total("order", "90d")
        parts = {part: ratio(total(f"order_{part}", "90d"), orders) for part in DAY_PARTS}
        weekend = sum(total(f"order_weekday_{day}", "90d") for day in (SATURDAY, SATURDAY + 1))
        found |= {f"order_share_{part}_90d": share for part, share in parts.items()}
        found["order_share_in_this_day_part_90d"] = parts[DAY_PARTS[hour // 6]]
        found["order_share_on_weekend_90d"] = ratio(weekend, orders)
        return found

    def _sessions(self) -> dict[str, Value]:
        starts = session_starts(event for event in self.known if event.type != "contact")
        for time in starts:
            self.tally.add("session", self.at.age(time))
        found: dict[str, Value] = {
            f"session_count_{w}": self.tally("session", w) for w in ("24h", "72h", "7d", "30d", "90d")
        }
        found["seconds_since_last_session_start"] = seconds(max(starts, default=None), self.at.us)
        found["activity_per_session_30d"] = ratio(self.tally("activity", "30d"), found["session_count_30d"])
        return found

    def _shares(self) -> dict[str, Value]:
        total = self.tally
        spend, discount, coupon = (total(name, "90d") for name in ("spend", "discount", "coupon_reduction"))
        return {
            "discounted_line_share_90d": ratio(total("discounted_lines", "90d"), total("purchase", "90d")),
            **{
                f"reduced_order_share_{w}": ratio(total("reduced_order", w), total("order", w))
                for w in ("30d", "90d", "lifetime")
            },
            "coupon_line_share_90d": ratio(total("coupon_lines", "90d"), total("purchase", "90d")),
            "discount_share_90d": ratio(discount, spend + discount + coupon),
            "coupon_share_90d": ratio(coupon, spend + discount + coupon),
            "refund_rate_90d": ratio(total("refunded", "90d"), spend),
            "refund_rate_365d": ratio(total("refunded", "365d"), total("spend", "365d")),
            "view_to_cart_ratio_30d": ratio(total("add_to_cart", "30d"), total("view", "30d")),
            "cart_to_order_ratio_30d": ratio(total("order", "30d"), total("add_to_cart", "30d")),
        }

    @cached_property
    def ordinal(self) -> dict[Moment, int]:
        """The customer's orders, numbered from 0 in known order."""
        return {order: number for number, order in enumerate(self.orders)}

    def attention(self, column: str) -> dict[str, list[Event]]:
        """Return the attention paid to each category or brand."""
        found: dict[str, list[Event]] = defaultdict(list)
        for event in self.known:
            if event.type in ATTENTION and (key := getattr(event, column)) is not None:
                found[key].append(event)
        return found


def _youngest(ages: dict[str, int], value: str, age: int) -> None:
    ages[value] = min(age, ages.get(value, age))
