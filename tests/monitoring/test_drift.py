from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.drift import LEAST_SHARE, DriftInputs, FeatureDrift, input_drift, population_stability
from monitoring.errors import MonitoringError

VALUES = st.lists(st.one_of(st.integers(-5, 40).map(float), st.just(math.nan)), min_size=1, max_size=80)


def slow_psi(reference: list[float], current: list[float]) -> float:
    """Bin value by value, sum bin by bin."""
    known = sorted(value for value in reference if not math.isnan(value))
    distinct = sorted(set(known))
    deciles = sorted({known[math.ceil(len(known) * k / 10) - 1] for k in range(1, 10)}) if known else []

    def bin_of(value: float) -> object:
        if math.isnan(value):
            return "missing"
        if len(distinct) <= 10:
            return value if value in distinct else "stranger"
        return sum(edge < value for edge in deciles)

    total = 0.0
    for name in {bin_of(value) for value in [*reference, *current]}:
        r = max(LEAST_SHARE, sum(bin_of(value) == name for value in reference) / len(reference))
        c = max(LEAST_SHARE, sum(bin_of(value) == name for value in current) / len(current))
        total += (c - r) * math.log(c / r)
    return total


def drift_of(reference: pl.DataFrame, current: pl.DataFrame, *features: str) -> tuple[FeatureDrift, ...]:
    return input_drift(DriftInputs(reference, current, features, "then", "now"))


@given(reference=VALUES, current=VALUES)
def test_psi_equals_the_sum_taken_bin_by_bin(reference: list[float], current: list[float]) -> None:
    psi, _ = population_stability(np.array(reference), np.array(current))
    assert psi == pytest.approx(slow_psi(reference, current), abs=1e-12)
    assert psi >= 0


@given(values=VALUES, times=st.integers(1, 4))
def test_the_same_shares_have_no_drift_whatever_the_size(values: list[float], times: int) -> None:
    psi, _ = population_stability(np.array(values), np.array(values * times))
    assert psi == pytest.approx(0, abs=1e-12)


def test_two_normal_populations_give_the_divergence_of_their_closed_form() -> None:
    """Both Kullback-Leibler divergences of N(0, 1) and N(d, 1) are d²/2; ten bins lose a little."""
    rng = np.random.default_rng(1)
    psi, bins = population_stability(rng.normal(size=200_000), rng.normal(0.3, 1, size=200_000))
    assert bins == 10
    assert 0.9 * 0.3**2 < psi <= 0.3**2 * 1.02


def test_equal_populations_drift_by_as_much_as_chance_allows() -> None:
    rng = np.random.default_rng(2)
    found = [population_stability(rng.normal(size=1_000), rng.normal(size=500))[0] for _ in range(300)]
    assert np.mean(found) == pytest.approx(9 * (1 / 1_000 + 1 / 500), rel=0.15)


def test_a_constant_column_is_stable_until_it_moves() -> None:
    same, moved = np.full(1_000, 3.0), np.full(1_000, 3.1)
    assert population_stability(same, same) == (0.0, 1)
    psi, bins = population_stability(same, moved)
    assert bins == 2
    assert psi == pytest.approx(2 * (1 - LEAST_SHARE) * math.log(1 / LEAST_SHARE))


def test_missing_values_are_a_bin_of_their_own() -> None:
    full = pl.DataFrame({"x": np.arange(1_000.0)})
    holed = full.with_columns(x=pl.when(pl.col("x") % 2 == 0).then(pl.col("x")))
    (row,) = drift_of(full, holed, "x")
    assert row.verdict == "drifted"
    assert (row.missing_reference, row.missing_current) == (0.0, 0.5)
    assert (row.median_reference, row.median_current) == (499.5, 499.0)


def test_null_nan_and_booleans_are_understood() -> None:
    then = pl.DataFrame({"null": [None, 1.0] * 500, "bool": [True, False] * 500})
    now = pl.DataFrame({"null": [math.nan, 1.0] * 500, "bool": [1, 0] * 500})
    assert [row.psi for row in drift_of(then, now, "null", "bool")] == [0.0, 0.0]


def test_a_column_without_any_value_is_compared_too() -> None:
    nothing = pl.DataFrame({"x": [None] * 500})
    something = pl.DataFrame({"x": [1.0] * 500})
    assert drift_of(nothing, nothing, "x")[0].psi == 0
    (row,) = drift_of(nothing, something, "x")
    assert row.verdict == "drifted"
    assert math.isnan(row.median_reference)


def test_the_most_drifted_feature_comes_first() -> None:
    rng = np.random.default_rng(3)
    then = pl.DataFrame({name: rng.normal(size=5_000) for name in "abc"})
    now = pl.DataFrame(
        {name: rng.normal(shift, 1, 5_000) for name, shift in zip("abc", (0, 1, 0.4), strict=True)}
    )
    found = drift_of(then, now, "a", "b", "c")
    assert [(row.feature, row.verdict) for row in found] == [
        ("b", "drifted"),
        ("c", "look closer"),
        ("a", "stable"),
    ]


def test_few_rows_get_no_verdict() -> None:
    rng = np.random.default_rng(4)
    then, now = (pl.DataFrame({"x": rng.normal(size=size)}) for size in (10_000, 60))
    assert drift_of(then, now, "x")[0].verdict == "too few rows"
    (row,) = drift_of(then, now.clear(), "x")
    assert (row.verdict, math.isnan(row.psi)) == ("too few rows", True)


def test_an_unknown_column_is_named_with_the_nearest() -> None:
    frame = pl.DataFrame({"spend_30d_minor": [1]})
    with pytest.raises(MonitoringError, match=r"reference rows have no column 'spend_30d'.*spend_30d_minor"):
        drift_of(frame, frame, "spend_30d")


def test_a_column_of_words_is_refused() -> None:
    frame = pl.DataFrame({"brand": ["a"]})
    with pytest.raises(MonitoringError, match="'brand' of the reference rows is String; expected a number"):
        drift_of(frame, frame, "brand")
