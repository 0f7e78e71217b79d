from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipelines.build_features import open_workbench, write_snapshots
from pipelines.errors import CommandError
from pipelines.train import train, train_family, train_on
from pipelines.trained_models import TrainedModel, as_table
from tests.pipelines.test_build_features import silently
from tests.training.rhythmic_shop import join_directly
from training.artifact import bundle_hash, load_bundle
from training.datasets import SamplingBudget
from training.errors import TrainingDataError
from training.registry import challenger, champion, versions
from training.tag_data import tag_data
from training.tags import train_tags
from training.workbench import Budget

SMALL = Budget(SamplingBudget(fit=2400, calibrate=1200, certify=2000), propensity_rows=1500)


@pytest.fixture(scope="module")
def shop(small_shop, tmp_path_factory):
    return small_shop.copy(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def bench(shop):
    return open_workbench(shop.home, shop.settings, shop.as_of, silently, SMALL)


def test_an_unknown_family_is_refused_before_anything_is_computed(shop, bench):
    said = []
    with pytest.raises(CommandError, match="did you mean 'brand_preference'"):
        train_on(shop.home, shop.settings, bench, ["tags"], said.append, ["brand_prefrence"])
    assert said == []


def test_one_family_through_feast_is_the_model_of_the_direct_path(shop, bench):
    trained = train_on(shop.home, shop.settings, bench, ["tags"], silently, ["interest"])
    assert [model.task for model in trained] == ["tags-interest"]
    waiting = challenger(shop.home, "tags-interest")
    assert waiting.model_version == trained[0].model_version == "tags-interest/2"
    assert champion(shop.home, "tags-interest").model_version == "tags-interest/1"
    bundle = load_bundle(waiting.directory)
    family = bench.families["interest"]
    data = tag_data(
        bench.judge, family, bench.rows_of(family), bench.claims(family), join_directly(bench.history, family)
    )
    direct = train_tags(
        bench.history,
        bench.judge,
        family,
        data,
        bench.rows_of(family),
        as_of=bench.as_of.isoformat(),
        seed=shop.settings.seed,
        threads=shop.settings.threads,
        fingerprint=bench.fingerprint,
    )
    assert dict(bundle.models) == dict(direct.models)
    assert bundle.content["contract"] == direct.content["contract"]
    assert bundle.fingerprint["rows"] == shop.known.height
    assert waiting.tags["as_of"] == bench.as_of.isoformat()
    assert waiting.metrics["precision_observed"] == pytest.approx(direct.metrics["precision_observed"])


def test_the_same_data_and_seed_give_the_same_model(shop, bench):
    family = bench.families["high_intent"]
    write_snapshots(shop.home, shop.settings, bench, [bench.rows_of(family)], silently)
    first, second = (train_family(shop.home, shop.settings, bench, family, silently).bundle for _ in range(2))
    assert dict(first.models) == dict(second.models)
    assert first.content["contract"] == second.content["contract"]


def test_several_are_trained_in_one_go_and_what_cannot_be_says_why(shop):
    trained = train(
        shop.home, shop.settings, ["tags", "clv"], shop.as_of, silently, ["brand_preference"], SMALL
    )
    assert [(model.task, model.skipped) for model in trained] == [
        ("tags-brand_preference", "the data has no events with a brand"),
        ("clv", ""),
    ]
    assert trained[1].model_version == f"clv/{len(versions(shop.home, 'clv'))}"


def test_a_model_that_the_data_cannot_carry_does_not_keep_the_others_from_being_trained(shop):
    tiny = Budget(SamplingBudget(fit=40, calibrate=20, certify=20), propensity_rows=1500)
    trained = train(shop.home, shop.settings, ["tags", "clv"], shop.as_of, silently, ["interest"], tiny)
    by_task = {model.task: model for model in trained}
    assert by_task["clv"].model_version
    assert not by_task["tags-interest"].model_version
    assert "expected 200 of each" in by_task["tags-interest"].skipped


def test_if_nothing_can_be_trained_the_first_reason_is_the_error(shop):
    tiny = Budget(SamplingBudget(fit=40, calibrate=20, certify=20), propensity_rows=1500)
    with pytest.raises(TrainingDataError, match=r"'interest'.*expected 200 of each"):
        train(shop.home, shop.settings, ["tags"], shop.as_of, silently, ["interest"], tiny)


def test_the_table_shows_figures_or_the_reason(capsys):
    console = Console(width=160, file=io.StringIO())
    console.print(
        as_table(
            [
                TrainedModel("propensity", "propensity/3", 1.25, {"72h": {"auc": 0.75, "ece": 0.01}}),
                TrainedModel("tags-interest", "", 0.0, {}, "the data has no view"),
            ]
        )
    )
    shown = console.file.getvalue()
    assert "72h.auc 0.750, 72h.ece 0.010" in shown
    assert "the data has no view" in shown


def test_segments_trained_again_keep_their_numbers_and_the_bundle(shop):
    before = champion(shop.home, "segments")
    trained = train(shop.home, shop.settings, ["segments"], shop.as_of, silently)
    assert [(model.task, model.skipped) for model in trained] == [("segments", "")]
    assert trained[0].known_before
    assert trained[0].sha256 == bundle_hash(before.directory)
    assert challenger(shop.home, "segments") is None
    assert trained[0].metrics["kept_number_share"] == 1.0
    sentences = [one["description"] for one in load_bundle(before.directory).content["segments"]]
    assert all(" GBP an order" in text for text in sentences)
