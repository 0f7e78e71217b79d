"""BG/NBD against its published fit, numerical integration and simulation."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import betaln

from training.bgnbd import BgNbd, fit_bgnbd, log_likelihood
from training.errors import TrainingDataError

FloatArray = npt.NDArray[np.float64]


def cdnow_in_weeks(folder: Path) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Frequency, recency and age of the CDNOW sample after its 39 calibration weeks."""
    days: dict[str, set[date]] = {}
    for line in (folder / "cdnow" / "CDNOW_sample.txt").read_text().splitlines():
        _, customer, day, _, _ = line.split()
        bought = date(int(day[:4]), int(day[4:6]), int(day[6:]))
        if bought <= date(1997, 9, 30):
            days.setdefault(customer, set()).add(bought)
    rows = [
        (len(bought) - 1, (max(bought) - min(bought)).days / 7, (date(1997, 9, 30) - min(bought)).days / 7)
        for bought in days.values()
    ]
    frequency, recency, age = np.array(rows, dtype=np.float64).T
    return frequency, recency, age


def test_the_fit_on_cdnow_is_the_published_one(data_folder: Path) -> None:
    frequency, recency, age = cdnow_in_weeks(data_folder)
    assert frequency.size == 2357
    model = fit_bgnbd(frequency, recency, age)
    assert model.r == pytest.approx(0.243, abs=0.001)
    assert model.alpha == pytest.approx(4.414, abs=0.003)
    assert model.a == pytest.approx(0.793, abs=0.001)
    assert model.b == pytest.approx(2.426, abs=0.002)
    fitted = log_likelihood(model.r, model.alpha, model.a, model.b, frequency, recency, age).sum()
    assert fitted == pytest.approx(-9582.4, abs=0.05)


def integrated_purchases(model: BgNbd, x: float, age: float, horizon: float) -> float:
    """Expected purchases while alive, by integrating (1 - (1 + pu)^-(r+x)) / p over p ~ Beta(a, b + x)."""
    logit = np.linspace(max(-700.0, -60 / min(model.a, 1.0)), 60 / min(model.b + x, 1.0), 200_001)
    log_p, log_rest = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
    density = np.exp(model.a * log_p + (model.b + x) * log_rest - betaln(model.a, model.b + x))
    p, ahead = np.exp(log_p), horizon / (model.alpha + age)
    value = np.where(
        p * ahead > 1e-12,
        -np.expm1(-(model.r + x) * np.log1p(p * ahead)) / np.maximum(p, 1e-300),
        (model.r + x) * ahead,
    )
    return float((value * density).sum() * (logit[1] - logit[0]))


@given(
    st.floats(0.05, 20), st.floats(0.2, 50), st.floats(0.05, 140), st.floats(0.05, 140),
    st.integers(0, 400), st.floats(0.2, 200), st.floats(0.2, 200),
)  # fmt: skip
@example(r=1.0, alpha=1.0, a=0.5, b=0.5, x=0, age=1.0, horizon=1.0)
def test_expected_purchases_agree_with_numerical_integration(
    r: float, alpha: float, a: float, b: float, x: int, age: float, horizon: float
) -> None:
    model = BgNbd(r, alpha, a, b)
    recency = age * 0.8 if x else 0.0
    alive = model.probability_alive([x], [recency], [age])[0]
    found = model.expected_purchases([x], [recency], [age], horizon)[0]
    assert found == pytest.approx(alive * integrated_purchases(model, x, age, horizon), rel=1e-5, abs=1e-12)


def test_the_singularity_at_a_equal_to_one_is_bridged() -> None:
    beside, at = (
        BgNbd(0.5, 4.0, a, 2.5).expected_purchases([3], [10.0], [30.0], 26.0)[0] for a in (1.001, 1.0)
    )
    assert at == pytest.approx(beside, rel=2e-3)


