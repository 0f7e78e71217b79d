"""Training into the registry: the same data gives the same bundle, and no run names a customer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from configs.home import open_home
from tests.pipelines.id_search import places_naming
from tests.small_shop import KNOWN_UNTIL, MAPPING, clean_environ, tagtide, write_source
from training.artifact import bundle_hash, load_bundle
from training.propensity import PARAMETERS
from training.registry import challenger, champion, versions

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ["train", "tags", "propensity", "clv", "--families", "interest", "--json"]
TASKS = ["tags-interest", "propensity", "clv"]


def shoppers_mapping(folder: Path) -> tuple[Path, list[str]]:
    """Write the shop's source with ids that cannot be mistaken for a number."""
    mapping, events = write_source(folder)
    named = MAPPING.replace("customer_id: customer_id", "customer_id: \"concat('shopper-', customer_id)\"")
    mapping.write_text(named, encoding="utf-8")
    return mapping, [f"shopper-{one}" for one in events["customer_id"].unique()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two homes from the same source: one in this process, one elsewhere, in others and with more threads."""
    folder = tmp_path_factory.mktemp("here")
    mapping, ids = shoppers_mapping(folder)
    imported = ["import", str(mapping), "--until", KNOWN_UNTIL.isoformat()]
    assert tagtide(folder / "home", *imported).code == 0
    here = tagtide(folder / "home", *TRAIN)
    assert here.code == 0, here.err
    elsewhere = tmp_path_factory.mktemp("quite-another-place") / "deeper" / "home"
    elsewhere.parent.mkdir()
    environ = clean_environ() | {"TAGTIDE_THREADS": "2", "PYTHONHASHSEED": "123"}
    for arguments in (imported, TRAIN):
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", "--home", str(elsewhere), *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environ,
        )
        assert done.returncode == 0, done.stderr
    return open_home(folder / "home", create=False), ids, here.json, json.loads(done.stdout)


def test_the_same_data_gives_the_same_bundle_wherever_and_however_it_is_trained(trained):
    _, _, here, there = trained
    hashes = [{one["task"]: one["sha256"] for one in run["models"]} for run in (here, there)]
    assert list(hashes[0]) == TASKS
    assert all(len(digest) == 64 for digest in hashes[0].values())
    assert hashes[0] == hashes[1]


def test_the_hash_is_that_of_the_registered_files(trained):
    home, _, here, _ = trained
    for one in here["models"]:
        waiting = challenger(home, one["task"])
        assert waiting.model_version == one["model_version"]
        assert bundle_hash(waiting.directory) == one["sha256"] == waiting.tags["sha256"]


def test_nothing_of_a_run_names_a_customer(trained):
    home, ids, _, _ = trained
    assert places_naming(home.lake, ids) != [], "the search finds what is there"
    assert places_naming(home.mlflow, ids) == []


def test_nothing_of_a_bundle_names_a_place(trained):
    home, _, _, _ = trained
    for task in TASKS:
        for path in challenger(home, task).directory.iterdir():
            assert str(home.root.parent).encode() not in path.read_bytes()


def test_a_run_holds_card_data_pictures_and_parameters(trained):
    home, _, _, _ = trained
    for task in TASKS:
        waiting = challenger(home, task)
        run = waiting.directory.parent
        found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
        assert {"model_card.md", "data.json", "requirements.txt", "plots/importance.png"} <= found
        assert ("plots/reliability.png" in found) == (task != "clv")
        bundle = load_bundle(waiting.directory)
        assert json.loads((run / "data.json").read_text("utf-8")) == bundle.fingerprint
        assert waiting.tags["data_sha256"] == bundle.fingerprint["sha256"]
        assert f"`{waiting.tags['sha256']}`" in (run / "model_card.md").read_text("utf-8")


def test_training_again_registers_nothing_new(trained):
    home, _, here, _ = trained
    again = tagtide(home.root, *TRAIN).json
    assert [one["model_version"] for one in again["models"]] == [
        one["model_version"] for one in here["models"]
    ]
    assert all(one["known_before"] for one in again["models"])
    assert [len(versions(home, task)) for task in TASKS] == [1, 1, 1]


def test_what_is_champion_already_does_not_wait_as_challenger(trained):
    home, _, _, _ = trained
    assert tagtide(home.root, "promote", "clv", "--force").code == 0
    again = tagtide(home.root, "train", "clv", "--challenger", "--json").json
    assert again["models"][0]["model_version"] == "clv/1"
    assert champion(home, "clv").model_version == "clv/1"
    assert challenger(home, "clv") is None


def test_a_search_is_kept_in_bundle_and_run_and_a_version_can_be_promoted_by_number(trained):
    home, _, _, _ = trained
    arguments = ["train", "propensity", "--tune", "2", "--no-challenger"]
    run = tagtide(home.root, *arguments)
    assert run.code == 0, run.err
    assert "searching parameters of propensity: 2 trials" in run.err
    assert challenger(home, "propensity").version == 1
    tuned = versions(home, "propensity")[-1]
    assert tuned.version == 2
    bundle = load_bundle(tuned.directory)
    assert bundle.content["tuning"]["trials"] == 2
    assert bundle.content["tuning"]["loss"] <= bundle.content["tuning"]["default_loss"]
    assert bundle.content["parameters"].keys() >= PARAMETERS.keys()
    assert f"[num_leaves: {bundle.content['parameters']['num_leaves']}]" in bundle.models["72h"]
    card = (tuned.directory.parent / "model_card.md").read_text("utf-8")
    assert "searched in 2 trials" in card
    promoted = tagtide(home.root, "promote", "propensity/2", "--force", "--json").json
    assert promoted["models"][0]["champion"] == "propensity/2"
    assert challenger(home, "propensity").version == 1
