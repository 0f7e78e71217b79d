from __future__ import annotations

import json

import lightgbm
import numpy as np
import pytest

from training.artifact import Bundle
from training.model_card import model_card
from training.run_documents import run_params, write_documents
from training.training_plots import (
    FEATURES_SHOWN,
    baselines_figure,
    importance_figure,
    reliability_figure,
)

SHA = "ef" * 32


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(400, 30))
    labels = (matrix[:, 3] + 0.1 * matrix[:, 4] > 0).astype(float)
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(matrix, labels), num_boost_round=5)
    return Bundle(
        task="propensity",
        as_of="2024-05-30",
        models={"72h": booster.model_to_string()},
        features={"72h": [f"feature_{number}" for number in range(30)]},
        content={"parameters": {"num_leaves": 31}, "tuning": {"trials": 3, "loss": 0.4, "default_loss": 0.5}},
        fingerprint={"rows": 400, "sha256": "12" * 32},
        metrics={"72h": {"auc": 0.8, "baseline_logistic": {"auc": 0.7}}},
        versions={"numpy": "2.4.0", "lightgbm": "4.7.0"},
    )


def scored(seed: int = 0):
    rng = np.random.default_rng(seed)
    said = rng.random(2000)
    return {"72h": (rng.random(2000) < said, said)}


def test_a_run_gets_card_fingerprint_requirements_and_pictures(bundle: Bundle, tmp_path):
    write_documents(tmp_path / "documents", bundle, SHA, scored())
    folder = tmp_path / "documents"
    assert (folder / "model_card.md").read_text("utf-8") == model_card(bundle, SHA)
    assert json.loads((folder / "data.json").read_text("utf-8")) == bundle.fingerprint
    assert (folder / "requirements.txt").read_text("utf-8") == "lightgbm==4.7.0\nnumpy==2.4.0\n"
    pictures = sorted((folder / "plots").iterdir())
    assert [path.name for path in pictures] == ["baselines.png", "importance.png", "reliability.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_the_same_bundle_gets_the_same_documents(bundle: Bundle, tmp_path):
    contents = []
    for name in ("one", "other"):
        write_documents(tmp_path / name, bundle, SHA, scored())
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 6


def test_a_bundle_without_boosters_or_probabilities_still_has_its_card(tmp_path):
    plain = Bundle(task="segments", as_of="2024-05-30", models={}, features={})
    write_documents(tmp_path / "documents", plain, SHA, {})
    assert list((tmp_path / "documents" / "plots").iterdir()) == []
    assert (tmp_path / "documents" / "model_card.md").read_text("utf-8").startswith("# segments")


def test_parameters_of_the_run_are_seed_data_and_what_was_fitted_with(bundle: Bundle):
    assert run_params(bundle, 7) == {
        "seed": 7,
        "as_of": "2024-05-30",
        "rows": 400,
        "data.rows": 400,
        "data.sha256": "12" * 32,
        "parameters.num_leaves": 31,
        "tuning.trials": 3,
        "tuning.loss": 0.4,
        "tuning.default_loss": 0.5,
    }


def test_the_inputs_that_gain_most_are_drawn_longest_first(bundle: Bundle):
    (axis,) = importance_figure(bundle).axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    lengths = [bar.get_width() for bar in axis.patches]
    assert len(names) == FEATURES_SHOWN
    assert names[-1] == "feature_3"
    assert lengths == sorted(lengths)
    assert 0 < sum(lengths) <= 1 + 1e-9


def test_inputs_that_a_model_derives_itself_are_drawn_too(bundle: Bundle):
    fewer = Bundle(
        task="clv", as_of="", models=bundle.models, features={"72h": [*bundle.features["72h"]][:3]}
    )
    (axis,) = importance_figure(fewer).axes
    assert "derived input 1" in [label.get_text() for label in axis.get_yticklabels()]


def test_a_calibrated_model_is_drawn_along_the_diagonal():
    (axis,) = reliability_figure(scored()).axes
    said, seen = axis.lines[0].get_data()
    assert len(said) == 10
    np.testing.assert_allclose(said, seen, atol=0.1)
    assert np.all(np.diff(said) > 0)


def test_a_figure_that_was_not_measured_is_not_drawn(bundle: Bundle):
    assert baselines_figure(bundle, "normalized_gini") is None
    drawn = baselines_figure(bundle, "auc")
    assert [bar.get_width() for bar in drawn.axes[0].patches] == [0.7, 0.8]
