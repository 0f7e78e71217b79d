from __future__ import annotations

import math
from collections import defaultdict
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.windows import from_us
from monitoring.census import CensusDay, day_of
from monitoring.claims import OUTCOMES
from monitoring.ledger import READ_SCHEMA
from monitoring.precision import (
    ALL_FAMILIES,
    PrecisionRow,
    assigned,
    daily_precision,
    effective_claims,
    family_precision,
    overall_precision,
    provisional_precision,
    tag_precision,
    useful_tags_per_customer_day,
)
from tests.monitoring.shop import FAMILIES, START_US, at_us, claim, random_claims
from training.metrics import ece, wilson_interval

UTC = ZoneInfo("UTC")


def judged(
    rows: list[tuple[str, float, str | None, float, str | None]], family: str = "interest"
) -> pl.DataFrame:
    """Return ledger rows of (customer, hours, key, probability, outcome)."""
    columns = []
    for who, hours, key, probability, outcome in rows:
        made = claim(who, hours, key, family=family, probability=probability)
        columns.append(
            {
                **{name: getattr(made, name) for name in READ_SCHEMA if hasattr(made, name)},
                "outcome": outcome,
                "judged_at_us": None,
            }
        )
    return pl.DataFrame(columns, schema=READ_SCHEMA)


OUTCOME_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 200).map(float),
        st.sampled_from(["MILK", "BREAD"]),
        st.floats(0, 1),
        st.sampled_from([*OUTCOMES, None]),
    ),
    max_size=60,
    unique_by=lambda row: row[:3],
)


def counts(row: PrecisionRow) -> tuple[int, int, int, int]:
    return row.n, row.confirmed, row.refuted, row.unobserved


@settings(max_examples=60, deadline=None)
@given(rows=OUTCOME_ROWS)
def test_precision_is_what_its_words_say(
    rows: list[tuple[str, float, str | None, float, str | None]],
) -> None:
    claims = assigned(judged(rows), UTC)
    first: dict[tuple[str, str | None, object], tuple[str, str | None]] = {}
    for who, hours, key, _, outcome in sorted(rows, key=lambda row: row[1]):
        first.setdefault((who, key, from_us(at_us(hours)).date()), (key or "", outcome))
    of_tag: dict[str, list[str]] = defaultdict(list)
    for key, outcome in first.values():
        if outcome is not None:
            of_tag[f"interest:{key}"].append(outcome)
    found = tag_precision(claims, FAMILIES, {})
    assert {row.tag_id for row in found} == set(of_tag)
    for row in found:
        outcomes = of_tag[row.tag_id or ""]
        yes, no = outcomes.count("confirmed"), outcomes.count("refuted")
        assert counts(row) == (len(outcomes), yes, no, len(outcomes) - yes - no)
        assert row.precision_strict == yes / len(outcomes)
        assert row.precision_observed == (yes / (yes + no) if yes + no else None)
        assert row.precision_observed is None or row.precision_strict <= row.precision_observed
        if yes + no:
            assert (row.wilson_low, row.wilson_high) == wilson_interval(yes, yes + no, 0.90)
            assert row.wilson_low <= row.precision_observed <= row.wilson_high
    pooled = family_precision(claims, FAMILIES, {})
    assert [sum(column) for column in zip(*map(counts, found), strict=True)] == [
        value for row in pooled for value in counts(row)
    ]
    days = daily_precision(claims)
    assert sum(day.n for day in days) == sum(row.n for row in pooled)
    assert sum(day.confirmed for day in days) == sum(row.confirmed for row in pooled)


