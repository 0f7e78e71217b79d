"""The fast engine answers only where it is LightGBM to the last bit; else LightGBM does."""

from __future__ import annotations

import logging
import threading

import lightgbm
import numpy as np
import pytest

from tests.training.test_probe_rows import text_of
from tests.training.test_tag_model import MODELS
from training.fast_trees import PROBED_ROWS, FastTrees, differing_rows, load_engine, read_trees
from training.probe_rows import probe_rows
from training.trees import read_booster

TEXT = MODELS["tag"]
BOOSTER = lightgbm.Booster(model_str=TEXT)
ROWS = probe_rows(TEXT, 3_000, seed=9)


class Wrong:
    """An engine that says a little else about one row, but only in some lots or on one scale."""

    def __init__(self, row=None, *, size=None, raw=None, by=1):
        self.row, self.size, self.raw, self.by = row, size, raw, by

    def predict(self, rows, raw_score, n_jobs):
        assert n_jobs == 1
        said = BOOSTER.predict(rows, raw_score=raw_score, num_threads=1)
        if self.size in (None, len(rows)) and self.raw in (None, raw_score):
            place = 0 if self.row is None else self.row
            bits = said.view(np.int64)
            bits[min(place, len(rows) - 1)] += self.by
        return said


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="training.fast_trees")
    return caplog


@pytest.mark.parametrize(
    "text", [TEXT, MODELS["observed"], text_of(categorical=True), text_of(categorical=False)]
)
def test_the_engine_says_what_lightgbm_says_to_the_last_bit_on_rows_it_was_not_checked_on(text, told):
    pytest.importorskip("lignum")
    trees, booster = read_trees("one", text), lightgbm.Booster(model_str=text)
    assert isinstance(trees, FastTrees)
    assert told.records == []
    rows = probe_rows(text, 3_000, seed=9)
    for raw in (False, True):
        expected = booster.predict(rows, raw_score=raw, num_threads=1)
        np.testing.assert_array_equal(trees.predict(rows, raw_score=raw), expected)
        narrow = np.clip(rows, -1e30, 1e30).astype(np.float32)
        np.testing.assert_array_equal(
            trees.predict(narrow, raw_score=raw), booster.predict(narrow, raw_score=raw, num_threads=1)
        )
        single = [trees.predict(np.asfortranarray(rows)[[row]], raw_score=raw)[0] for row in range(200)]
        np.testing.assert_array_equal(single, expected[:200])


def test_infinite_numbers_go_where_lightgbm_sends_them():
    pytest.importorskip("lignum")
    values = np.r_[np.full(150, np.nan), np.linspace(0, 1, 300)]
    parameters = {"objective": "binary", "num_leaves": 4, "verbose": -1, "num_threads": 1}
    dataset = lightgbm.Dataset(values[:, None], np.isnan(values) ^ (values > 0.9), params=parameters)
    booster = lightgbm.train(parameters, dataset, num_boost_round=20)
    text = str(booster.model_to_string())
    assert " inf" in text or "=inf" in text
    trees = read_trees("one", text)
    assert isinstance(trees, FastTrees)
    rows = np.array([[np.inf], [-np.inf], [np.nan], [0.5], [1e300]])
    np.testing.assert_array_equal(trees.predict(rows), booster.predict(rows, num_threads=1))
    np.testing.assert_array_equal(
        trees.predict(rows, raw_score=True), booster.predict(rows, raw_score=True, num_threads=1)
    )


def test_contributions_and_text_are_lightgbms_own():
    pytest.importorskip("lignum")
    trees = read_trees("one", TEXT)
    rows = np.nan_to_num(ROWS[:50], nan=0.5, posinf=1, neginf=0)
    told = trees.predict(rows, pred_contrib=True)
    np.testing.assert_array_equal(told, BOOSTER.predict(rows, pred_contrib=True, num_threads=1))
    np.testing.assert_allclose(told.sum(axis=1), trees.predict(rows, raw_score=True))
    assert trees.model_to_string() == BOOSTER.model_to_string()


@pytest.mark.parametrize(
    "engine",
    [
        Wrong(),
        Wrong(row=PROBED_ROWS - 1),
        Wrong(size=PROBED_ROWS, raw=False),
        Wrong(size=1, raw=False),
        Wrong(size=60, raw=False, by=-1),
        Wrong(raw=True),
    ],
)
def test_one_bit_in_one_answer_is_enough_to_be_refused(engine, told):
    trees = read_trees("tags-interest tag", TEXT, lambda _: engine)
    assert isinstance(trees, lightgbm.Booster)
    (record,) = told.records
    assert record.levelno == logging.WARNING
    assert "tags-interest tag is answered by LightGBM" in record.getMessage()
    assert f"of {PROBED_ROWS} rows" in record.getMessage()


def test_an_engine_that_cannot_read_the_model_is_done_without(told):
    def refuse(_):
        raise RuntimeError("linear trees are not supported")

    trees = read_trees("clv amount", TEXT, refuse)
    np.testing.assert_array_equal(trees.predict(ROWS), BOOSTER.predict(ROWS, num_threads=1))
    (record,) = told.records
    assert record.levelno == logging.WARNING
    assert "linear trees are not supported" in record.getMessage()


def test_an_engine_that_is_not_installed_is_no_reason_to_warn(told):
    def missing(_):
        raise ModuleNotFoundError("No module named 'lignum'")

    assert isinstance(read_trees("one", TEXT, missing), lightgbm.Booster)
    (record,) = told.records
    assert record.levelno == logging.INFO


def test_answers_that_are_null_or_zero_of_either_sign_are_compared_as_they_are():
    class Says:
        def __init__(self, value):
            self.value = value

        def predict(self, rows, *args, **kwargs):
            return np.full(len(rows), self.value)

    rows = np.zeros((7, 2))
    assert differing_rows(Says(np.nan), Says(np.nan), rows) == 0
    assert differing_rows(Says(0.0), Says(-0.0), rows) == 7


def test_a_model_that_lightgbm_itself_cannot_read_is_refused():
    with pytest.raises(lightgbm.basic.LightGBMError):
        read_trees("one", "tree\nthis is no model\n")


def test_threads_that_share_a_model_get_the_answers_of_one():
    pytest.importorskip("lignum")
    trees = FastTrees(read_booster("one", TEXT), load_engine(TEXT))
    expected = BOOSTER.predict(ROWS, num_threads=1)
    wrong = []

    def ask(seed):
        rng = np.random.default_rng(seed)
        for _ in range(500):
            start = int(rng.integers(0, len(ROWS) - 60))
            some = slice(start, start + int(rng.integers(1, 60)))
            if (trees.predict(ROWS[some]) != expected[some]).any():
                wrong.append(start)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
