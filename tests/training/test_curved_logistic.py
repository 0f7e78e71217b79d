"""The logistic regression whose inputs bend: against scikit-learn on inputs made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.baselines import fit_logistic
from training.curved_logistic import ROWS_MOST, CurvedLogistic, fit_curved_logistic
from training.errors import TrainingDataError
from training.metrics import auc


def drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two features, the first missing at times and most telling in its middle, and outcomes."""
    rng = np.random.default_rng(seed)
    first, second = rng.lognormal(3, 1, rows), rng.normal(0, 5, rows)
    rate = 1 / (1 + np.exp(-(1.5 - (np.log1p(first) - 3) ** 2 + 0.1 * second)))
    outcomes = rng.random(rows) < rate
    first[rng.random(rows) < 0.2] = np.nan
    return np.column_stack([first, second]), outcomes


def test_its_log_odds_are_those_of_inputs_made_by_hand() -> None:
    features, outcomes = drawn(3000)
    logs = np.sign(features) * np.log1p(np.abs(features))
    missing = np.isnan(logs[:, 0])
    logs[missing, 0] = np.median(logs[~missing, 0])
    scaled = np.clip((logs - logs.mean(axis=0)) / logs.std(axis=0), -4, 4)
    inputs = np.column_stack([scaled, scaled**2, missing])
    reference = LogisticRegression(max_iter=2000).fit(inputs, outcomes)
    found = fit_curved_logistic(features, outcomes).log_odds(features)
    np.testing.assert_allclose(found, reference.decision_function(inputs), atol=1e-4)


def test_it_ranks_an_effect_that_turns_where_the_plain_one_cannot() -> None:
    features, outcomes = drawn(4000)
    later, came = drawn(4000, seed=1)
    bent = auc(came, fit_curved_logistic(features, outcomes).log_odds(later))
    straight = auc(came, fit_logistic(features, outcomes).predict(later))
    assert bent > straight + 0.05
    uncurved = fit_curved_logistic(features, outcomes, curved=False)
    assert not uncurved.weights[1:].any()
    assert auc(came, uncurved.log_odds(later)) == pytest.approx(straight, abs=0.01)


def test_contributions_add_up_and_a_row_alone_has_what_it_has_among_others() -> None:
    features, outcomes = drawn(500)
    model = fit_curved_logistic(features, outcomes)
    together = model.log_odds(features)
    np.testing.assert_allclose(model.contributions(features).sum(axis=1), together, atol=1e-12)
    assert [model.log_odds(features[[row]])[0] for row in range(50)] == together[:50].tolist()
    again = CurvedLogistic.from_json(model.to_json())
    np.testing.assert_array_equal(again.log_odds(features), together)


def test_a_constant_column_and_one_missing_everywhere_weigh_nothing() -> None:
    features, outcomes = drawn(500)
    idle = np.column_stack([features, np.full(500, 7.0), np.full(500, np.nan)])
    model = fit_curved_logistic(idle, outcomes)
    assert not model.weights[:, 2:].any()
    np.testing.assert_allclose(
        model.log_odds(idle), fit_curved_logistic(features, outcomes).log_odds(features), atol=1e-9
    )
    nothing = fit_curved_logistic(idle[:, 2:], outcomes)
    assert nothing.log_odds(idle[:1, 2:])[0] == pytest.approx(np.log(outcomes.mean() / (1 - outcomes.mean())))


def test_one_class_is_refused_and_very_many_rows_are_thinned_evenly() -> None:
    features, _ = drawn(30)
    with pytest.raises(TrainingDataError, match="needs both classes; all 30 rows are alike"):
        fit_curved_logistic(features, np.ones(30))
    many, outcomes = drawn(ROWS_MOST + 50_000)
    kept = np.unique(np.linspace(0, len(many) - 1, ROWS_MOST).astype(int))
    whole, thinned = fit_curved_logistic(many, outcomes), fit_curved_logistic(many[kept], outcomes[kept])
    np.testing.assert_allclose(whole.weights, thinned.weights, atol=1e-9)
