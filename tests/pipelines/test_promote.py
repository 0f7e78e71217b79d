from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipelines.errors import CommandError, MissingStepError
from pipelines.promote import promote_tasks, rollback_tasks
from training.artifact import load_bundle, save_bundle
from training.errors import BundleError, RegistryError
from training.publication import published
from training.registry import challenger, champion, log_bundle, promote

NOW = datetime(2024, 6, 1, tzinfo=UTC)
TASK = "tags-interest"


@pytest.fixture
def shop(small_shop, tmp_path):
    return small_shop.copy(tmp_path)


def register(shop, **changes):
    """Register the champion's own files again, with other figures."""
    now = champion(shop.home, TASK)
    return log_bundle(
        shop.home, TASK, now.directory, params={}, metrics=dict(now.metrics) | changes, tags=dict(now.tags)
    )


def test_a_model_that_got_worse_is_refused_and_the_champion_serves_on(shop):
    before = published(shop.home)[TASK]
    register(shop, precision_observed=0.5)
    run = shop.run("promote", TASK, "--json")
    assert run.code == 2
    assert run.json["models"][0]["champion"] == f"{TASK}/1"
    error, next_step = run.err.splitlines()
    assert error.startswith(
        f"error: nothing was promoted: {TASK}: {TASK}/2 was refused: precision_observed 0.5000"
    )
    assert next_step == "next step: improve the models, or use --force"
    assert published(shop.home)[TASK] == before
    assert challenger(shop.home, TASK).model_version == f"{TASK}/2"


def test_the_gate_can_be_overruled_and_that_is_said(shop):
    register(shop, precision_observed=0.5)
    run = shop.run("promote", TASK, "--force")
    assert run.code == 0
    assert "overruled" in run.out
    assert published(shop.home)[TASK].model_version == f"{TASK}/2"


def test_of_all_tasks_those_that_pass_are_promoted(shop):
    register(shop)
    found = {one.task: one for one in promote_tasks(shop.home, ["all"], now=NOW)}
    assert (found[TASK].champion, found[TASK].previous) == (f"{TASK}/2", f"{TASK}/1")
    assert found["propensity"].champion == found["propensity"].previous == "propensity/1"
    assert {task: one.model_version for task, one in published(shop.home).items()}[TASK] == f"{TASK}/2"


def test_a_challenger_with_damaged_files_does_not_become_champion(shop):
    waiting = register(shop)
    next(waiting.directory.glob("*.lgb")).write_text("tree")
    with pytest.raises(BundleError):
        promote_tasks(shop.home, [TASK], now=NOW)
    assert champion(shop.home, TASK).model_version == f"{TASK}/1"


def aged(directory, folder):
    """Copy a bundle as if it had been trained when a feature had another name and one another type."""
    bundle = load_bundle(directory)
    role = "tag"
    names = ["weekday_of_instant" if name == "weekday" else name for name in bundle.features[role]]
    dtypes = dict(bundle.dtypes) | {"order_count_30d": "float"}
    save_bundle(folder, replace(bundle, features=dict(bundle.features) | {role: names}, dtypes=dtypes))
    return folder


def registered_aged(shop, folder):
    now = champion(shop.home, TASK)
    files = aged(now.directory, folder)
    return log_bundle(shop.home, TASK, files, params={}, metrics=dict(now.metrics), tags={})


def test_a_challenger_that_reads_a_bygone_feature_does_not_become_champion(shop, tmp_path):
    registered_aged(shop, tmp_path / "aged")
    before = published(shop.home)
    run = shop.run("promote", TASK)
    assert run.code == 2
    error, next_step = run.err.splitlines()
    assert "bundle tags-interest of 2024-05-31" in error
    assert "'weekday_of_instant' does not exist" in error
    assert "'order_count_30d' is int, was float" in error
    assert next_step.startswith("next step: run `tagtide train` and `tagtide promote`")
    assert champion(shop.home, TASK).model_version == f"{TASK}/1"
    assert published(shop.home) == before


def test_nobody_is_rolled_back_to_a_model_that_reads_a_bygone_feature(shop, tmp_path):
    registered_aged(shop, tmp_path / "aged")
    promote(shop.home, TASK, force=True)
    register(shop)
    promote(shop.home, TASK, 3, force=True)
    with pytest.raises(BundleError, match="'weekday_of_instant' does not exist"):
        rollback_tasks(shop.home, [TASK], now=NOW)
    assert champion(shop.home, TASK).model_version == f"{TASK}/3"


def test_rolling_back_publishes_the_model_before(shop):
    register(shop)
    promote_tasks(shop.home, [TASK], now=NOW)
    (back,) = rollback_tasks(shop.home, [TASK], now=NOW)
    assert (back.champion, back.previous) == (f"{TASK}/1", f"{TASK}/2")
    assert published(shop.home)[TASK].model_version == f"{TASK}/1"
    assert "gate" not in shop.run("rollback", TASK, "--json").out


def test_without_a_challenger_a_named_task_says_so(shop):
    with pytest.raises(RegistryError, match=f"{TASK} has no challenger: champion is {TASK}/1"):
        promote_tasks(shop.home, [TASK], now=NOW)


def test_an_unknown_task_is_told_what_there_is(shop):
    with pytest.raises(CommandError, match="did you mean 'tags-interest'"):
        promote_tasks(shop.home, ["tag-interest"], now=NOW)


def test_before_any_training_the_step_is_named(home):
    for act in (promote_tasks, rollback_tasks):
        with pytest.raises(MissingStepError, match="no trained model") as missing:
            act(home, ["all"], now=NOW)
        assert "tagtide train" in missing.value.next_step


def test_with_all_those_are_rolled_back_that_had_another_champion(shop):
    register(shop)
    promote_tasks(shop.home, [TASK], now=NOW)
    found = rollback_tasks(shop.home, ["all"], now=NOW)
    assert [(one.task, one.champion, one.previous) for one in found] == [(TASK, f"{TASK}/1", f"{TASK}/2")]
    with pytest.raises(RegistryError, match="no model had another champion before"):
        rollback_tasks(shop.home, ["all"], now=NOW)


def test_a_version_is_promoted_by_number_though_another_one_waits(shop):
    register(shop)
    register(shop)
    (found,) = promote_tasks(shop.home, [f"{TASK}/2"], now=NOW)
    assert (found.champion, found.previous) == (f"{TASK}/2", f"{TASK}/1")
    assert published(shop.home)[TASK].model_version == f"{TASK}/2"
    assert challenger(shop.home, TASK).model_version == f"{TASK}/3"
    with pytest.raises(RegistryError, match=f"{TASK} has no version 9"):
        promote_tasks(shop.home, [f"{TASK}/9"], now=NOW)
