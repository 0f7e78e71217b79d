"""Claims with their features and outcomes, and how often they would come true anyway."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import affinity, customer
from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED
from tests.training.rhythmic_shop import CATEGORIES, join_directly, shop_decisions, shop_history
from tests.training.trained_shop import (
    HALF_AN_HOUR,
    HIGH_INTENT,
    HOURS_72,
    INTEREST,
    interest_data,
    names_of,
    outcome_by_hand,
)
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT, PairDecisions, pair_decisions
from training.tag_data import asked_together, base_rates, tag_data


def test_claims_are_judged_as_looking_at_every_event_judges_them() -> None:
    data = interest_data()
    moments = names_of(data.rows)
    chosen = np.random.default_rng(0).choice(len(data.outcome), 3000, replace=False)
    expected = [
        outcome_by_hand(moments[row][0], data.keys[claim], moments[row][1])
        for claim, row in zip(chosen.tolist(), data.pairs.row[chosen].tolist(), strict=True)
    ]
    assert set(expected) == {CONFIRMED, REFUTED, UNOBSERVED}
    assert data.outcome[chosen].tolist() == expected
    seen = [outcome_by_hand(name, "", at) != UNOBSERVED for name, at in moments[::10]]
    assert data.observed[::10].tolist() == seen


def test_every_claim_carries_its_own_features() -> None:
    _, history, _ = shop_history()
    data = interest_data()
    chosen = np.random.default_rng(1).choice(len(data.outcome), 200, replace=False)
    joined = join_directly(history, INTEREST)(data.pairs.frame[chosen])
    assert list(data.affinities) == affinity.CATALOGUE.names("interest_v1")
    for name, values in data.affinities.items():
        np.testing.assert_array_equal(values[chosen], joined[name].to_numpy().astype(np.float32))
    assert list(data.customers) == customer.CATALOGUE.names("interest_v1")
    for name, values in data.customers.items():
        expected = joined[name].to_numpy().astype(np.float32)
        np.testing.assert_array_equal(values[data.pairs.row[chosen]], expected, name)
    assert [data.keys[claim] for claim in chosen.tolist()] == data.pairs.frame["category"][chosen].to_list()


def test_every_claim_belongs_to_its_own_decision_row() -> None:
    data = interest_data()
    rows = data.rows.take(data.pairs.row)
    names = [name for name, _ in names_of(rows)]
    assert data.pairs.frame["customer_id"].to_list() == names
    assert data.pairs.frame["event_timestamp"].dt.epoch("us").to_list() == rows.instant.tolist()
    assert [CATEGORIES[code] for code in data.pairs.code.tolist()] == list(data.keys)
    assert set(data.pairs.row.tolist()) == set(range(len(data.rows)))
    asked = set(names_of(shop_decisions()))
    assert set(names_of(data.rows)) <= asked
    for part in (FIT, CALIBRATE, CERTIFY):
        assert (data.in_part(part) == (data.rows.part[data.pairs.row] == part)).all()


def test_rows_without_a_claim_are_left_out_and_the_features_asked_for_slice_by_slice() -> None:
    _, history, judge = shop_history()
    rows = shop_decisions().take(np.arange(0, len(shop_decisions()), 40))
    claims = pair_decisions(history, "category", rows, INTEREST)
    # in no order, as nothing promises one
    kept = np.random.default_rng(0).permutation(np.flatnonzero(claims.row % 2 == 1))
    claims = PairDecisions(claims.row[kept], claims.code[kept], claims.frame[kept])
    asked = []

    def join(entities: pl.DataFrame) -> pl.DataFrame:
        asked.append(entities)
        return join_directly(history, INTEREST)(entities)

    data = tag_data(judge, INTEREST, rows, claims, join)
    assert names_of(data.rows) == [names_of(rows)[row] for row in np.unique(claims.row).tolist()]
    assert names_of(data.rows.take(data.pairs.row)) == list(
        zip(
            data.pairs.frame["customer_id"].to_list(),
            data.pairs.frame["event_timestamp"].dt.epoch("us").to_list(),
            strict=True,
        )
    )
    assert pl.concat(asked).sort(pl.all()).equals(claims.frame.sort(pl.all()))
    outcome = [
        outcome_by_hand(*moment)
        for moment in data.pairs.frame.select(
            "customer_id", "category", pl.col("event_timestamp").dt.epoch("us")
        ).iter_rows()
    ]
    assert data.outcome.tolist() == outcome
    assert [CATEGORIES[code] for code in data.pairs.code.tolist()] == list(data.keys)
    instants = [part["event_timestamp"].dt.epoch("us").to_list() for part in asked]
    assert len(instants) == 3
    assert max(instants[0]) < min(instants[1]) < max(instants[1]) < min(instants[2])


@pytest.mark.parametrize("part", [CERTIFY, CALIBRATE])
def test_base_rates_are_the_share_of_observed_customers_that_counting_finds(part: int) -> None:
    _, history, judge = shop_history()
    rows = shop_decisions()
    census = rows.take((rows.part == part) & (rows.kind == CENSUS))
    moments = [
        moment for moment in names_of(census) if outcome_by_hand(moment[0], "", moment[1]) != UNOBSERVED
    ]
    expected = [
        np.mean([outcome_by_hand(name, category, at) == CONFIRMED for name, at in moments])
        for category in CATEGORIES
    ]
    np.testing.assert_allclose(base_rates(history, judge, INTEREST, census), expected)


def test_the_base_rate_of_a_family_without_a_key_is_one_share_of_everybody() -> None:
    events, history, judge = shop_history()
    rows = shop_decisions()
    census = rows.take((rows.part == CERTIFY) & (rows.kind == CENSUS))
    bought: dict[str, list[int]] = {}
    purchases = events.filter(pl.col("event_type") == "purchase")
    for name, at in purchases.select("customer_id", pl.col("event_time").dt.epoch("us")).iter_rows():
        bought.setdefault(name, []).append(at)
    hits = [
        any(at + HALF_AN_HOUR < moment <= at + HOURS_72 for moment in bought.get(name, []))
        for name, at in names_of(census)
    ]
    np.testing.assert_allclose(base_rates(history, judge, HIGH_INTENT, census), [np.mean(hits)])


def test_base_rates_without_any_row_are_zero() -> None:
    _, history, judge = shop_history()
    nobody = shop_decisions().take(np.arange(0))
    assert base_rates(history, judge, INTEREST, nobody).tolist() == [0.0] * len(CATEGORIES)
    assert base_rates(history, judge, HIGH_INTENT, nobody).tolist() == [0.0]


@given(
    parts=st.lists(st.sampled_from([FIT, CALIBRATE, CERTIFY]), min_size=1, max_size=8),
    owners=st.lists(st.integers(0, 7), max_size=40),
    at_once=st.integers(1, 9),
)
def test_claims_are_asked_for_by_slice_and_those_of_a_row_together(
    parts: list[int], owners: list[int], at_once: int
) -> None:
    row = np.array([owner % len(parts) for owner in owners], np.int64)
    part = np.array(parts)[row] if len(row) else np.empty(0, np.int64)
    asked = [chosen.tolist() for chosen in asked_together(part, row, at_once)]
    assert sorted(claim for chosen in asked for claim in chosen) == list(range(len(row)))
    for chosen in asked:
        assert len(set(part[chosen])) == 1
        # As few as can be: without its last row's claims it is below the limit.
        assert sum(row[claim] != row[chosen[-1]] for claim in chosen) < at_once
    of_row = [number for number, chosen in enumerate(asked) for _ in set(row[chosen])]
    assert len(of_row) == len(set(row))
