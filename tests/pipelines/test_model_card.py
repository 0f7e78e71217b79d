from __future__ import annotations

import pytest

from pipelines.errors import MissingStepError
from pipelines.model_card import card_of
from training.artifact import bundle_hash, load_bundle
from training.registry import champion


def test_the_champions_card_is_printed_as_markdown(small_shop):
    run = small_shop.run("model-card", "tags-interest")
    assert run.code == 0
    assert run.out.startswith("# tags-interest\n\nAs of 2024-05-31")
    model = champion(small_shop.home, "tags-interest")
    assert bundle_hash(model.directory) in run.out
    contract = load_bundle(model.directory).content["contract"]
    for row in contract:
        assert f"| {row['tag']} |" in run.out
    assert f"{sum(row['certified'] for row in contract)} certified" in run.out


def test_it_is_the_card_that_the_run_holds(small_shop):
    kept = champion(small_shop.home, "clv").directory.parent / "model_card.md"
    assert small_shop.run("model-card", "clv").out == kept.read_text("utf-8")


def test_a_version_is_chosen_by_number_and_named_in_json(small_shop):
    found = small_shop.run("model-card", "propensity", "--version", "1", "--json").json
    assert found["model_version"] == "propensity/1"
    assert found["card"].startswith("# propensity\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["propensty"], "did you mean 'propensity'"),
        (["clv", "--version", "7"], "clv has no version 7: registered are 1"),
        (["clv", "--version", "challenger"], "clv has no challenger"),
    ],
)
def test_what_is_not_registered_is_named(small_shop, arguments, said):
    run = small_shop.run("model-card", *arguments)
    assert run.code == 2
    assert said in run.err


def test_before_any_training_the_step_is_named(home):
    with pytest.raises(MissingStepError, match="no trained model"):
        card_of(home, "clv", "")
