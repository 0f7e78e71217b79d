"""Each rule of the door, at the value that breaks it and at the nearest one that does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events import (
    EARLIEST,
    EVENT_SCHEMA,
    EVENT_TYPES,
    MONEY_MINOR_MAX,
    REQUIRED,
    Admission,
    admit,
    shown,
)
from tests.features.made_events import event

SKEW = timedelta(minutes=5)
ROW_SCHEMA = {"row": pl.Int64(), **EVENT_SCHEMA}
NOW = datetime(2024, 5, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
TYPES_EXPECTED = f"one of {', '.join(EVENT_TYPES)}"


def door(*rows: dict[str, Any]) -> Admission:
    numbered = [{"row": 10 + number, **row} for number, row in enumerate(rows)]
    return admit(pl.DataFrame(numbered, schema=ROW_SCHEMA), future_skew=SKEW)


LIMITS: list[tuple[str, Any, Any, str]] = [
    *((name, "é" * 64, "é" * 64 + "x", "1 to 128 bytes") for name in ("event_id", "customer_id", "source")),
    *((name, "x", "", "1 to 128 bytes") for name in ("event_id", "customer_id", "source")),
    *((name, "é" * 64, "é" * 64 + "x", "1 to 128 bytes") for name in ("item_id", "order_id")),
    *((name, None, "", "1 to 128 bytes") for name in ("item_id", "order_id")),
    *((name, "牛" * 85 + "x", "牛" * 85 + "xx", "1 to 256 bytes") for name in ("category", "brand")),
    *((name, None, "", "1 to 256 bytes") for name in ("category", "brand")),
    *(("event_type", name, name.upper(), TYPES_EXPECTED) for name in EVENT_TYPES),
    ("event_time", EARLIEST, EARLIEST - TICK, "1990 or later"),
    ("event_time", NOW + SKEW, NOW + SKEW + TICK, "at most 5 minutes after its arrival"),
    ("quantity", 0, -1, "0 or more"),
    *(
        (name, good, bad, "0 to 1000000000000000 minor units")
        for name in ("amount_minor", "discount_minor", "coupon_minor")
        for good, bad in ((0, -1), (None, -1), (MONEY_MINOR_MAX, MONEY_MINOR_MAX + 1))
    ),
]


@pytest.mark.parametrize(("field", "good", "bad", "expected"), LIMITS)
def test_a_rule_breaks_exactly_past_its_limit(field: str, good: Any, bad: Any, expected: str) -> None:
    made = {"ingested_at": NOW, "event_time": NOW}
    found = door(event(**{**made, field: good}), event(**{**made, field: bad}))
    assert found.admitted[field].to_list() == [good]
    assert found.refused.to_dicts() == [
        {"row": 11, "field": field, "value": shown(bad), "expected": expected}
    ]


@pytest.mark.parametrize("field", REQUIRED)
def test_a_field_that_must_be_there_is_missed(field: str) -> None:
    refused = door(event(**{"event_time": NOW, "ingested_at": NOW, field: None})).refused.to_dicts()
    assert refused == [{"row": 10, "field": field, "value": "null", "expected": "a value"}]


def test_every_other_field_may_be_null_and_a_quantity_is_one_then() -> None:
    optional = dict.fromkeys(set(EVENT_SCHEMA) - set(REQUIRED))
    found = door(event(**optional))
    assert found.refused.is_empty()
    assert found.admitted.select(optional.keys() - {"quantity"}).row(0) == (None,) * (len(optional) - 1)
    assert found.admitted["quantity"].to_list() == [1]


def test_the_first_rule_broken_is_the_one_reported() -> None:
    refused = door(event(customer_id="", quantity=-1, event_type="buy")).refused
    assert refused["field"].to_list() == ["customer_id"]


def test_an_event_may_become_known_long_after_it_happened() -> None:
    assert door(event(event_time=NOW, ingested_at=NOW + timedelta(days=4_000))).refused.is_empty()


def test_what_is_admitted_has_the_schema_and_what_is_refused_says_what_was_there() -> None:
    found = door(event(category="x" * 300))
    assert found.admitted.schema == pl.Schema(EVENT_SCHEMA)
    assert found.refused["value"].to_list() == ["x" * 80 + "… (300 characters)"]
    assert door().admitted.schema == pl.Schema(EVENT_SCHEMA)
    assert door().refused.schema == found.refused.schema


ANY_EVENT = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from(["e", "", None, "e" * 128, "e" * 129]),
        "customer_id": st.sampled_from(["c", "", None]),
        "event_type": st.sampled_from(["view", "purchase", "buy", "", None]),
        "event_time": st.sampled_from([NOW, NOW + SKEW, NOW + SKEW + TICK, EARLIEST - TICK, None]),
        "ingested_at": st.sampled_from([NOW, NOW, None]),
        "category": st.sampled_from(["TEA", "", None]),
        "quantity": st.sampled_from([0, 1, -1, None]),
        "amount_minor": st.sampled_from([0, -1, MONEY_MINOR_MAX + 1, None]),
    }
)


def is_good(row: dict[str, Any]) -> bool:
    return bool(
        row["event_id"]
        and len(row["event_id"]) <= 128
        and row["customer_id"]
        and row["event_type"] in EVENT_TYPES
        and row["event_time"]
        and row["ingested_at"]
        and EARLIEST <= row["event_time"] <= row["ingested_at"] + SKEW
        and row["category"] != ""
        and (row["quantity"] is None or row["quantity"] >= 0)
        and (row["amount_minor"] is None or 0 <= row["amount_minor"] <= MONEY_MINOR_MAX)
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_EVENT, max_size=8))
def test_every_row_is_either_admitted_unchanged_or_refused(given_rows: list[dict[str, Any]]) -> None:
    rows = [event(item_id=f"i{number}", **given_row) for number, given_row in enumerate(given_rows)]
    found = door(*rows)
    good = [number for number, row in enumerate(rows) if is_good(row)]
    assert found.admitted.to_dicts() == [
        rows[n] | {"quantity": 1 if rows[n]["quantity"] is None else rows[n]["quantity"]} for n in good
    ]
    assert [row - 10 for row in found.refused["row"]] == [n for n in range(len(rows)) if n not in good]
    for refusal in found.refused.iter_rows(named=True):
        assert refusal["value"] == shown(rows[refusal["row"] - 10][refusal["field"]])
