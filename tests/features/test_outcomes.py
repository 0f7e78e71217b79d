"""Outcomes against a judge that looks at every event for every claim."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events import INSTANT
from features.memory import columns_of
from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED, OutcomeJudge, judge
from features.tags import Condition, TagFamily, load_catalogue
from features.windows import to_us
from tests.features.streams import START, event, frame, streams

NONE, TICK = timedelta(0), timedelta(microseconds=1)
Row = dict[str, Any]
Claim = tuple[str, str | None, datetime]

SHIPPED = load_catalogue()
DEALS = SHIPPED["deal_seeker"]


def family_of(key: str | None, confirmed_by: Condition, observed_if: Condition | str) -> TagFamily:
    return TagFamily.model_validate(
        {
            **SHIPPED["interest"].model_dump(),
            "family": "made",
            "key": key,
            "candidate": SHIPPED["interest" if key else "high_intent"].candidate.model_dump(),
            "confirmed_by": confirmed_by.model_dump(),
            "observed_if": observed_if if isinstance(observed_if, str) else observed_if.model_dump(),
        }
    )


def claims_frame(claims: list[Claim]) -> pl.DataFrame:
    return pl.DataFrame(
        claims, schema={"customer_id": pl.String, "key": pl.String, "assigned_at": INSTANT}, orient="row"
    )


Numbers, Texts = Callable[[str], int], Callable[[str, str], bool]


def is_a_deal(number: Numbers, text: Texts) -> bool:
    return number("coupon_minor") > 0 or number("discount_minor") >= 0.1 * number("amount_minor")


WHERE: dict[str | None, Callable[[Numbers, Texts], bool]] = {
    None: lambda number, text: True,
    DEALS.confirmed_by.where: is_a_deal,
    "coupon_minor > 0": lambda number, text: number("coupon_minor") > 0,
    "discount_minor >= 0.02 * amount_minor": lambda number, text: (
        number("discount_minor") >= 0.02 * number("amount_minor")
    ),
    "coupon_minor == discount_minor or quantity >= 2 and amount_minor != 250": lambda number, text: (
        number("coupon_minor") == number("discount_minor")
        or (number("quantity") >= 2 and number("amount_minor") != 250)
    ),
    "category == '牛奶' or brand != '1'": lambda number, text: (
        text("category", "牛奶") or not text("brand", "1")
    ),
}
"""Comparisons as the catalogue says them, and the same in Python, of the numbers and texts of some rows."""


def fulfils(where: str | None, rows: list[Row]) -> bool:
    return WHERE[where](
        lambda column: sum(row[column] or 0 for row in rows),
        lambda column, text: any(row[column] == text for row in rows),
    )


def holds(rows: list[Row], condition: Condition, key_column: str | None, claim: Claim) -> bool:
    customer, key, at = claim
    after = at + timedelta(minutes=condition.not_before_minutes)
    until = at + timedelta(hours=condition.within_hours)
    inside = [
        row
        for row in rows
        if row["customer_id"] == customer
        and after < row["event_time"] <= until
        and (not condition.same_key or (row[key_column] == key and key is not None))
    ]
    if condition.next is not None:
        of_type = [row for row in inside if row["event_type"] == condition.next]
        first = min((row["event_time"] for row in of_type), default=None)
        order = [row for row in of_type if row["event_time"] == first]
        return bool(order) and fulfils(condition.where, order)
    seen = {row["event_type"] for row in inside if fulfils(condition.where, [row])}
    any_of = not condition.any_of or bool(seen & set(condition.any_of))
    return any_of and not seen & set(condition.none_of)


def by_hand(rows: list[Row], family: TagFamily, claim: Claim) -> str:
    if holds(rows, family.confirmed_by, family.key, claim):
        return "confirmed"
    if family.observed_if == "always" or holds(rows, family.observed_if, family.key, claim):
        return "refuted"
    return "unobserved"


WHERES = st.sampled_from(list(WHERE))
TYPES = st.lists(st.sampled_from(["purchase", "view", "contact"]), max_size=2, unique=True)


@st.composite
def conditions(draw: st.DrawFn, *, with_key: bool) -> Condition:
    within = draw(st.integers(1, 72))
    any_of = draw(TYPES)
    return Condition(
        any_of=tuple(any_of),
        none_of=tuple(draw(TYPES.filter(lambda types: any_of or types))),
        where=draw(WHERES),
        same_key=with_key and draw(st.booleans()),
        within_hours=within,
        not_before_minutes=draw(st.sampled_from([0, 30, 60 * within - 1])),
    )


@st.composite
def decided_by_the_next(draw: st.DrawFn, *, with_key: bool) -> tuple[Condition, Condition]:
    """Draw what the next event decides, and when it was observed."""
    by, made = draw(st.sampled_from(["purchase", "view"])), draw(conditions(with_key=with_key))
    decides = {"next": by, "any_of": (), "none_of": (), "where": draw(WHERES.filter(bool))}
    observed = {"any_of": (by,), "none_of": (), "where": None}
    return (
        Condition.model_validate(made.model_dump() | decides),
        Condition.model_validate(made.model_dump() | observed),
    )


@st.composite
def families(draw: st.DrawFn) -> TagFamily:
    key = draw(st.sampled_from(["category", "brand", None]))
    made = conditions(with_key=key is not None)
    kind = draw(st.sampled_from(["shipped", "seen or not", "the next"]))
    if kind == "shipped":
        return draw(st.sampled_from(list(SHIPPED.values())))
    if kind == "the next":
        return family_of(key, *draw(decided_by_the_next(with_key=key is not None)))
    return family_of(key, draw(made), draw(st.one_of(st.just("always"), made)))


CLAIMS = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2", "c3", "nobody"]),
        st.sampled_from(["tea", "COFFEE/BEANS", "牛奶", "1", "2", "never bought"]),
        st.builds(
            lambda hours, ticks: START + timedelta(hours=hours, microseconds=ticks),
            st.integers(-80, 24 * 41),
            st.sampled_from([0, -1, 1]),
        ),
    ),
    max_size=15,
)


@settings(max_examples=300, deadline=None)
@given(rows=streams(), claims=CLAIMS, family=families(), data=st.data())
def test_a_claim_is_judged_as_its_family_says(
    rows: list[Row], claims: list[Claim], family: TagFamily, data: st.DataObject
) -> None:
    # Claims that begin or end exactly at an event are the ones that a wrong edge shows in.
    edges = [
        (row["customer_id"], row[family.key or "category"], row["event_time"] - ahead)
        for row in rows[:6]
        for ahead in (
            timedelta(minutes=family.confirmed_by.not_before_minutes),
            timedelta(hours=family.confirmed_by.within_hours),
        )
    ]
    claims = claims + edges
    if family.key is None:
        claims = [(customer, None, at) for customer, _, at in claims]
    found = judge(frame(rows), claims_frame(claims), family)
    assert found.to_list() == [by_hand(rows, family, claim) for claim in claims]


@pytest.mark.parametrize(
    ("after", "outcome"),
    [
        (timedelta(minutes=30), "unobserved"),
        (timedelta(minutes=30) + TICK, "confirmed"),
        (timedelta(hours=72), "confirmed"),
        (timedelta(hours=72) + TICK, "unobserved"),
    ],
)
def test_an_interest_is_confirmed_after_half_an_hour_and_up_to_its_end(
    after: timedelta, outcome: str
) -> None:
    rows = [event(0, "a", "view", START + after, NONE, category="tea")]
    assert judge(frame(rows), claims_frame([("a", "tea", START)]), SHIPPED["interest"]).to_list() == [outcome]


def test_attention_to_another_key_refutes_and_a_contact_does_nothing() -> None:
    claims = claims_frame([("a", "tea", START), ("b", "tea", START), ("c", "tea", START)])
    rows = [
        event(0, "a", "view", START + timedelta(hours=1), NONE, category="milk"),
        event(1, "b", "contact", START + timedelta(hours=1), NONE, category="tea"),
        event(2, "c", "view", START + timedelta(hours=1), NONE, category=None),
    ]
    assert judge(frame(rows), claims, SHIPPED["interest"]).to_list() == ["refuted", "unobserved", "refuted"]


def test_an_event_counts_by_when_it_happened_however_late_it_came_in() -> None:
    rows = [event(0, "a", "view", START + timedelta(hours=71), timedelta(days=20), category="tea")]
    assert judge(frame(rows), claims_frame([("a", "tea", START)]), SHIPPED["interest"]).to_list() == [
        "confirmed"
    ]


def test_a_high_intent_is_always_observed() -> None:
    claims = claims_frame([("a", None, START), ("nobody", None, START)])
    rows = [event(0, "a", "purchase", START + timedelta(hours=1), NONE)]
    assert judge(frame(rows), claims, SHIPPED["high_intent"]).to_list() == ["confirmed", "refuted"]


def test_no_claims_and_no_events_are_judged_too() -> None:
    assert judge(frame([]), claims_frame([]), SHIPPED["interest"]).to_list() == []
    assert judge(frame([]), claims_frame([("a", "tea", START)]), SHIPPED["interest"]).to_list() == [
        "unobserved"
    ]


def test_observed_is_asked_of_any_key() -> None:
    rows = [event(0, "a", "view", START + timedelta(hours=1), NONE, category="milk")]
    judged = OutcomeJudge(columns_of(frame(rows), ["a", "b"]))
    instants = frame(rows)["event_time"].dt.epoch("us").to_numpy() - 3_600_000_000
    customers, at = np.array([0, 1]), np.repeat(instants, 2)
    assert judged.observed(SHIPPED["interest"], customers, at).tolist() == [True, False]
    assert judged.observed(SHIPPED["high_intent"], customers, at).tolist() == [True, True]
    outcomes = judged.judge(
        SHIPPED["interest"], np.array([0, 0, 1]), np.array([0, 1, 0]), np.repeat(at[0], 3)
    )
    assert outcomes.tolist() == [CONFIRMED, REFUTED, UNOBSERVED]


def test_a_judge_of_an_instant_does_not_know_what_came_to_light_later() -> None:
    hour = timedelta(hours=1)
    rows = [
        event(1, "c1", "purchase", START + 5 * hour, timedelta(0), category="tea"),
        event(2, "c2", "purchase", START + 5 * hour, 200 * hour, category="tea"),
    ]
    columns = columns_of(frame(rows))
    customers, codes = np.array([0, 1]), np.zeros(2, np.int64)
    instants = np.full(2, to_us(START))
    family = SHIPPED["interest"]
    then = OutcomeJudge(columns, to_us(START + 100 * hour))
    assert then.judge(family, customers, codes, instants).tolist() == [CONFIRMED, UNOBSERVED]
    assert then.observed(family, customers, instants).tolist() == [True, False]
    assert OutcomeJudge(columns).judge(family, customers, codes, instants).tolist() == [CONFIRMED, CONFIRMED]


def outcomes_of(family: str, *rows: Row, customer: str = "a") -> str:
    claims = claims_frame([(customer, None, START)])
    return judge(frame(list(rows)), claims, SHIPPED[family]).item()


@pytest.mark.parametrize("family", ["cart_abandoner", "browsing_no_order", "slipping_away"])
@pytest.mark.parametrize(
    ("after", "outcome"),
    [
        (NONE, "confirmed"),
        (TICK, "refuted"),
        (timedelta(hours=72), "refuted"),
        (timedelta(hours=72) + TICK, "confirmed"),
    ],
)
def test_whoever_buys_after_the_claim_and_up_to_its_end_refutes_that_they_will_not(
    family: str, after: timedelta, outcome: str
) -> None:
    assert outcomes_of(family, event(0, "a", "purchase", START + after, NONE)) == outcome
    assert outcomes_of(family, event(0, "a", "view", START + TICK, NONE)) == "confirmed"
    assert outcomes_of(family, event(0, "b", "purchase", START + TICK, NONE)) == "confirmed"


def line(number: int, after: timedelta, discount: int | None, coupon: int | None = None) -> Row:
    money = {"amount_minor": 1000, "discount_minor": discount, "coupon_minor": coupon}
    return event(number, "a", "purchase", START + after, NONE, **money)


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([], "unobserved"),
        ([line(0, HOUR, 99)], "refuted"),
        ([line(0, HOUR, 100)], "confirmed"),
        ([line(0, HOUR, None, 1)], "confirmed"),
        # 70 and 120 off of 2000: the order counts, not its best line.
        ([line(0, HOUR, 70), line(1, HOUR, 120)], "refuted"),
        ([line(0, HOUR, 80), line(1, HOUR, 120)], "confirmed"),
        # The next order decides, whatever comes after it.
        ([line(0, HOUR, 0), line(1, HOUR + TICK, 500)], "refuted"),
        ([line(0, HOUR, 500), line(1, HOUR + TICK, 0)], "confirmed"),
        # That of the visit itself is not the next one, and one past the end is none.
        ([line(0, timedelta(minutes=30), 500), line(1, HOUR, 0)], "refuted"),
        ([line(0, timedelta(minutes=30) + TICK, 500), line(1, HOUR, 0)], "confirmed"),
        ([line(0, 72 * HOUR, 500)], "confirmed"),
        ([line(0, 72 * HOUR + TICK, 500)], "unobserved"),
    ],
)
def test_the_next_order_as_a_whole_decides_on_a_deal_seeker(rows: list[Row], outcome: str) -> None:
    assert outcomes_of("deal_seeker", *rows) == outcome
    assert outcomes_of("deal_seeker", *rows, customer="b") == "unobserved"


def test_a_next_order_that_came_to_light_later_does_not_decide_yet() -> None:
    late = line(0, HOUR, 500) | {"ingested_at": START + 200 * HOUR}
    columns = columns_of(frame([late, line(1, 2 * HOUR, 0)]))
    none, at = np.zeros(1, np.int64), np.full(1, to_us(START))
    assert OutcomeJudge(columns, to_us(START + 100 * HOUR)).judge(DEALS, none, none, at).item() == REFUTED
    assert OutcomeJudge(columns).judge(DEALS, none, none, at).item() == CONFIRMED