def test_the_likelihood_is_the_integral_over_rates_and_dropouts() -> None:
    """Eq (3) of the paper, integrated by brute force over λ and p."""
    r, alpha, a, b = 0.8, 3.0, 1.5, 2.0
    x, last, age = 2.0, 4.0, 7.0
    rate = np.linspace(1e-6, 12, 6001)[:, None]
    p = np.linspace(1e-6, 1 - 1e-6, 2001)[None, :]
    individual = rate**x * (1 - p) ** x * np.exp(-rate * age) + p * (1 - p) ** (x - 1) * rate**x * np.exp(
        -rate * last
    )
    gamma_density = alpha**r * rate ** (r - 1) * np.exp(-alpha * rate) / 1.1642297137253035
    beta_density = p ** (a - 1) * (1 - p) ** (b - 1) / np.exp(betaln(a, b))
    integral = np.trapezoid(np.trapezoid(individual * gamma_density * beta_density, p[0], axis=1), rate[:, 0])
    found = log_likelihood(r, alpha, a, b, np.array([x]), np.array([last]), np.array([age]))[0]
    assert found == pytest.approx(np.log(integral), abs=1e-3)


def simulated(model: BgNbd, count: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Simulate histories of 52 weeks, and purchases of the 26 after."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        rate, leaves = generator.gamma(model.r, 1 / model.alpha), generator.beta(model.a, model.b)
        age = generator.uniform(26, 52)
        at, times = 0.0, []
        while True:
            at += generator.exponential(1 / max(rate, 1e-12))
            if at > age + 26:
                break
            times.append(at)
            if generator.random() < leaves:
                break
        past = [time for time in times if time <= age]
        rows.append((len(past), past[-1] if past else 0.0, age, len(times) - len(past)))
    x, last, observed, later = np.array(rows).T
    return x, last, observed, later


def test_parameters_and_future_of_simulated_customers_are_recovered() -> None:
    truth = BgNbd(0.8, 6.0, 0.8, 4.0)
    x, last, age, later = simulated(truth, 6000, seed=4)
    model = fit_bgnbd(x, last, age)
    assert model.r == pytest.approx(truth.r, rel=0.1)
    assert model.alpha == pytest.approx(truth.alpha, rel=0.1)
    assert model.a / (model.a + model.b) == pytest.approx(truth.a / (truth.a + truth.b), rel=0.1)
    assert truth.expected_purchases(x, last, age, 26.0).sum() == pytest.approx(later.sum(), rel=0.05)
    assert model.expected_purchases(x, last, age, 26.0).sum() == pytest.approx(later.sum(), rel=0.08)


def test_a_longer_horizon_never_expects_fewer_purchases() -> None:
    model = BgNbd(0.243, 4.414, 0.793, 2.426)
    x, last, age = np.array([0, 1, 5, 200]), np.array([0, 3.0, 30.0, 38.0]), np.full(4, 39.0)
    expected = np.array([model.expected_purchases(x, last, age, weeks) for weeks in (1, 4, 26, 52)])
    assert (np.diff(expected, axis=0) > 0).all()


def test_who_never_repeated_is_alive_and_who_fell_silent_is_not() -> None:
    model = BgNbd(0.243, 4.414, 0.793, 2.426)
    assert model.probability_alive([0], [0.0], [39.0])[0] == 1.0
    often, lately = model.probability_alive([20, 20], [5.0, 38.5], [39.0, 39.0])
    assert often < 0.01
    assert lately > 0.9


def test_too_little_to_fit_on_is_told() -> None:
    with pytest.raises(TrainingDataError, match="at least 10 customers with a purchase, got 2"):
        fit_bgnbd([1, 0], [1.0, 0.0], [2.0, 2.0])
    with pytest.raises(TrainingDataError, match="none of 12 customers"):
        fit_bgnbd(np.zeros(12), np.zeros(12), np.ones(12))
    with pytest.raises(ValueError, match="0 <= recency <= age"):
        fit_bgnbd([1], [3.0], [2.0])
