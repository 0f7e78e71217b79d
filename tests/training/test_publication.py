"""Publication of champions, on a real registry."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from configs.home import Home, open_home
from training import registry
from training.artifact import Bundle, save_bundle
from training.errors import BundleError, RegistryError
from training.publication import publish, published, verified_hash

AT = datetime(2017, 10, 31, 1, tzinfo=UTC)
GOOD = {"precision_observed": 0.8, "useful_tags_per_customer_day": 0.1, "rule_precision_observed": 0.2}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home for all: MLflow takes seconds to create its tables."""
    return open_home(tmp_path_factory.mktemp("publication") / "home", create=True)


def bundle(folder: Path, content: str, feature: str = "weekday") -> Path:
    made = Bundle("tags-a", "2017-10-31", {"model": "tree"}, {"model": [feature]}, content={"is": content})
    save_bundle(folder, made)
    return folder


def crown(home: Home, folder: Path, task: str, content: str, feature: str = "weekday") -> None:
    registry.log_bundle(home, task, bundle(folder, content, feature), params={}, metrics=GOOD, tags={})
    registry.promote(home, task)


def test_a_published_champion_is_a_verified_copy_named_by_its_checksum(home: Home, tmp_path: Path) -> None:
    crown(home, tmp_path / "a", "tags-a", "{}")
    result = publish(home, "tags-a", at=AT)
    expected = hashlib.sha256((tmp_path / "a" / "SHA256SUMS").read_bytes()).hexdigest()
    assert result.sha256 == expected
    assert result.directory == home.bundles / expected[:16]
    assert verified_hash(result.directory) == expected
    assert published(home)["tags-a"] == result
    pointer = json.loads((home.bundles / "champion.json").read_text())
    assert pointer["tags-a"] == {
        "sha256": expected,
        "path": expected[:16],
        "model_version": "tags-a/1",
        "promoted_at": "2017-10-31T01:00:00+00:00",
    }


def test_publishing_one_task_leaves_the_others_and_no_litter(home: Home, tmp_path: Path) -> None:
    crown(home, tmp_path / "b", "tags-b", '{"b": 1}')
    crown(home, tmp_path / "c", "tags-c", '{"c": 1}')
    publish(home, "tags-b", at=AT)
    publish(home, "tags-c", at=AT)
    publish(home, "tags-c", at=AT)
    assert {"tags-b", "tags-c"} <= published(home).keys()
    litter = [
        path.name for path in home.bundles.iterdir() if path.name.startswith(".") and path.name != ".lock"
    ]
    assert litter == []


def test_after_a_rollback_the_former_bundle_is_pointed_to_again(home: Home, tmp_path: Path) -> None:
    crown(home, tmp_path / "d", "tags-d", '{"d": 1}')
    first = publish(home, "tags-d", at=AT)
    crown(home, tmp_path / "e", "tags-d", '{"d": 2}')
    second = publish(home, "tags-d", at=AT)
    assert second.sha256 != first.sha256
    registry.rollback(home, "tags-d")
    assert publish(home, "tags-d", at=AT) == first


def test_an_altered_bundle_is_not_published(home: Home, tmp_path: Path) -> None:
    crown(home, tmp_path / "f", "tags-f", '{"f": 1}')
    model = registry.champion(home, "tags-f")
    assert model is not None
    (model.directory / "model.lgb").write_text("another tree\n")
    with pytest.raises(BundleError, match=r"model\.lgb does not match"):
        publish(home, "tags-f", at=AT)
    assert "tags-f" not in published(home)


def test_a_published_copy_that_was_altered_is_not_pointed_to(home: Home, tmp_path: Path) -> None:
    crown(home, tmp_path / "g", "tags-g", '{"g": 1}')
    result = publish(home, "tags-g", at=AT)
    (result.directory / "bundle.json").write_text("{}")
    with pytest.raises(BundleError, match=r"bundle\.json does not match"):
        publish(home, "tags-g", at=AT)


def test_a_bundle_that_reads_a_bygone_feature_is_not_published(home: Home, tmp_path: Path) -> None:
    crown(home, tmp_path / "h", "tags-h", '{"h": 1}', feature="weekdays")
    with pytest.raises(BundleError, match=r"'weekdays' does not exist \(did you mean 'weekday'\?\)"):
        publish(home, "tags-h", at=AT)
    assert "tags-h" not in published(home)


def test_what_cannot_be_published_is_named(home: Home) -> None:
    with pytest.raises(RegistryError, match="clv has no champion to publish"):
        publish(home, "clv", at=AT)
    with pytest.raises(ValueError, match="aware"):
        publish(home, "clv", at=datetime(2017, 1, 1))  # noqa: DTZ001 - the naive instant is the point


@pytest.mark.parametrize("content", ["not json", "[]", '{"clv": {"path": "x"}}', '{"clv": 3}'])
def test_a_damaged_pointer_is_named(tmp_path: Path, content: str) -> None:
    home = open_home(tmp_path / "home", create=True)
    assert published(home) == {}
    home.bundles.mkdir()
    (home.bundles / "champion.json").write_text(content)
    with pytest.raises(BundleError, match=r"champion\.json is damaged"):
        published(home)
