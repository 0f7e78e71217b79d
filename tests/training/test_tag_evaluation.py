"""The figures of a slice, counted again claim by claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.outcomes import CONFIRMED, UNOBSERVED
from tests.training.rhythmic_shop import CATEGORIES
from tests.training.trained_shop import (
    HIGH_INTENT,
    INTEREST,
    high_intent_bundle,
    high_intent_data,
    interest_bundle,
    interest_data,
    scored,
)
from training.datasets import CENSUS, CERTIFY
from training.metrics import auc, ece
from training.tag_data import TagData
from training.tag_evaluation import evaluate_tags, score_part
from training.tag_model import TagModel


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
    found = evaluate_tags(data, score_part(data, CERTIFY, model), model, rates, 2000)
    expected = evaluated_by_hand(data, model, rates, 2.0)
    low = found.pop("precision_wilson_low")
    assert 0 < low < found["precision_observed"]
    assert found == pytest.approx(expected)


def test_the_figures_of_a_family_without_a_key_are_what_counting_gives() -> None:
    data, model = high_intent_data(), TagModel(high_intent_bundle(), HIGH_INTENT)
    found = evaluate_tags(data, score_part(data, CERTIFY, model), model, {"": 0.4}, 2000)
    found.pop("precision_wilson_low")
    assert found == pytest.approx(evaluated_by_hand(data, model, {"": 0.4}, 1.2))


def test_a_model_that_gives_nothing_has_figures_that_say_so() -> None:
    suspended = [row | {"certified": False} for row in interest_bundle().content["contract"]]
    model = TagModel(replace(interest_bundle(), content={"contract": suspended}), INTEREST)
    found = evaluate_tags(interest_data(), score_part(interest_data(), CERTIFY, model), model, {}, 2000)
    assert found["n_assigned"] == found["distinct_tags"] == found["useful_tags_per_customer_day"] == 0
    assert np.isnan([found["precision_observed"], found["precision_strict"], found["lift_median"]]).all()
    assert found["auc"] == pytest.approx(interest_bundle().metrics["auc"])
