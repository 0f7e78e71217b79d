"""The wheel holds what it should, the pins fit what is asked for, and one command each sets up and tests."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^ ;]+)(?P<marker> ; .+)?")
LIGHT = {
    "serving": {"evidently", "feast", "matplotlib", "mlflow", "pandas", "sklearn"},
    "pipelines": {
        "bentoml",
        "evidently",
        "feast",
        "lightgbm",
        "matplotlib",
        "mlflow",
        "pandas",
        "scipy",
        "sklearn",
    },
}
"""What importing any module of a package must not bring along."""

DATA_FILES = {".yaml", ".html", ".jinja", ".css", ".sql"}


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked outside the tree; a pure wheel is installed by unpacking it."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = place.glob("*.whl")
    assert wheel.name == "tagtide-0.1.0-py3-none-any.whl"
    folder = place / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def shipped(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for package in PACKAGES
        for path in (folder / package).rglob("*")
        if path.suffix in {".py", *DATA_FILES}
    }


def test_the_wheel_holds_every_module_and_data_file_of_the_packages(wheel_folder: Path):
    assert shipped(wheel_folder) == shipped(ROOT)
    assert "configs/default.yaml" in shipped(wheel_folder)


def test_the_wheel_holds_nothing_else(wheel_folder: Path):
    kept = {path.name for path in wheel_folder.iterdir()}
    assert kept == {*PACKAGES, "tagtide-0.1.0.dist-info"}
    assert list(wheel_folder.rglob("LICENSE")) != []


WATCH = """
import importlib, json, logging, os, sys, threading

def state():
    return {
        "environment": sorted(map(list, os.environ.items())),
        "files": os.listdir(),
        "handlers": [str(handler) for handler in logging.getLogger().handlers],
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }

names, packages = json.loads(sys.argv[1])
environment = dict(os.environ)
for name in names:
    importlib.import_module(name)
brought = sorted({name.split(".")[0] for name in sys.modules})

# What the dependencies did is theirs. Once more, with them loaded and the environment restored: this is ours.
os.environ.clear()
os.environ.update(environment)
for name in [name for name in sys.modules if name.split(".")[0] in packages]:
    del sys.modules[name]
before = state()
for name in names:
    importlib.import_module(name)
after = state()
print(json.dumps({
    "brought": brought,
    "changed": [key for key in before if before[key] != after[key]],
    "files": [sys.modules[name].__file__ for name in names],
}))
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports_outside_the_tree_changes_nothing_and_brings_nothing_heavy(
    package: str, wheel_folder: Path, tmp_path: Path
):
    paths = sorted(path for path in (wheel_folder / package).rglob("*.py") if path.stem != "__init__")
    names = [package, *(".".join(path.relative_to(wheel_folder).with_suffix("").parts) for path in paths)]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, json.dumps([names, PACKAGES])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel_folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    happened = json.loads(done.stdout.splitlines()[-1])
    assert all(Path(file).is_relative_to(wheel_folder) for file in happened["files"])
    assert happened["changed"] == []
    assert LIGHT.get(package, set()).isdisjoint(happened["brought"])


def test_the_shipped_defaults_are_read_outside_the_tree(wheel_folder: Path, tmp_path: Path):
    asked = "import pathlib; from configs.settings import load_settings; load_settings(pathlib.Path('x'), {})"
    environ = {**os.environ, "PYTHONPATH": str(wheel_folder)}
    subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, env=environ, check=True, timeout=60)


def pins() -> dict[str, str]:
    found = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if not line.strip().startswith("#"):
            pin = PIN.fullmatch(line)
            assert pin, f"not a pin: {line!r}"
            found[pin["name"]] = pin["version"]
    return found


def asked_for() -> list[str]:
    project = PROJECT["project"]
    return [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]


def test_the_lock_pins_every_direct_dependency_within_its_bounds():
    pinned = pins()
    for text in asked_for():
        requirement = Requirement(text)
        version = pinned[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_the_lock_names_no_host_and_no_path():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|(^|\s)/|--|@ ", text)


def test_what_the_packages_import_is_asked_for_directly():
    direct = {Requirement(text).name.lower().replace("_", "-") for text in asked_for()}
    line = re.compile(r"^ *(?:from|import) ([a-zA-Z0-9_]+)", re.MULTILINE)
    code = [
        path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    ]
    sold_as = metadata.packages_distributions()
    missing = {}
    for name in {found for text in code for found in line.findall(text)} - set(PACKAGES):
        sellers = {seller.lower().replace("_", "-") for seller in sold_as.get(name, [])}
        if sellers and not sellers & direct:
            missing[name] = sellers
    assert missing == {}


def test_make_alone_lists_its_targets():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    listed = set(re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.MULTILINE))
    assert {"setup", "demo", "test", "test-slow", "check", "bench", "clean", "help"} <= listed


@pytest.mark.parametrize("with_data", [True, False])
def test_continuous_integration_checks_then_tests_with_the_data_beside_the_project(
    with_data: bool, tmp_path: Path
):
    script = tmp_path / "project" / ".ci" / "run"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", script)
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text('#!/bin/sh\necho "$1 in $PWD with ${TAGTIDE_DATA-nothing}"\n')
    make.chmod(0o755)
    data = tmp_path / "shared" / "data"
    if with_data:
        data.mkdir(parents=True)
    done = subprocess.run(
        [script],
        cwd=tmp_path,
        env={"PATH": f"{make.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    where = f"in {tmp_path / 'project'} with {data if with_data else 'nothing'}"
    assert done.stdout.splitlines() == [f"check {where}", f"test {where}"]
