"""The probing rows of small models: thresholds, their neighbours, categories, and what no split knows."""

from __future__ import annotations

from functools import cache

import lightgbm
import numpy as np
import pytest

from training.probe_rows import probe_rows


@cache
def text_of(*, categorical: bool) -> str:
    rng = np.random.default_rng(3)
    rows = rng.random((800, 3))
    rows[:, 2] = rng.integers(0, 70, 800)
    labels = ((rows[:, 0] > 0.4) ^ (rows[:, 2] % 3 == 0)).astype(np.float32)
    rows[rng.random(800) < 0.2, 1] = np.nan
    parameters = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1, "seed": 1}
    parameters |= {"min_data_per_group": 5, "cat_smooth": 1.0, "max_cat_to_onehot": 1}
    dataset = lightgbm.Dataset(
        rows, labels, categorical_feature=[2] if categorical else [], params=parameters
    )
    return str(lightgbm.train(parameters, dataset, num_boost_round=15).model_to_string())


def splits(text: str, *, categorical: bool) -> list[tuple[int, float]]:
    """Feature and threshold of the splits of a kind, by LightGBM's own reading of the model."""

    def below(node):
        if "split_feature" not in node:
            return []
        here = [(node["split_feature"], node["threshold"])] * ((node["decision_type"] == "==") is categorical)
        return here + below(node["left_child"]) + below(node["right_child"])

    trees = lightgbm.Booster(model_str=text).dump_model()["tree_info"]
    return [split for tree in trees for split in below(tree["tree_structure"])]


def test_every_threshold_occurs_and_so_do_its_neighbours_of_both_precisions():
    text = text_of(categorical=False)
    rows = probe_rows(text, 5_000)
    wanted = splits(text, categorical=False)
    assert len(wanted) > 50
    for feature, threshold in wanted:
        single = np.float32(threshold)
        values = [threshold, np.nextafter(threshold, -np.inf), np.nextafter(threshold, np.inf)]
        values += [
            single,
            np.nextafter(single, np.float32(-np.inf)),
            np.nextafter(single, np.float32(np.inf)),
        ]
        column = rows[:, feature]
        assert [value for value in values if not (column == np.float64(value)).any()] == []


def test_every_category_occurs_as_well_as_ones_that_no_split_knows():
    text = text_of(categorical=True)
    known = {int(one) for _, codes in splits(text, categorical=True) for one in str(codes).split("||")}
    assert len(known) > 20
    column = probe_rows(text, 5_000)[:, 2]
    assert known <= set(column[~np.isnan(column)].tolist())
    assert np.nanmax(column) > max(known) + 5
    assert (column < 0).any()


def test_rows_go_both_ways_at_every_split():
    text = text_of(categorical=False)
    booster = lightgbm.Booster(model_str=text)
    leaves = booster.predict(probe_rows(text, 5_000), pred_leaf=True)
    reached = [len(np.unique(leaves[:, tree])) for tree in range(booster.num_trees())]
    there_are = [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]
    assert sum(reached) > 0.95 * sum(there_are)


@pytest.mark.parametrize("categorical", [False, True])
def test_every_column_is_null_in_some_rows_and_the_rows_are_the_same_each_time(categorical):
    rows = probe_rows(text_of(categorical=categorical), 1_000)
    assert rows.shape == (1_000, 3)
    share = np.isnan(rows).mean(axis=0)
    assert (share > 0.05).all()
    assert (share < 0.3).all()
    np.testing.assert_array_equal(rows, probe_rows(text_of(categorical=categorical), 1_000))


def test_a_model_of_single_leaves_is_probed_too():
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 1000}
    labels = np.arange(100) % 2
    booster = lightgbm.train(parameters, lightgbm.Dataset(np.ones((100, 2)), labels), num_boost_round=2)
    assert probe_rows(str(booster.model_to_string()), 50).shape == (50, 2)