def test_only_the_first_claim_of_a_customer_tag_and_day_counts() -> None:
    claims = judged(
        [
            ("7", 1, "MILK", 0.9, "confirmed"),
            ("7", 23, "MILK", 0.9, "refuted"),
            ("7", 24, "MILK", 0.9, "refuted"),
            ("7", 1, "BREAD", 0.9, "refuted"),
        ]
    )
    assert [counts(row) for row in tag_precision(assigned(claims, UTC), FAMILIES, {})] == [
        (2, 1, 1, 0),
        (1, 0, 1, 0),
    ]
    shanghai = assigned(claims, ZoneInfo("Asia/Shanghai"))
    assert shanghai.height == 3
    assert shanghai["assigned_at_us"].to_list() == [at_us(1), at_us(1), at_us(23)]


def test_controls_are_not_precision() -> None:
    claims = judged([("7", 1, "MILK", 0.9, "confirmed"), ("8", 1, "MILK", 0.9, "refuted")])
    claims = claims.with_columns(is_control=pl.col("customer_id") == "8")
    assert [counts(row) for row in family_precision(assigned(claims, UTC), FAMILIES, {})] == [(1, 1, 0, 0)]


def test_lift_is_precision_over_the_tags_own_base_rate() -> None:
    claims = assigned(
        judged(
            [(f"m{i}", i, "MILK", 0.9, "confirmed" if i < 8 else "refuted") for i in range(10)]
            + [(f"b{i}", i, "BREAD", 0.9, "confirmed" if i < 3 else "refuted") for i in range(4)]
            + [(f"u{i}", i, "BREAD", 0.9, "unobserved") for i in range(6)]
        ),
        UTC,
    )
    rates = {"interest:MILK": 0.2, "interest:BREAD": 0.5}
    bread, milk = sorted(tag_precision(claims, FAMILIES, rates), key=lambda row: row.tag_id or "")
    assert (milk.lift, bread.lift) == (pytest.approx(0.8 / 0.2), pytest.approx(0.75 / 0.5))
    (pooled,) = family_precision(claims, FAMILIES, rates)
    assert pooled.base_rate == pytest.approx((10 * 0.2 + 4 * 0.5) / 14)
    assert pooled.lift == pytest.approx((11 / 14) / pooled.base_rate)
    (unknown,) = family_precision(claims, FAMILIES, {"interest:MILK": 0.2})
    assert (unknown.base_rate, unknown.lift) == (None, None)


def test_calibration_is_told_of_observed_claims_only() -> None:
    rows = [(f"c{i}", i, "MILK", round(0.5 + i / 100, 2), OUTCOMES[i % 3]) for i in range(45)]
    (row,) = tag_precision(assigned(judged(rows), UTC), FAMILIES, {})
    seen = [(outcome == "confirmed", p) for _, _, _, p, outcome in rows if outcome != "unobserved"]
    assert row.ece == pytest.approx(ece([label for label, _ in seen], [p for _, p in seen]))
    assert row.expected_precision == pytest.approx(np.mean([row[3] for row in rows]))


@pytest.mark.parametrize(
    ("confirmed", "refuted", "rate", "status"),
    [
        (48, 1, 0.1, "too few"),
        (40, 10, 0.1, "ok"),
        (40, 10, 0.41, "low lift"),
        (39, 11, 0.1, "unsure"),
        (30, 20, 0.1, "below"),
    ],
)
def test_a_tag_is_held_against_its_contract(confirmed: int, refuted: int, rate: float, status: str) -> None:
    outcomes = ["confirmed"] * confirmed + ["refuted"] * refuted
    claims = judged([(f"c{i}", 1, "MILK", 0.9, outcome) for i, outcome in enumerate(outcomes)])
    (row,) = tag_precision(assigned(claims, UTC), FAMILIES, {"interest:MILK": rate})
    assert row.status == status


