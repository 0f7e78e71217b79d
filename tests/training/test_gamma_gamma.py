"""Gamma-Gamma against its published fit, integration and simulation."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from training.errors import TrainingDataError
from training.gamma_gamma import GammaGamma, fit_gamma_gamma, log_likelihood


def test_the_fit_on_cdnow_is_the_published_one(data_folder: Path) -> None:
    spent: dict[str, dict[date, float]] = {}
    for line in (data_folder / "cdnow" / "CDNOW_sample.txt").read_text().splitlines():
        _, customer, day, _, value = line.split()
        bought = date(int(day[:4]), int(day[4:6]), int(day[6:]))
        if bought <= date(1997, 9, 30):
            orders = spent.setdefault(customer, {})
            orders[bought] = orders.get(bought, 0.0) + float(value)
    repeats = [[orders[day] for day in sorted(orders)[1:]] for orders in spent.values() if len(orders) > 1]
    assert len(repeats) == 946
    model = fit_gamma_gamma([len(values) for values in repeats], [np.mean(values) for values in repeats])
    assert model.p == pytest.approx(6.25, abs=0.01)
    assert model.q == pytest.approx(3.74, abs=0.01)
    assert model.gamma == pytest.approx(15.44, abs=0.02)


def test_the_density_is_the_mixture_it_claims_to_be() -> None:
    p, q, gamma, x, mean = 2.0, 3.5, 8.0, 4.0, 11.0

    def mixed(rate: float) -> float:
        # the mean of x orders ~ Gamma(px, rate νx), its rate ν ~ Gamma(q, γ)
        return float(
            stats.gamma.pdf(mean, p * x, scale=1 / (rate * x)) * stats.gamma.pdf(rate, q, scale=1 / gamma)
        )

    expected, _ = integrate.quad(mixed, 0, 20)
    found = log_likelihood(p, q, gamma, np.array([x]), np.array([mean]))[0]
    assert found == pytest.approx(np.log(expected), abs=1e-6)


def test_the_expected_value_lies_between_a_customer_and_everyone() -> None:
    model = GammaGamma(6.25, 3.74, 15.44)
    assert model.expected_value([0], [0.0])[0] == pytest.approx(model.population_mean)
    once, often = model.expected_value([1, 100], [100.0, 100.0])
    assert model.population_mean < once < often < 100
    assert often == pytest.approx(100, rel=0.02)


def test_the_expected_value_is_the_weighted_average_of_the_paper() -> None:
    model = GammaGamma(6.25, 3.74, 15.44)
    weight = model.p * 3 / (model.p * 3 + model.q - 1)
    expected = (1 - weight) * model.population_mean + weight * 50
    assert model.expected_value([3], [50.0])[0] == pytest.approx(expected)


def test_who_returned_more_than_they_bought_counts_as_having_bought_for_nothing() -> None:
    model = GammaGamma(6.25, 3.74, 15.44)
    assert model.expected_value([2], [-30.0])[0] == model.expected_value([2], [0.0])[0] > 0


def test_parameters_of_simulated_customers_are_recovered_in_any_currency() -> None:
    generator = np.random.default_rng(8)
    rate = generator.gamma(4.0, 1 / 20.0, 8000)
    orders = generator.integers(1, 12, 8000)
    mean = generator.gamma(5.0 * orders, 1 / (rate * orders))
    model = fit_gamma_gamma(orders, mean)
    assert (model.p, model.q, model.gamma) == pytest.approx((5.0, 4.0, 20.0), rel=0.12)
    minor = fit_gamma_gamma(orders, mean * 100)
    assert minor.gamma == pytest.approx(100 * model.gamma, rel=1e-3)
    assert minor.population_mean == pytest.approx(100 * model.population_mean, rel=1e-3)


def test_too_few_orders_of_value_are_told() -> None:
    with pytest.raises(TrainingDataError, match="orders of value, got 1"):
        fit_gamma_gamma([1, 1, 0], [5.0, -2.0, 3.0])
