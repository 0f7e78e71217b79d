"""Training of tags, end to end on a shop whose customers have habits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features import affinity, customer
from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED
from features.tags import TagFamily
from tests.training.rhythmic_shop import AS_OF, CATEGORIES, shop_decisions
from tests.training.trained_shop import (
    HIGH_INTENT,
    INTEREST,
    high_intent_bundle,
    high_intent_data,
    interest_bundle,
    interest_data,
    names_of,
    outcome_by_hand,
    scored,
    trained,
)
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT
from training.errors import TrainingDataError
from training.metrics import ece
from training.tag_model import KEY, OBSERVED, TAG, TagModel
from training.tags import (
    FEW_CLAIMS,
    LEAST_POSITIVES_OF_KEY,
    MANY_CLAIMS,
    MANY_ROUNDS,
    fitted_on,
    usual_parameters,
)


def test_habits_are_learnt_certified_and_kept() -> None:
    figures = interest_bundle().metrics
    assert figures["auc"] > 0.8
    assert figures["ece"] < 0.05
    assert figures["certified_tags"] >= 4
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
    pairs, context = (one.CATALOGUE.names("interest_v1") for one in (affinity, customer))
    assert list(bundle.features[TAG]) == [*pairs, *context, KEY]
    assert list(bundle.features[OBSERVED]) == context
    assert bundle.dtypes == {
        one.name: one.dtype
        for one in (*affinity.catalogue(), *customer.catalogue())
        if "interest_v1" in one.services
    }
    fit = data.in_part(FIT) & (data.outcome == CONFIRMED)
    enough = [
        category
        for code, category in enumerate(CATEGORIES)
        if (data.pairs.code[fit] == code).sum() >= LEAST_POSITIVES_OF_KEY
    ]
    assert list(bundle.keys) == enough
    for row in bundle.content["contract"]:
        assert row["tag"] in CATEGORIES
        assert row["threshold"] is None or 0 < row["threshold"] < 1
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
        if not row["support"]:
            assert row["precision"] is None
            continue
        assert row["precision"] == pytest.approx((outcome == CONFIRMED).sum() / row["support"])
        proved = row["precision_shrunk" if row["pooled"] else "precision"]
        assert row["lift"] == pytest.approx(proved / row["base_rate"])


def test_certificates_compare_with_everybody_at_the_censuses_of_the_certifying_slice() -> None:
    rows = shop_decisions()
    census = rows.take((rows.part == CERTIFY) & (rows.kind == CENSUS))
    moments = [
        moment for moment in names_of(census) if outcome_by_hand(moment[0], "", moment[1]) != UNOBSERVED
    ]
    for row in interest_bundle().content["contract"]:
        came_true = [outcome_by_hand(name, row["tag"], at) == CONFIRMED for name, at in moments]
        assert row["base_rate"] == pytest.approx(np.mean(came_true))


def test_nothing_is_chosen_on_the_certifying_slice() -> None:
    data = interest_data()
    outcome, certifying = data.outcome.copy(), np.flatnonzero(data.in_part(CERTIFY))
    outcome[certifying] = np.random.default_rng(0).permutation(outcome[certifying])
    told, shuffled = interest_bundle(), trained(INTEREST, replace(data, outcome=outcome))
    assert shuffled.models == told.models
    assert shuffled.keys == told.keys
    for name, calibrator in told.calibrators.items():
        assert shuffled.calibrators[name].to_json() == calibrator.to_json()
    thresholds = [[row["threshold"] for row in one.content["contract"]] for one in (told, shuffled)]
    assert thresholds[0] == thresholds[1]
    # claims that come true at random keep no promise
    assert not any(row["certified"] for row in shuffled.content["contract"])


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


def test_a_model_is_as_fine_as_the_claims_it_is_fitted_on_carry() -> None:
    bundle, data = interest_bundle(), interest_data()
    claims = sum(
        part == FIT and outcome != UNOBSERVED
        for part, outcome in zip(data.rows.part[data.pairs.row].tolist(), data.outcome.tolist(), strict=True)
    )
    assert fitted_on(data).sum() == claims < FEW_CLAIMS
    assert bundle.content["parameters"] == usual_parameters(claims, "category")
    few, many = (usual_parameters(claims, "brand") for claims in (FEW_CLAIMS - 1, FEW_CLAIMS))
    assert usual_parameters(MANY_CLAIMS, None) == few
    assert usual_parameters(MANY_CLAIMS, "brand") == many | {"rounds": MANY_ROUNDS}
    assert few["num_leaves"] < many["num_leaves"]
    assert few.keys() == many.keys()


def test_a_family_without_a_key_is_one_tag_and_always_observed() -> None:
    bundle, data = high_intent_bundle(), high_intent_data()
    assert (data.outcome != UNOBSERVED).all()
    assert data.observed.all()
    assert set(bundle.models) == {TAG}
    assert list(bundle.keys) == []
    assert [row["tag"] for row in bundle.content["contract"]] == [""]
    assert bundle.metrics["auc"] > 0.8
    assert bundle.metrics["precision_observed"] == bundle.metrics["precision_strict"] >= 0.8
    # Nothing is borrowed from the slice that chose the threshold, nor from tags that there are none of.
    (row,) = bundle.content["contract"]
    assert row["precision_shrunk"] == pytest.approx(row["precision"])


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
