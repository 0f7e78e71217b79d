"""Saved bundles: what is written comes back, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from training.artifact import CONTENT_FILE, SUMS_FILE, Bundle, bundle_hash, load_bundle, save_bundle
from training.calibration import Calibrator
from training.errors import BundleError


def small_model(seed: int = 0) -> lightgbm.Booster:
    rng = np.random.default_rng(seed)
    inputs = rng.random((400, 2)).astype(np.float32)
    labels = (inputs[:, 0] + 0.2 * rng.random(400) > 0.6).astype(np.float32)
    parameters = {"objective": "binary", "num_leaves": 4, "verbose": -1, "num_threads": 1}
    return lightgbm.train(parameters, lightgbm.Dataset(inputs, labels), num_boost_round=5)


MODEL = small_model()
TEXT = str(MODEL.model_to_string(num_iteration=-1))


def made_bundle(**changed: Any) -> Bundle:
    entries: dict[str, Any] = {
        "task": "tags-interest",
        "as_of": "2017-10-31T00:00:00+00:00",
        "models": {"tag": TEXT, "observed": TEXT},
        "features": {"tag": ["a", "b"], "observed": ["b", "a"]},
        "keys": ["FLUID MILK PRODUCTS", "牛奶 / 酸奶"],
        "calibrators": {"tag": Calibrator(np.array([0.1, 1 / 3]), np.array([0.2, 2 / 3]))},
        "content": {"contract": [{"tag": "牛奶 / 酸奶", "threshold": None, "certified": False}]},
        "fingerprint": {"rows": 3, "sha256": "ab"},
        "metrics": {"auc": 0.73, "baseline": {"auc": 0.7}},
        "versions": {"lightgbm": "4"},
        "dtypes": {"a": "int", "b": "float"},
    }
    return Bundle(**(entries | changed))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "bundle", made_bundle())
    return tmp_path / "bundle"


def rewrite_sums(directory: Path, names: list[str]) -> None:
    lines = [f"{hashlib.sha256((directory / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (directory / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def rewrite_content(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((directory / CONTENT_FILE).read_text(encoding="utf-8"))
    change(content)
    (directory / CONTENT_FILE).write_text(json.dumps(content), encoding="utf-8")
    rewrite_sums(directory, [CONTENT_FILE, "observed.lgb", "tag.lgb"])


def refusal(directory: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(directory)
    assert caught.value.next_step == "train again"
    assert "\n" not in caught.value.message
    assert str(directory) in caught.value.message
    return caught.value.message


def test_every_field_of_a_bundle_comes_back(saved: Path) -> None:
    written, read = made_bundle(), load_bundle(saved)
    for name in set(vars(written)) - {"calibrators"}:
        assert getattr(read, name) == getattr(written, name)
    assert read.calibrators.keys() == written.calibrators.keys()
    np.testing.assert_array_equal(read.calibrators["tag"].scores, written.calibrators["tag"].scores)
    np.testing.assert_array_equal(
        read.calibrators["tag"].probabilities, written.calibrators["tag"].probabilities
    )


def test_a_bundle_of_nothing_but_a_task_comes_back(tmp_path: Path) -> None:
    save_bundle(tmp_path, Bundle("clv", "2017-10-31", {}, {}))
    read = load_bundle(tmp_path)
    assert (read.task, dict(read.models), list(read.keys), dict(read.calibrators)) == ("clv", {}, [], {})


def test_a_read_model_answers_as_the_fitted_one_to_the_last_bit(saved: Path) -> None:
    rows = np.random.default_rng(1).random((200, 2)).astype(np.float32)
    rows[::7, 0] = np.nan
    read = load_bundle(saved).boosters()
    assert read.keys() == {"tag", "observed"}
    np.testing.assert_array_equal(
        read["tag"].predict(rows, num_threads=1), MODEL.predict(rows, num_threads=1)
    )


def test_the_same_content_has_the_same_hash_in_any_folder_and_order(tmp_path: Path) -> None:
    turned = made_bundle(
        models={"observed": TEXT, "tag": TEXT},
        features={"observed": ("b", "a"), "tag": ("a", "b")},
        metrics={"baseline": {"auc": 0.7}, "auc": 0.73},
    )
    digest = save_bundle(tmp_path / "one", made_bundle())
    assert save_bundle(tmp_path / "two" / "deeper", turned) == digest
    assert bundle_hash(tmp_path / "one") == bundle_hash(tmp_path / "two" / "deeper") == digest
    assert len(digest) == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"task": "tags-brand_preference"},
        {"as_of": "2017-11-01T00:00:00+00:00"},
        {"features": {"tag": ["b", "a"], "observed": ["b", "a"]}},
        {"keys": ["牛奶 / 酸奶", "FLUID MILK PRODUCTS"]},
        {"calibrators": {"tag": Calibrator(np.array([0.1, 1 / 3]), np.array([0.2, 0.6666666666666667]))}},
        {"content": {"contract": []}},
        {"models": {"tag": TEXT, "observed": str(small_model(1).model_to_string())}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_content_has_another_hash(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert save_bundle(tmp_path / "a", made_bundle()) != save_bundle(tmp_path / "b", made_bundle(**changed))


def test_the_hash_is_that_of_the_checksum_file_and_sha256sum_would_agree_with_it(saved: Path) -> None:
    sums = (saved / SUMS_FILE).read_bytes()
    assert bundle_hash(saved) == hashlib.sha256(sums).hexdigest()
    listed = {line[66:]: line[:64] for line in sums.decode().splitlines()}
    found = {path.name for path in saved.iterdir()} - {SUMS_FILE}
    assert listed == {name: hashlib.sha256((saved / name).read_bytes()).hexdigest() for name in found}


@pytest.mark.parametrize("name", ["bundle.json", "tag.lgb", "observed.lgb"])
def test_one_altered_byte_is_refused_by_file_name(saved: Path, name: str) -> None:
    data = bytearray((saved / name).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / name).write_bytes(bytes(data))
    assert f"{name} does not match its checksum" in refusal(saved)


@pytest.mark.parametrize("name", ["bundle.json", "tag.lgb", SUMS_FILE])
def test_a_missing_file_is_refused_by_name(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert f"is incomplete: {name}: No such file or directory" in refusal(saved)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert "is incomplete: SHA256SUMS" in refusal(tmp_path / "nowhere")


def test_a_file_that_is_not_listed_is_refused_by_name(saved: Path) -> None:
    (saved / "extra.lgb").write_text("tree")
    assert "extra.lgb is not listed in SHA256SUMS" in refusal(saved)


def test_a_bundle_saved_over_another_one_with_more_models_is_refused(saved: Path) -> None:
    save_bundle(saved, made_bundle(models={"tag": TEXT}, features={"tag": ["a", "b"]}))
    assert "observed.lgb is not listed" in refusal(saved)


def test_a_model_that_the_checksums_do_not_cover_is_refused(saved: Path) -> None:
    rewrite_sums(saved, [CONTENT_FILE, "tag.lgb"])
    assert "observed.lgb" in refusal(saved)


def test_a_model_named_by_the_content_but_never_saved_is_refused(saved: Path) -> None:
    rewrite_content(saved, lambda content: content["models"].update(other="other.lgb"))
    assert "is incomplete: KeyError('other.lgb')" in refusal(saved)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "deeper/tag.lgb", "..", ".hidden"])
def test_a_checksum_file_that_points_out_of_its_folder_is_refused(saved: Path, name: str) -> None:
    (saved.parent / "secret").write_text("not yours")
    with (saved / SUMS_FILE).open("a", encoding="utf-8") as sums:
        sums.write(f"{hashlib.sha256(b'not yours').hexdigest()}  {name}\n")
    assert f"lists {name!r}, a file outside of itself" in refusal(saved)


@pytest.mark.parametrize(
    "added", [b"deadbeef\n", b"\xff\xfe\n", b"00  a\0b\n"], ids=["no name", "bytes", "nul"]
)
def test_a_damaged_checksum_file_is_refused(saved: Path, added: bytes) -> None:
    (saved / SUMS_FILE).write_bytes((saved / SUMS_FILE).read_bytes() + added)
    assert "SHA256SUMS is damaged" in refusal(saved)


def test_a_listed_folder_is_refused(saved: Path) -> None:
    (saved / "folder").mkdir()
    with (saved / SUMS_FILE).open("a", encoding="utf-8") as sums:
        sums.write(f"{'0' * 64}  folder\n")
    assert "is incomplete: folder: Is a directory" in refusal(saved)


def test_a_bundle_without_its_content_file_is_refused(saved: Path) -> None:
    (saved / CONTENT_FILE).unlink()
    rewrite_sums(saved, ["observed.lgb", "tag.lgb"])
    assert "has no bundle.json" in refusal(saved)


def test_another_format_is_refused_with_both_numbers(saved: Path) -> None:
    rewrite_content(saved, lambda content: content.update(format=1))
    assert "has format 1; this version reads 2" in refusal(saved)


@pytest.mark.parametrize(
    "name", ["format", "task", "as_of", "models", "features", "keys", "calibrators", "content", "dtypes"]
)
def test_a_content_without_one_of_its_fields_is_refused_by_name(saved: Path, name: str) -> None:
    rewrite_content(saved, lambda content: content.pop(name))
    assert repr(name) in refusal(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"models": ["tag.lgb"]},
        {"calibrators": {"tag": {"scores": [0.0]}}},
        {"calibrators": [1]},
        {"models": None},
    ],
    ids=["models is a list", "a calibrator lacks its answers", "calibrators is a list", "no models"],
)
def test_a_content_of_another_shape_is_refused(saved: Path, change: dict[str, Any]) -> None:
    rewrite_content(saved, lambda content: content.update(change))
    assert "is incomplete" in refusal(saved)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"format": 2'])
def test_a_content_file_that_is_no_object_is_refused(saved: Path, text: str) -> None:
    (saved / CONTENT_FILE).write_text(text)
    rewrite_sums(saved, [CONTENT_FILE, "observed.lgb", "tag.lgb"])
    assert "is incomplete" in refusal(saved)


def test_a_copied_bundle_is_the_same_bundle(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    assert bundle_hash(tmp_path / "copy") == bundle_hash(saved)
    assert load_bundle(tmp_path / "copy").models == load_bundle(saved).models


def test_how_many_threads_fitted_it_is_no_part_of_a_bundle(tmp_path: Path) -> None:
    other = TEXT.replace("[num_threads: 1]", "[num_threads: 16]")
    assert other != TEXT
    hashes = {
        save_bundle(tmp_path / name, made_bundle(models={"tag": text}))
        for name, text in (("one", TEXT), ("sixteen", other))
    }
    assert len(hashes) == 1
    rows = np.random.default_rng(1).random((50, 2))
    kept = load_bundle(tmp_path / "one").boosters()["tag"]
    np.testing.assert_array_equal(kept.predict(rows), MODEL.predict(rows))