def test_a_broken_contract_needs_more_than_a_few_customers() -> None:
    """Sixty percent of fifty claims is below the contract, unless five customers made all of them."""
    rows = [
        (f"c{i % 5}", 24.0 * (i // 5), "MILK", 0.9, "confirmed" if i % 5 < 3 else "refuted")
        for i in range(50)
    ]
    (row,) = tag_precision(assigned(judged(rows), UTC), FAMILIES, {})
    assert (row.observed, row.customers, row.precision_observed, row.status) == (50, 5, 0.6, "unsure")


def test_a_family_without_a_contract_has_no_verdict() -> None:
    claims = judged([("7", 1, "x", 0.9, "confirmed")], family="dropped")
    (row,) = family_precision(assigned(claims, UTC), FAMILIES, {})
    assert (row.status, row.contract_precision) == ("no contract", None)
    assert overall_precision(assigned(claims, UTC), FAMILIES, {}) is None


def test_effective_claims_shrink_as_customers_agree_with_themselves() -> None:
    """Simulated: claims of one customer share an outcome with some chance; n_eff follows Kish's formula."""
    rng = np.random.default_rng(1)
    size, clusters, rho = 5, 4_000, 0.4
    shared = rng.random(clusters) < 0.8
    own = rng.random((clusters, size)) < 0.8
    together = np.where(rng.random((clusters, 1)) < math.sqrt(rho), shared[:, None], own)
    mixed = np.where(rng.random((clusters, size)) < math.sqrt(rho), shared[:, None], own)
    customers = pl.Series(np.repeat(np.arange(clusters), size))
    everything, some = (effective_claims(side.ravel(), customers) for side in (together, mixed))
    assert some == pytest.approx(clusters * size / (1 + (size - 1) * rho), rel=0.08)
    assert everything < some < clusters * size


def test_claims_that_all_agree_count_less_the_fewer_their_customers() -> None:
    everyone_right = np.ones(12, dtype=bool)
    sizes = [effective_claims(everyone_right, pl.Series([i % k for i in range(12)])) for k in (12, 6, 1)]
    assert sizes == [12, 6, 1]


def test_the_provisional_estimate_is_the_mean_probability_of_open_claims() -> None:
    claims = judged(
        [("7", 1, "MILK", 0.9, None), ("8", 1, "MILK", 0.7, None), ("9", 1, "MILK", 0.1, "refuted")]
    )
    (row,) = provisional_precision(assigned(claims, UTC))
    assert (row.family, row.n_open, row.expected_precision) == ("interest", 2, pytest.approx(0.8))


def test_useful_tags_are_counted_over_the_census() -> None:
    claims = [each for each in random_claims(3) if not each.is_control]
    frame = pl.DataFrame(
        [
            {
                **{name: getattr(each, name) for name in READ_SCHEMA if hasattr(each, name)},
                "outcome": None,
                "judged_at_us": None,
            }
            for each in claims
        ],
        schema=READ_SCHEMA,
    )
    census = [CensusDay(START_US + day * 24 * 3600 * 10**6, ("a",) * (10 + day)) for day in range(3)]
    found = useful_tags_per_customer_day(assigned(frame, UTC), FAMILIES, census, UTC)
    expected: dict[str, set[tuple[str, str, object]]] = defaultdict(set)
    for each in claims:
        day = day_of(pl.Series([each.assigned_at_us]), UTC)[0]
        useful = (each.certified_lift or 0) >= (1.2 if each.key is None else 2.0)
        if useful and each.assigned_at_us < at_us(72):
            expected[each.family].add((each.customer_id, each.tag_id, day))
    assert found == dict.fromkeys(FAMILIES, 0.0) | {
        "high_intent": len(expected["high_intent"]) / 33,
        "interest": len(expected["interest"]) / 33,
    }
    assert useful_tags_per_customer_day(assigned(frame, UTC), FAMILIES, [], UTC) == {}


def test_all_families_pooled_keep_a_contract_they_share() -> None:
    same = pl.concat(
        [
            judged([("7", 1, "MILK", 0.9, "confirmed")]),
            judged([("7", 1, "x", 0.9, "refuted")], "brand_preference"),
        ]
    )
    row = overall_precision(assigned(same, UTC), FAMILIES, {})
    assert row is not None
    assert (row.family, counts(row), row.contract_precision) == (ALL_FAMILIES, (2, 1, 1, 0), 0.80)
