from __future__ import annotations

import numpy as np
import polars as pl

from features.outcomes import CONFIRMED, REFUTED, UNOBSERVED
from features.tags import load_catalogue
from features.windows import HOUR_US
from training.datasets import CALIBRATE, CENSUS, CERTIFY, FIT, DecisionRows, PairDecisions
from training.propensity import PropensityData
from training.search_rows import propensity_rows, tag_rows
from training.tag_data import TagData

PARTS = np.array([FIT, CALIBRATE, FIT, CERTIFY])
ROWS = DecisionRows(np.arange(4), np.array([10, 20, 5, 40]), np.full(4, CENSUS), PARTS)


def test_a_search_for_propensity_sees_the_fitting_slice_and_each_horizons_window():
    data = PropensityData(ROWS, {"age": np.array([1.0, 2.0, 3.0, 4.0])}, np.array([True, True, False, True]))
    short, long = propensity_rows({"72h": data, "7d": data})
    assert short.instants.tolist() == long.instants.tolist() == [10, 5]
    assert short.features["age"].tolist() == [1.0, 3.0]
    assert short.labels.tolist() == [True, False]
    assert (short.window_us, long.window_us) == (72 * HOUR_US, 168 * HOUR_US)


def test_a_search_for_tags_sees_observed_claims_of_the_fitting_slice():
    claims = PairDecisions(np.array([0, 0, 1, 2, 3]), np.arange(5), pl.DataFrame())
    outcome = np.array([CONFIRMED, UNOBSERVED, CONFIRMED, REFUTED, CONFIRMED], np.int8)
    data = TagData(
        ROWS,
        claims,
        list("abcde"),
        {"age": np.array([1.0, 2.0, 3.0, 4.0])},
        {"share": np.array([0.1, 0.2, 0.3, 0.4, 0.5])},
        outcome,
        np.ones(4, bool),
    )
    (found,) = tag_rows(load_catalogue()["interest"], data)
    assert found.labels.tolist() == [True, False]
    assert found.instants.tolist() == [10, 5]
    assert {name: values.tolist() for name, values in found.features.items()} == {
        "age": [1.0, 3.0],
        "share": [0.1, 0.4],
    }
