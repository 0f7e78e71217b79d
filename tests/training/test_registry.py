"""The registry, on a real MLflow SQLite database."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from configs.home import Home, open_home
from training import registry
from training.errors import PromotionRefusedError, RegistryError
from training.registry import ModelVersion


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home for all: MLflow takes seconds to create its tables."""
    return open_home(tmp_path_factory.mktemp("registry") / "home", create=True)


def register(home: Home, folder: Path, task: str, gini: float) -> ModelVersion:
    bundle = folder / f"bundle-{gini}"
    bundle.mkdir(exist_ok=True)
    (bundle / "bundle.json").write_text(f'{{"gini": {gini}}}')
    metrics = {
        "precision_observed": gini,
        "useful_tags_per_customer_day": 0.1,
        "rule_precision_observed": 0.2,
        "as_of": "2017-10-31",
    }
    return registry.log_bundle(
        home, task, bundle, params={"seed": 7, "leaves": 31}, metrics=metrics, tags={"source": "shop"}
    )


def test_a_logged_bundle_is_a_version_with_its_files_metrics_and_tags(home: Home, tmp_path: Path) -> None:
    version = register(home, tmp_path, "tags-one", 0.8)
    assert version.model_version == "tags-one/1"
    assert (version.directory / "bundle.json").read_text() == '{"gini": 0.8}'
    assert version.metrics["rule_precision_observed"] == 0.2
    assert version.tags["source"] == "shop"
    assert registry.challenger(home, "tags-one") == version
    assert registry.champion(home, "tags-one") is None
    assert "tags-one" in registry.tasks(home)


def test_promotion_moves_the_aliases_and_rollback_returns_through_the_history(
    home: Home, tmp_path: Path
) -> None:
    for gini in (0.80, 0.82, 0.84):
        register(home, tmp_path, "tags-two", gini)
        registry.promote(home, "tags-two")
        assert registry.challenger(home, "tags-two") is None
    current = registry.champion(home, "tags-two")
    assert current is not None
    assert current.version == 3
    assert registry.rollback(home, "tags-two").champion.version == 2
    back = registry.rollback(home, "tags-two")
    assert back.champion.version == 1
    assert back.previous is not None
    assert back.previous.version == 2
    with pytest.raises(RegistryError, match="no champion before tags-two/1"):
        registry.rollback(home, "tags-two")
    assert [version.version for version in registry.versions(home, "tags-two")] == [1, 2, 3]


def test_a_challenger_worse_than_the_champion_is_refused_unless_forced(home: Home, tmp_path: Path) -> None:
    register(home, tmp_path, "tags-three", 0.8)
    registry.promote(home, "tags-three")
    register(home, tmp_path, "tags-three", 0.6)
    with pytest.raises(
        PromotionRefusedError, match=r"tags-three/2 was refused: precision_observed 0\.6000 is worse"
    ):
        registry.promote(home, "tags-three")
    waiting = registry.challenger(home, "tags-three")
    assert waiting is not None
    assert waiting.version == 2
    promotion = registry.promote(home, "tags-three", force=True)
    assert promotion.forced
    assert promotion.champion.version == 2
    assert promotion.decision is not None
    assert not promotion.decision.passed


def test_promoting_the_champion_again_changes_nothing(home: Home, tmp_path: Path) -> None:
    register(home, tmp_path, "tags-four", 0.8)
    registry.promote(home, "tags-four")
    again = registry.promote(home, "tags-four", 1)
    assert again.champion.version == 1
    with pytest.raises(RegistryError, match="no champion before"):
        registry.rollback(home, "tags-four")


def test_a_figure_that_is_not_a_number_is_recorded_as_such_and_refused(home: Home, tmp_path: Path) -> None:
    version = register(home, tmp_path, "tags-seven", math.nan)
    assert math.isnan(version.metrics["precision_observed"])
    with pytest.raises(PromotionRefusedError, match="precision_observed was not measured"):
        registry.promote(home, "tags-seven")


def test_what_is_not_registered_is_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="propensity has no registered version"):
        registry.promote(home, "propensity")
    with pytest.raises(RegistryError, match="clv has no champion"):
        registry.rollback(home, "clv")
    with pytest.raises(RegistryError, match="no bundle at"):
        registry.log_bundle(home, "clv", tmp_path / "none", params={}, metrics={}, tags={})
    register(home, tmp_path, "tags-five", 0.8)
    with pytest.raises(RegistryError, match="no version 9: registered are 1"):
        registry.promote(home, "tags-five", 9)
    registry.promote(home, "tags-five")
    with pytest.raises(RegistryError, match="no challenger: champion is tags-five/1"):
        registry.promote(home, "tags-five")


def test_a_moved_home_still_finds_its_bundles(home: Home, tmp_path: Path) -> None:
    register(home, tmp_path, "tags-six", 0.8)
    registry.promote(home, "tags-six")
    moved = Home(tmp_path / "elsewhere")
    shutil.copytree(home.root, moved.root)
    found = registry.champion(moved, "tags-six")
    assert found is not None
    assert found.directory.is_relative_to(moved.root)
    assert (found.directory / "bundle.json").exists()


def test_a_home_without_a_registry_has_no_tasks_and_gets_none(tmp_path: Path) -> None:
    home = open_home(tmp_path / "fresh", create=True)
    assert registry.tasks(home) == []
    assert registry.champion(home, "clv") is None
    assert not home.mlflow.exists()
