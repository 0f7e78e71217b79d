from __future__ import annotations

import math

import numpy as np
import pytest

from features.phrases import Subject
from tests.training.made_spend import day, kernel_features, shoppers
from training.clv import ROLES, train_clv
from training.clv_inputs import DERIVED, ranker_inputs
from training.clv_reasons import DERIVED_INPUTS, SCALES, clv_terms
from training.contributions import contributions, raw_scores
from training.spend_history import spend_history


@pytest.fixture(scope="module")
def shop():
    frame = shoppers(300, 330, seed=11)
    history = spend_history(frame)
    features_at = kernel_features(frame, history)
    model = train_clv(history, features_at, as_of_us=day(240), horizon_days=90, seed=1, threads=1)
    return model, features_at(history.buyers(day(240)), day(240))


def test_every_input_of_the_ranker_beside_features_is_said_in_words() -> None:
    assert set(DERIVED_INPUTS) == set(DERIVED)
    for one in DERIVED_INPUTS.values():
        assert one.in_words(math.nan, Subject()) == one.null_meaning
        assert "{" not in one.in_words(1234.5, Subject(currency="GBP"))
    said = DERIVED_INPUTS["bgnbd_gg_spend_minor"].in_words(1250, Subject(currency="GBP"))
    assert said == "the rhythm and worth of the orders alone promise 12.50 GBP"


def test_both_parts_add_up_and_their_product_is_the_rankers_score(shop) -> None:
    model, features = shop
    parts = clv_terms(model, features)
    assert tuple(parts) == ROLES == tuple(SCALES)
    score = np.full(len(features), model.ranker.amount_scale)
    for part, terms in parts.items():
        names, found = contributions(terms)
        raw = raw_scores(terms)
        assert tuple(names) == (*features.names, *DERIVED)
        np.testing.assert_allclose(found.sum(axis=1), raw, rtol=1e-9, atol=1e-9)
        score *= 1 / (1 + np.exp(-raw)) if part == "any_spend" else np.exp(raw)
    ranked = model.ranker.predict(ranker_inputs(features, model.classic, model.trained_horizon_days))
    np.testing.assert_allclose(score, ranked, rtol=1e-9)
