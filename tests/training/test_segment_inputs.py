from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from features import customer
from tests.training.made_customers import customers
from training.segment_inputs import BY_FEATURE, INPUTS, InputScale, learn_scale, learn_scales, scaled_matrix

ORDERS = BY_FEATURE["order_count_365d"]
RECENCY = BY_FEATURE["seconds_since_last_purchase"]


def test_every_input_is_a_feature_of_the_catalogue():
    known = {one.name for one in customer.catalogue()}
    assert [one.feature for one in INPUTS if one.feature not in known] == []


def test_an_input_is_its_rank_centred_and_divided_by_its_spread():
    values = np.random.default_rng(3).lognormal(2.0, 1.5, 5000)
    scale = learn_scale(ORDERS, values)
    expected = rankdata(values) / len(values)
    expected = (expected - expected.mean()) / expected.std()
    assert np.abs(scale.scaled(values) - expected).max() < 0.02
    assert scale.scaled(values).mean() == pytest.approx(0.0, abs=1e-9)
    assert scale.scaled(values).std() == pytest.approx(1.0)


def test_equal_values_share_their_mean_rank_and_what_lies_outside_has_the_rank_of_the_end():
    values = np.array([0.0] * 60 + [5.0] * 40)
    scale = learn_scale(ORDERS, values)
    assert scale.values.tolist() == [0.0, 5.0]
    assert scale.ranks == pytest.approx([0.3, 0.8], abs=0.01)
    assert scale.scaled(np.array([-1.0, 99.0])).tolist() == scale.scaled(np.array([0.0, 5.0])).tolist()


def test_never_is_as_good_as_longest_ago_and_days_are_told_in_days():
    raw = RECENCY.raw(np.array([86400.0, 10 * 86400.0, np.nan, 5 * 86400.0]))
    assert raw[:2].tolist() == [1.0, 10.0]
    scale = learn_scale(RECENCY, raw)
    assert scale.missing == 10.0
    scaled = scale.scaled(raw)
    assert scaled[2] == scaled[1] == scaled.max()


@pytest.mark.parametrize("values", [np.full(50, np.nan), np.zeros(50), np.array([0.0] * 999 + [1.0])])
def test_an_input_that_tells_nobody_apart_is_none(values):
    assert learn_scale(ORDERS, values) is None


def test_an_input_that_repeats_an_earlier_one_is_left_out():
    columns, _ = customers()
    assert list(learn_scales(columns)) == [
        "seconds_since_last_purchase",
        "order_count_365d",
        "order_value_mean_minor",
    ]
    columns["seconds_since_last_activity"] = np.random.default_rng(0).uniform(
        0, 1e6, len(columns["order_count_365d"])
    )
    assert "seconds_since_last_activity" in learn_scales(columns)


@given(st.lists(st.integers(0, 1000) | st.none(), min_size=10, max_size=60))
def test_a_scale_keeps_the_order_and_survives_json(values):
    raw = np.array([np.nan if value is None else value for value in values], np.float64)
    scale = learn_scale(ORDERS, raw)
    if scale is None:
        return
    again = InputScale.from_json(json.loads(json.dumps(scale.to_json())))
    assert again.scaled(raw).tolist() == scale.scaled(raw).tolist()
    order = np.sort(raw[~np.isnan(raw)])
    assert (np.diff(scale.scaled(order)) >= 0).all()
    assert np.isfinite(scale.scaled(raw)).all()


def test_the_matrix_has_a_column_a_name():
    columns, _ = customers(25)
    scales = learn_scales(columns)
    matrix = scaled_matrix(scales, columns, ["order_count_365d", "order_value_mean_minor"])
    assert matrix.shape == (100, 2)
    assert matrix[:, 0].tolist() == scales["order_count_365d"].scaled(columns["order_count_365d"]).tolist()
