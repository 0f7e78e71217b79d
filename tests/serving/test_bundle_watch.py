import json

import pytest

from configs.errors import TagtideError
from serving.bundle_watch import BundleWatch


class Named:
    """A scorer that remembers what it was made of."""

    def __init__(self, named):
        if any(entry["sha256"] == "damaged" for entry in named.values()):
            raise TagtideError("checksum of model.lgb differs", "train again")
        self.named = named


def point(path, **versions):
    named = {
        task: {"sha256": f"{version}", "path": "x", "model_version": version}
        for task, version in versions.items()
    }
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(named))
    temporary.replace(path)


@pytest.fixture
def pointer(tmp_path):
    return tmp_path / "champion.json"


def test_without_a_pointer_there_is_no_scorer_and_a_reason(pointer):
    watch = BundleWatch(pointer, Named)
    assert not watch.check()
    assert watch.scorer is None
    assert "champion.json" in watch.problem


def test_a_new_pointer_is_followed_and_an_unchanged_one_left_alone(pointer):
    watch = BundleWatch(pointer, Named)
    point(pointer, propensity="1")
    assert watch.check()
    first = watch.scorer
    assert not watch.check()
    assert watch.scorer is first
    point(pointer, propensity="22")
    assert watch.check()
    assert watch.versions == {"propensity": "22"}
    assert watch.problem == ""


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"propensity": {}}', b"\xff"])
def test_a_pointer_that_means_nothing_is_refused_and_the_old_models_serve_on(pointer, content):
    watch = BundleWatch(pointer, Named)
    point(pointer, propensity="1")
    watch.check()
    before = watch.scorer
    pointer.write_bytes(content)
    assert not watch.check()
    assert watch.scorer is before
    assert watch.versions == {"propensity": "1"}
    assert watch.problem


def test_a_damaged_bundle_is_refused_and_a_good_one_mends_it(pointer):
    watch = BundleWatch(pointer, Named)
    point(pointer, propensity="1")
    watch.check()
    point(pointer, propensity="damaged")
    assert not watch.check()
    assert "checksum" in watch.problem
    assert watch.problem.endswith("; train again")
    assert watch.versions == {"propensity": "1"}
    point(pointer, propensity="1")
    assert watch.check()
    assert watch.problem == ""


def test_a_pointer_that_vanishes_leaves_the_models_in_force(pointer):
    watch = BundleWatch(pointer, Named)
    point(pointer, propensity="1")
    watch.check()
    pointer.unlink()
    assert not watch.check()
    assert watch.scorer is not None
    assert watch.problem
