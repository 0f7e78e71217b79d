"""What the CLV model reads: features of the kernel must say the same as the history."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.training.made_spend import day, events, kernel_features, shoppers
from training.baselines import fit_bgnbd_gamma_gamma
from training.clv_inputs import DERIVED, ClvInputs, ranker_inputs, summary_of_features
from training.spend_history import spend_history


def test_columns_are_found_by_name_whatever_their_order_and_type() -> None:
    columns = {"a": np.array([1, 2]), "b": np.array([0.5, np.nan]), "c": np.array([9, 9])}
    inputs = ClvInputs.of(columns, ["b", "a"])
    assert inputs.names == ("b", "a")
    np.testing.assert_array_equal(inputs.matrix, [[0.5, 1.0], [np.nan, 2.0]])
    assert inputs.column("a").tolist() == [1.0, 2.0]
    assert inputs.take(np.array([1])).column("a").tolist() == [2.0]
    assert len(inputs) == 2


def test_the_kernel_and_the_spend_history_summarise_alike() -> None:
    frame = shoppers(60, 200, seed=1)
    refunds = events([("c00003", 150.0, 700, "refund"), ("c00007", 20.5, 300, "refund")])
    frame = frame.vstack(refunds.with_columns(event_id=pl.lit("refund-") + pl.col("event_id")))
    history = spend_history(frame)
    buyers = history.buyers(day(160.3))
    expected = history.summary(day(160.3), buyers)
    found = summary_of_features(kernel_features(frame, history)(buyers, day(160.3)))
    assert found.order_count == pytest.approx(expected.order_count)
    assert found.recency_days == pytest.approx(expected.recency_days)
    assert found.age_days == pytest.approx(expected.age_days)
    assert found.net_minor == pytest.approx(expected.net_minor)


def test_the_ranker_reads_the_classic_forecast_or_nothing_in_its_place() -> None:
    frame = shoppers(80, 200, seed=2)
    history = spend_history(frame)
    buyers = history.buyers(day(150))
    features = kernel_features(frame, history)(buyers, day(150))
    classic = fit_bgnbd_gamma_gamma(summary_of_features(features))
    with_classic = ranker_inputs(features, classic, 90)
    without = ranker_inputs(features, None, 90)
    assert with_classic.shape == without.shape == (len(buyers), len(features.names) + len(DERIVED))
    assert np.isnan(without[:, len(features.names)]).all()
    expected = classic.expected_spend(history.summary(day(150), buyers), 90)
    assert with_classic[:, len(features.names)] == pytest.approx(expected)
    assert features.column("order_count_lifetime").min() >= 1
