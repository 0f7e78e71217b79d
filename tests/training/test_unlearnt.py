from __future__ import annotations

import lightgbm
import numpy as np

from training.artifact import Bundle
from training.unlearnt import in_words, unlearnt_inputs

NAMES = ["useful", "constant", "missing", "key"]


def booster(useful: bool = True) -> str:
    rng = np.random.default_rng(1)
    columns = [rng.normal(size=400), np.full(400, 7.0), np.full(400, np.nan), np.arange(400) % 5]
    matrix = np.column_stack(columns)
    labels = (matrix[:, 0] > 0).astype(float)
    if not useful:
        matrix[:, 0] = 1.0
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 20}
    data = lightgbm.Dataset(matrix, labels, feature_name=NAMES, categorical_feature=["key"])
    return str(lightgbm.train(settings, data, num_boost_round=3).model_to_string())


def test_what_never_changes_or_is_missing_throughout_taught_nothing() -> None:
    assert unlearnt_inputs(Bundle("t", "", {"tag": booster()}, {"tag": NAMES})) == ["constant", "missing"]


def test_what_one_of_several_boosters_learnt_from_is_not_told() -> None:
    models = {"tag": booster(), "observed": booster(useful=False)}
    features = {"tag": NAMES, "observed": ["useful", "key", "missing", "constant"]}
    assert unlearnt_inputs(Bundle("t", "", models, features)) == ["missing"]
    assert unlearnt_inputs(Bundle("t", "", {}, {})) == []


def test_where_all_are_constant_all_are_told() -> None:
    text = booster(useful=False)
    assert unlearnt_inputs(Bundle("t", "", {"tag": text}, {"tag": NAMES})) == NAMES[:3]


def test_of_many_some_are_named() -> None:
    assert in_words("clv", [f"x{number}" for number in range(7)]) == (
        "clv learnt nothing from 7 inputs that never change or are missing throughout: "
        "x0, x1, x2, x3, x4 and 2 more"
    )
