"""Training of tags, end to end on a shop whose customers have habits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from features import affinity, customer
from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED
from features.tags import TagFamily, load_catalogue
from features.windows import HOUR_US
from tests.training.rhythmic_shop import (
    AS_OF,
    CATEGORIES,
    join_directly,
    shop_decisions,
    shop_history,
)
from training.artifact import Bundle
from training.datasets import (
    CALIBRATE,
    CENSUS,
    CERTIFY,
    FIT,
    DecisionRows,
    PairDecisions,
    key_frame,
    pair_decisions,
)
from training.errors import TrainingDataError
from training.metrics import auc, ece
from training.tag_model import KEY, OBSERVED, TAG, TagModel, TagScores
from training.tags import (
    LEAST_POSITIVES_OF_KEY,
    TagData,
    base_rates,
    evaluate_tags,
    tag_data,
    train_tags,
)

INTEREST, HIGH_INTENT = (load_catalogue()[name] for name in ("interest", "high_intent"))
HALF_AN_HOUR, HOURS_72 = HOUR_US // 2, 72 * HOUR_US


@cache
def interest_data() -> TagData:
    _, history, judge = shop_history()
    rows = shop_decisions()
    claims = pair_decisions(history, "category", rows, INTEREST)
    return tag_data(history, judge, INTEREST, rows, claims, join_directly(history, INTEREST))


@cache
def high_intent_data() -> TagData:
    _, history, judge = shop_history()
    rows = shop_decisions()
    everybody = PairDecisions(np.arange(len(rows)), np.zeros(len(rows), np.int64), key_frame(history, rows))
    return tag_data(history, judge, HIGH_INTENT, rows, everybody, join_directly(history, HIGH_INTENT))


def trained(family: TagFamily, data: TagData) -> Bundle:
    _, history, judge = shop_history()
    return train_tags(
        history,
        judge,
        family,
        data,
        shop_decisions(),
        as_of=AS_OF.isoformat(),
        seed=1,
        threads=1,
        fingerprint={"rows": 1},
    )


@cache
def interest_bundle() -> Bundle:
    return trained(INTEREST, interest_data())


@cache
def high_intent_bundle() -> Bundle:
    return trained(HIGH_INTENT, high_intent_data())


def scored(data: TagData, model: TagModel, chosen: npt.NDArray[Any]) -> TagScores:
    return model.score(
        {name: values[chosen] for name, values in data.affinities.items()},
        data.customers,
        data.pairs.row[chosen],
        [data.keys[claim] for claim in chosen.tolist()],
    )


@cache
def attention_by_customer() -> dict[str, list[tuple[int, str]]]:
    events, _, _ = shop_history()
    attention = events.filter(pl.col("event_type").is_in(["view", "add_to_cart", "purchase"]))
    table: dict[str, list[tuple[int, str]]] = {}
    for name, at, category in attention.select(
        "customer_id", pl.col("event_time").dt.epoch("us"), "category"
    ).iter_rows():
        table.setdefault(name, []).append((at, category))
    return table


def outcome_by_hand(name: str, category: str, at: int) -> int:
    seen = {
        key
        for moment, key in attention_by_customer().get(name, [])
        if at + HALF_AN_HOUR < moment <= at + HOURS_72
    }
    return CONFIRMED if category in seen else REFUTED if seen else UNOBSERVED


def names_of(rows: DecisionRows) -> list[tuple[str, int]]:
    _, history, _ = shop_history()
    names = [history.columns.customers[number] for number in rows.customer.tolist()]
    return list(zip(names, rows.instant.tolist(), strict=True))


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
    for definition in affinity.catalogue():
        expected = joined[definition.name].to_numpy().astype(np.float32)
        np.testing.assert_array_equal(data.affinities[definition.name][chosen], expected)
    for definition in customer.catalogue():
        expected = joined[definition.name].to_numpy().astype(np.float32)
        np.testing.assert_array_equal(
            data.customers[definition.name][data.pairs.row[chosen]], expected, definition.name
        )
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

    data = tag_data(history, judge, INTEREST, rows, claims, join)
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


def test_habits_are_learnt_certified_and_kept() -> None:
    figures = interest_bundle().metrics
    assert figures["auc"] > 0.8
    assert figures["ece"] < 0.05
    assert figures["certified_tags"] >= 6
    assert figures["precision_observed"] >= INTEREST.contract.precision
    assert figures["precision_observed"] > 3 * figures["rule_precision_observed"]
    assert figures["lift_median"] >= INTEREST.contract.lift
    assert figures["useful_tags_per_customer_day"] > 0.2


def test_a_bundle_says_what_it_was_made_of() -> None:
    bundle, data = interest_bundle(), interest_data()
    assert bundle.task == "tags-interest"
    assert bundle.as_of == AS_OF.isoformat()
    assert bundle.fingerprint == {"rows": 1}
    assert TagFamily.model_validate(bundle.content["family"]) == INTEREST
    names = {definition.name for definition in (*affinity.catalogue(), *customer.catalogue())}
    assert set(bundle.features[TAG]) - {KEY} <= names
    assert set(bundle.features[OBSERVED]) <= names
    fit = data.in_part(FIT) & (data.outcome == CONFIRMED)
    enough = [
        category
        for code, category in enumerate(CATEGORIES)
        if (data.pairs.code[fit] == code).sum() >= LEAST_POSITIVES_OF_KEY
    ]
    assert list(bundle.keys) == enough
    for row in bundle.content["contract"]:
        assert row["tag"] in CATEGORIES
        assert 0 < row["threshold"] < 1
        assert row["certified"] == (row["reason"] == "")


def test_the_certificates_recount_what_was_given_in_the_certifying_slice() -> None:
    data, bundle = interest_data(), interest_bundle()
    model = TagModel(bundle, INTEREST)
    chosen = np.flatnonzero(data.in_part(CERTIFY))
    scores = scored(data, model, chosen)
    keys = np.array(data.keys)[chosen]
    for row in bundle.content["contract"]:
        mine = (keys == row["tag"]) & (scores.probability_if_observed >= row["threshold"])
        outcome = data.outcome[chosen][mine]
        assert row["claims"] == mine.sum()
        assert row["support"] == (outcome != UNOBSERVED).sum()
        assert row["precision"] == pytest.approx((outcome == CONFIRMED).sum() / row["support"])
        assert row["lift"] == pytest.approx(row["precision"] / row["base_rate"])


def test_the_strict_probability_is_lower_on_average_and_calibrated() -> None:
    data = interest_data()
    chosen = np.flatnonzero(data.in_part(CERTIFY))
    scores = scored(data, TagModel(interest_bundle(), INTEREST), chosen)
    confirmed = data.outcome[chosen] == CONFIRMED
    observed = data.outcome[chosen] != UNOBSERVED
    assert scores.probability.mean() < scores.probability_if_observed.mean()
    assert scores.probability.mean() == pytest.approx(confirmed.mean(), abs=0.02)
    assert ece(confirmed, scores.probability) < 0.03
    in_tried = scores.probability_if_observed[observed].mean()
    assert in_tried == pytest.approx(confirmed[observed].mean(), abs=0.03)


def evaluated_by_hand(
    data: TagData, model: TagModel, rates: dict[str, float], useful_lift: float
) -> dict[str, float]:
    """Walk over the census claims one by one and keep tallies."""
    chosen = np.flatnonzero(data.in_part(CERTIFY) & (data.rows.kind[data.pairs.row] == CENSUS))
    scores = scored(data, model, chosen)
    rows = {row["tag"]: row for row in model.contract}
    tally = dict.fromkeys(("given", "hits", "tried", "useful", "rule_hits", "rule_tried"), 0)
    by_tag: dict[str, list[int]] = {}
    tagged, looked_at = set(), set()
    for position, claim in enumerate(chosen.tolist()):
        key, outcome, row = data.keys[claim], int(data.outcome[claim]), int(data.pairs.row[claim])
        looked_at.add(int(data.rows.customer[row]))
        lately = (
            data.affinities["key_attention_count_72h"][claim]
            if data.affinities
            else data.customers["order_count_72h"][row]
        )
        if lately > 0 and outcome != UNOBSERVED:
            tally["rule_tried"] += 1
            tally["rule_hits"] += outcome == CONFIRMED
        certificate = rows.get(key)
        if certificate is None or not certificate["certified"]:
            continue
        if scores.probability_if_observed[position] < certificate["threshold"]:
            continue
        tally["given"] += 1
        tally["hits"] += outcome == CONFIRMED
        tally["tried"] += outcome != UNOBSERVED
        tally["useful"] += certificate["lift"] >= useful_lift
        tagged.add(int(data.rows.customer[row]))
        hits = by_tag.setdefault(key, [0, 0])
        hits[0] += outcome == CONFIRMED
        hits[1] += outcome != UNOBSERVED
    tried = data.outcome[chosen] != UNOBSERVED
    confirmed = data.outcome[chosen][tried] == CONFIRMED
    return {
        "precision_observed": tally["hits"] / tally["tried"],
        "precision_strict": tally["hits"] / tally["given"],
        "useful_tags_per_customer_day": tally["useful"] / 2000,
        "customers_tagged_share": len(tagged) / len(looked_at),
        "distinct_tags": len(by_tag),
        "lift_median": float(
            np.median([hit / count / rates[key] for key, (hit, count) in by_tag.items() if count])
        ),
        "rule_precision_observed": tally["rule_hits"] / tally["rule_tried"],
        "auc": auc(confirmed, scores.probability_if_observed[tried]),
        "ece": ece(confirmed, scores.probability_if_observed[tried]),
        "n_assigned": tally["given"],
        "n_customer_days": 2000,
    }


def test_the_figures_of_a_backtest_are_what_counting_claim_by_claim_gives() -> None:
    data, model = interest_data(), TagModel(interest_bundle(), INTEREST)
    rates = dict(zip(CATEGORIES, np.linspace(0.1, 0.3, len(CATEGORIES)).tolist(), strict=True))
    found = evaluate_tags(data, CERTIFY, model, rates, 2000)
    expected = evaluated_by_hand(data, model, rates, 2.0)
    low = found.pop("precision_wilson_low")
    assert 0 < low < found["precision_observed"]
    assert found == pytest.approx(expected)


def test_the_figures_of_a_family_without_a_key_are_what_counting_gives() -> None:
    data, model = high_intent_data(), TagModel(high_intent_bundle(), HIGH_INTENT)
    found = evaluate_tags(data, CERTIFY, model, {"": 0.4}, 2000)
    found.pop("precision_wilson_low")
    assert found == pytest.approx(evaluated_by_hand(data, model, {"": 0.4}, 1.2))


def test_a_model_that_gives_nothing_has_figures_that_say_so() -> None:
    suspended = [row | {"certified": False} for row in interest_bundle().content["contract"]]
    model = TagModel(replace(interest_bundle(), content={"contract": suspended}), INTEREST)
    found = evaluate_tags(interest_data(), CERTIFY, model, {}, 2000)
    assert found["n_assigned"] == found["distinct_tags"] == found["useful_tags_per_customer_day"] == 0
    assert np.isnan([found["precision_observed"], found["precision_strict"], found["lift_median"]]).all()
    assert found["auc"] == pytest.approx(interest_bundle().metrics["auc"])


def test_a_family_without_a_key_is_one_tag_and_always_observed() -> None:
    bundle, data = high_intent_bundle(), high_intent_data()
    assert (data.outcome != UNOBSERVED).all()
    assert data.observed.all()
    assert set(bundle.models) == {TAG}
    assert list(bundle.keys) == []
    assert [row["tag"] for row in bundle.content["contract"]] == [""]
    assert bundle.metrics["auc"] > 0.8
    assert bundle.metrics["precision_observed"] == bundle.metrics["precision_strict"] >= 0.8


def test_reasons_of_a_trained_model_add_up_to_its_score() -> None:
    data, model = interest_data(), TagModel(interest_bundle(), INTEREST)
    chosen = np.flatnonzero(data.in_part(CERTIFY))[:150]
    names, values = model.contributions(
        {name: column[chosen] for name, column in data.affinities.items()},
        data.customers,
        data.pairs.row[chosen],
        [data.keys[claim] for claim in chosen.tolist()],
    )
    odds = np.exp(values.sum(axis=1))
    calibrated = interest_bundle().calibrators[TAG](odds / (1 + odds))
    np.testing.assert_allclose(calibrated, scored(data, model, chosen).probability_if_observed, atol=1e-9)
    assert names == list(interest_bundle().features[TAG])


def test_training_again_gives_the_same_bundle() -> None:
    again = trained(HIGH_INTENT, high_intent_data())
    assert again.models == high_intent_bundle().models
    assert again.content == high_intent_bundle().content
    assert again.metrics == high_intent_bundle().metrics


@pytest.mark.parametrize(("part", "name"), [(FIT, "fit"), (CALIBRATE, "calibrate"), (CERTIFY, "certify")])
def test_a_slice_with_too_few_claims_come_true_is_refused_with_its_numbers(part: int, name: str) -> None:
    data = interest_data()
    outcome = data.outcome.copy()
    confirmed = np.flatnonzero(data.in_part(part) & (outcome == CONFIRMED))
    outcome[confirmed[199:]] = REFUTED
    refuted = int((data.in_part(part) & (outcome == REFUTED)).sum())
    with pytest.raises(TrainingDataError) as caught:
        trained(INTEREST, replace(data, outcome=outcome))
    assert caught.value.message == (
        f"family 'interest': slice '{name}' has 199 confirmed and {refuted} refuted claims; "
        "expected 200 of each"
    )
