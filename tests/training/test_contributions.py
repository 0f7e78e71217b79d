"""What every feature adds, and the base value, are the score: on real rows and on any rows at all."""

from __future__ import annotations

from functools import cache

import lightgbm
import numpy as np
import numpy.typing as npt
import pytest

from features import affinity
from features.history import History
from features.tags import load_catalogue
from features.windows import DAY_US, to_us
from tests.features.real_streams import LAG, completejourney
from training.contributions import Term, contributions, raw_scores
from training.tag_model import KEY, design_matrix

FITTED = {"objective": "binary", "num_leaves": 15, "min_data_in_leaf": 20, "verbose": -1, "num_threads": 1}
INPUTS = ("first", "second", "third", KEY)


def assert_exact(terms: list[Term]) -> None:
    raw = raw_scores(terms)
    names, found = contributions(terms)
    assert found.shape == (len(raw), len(names) + 1)
    np.testing.assert_allclose(found.sum(axis=1), raw, rtol=1e-9, atol=1e-9 * np.abs(found).max())


def boosted(matrix: npt.NDArray, labels: npt.NDArray, names: tuple[str, ...], seed: int = 1):
    categories = [KEY] if KEY in names else []
    data = lightgbm.Dataset(matrix, labels, feature_name=list(names), categorical_feature=categories)
    return lightgbm.train(FITTED | {"seed": seed}, data, num_boost_round=60)


@cache
def real_pairs() -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Affinity features of what households of a grocer turned to lately, with the category as a number."""
    stream = completejourney(every=60)
    history = History(stream.events, stream.zone, LAG)
    last = to_us(stream.events["event_time"].max())
    everyone = np.arange(len(history.columns.customers))
    instants = np.repeat(last - np.arange(1, 40, 3) * 7 * DAY_US, len(everyone))
    customers = history.customer_rows(np.tile(everyone, 13), instants)
    rule = load_catalogue()["interest"].candidate.rule
    row, pair = history.candidate_pairs("category", customers, rule)
    chosen = np.sort(np.random.default_rng(0).permutation(len(row))[:3000])
    values = affinity.CATALOGUE.compute(
        history.pair_rows("category", customers, row[chosen], pair[chosen]),
        affinity.CATALOGUE.names("interest_v1"),
    )
    code = history.pairs("category")[0].code[pair[chosen]].astype(float)
    values[KEY] = np.where(code % 3 > 0, code, np.nan)
    return tuple(values), design_matrix(list(values), values)


def test_on_real_rows_with_nulls_and_categories_the_parts_are_the_score() -> None:
    names, matrix = real_pairs()
    assert len(matrix) >= 1000
    assert np.isnan(matrix).any(axis=0).sum() > 5
    labels = matrix[:, names.index("key_order_count_30d")] + matrix[:, names.index(KEY)] % 2 > 1
    terms = [Term(boosted(matrix, labels, names), names, matrix)]
    assert_exact(terms)
    assert (contributions(terms)[1][:, names.index(KEY)] != 0).any()


def random_rows(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    matrix = rng.normal(size=(count, 4)) * 10.0 ** rng.integers(-3, 9, size=(count, 4))
    matrix[:, 3] = rng.integers(0, 12, count)
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    return matrix.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_on_random_rows_with_nulls_and_categories_the_parts_are_the_score(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = random_rows(rng, 2000)
    booster = boosted(
        matrix, np.nan_to_num(matrix[:, 0]) + 5 * (matrix[:, 3] % 2) > rng.normal(size=2000), INPUTS
    )
    assert_exact([Term(booster, INPUTS, random_rows(rng, 2000))])


def test_several_weighted_boosters_with_different_inputs_are_one_sum() -> None:
    rng = np.random.default_rng(7)
    matrix = random_rows(rng, 1500)
    labels = np.nan_to_num(matrix[:, 1]) > 0
    some = np.array([2, 0, 1])
    names = tuple(INPUTS[number] for number in some)
    terms = [
        Term(boosted(matrix, labels, INPUTS), INPUTS, matrix, 0.7),
        Term(boosted(matrix[:, some], ~labels, names, seed=2), names, matrix[:, some], 0.3),
    ]
    assert_exact(terms)
    found_names, found = contributions(terms)
    assert found_names == list(INPUTS)
    alone = [term.booster.predict(term.matrix, pred_contrib=True) for term in terms]
    by_hand = 0.7 * alone[0][:, 2] + 0.3 * alone[1][:, 0]
    np.testing.assert_allclose(found[:, INPUTS.index("third")], by_hand, rtol=1e-12)
    np.testing.assert_allclose(found[:, -1], 0.7 * alone[0][:, -1] + 0.3 * alone[1][:, -1], rtol=1e-12)


def test_of_nobody_nothing_is_told() -> None:
    matrix = random_rows(np.random.default_rng(1), 200)
    booster = boosted(matrix, np.arange(200) % 2, INPUTS)
    names, found = contributions([Term(booster, INPUTS, matrix[:0])])
    assert (names, found.shape) == (list(INPUTS), (0, 5))
