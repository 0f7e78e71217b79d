"""A tag family's model at work, on a small model whose every answer can be worked out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pytest

from features.tags import load_catalogue
from training.artifact import Bundle, load_bundle, save_bundle
from training.calibration import Calibrator
from training.errors import BundleError
from training.tag_model import FEW_ROWS, KEY, OBSERVED, TAG, TagModel, design_matrix

FAMILY = load_catalogue()["interest"]
INPUTS = ["key_share_of_orders", "key_overdue_ratio", "order_count_7d", KEY]
CONTEXT = ["order_count_7d", "hour_of_day"]
KEYS = ["milk", "tea"]


def fitted(names: list[str], seed: int) -> str:
    rng = np.random.default_rng(seed)
    rows = rng.random((600, len(names)))
    if KEY in names:
        rows[:, -1] = rng.integers(0, 2, 600)
    labels = (rows[:, 0] + 0.3 * rows[:, -1] + 0.3 * rng.random(600) > 0.8).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    parameters = {"objective": "binary", "num_leaves": 6, "verbose": -1, "num_threads": 1, "seed": 1}
    dataset = lightgbm.Dataset(
        rows.astype(np.float32),
        labels,
        feature_name=names,
        categorical_feature=[KEY] if KEY in names else [],
        params=parameters,
    )
    return str(lightgbm.train(parameters, dataset, num_boost_round=12).model_to_string())


CONTRACT: list[dict[str, Any]] = [
    {"tag": "milk", "threshold": 0.5, "certified": True, "lift": 3.0},
    {"tag": "tea", "threshold": 0.5, "certified": False, "lift": 3.0},
    {"tag": "rice", "threshold": None, "certified": False, "lift": None},
    {"tag": "soap", "threshold": 0.2, "certified": True, "lift": 3.0},
]

MODELS = {TAG: fitted(INPUTS, 0), OBSERVED: fitted(CONTEXT, 1)}
BUNDLE = Bundle(
    task="tags-interest",
    as_of="2024-05-30",
    models=MODELS,
    features={TAG: INPUTS, OBSERVED: CONTEXT},
    keys=KEYS,
    calibrators={
        TAG: Calibrator(np.array([0.1, 0.9]), np.array([0.05, 0.95])),
        OBSERVED: Calibrator(np.array([0.0, 1.0]), np.array([0.2, 0.9])),
        "strict": Calibrator(np.array([0.0, 1.0]), np.array([0.01, 0.8])),
    },
    content={"contract": CONTRACT},
)
MODEL = TagModel(BUNDLE, FAMILY)

RNG = np.random.default_rng(7)
CUSTOMERS = {"order_count_7d": RNG.random(20), "hour_of_day": RNG.random(20), "weekday": RNG.random(20)}
CUSTOMER_ROW = RNG.integers(0, 20, 300)
PAIRS = {"key_share_of_orders": RNG.random(300), "key_overdue_ratio": RNG.random(300)}
PAIRS["key_overdue_ratio"][::9] = np.nan
KEY_OF = [["milk", "tea", "rice", "soap", "unheard-of"][number] for number in RNG.integers(0, 5, 300)]


def inputs_by_hand() -> npt.NDArray[np.float32]:
    number = {"milk": 0.0, "tea": 1.0}
    rows = [
        [
            PAIRS["key_share_of_orders"][row],
            PAIRS["key_overdue_ratio"][row],
            CUSTOMERS["order_count_7d"][CUSTOMER_ROW[row]],
            number.get(KEY_OF[row], np.nan),
        ]
        for row in range(300)
    ]
    return np.array(rows, np.float32)


def without(columns: dict[str, npt.NDArray[Any]], name: str) -> dict[str, npt.NDArray[Any]]:
    return {one: values for one, values in columns.items() if one != name}


def test_probabilities_are_the_calibrated_answers_of_the_two_models() -> None:
    scores = MODEL.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    raw = np.asarray(lightgbm.Booster(model_str=MODELS[TAG]).predict(inputs_by_hand(), num_threads=1))
    if_observed = np.interp(raw, [0.1, 0.9], [0.05, 0.95])
    np.testing.assert_allclose(scores.probability_if_observed, if_observed, rtol=1e-12)
    context = np.column_stack([CUSTOMERS[name] for name in CONTEXT]).astype(np.float32)
    seen = np.asarray(lightgbm.Booster(model_str=MODELS[OBSERVED]).predict(context, num_threads=1))
    observed = 0.2 + 0.7 * seen
    both = if_observed * observed[CUSTOMER_ROW]
    np.testing.assert_allclose(scores.probability, 0.01 + 0.79 * both, rtol=1e-9)


def test_a_candidate_alone_is_scored_as_in_company() -> None:
    together = MODEL.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    for row in range(0, 300, 30):
        alone = MODEL.score(
            {name: values[[row]] for name, values in PAIRS.items()},
            {name: values[[CUSTOMER_ROW[row]]] for name, values in CUSTOMERS.items()},
            np.array([0]),
            [KEY_OF[row]],
        )
        assert alone.probability[0] == together.probability[row]
        assert alone.probability_if_observed[0] == together.probability_if_observed[row]


def test_only_certified_tags_from_their_threshold_on_are_given() -> None:
    scores = MODEL.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    least = {"milk": 0.5, "soap": 0.2}
    expected = [
        KEY_OF[row] in least and bool(scores.probability_if_observed[row] >= least[KEY_OF[row]])
        for row in range(300)
    ]
    given = MODEL.given(scores)
    assert given.tolist() == expected
    assert {KEY_OF[row] for row in np.flatnonzero(given)} == {"milk", "soap"}
    below = ~given & np.array([key in least for key in KEY_OF])
    assert below.any()


def test_a_score_at_the_threshold_to_the_last_bit_is_given() -> None:
    scores = MODEL.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, ["milk"] * 300)
    edge = float(np.sort(scores.probability_if_observed)[150])
    for threshold, expected in ((edge, True), (float(np.nextafter(edge, 1)), False)):
        contract = [{"tag": "milk", "threshold": threshold, "certified": True}]
        model = TagModel(
            Bundle(
                "tags-interest", "", MODELS, BUNDLE.features, KEYS, BUNDLE.calibrators, {"contract": contract}
            ),
            FAMILY,
        )
        again = model.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, ["milk"] * 300)
        at_edge = again.probability_if_observed == edge
        assert at_edge.any()
        assert (model.given(again)[at_edge] == expected).all()


def test_a_tag_carries_the_threshold_and_row_of_its_certificate() -> None:
    scores = MODEL.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    row_of = {"milk": 0, "tea": 1, "rice": 2, "soap": 3, "unheard-of": -1}
    assert scores.certificate.tolist() == [row_of[key] for key in KEY_OF]
    threshold_of = {"milk": 0.5, "tea": 0.5, "rice": np.nan, "soap": 0.2, "unheard-of": np.nan}
    np.testing.assert_array_equal(scores.threshold, [threshold_of[key] for key in KEY_OF])


def test_without_any_certificate_nothing_is_given() -> None:
    model = TagModel(
        Bundle("tags-interest", "", MODELS, BUNDLE.features, KEYS, BUNDLE.calibrators, {"contract": []}),
        FAMILY,
    )
    assert not model.given(model.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF)).any()


def test_another_contract_changes_what_is_given_and_not_the_scores() -> None:
    scores = MODEL.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    contract = [{"tag": "tea", "threshold": 0.1, "certified": True}]
    other = TagModel(
        Bundle(
            "tags-interest", "", MODELS, BUNDLE.features, KEYS, BUNDLE.calibrators, {"contract": contract}
        ),
        FAMILY,
    )
    moved, scored = other.under_contract(scores, KEY_OF), other.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    for name in vars(scored):
        np.testing.assert_array_equal(getattr(moved, name), getattr(scored, name))
    assert {KEY_OF[row] for row in np.flatnonzero(other.given(moved))} == {"tea"}
    some = moved.take(np.array([5, 3]))
    assert some.probability.tolist() == [scores.probability[5], scores.probability[3]]
    assert some.certificate.tolist() == [moved.certificate[5], moved.certificate[3]]


def test_keys_are_numbered_as_the_bundle_lists_them() -> None:
    np.testing.assert_array_equal(MODEL.key_numbers(["tea", "milk", "rice", "tea"]), [1, 0, np.nan, 1])


def test_contributions_add_up_to_the_score_in_log_odds() -> None:
    names, values = MODEL.contributions(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    assert names == INPUTS
    assert values.shape == (300, len(INPUTS) + 1)
    booster = lightgbm.Booster(model_str=MODELS[TAG])
    raw = np.asarray(booster.predict(inputs_by_hand(), raw_score=True, num_threads=1))
    np.testing.assert_allclose(values.sum(axis=1), raw, atol=1e-9)
    probability = np.asarray(booster.predict(inputs_by_hand(), num_threads=1))
    np.testing.assert_allclose(values.sum(axis=1), np.log(probability / (1 - probability)), atol=1e-9)
    assert np.ptp(values[:, -1]) == 0
    assert np.abs(values[:, 0]).mean() > np.abs(values[:, 2]).mean()


@pytest.mark.parametrize("name", ["key_share_of_orders", "key_overdue_ratio"])
def test_a_pair_feature_that_no_longer_exists_is_named(name: str) -> None:
    with pytest.raises(BundleError, match=f"reads feature '{name}', which no longer exists"):
        MODEL.score(without(PAIRS, name), CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    with pytest.raises(BundleError, match=name):
        MODEL.contributions(without(PAIRS, name), CUSTOMERS, CUSTOMER_ROW, KEY_OF)


@pytest.mark.parametrize("name", ["order_count_7d", "hour_of_day"])
def test_a_customer_feature_that_no_longer_exists_is_named(name: str) -> None:
    # hour_of_day is read by the model of being observed alone
    with pytest.raises(BundleError, match=f"reads feature '{name}', which no longer exists") as caught:
        MODEL.score(PAIRS, without(CUSTOMERS, name), CUSTOMER_ROW, KEY_OF)
    assert caught.value.next_step == "train again"


def test_features_the_model_does_not_read_change_nothing() -> None:
    more = MODEL.score(PAIRS | {"other": np.ones(300)}, CUSTOMERS, CUSTOMER_ROW, KEY_OF)
    less = MODEL.score(PAIRS, without(CUSTOMERS, "weekday"), CUSTOMER_ROW, KEY_OF)
    np.testing.assert_array_equal(more.probability, less.probability)


def test_nobody_and_nothing_can_be_scored() -> None:
    no_pairs = {name: values[:0] for name, values in PAIRS.items()}
    nobody = {name: values[:0] for name, values in CUSTOMERS.items()}
    nothing = np.empty(0, np.int64)
    for customers in (CUSTOMERS, nobody):
        scores = MODEL.score(no_pairs, customers, nothing, [])
        assert [len(values) for values in vars(scores).values()] == [0, 0, 0, 0]
        assert MODEL.given(scores).shape == (0,)
        names, values = MODEL.contributions(no_pairs, customers, nothing, [])
        assert values.shape == (0, len(names) + 1)


def test_a_family_that_is_always_observed_has_one_probability() -> None:
    names = ["order_count_7d", "hour_of_day"]
    model = TagModel(
        Bundle(
            "tags-high_intent",
            "",
            {TAG: MODELS[OBSERVED]},
            {TAG: names},
            (),
            {TAG: BUNDLE.calibrators[TAG]},
            {"contract": [{"tag": "", "threshold": 0.3, "certified": True}]},
        ),
        load_catalogue()["high_intent"],
    )
    scores = model.score({}, CUSTOMERS, np.arange(20), [""] * 20)
    np.testing.assert_array_equal(scores.probability, scores.probability_if_observed)
    assert model.given(scores).tolist() == (scores.probability >= 0.3).tolist()


def test_a_saved_model_scores_as_the_one_that_was_saved(tmp_path: Path) -> None:
    save_bundle(tmp_path, BUNDLE)
    read = TagModel(load_bundle(tmp_path), FAMILY)
    expected, found = (model.score(PAIRS, CUSTOMERS, CUSTOMER_ROW, KEY_OF) for model in (MODEL, read))
    for name in vars(expected):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_a_design_matrix_has_the_columns_in_the_models_order_in_single_precision() -> None:
    columns = {"b": np.array([1, 2]), "a": np.array([0.1, np.nan]), "c": np.array([True, False])}
    matrix = design_matrix(["a", "c", "b"], columns)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, np.array([[0.1, 1, 1], [np.nan, 0, 2]], np.float32))
    with pytest.raises(BundleError, match="'d'"):
        design_matrix(["a", "d", "e"], columns)


@pytest.mark.parametrize("rows", [0, 1, 2, FEW_ROWS, FEW_ROWS + 1])
def test_few_rows_and_many_are_put_together_alike(rows: int) -> None:
    rng = np.random.default_rng(rows)
    columns = {
        "whole": rng.integers(-(2**40), 2**40, rows),
        "share": rng.random(rows),
        "is_one": rng.random(rows) < 0.5,
        "missing": np.full(rows, np.nan),
        "unread": rng.random(rows),
    }
    names = ["missing", "whole", "is_one", "share"]
    matrix = design_matrix(names, columns)
    assert (matrix.shape, matrix.dtype, matrix.flags.c_contiguous) == ((rows, 4), np.float32, True)
    for number, name in enumerate(names):
        np.testing.assert_array_equal(matrix[:, number], columns[name].astype(np.float32))
