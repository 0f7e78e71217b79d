"""Plain baselines."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.baselines import fit_bgnbd_gamma_gamma, fit_logistic, past_rate
from training.errors import TrainingDataError
from training.metrics import auc
from training.spend_history import PurchaseSummary


def made_summary(count: int) -> PurchaseSummary:
    generator = np.random.default_rng(2)
    orders = generator.integers(1, 9, count).astype(float)
    age = generator.uniform(100, 300, count)
    return PurchaseSummary(
        orders, np.where(orders > 1, age * generator.uniform(0.1, 0.9, count), 0.0), age, orders * 2500
    )


def test_expected_spend_is_expected_orders_times_expected_value() -> None:
    history = made_summary(300)
    model = fit_bgnbd_gamma_gamma(history)
    value = model.value.expected_value(history.order_count, history.mean_order_minor)
    assert model.expected_spend(history, 90) == pytest.approx(model.expected_orders(history, 90) * value)
    assert (model.probability_alive(history) <= 1).all()
    assert len(history) == 300


def test_the_past_rate_goes_on_but_one_order_yesterday_is_no_daily_habit() -> None:
    history = PurchaseSummary(
        np.array([4.0, 1.0, 2.0]),
        np.array([50.0, 0, 3]),
        np.array([100.0, 1.0, 60.0]),
        np.array([8000.0, 3000, -50]),
    )
    assert past_rate(history, 50).tolist() == [4000.0, 5000.0, 0.0]


def test_the_logistic_is_the_one_of_scikit_learn_on_standardised_logs() -> None:
    generator = np.random.default_rng(3)
    features = generator.gamma(1, 20, (800, 3)) - 5
    labels = generator.random(800) < 1 / (1 + np.exp(1 - 0.05 * features[:, 0]))
    logs = np.sign(features) * np.log1p(np.abs(features))
    rows = (logs - logs.mean(axis=0)) / logs.std(axis=0)
    expected = LogisticRegression(max_iter=1000).fit(rows, labels).predict_proba(rows)[:, 1]
    found = fit_logistic(features, labels).predict(features)
    assert found == pytest.approx(expected)
    assert auc(labels, found) > 0.6


def test_a_missing_value_is_taken_for_the_median_or_for_the_longest_ago() -> None:
    generator = np.random.default_rng(4)
    features = generator.gamma(1, 20, (200, 2))
    features[::3, 0] = np.nan
    labels = np.arange(200) % 2
    seen = features[~np.isnan(features[:, 0]), 0]
    for fill, stand_in in (("median", np.median(seen)), ("max", seen.max())):
        model = fit_logistic(features, labels, fill=fill)
        filled = np.where(np.isnan(features), stand_in, features)
        assert model.predict(features) == pytest.approx(model.predict(filled), rel=1e-2)


def test_constant_and_empty_columns_do_no_harm() -> None:
    features = np.column_stack([np.arange(50.0), np.full(50, 3.0), np.full(50, np.nan)])
    found = fit_logistic(features, np.arange(50) >= 25).predict(features)
    assert np.isfinite(found).all()
    assert auc(np.arange(50) >= 25, found) == 1.0


def test_one_class_is_told() -> None:
    with pytest.raises(TrainingDataError, match="both classes; all 5 rows"):
        fit_logistic(np.ones((5, 1)), np.ones(5))
