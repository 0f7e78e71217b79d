"""Rules of the house that no linter knows: what the folders are, what importing does, what no file holds."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from configs.errors import TagtideError

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
NOT_SHIPPED = {"benchmarks", "build", "dist", "docs", "tests"}

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LINES_MAX = 450
EMPTY_NAMES = re.compile(r"utils?|helpers?|common|misc|manager", re.IGNORECASE)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_every_top_level_folder_of_code_is_in_the_wheel():
    folders = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    assert folders - NOT_SHIPPED == set(PACKAGES)


def test_every_package_and_every_folder_of_tests_is_a_regular_package():
    folders = {path.parent for path in (*MODULES, *TESTS)}
    assert [label(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_linter_types_and_layers_look_at_the_packages_that_are_shipped():
    assert PROJECT["tool"]["mypy"]["files"] == PACKAGES
    assert PROJECT["tool"]["importlinter"]["root_packages"] == PACKAGES
    layers = next(rule for rule in PROJECT["tool"]["importlinter"]["contracts"] if rule["type"] == "layers")
    assert layers["layers"] == list(reversed(PACKAGES))
    assert PROJECT["tool"]["pytest"]["ini_options"]["testpaths"] == ["tests", *PACKAGES]


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_a_module_is_named_for_its_concept_and_short_enough_to_be_one(path: Path):
    assert not EMPTY_NAMES.fullmatch(path.stem)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX


CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}
CLOCKS |= {("time", "time"), ("time", "time_ns"), ("Timestamp", "now"), ("Timestamp", "today")}


CLOCK_ALLOWED = {"features/online_store.py": "Feast makes the store itself and passes no instant to a read"}


def clock_reads(tree: ast.Module) -> list[int]:
    """Lines that read the clock. Measuring how long something took (`time.perf_counter`) is no clock."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            lines += [node.lineno for alias in node.names if alias.name in {"time", "time_ns"}]
        if isinstance(node, ast.Attribute):
            owner = (
                node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            )
            if (owner, node.attr) in CLOCKS:
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("datetime.now(UTC)", 1),
        ("datetime.datetime.now(UTC)", 1),
        ("pd.Timestamp.now()", 1),
        ("clock = time.time", 1),
        ("from time import time_ns", 1),
        ("time.perf_counter()", 0),
        ("event.time(); self.clock.now()", 0),
    ],
)
def test_a_read_of_the_clock_is_recognised(code: str, count: int):
    assert len(clock_reads(ast.parse(code))) == count


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.relative_to(ROOT).parts[0] in {"features", "training"}],
    ids=label,
)
def test_features_and_training_take_the_instant_as_an_argument(path: Path):
    assert bool(clock_reads(tree_of(path))) == (label(path) in CLOCK_ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_nothing_is_pickled(path: Path):
    assert {"cloudpickle", "dill", "joblib", "pickle", "shelve"}.isdisjoint(imported_packages(path))


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_a_module_imports_no_test(path: Path):
    assert NOT_SHIPPED.isdisjoint(imported_packages(path))


EXCEPTION = re.compile(r"#\s*(type:\s*ignore|noqa|pragma:\s*no cover)(?P<rest>.*)")
NAMED = re.compile(r"(\[[\w, -]+\]|: ?[A-Z]+\d+(, ?[A-Z]+\d+)*)(?P<reason>.*)")


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=label)
def test_an_exception_to_a_rule_names_the_rule_and_has_its_reason_beside_it(path: Path):
    bare = []
    above = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        found = EXCEPTION.search(line)
        if found and not line.startswith("EXCEPTION"):
            named = NAMED.fullmatch(found["rest"].rstrip())
            if named is None or not (named["reason"].strip(" #-—") or above.startswith("#")):
                bare.append(f"{label(path)}:{number}: {line.strip()}")
        above = line.strip()
    assert bare == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_errors_of_a_package_are_drawn_at_the_top_of_their_file(package: str):
    path = ROOT / package / "errors.py"
    drawn = ast.get_docstring(tree_of(path)) or ""
    assert TagtideError.__name__ in drawn
    classes = [node.name for node in tree_of(path).body if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if not re.search(rf"\b{name}\b", drawn)] == []
