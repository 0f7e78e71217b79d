"""The figures on the page of reliability are those of the benchmark's result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHOW = "import reliability_page; print(reliability_page.page(), end='')"


@pytest.mark.parametrize("trial", ["file_quota", "disk_full", "redis_outage", "kill_one_home"])
def test_the_result_says_that_nothing_was_lost(trial):
    result = json.loads((ROOT / "benchmarks" / "results" / "reliability.json").read_text(encoding="utf-8"))
    assert result[trial]["tried"] == result[trial]["survived"] > 0
    assert result[trial]["lost"] == result[trial]["doubled"] == 0


def test_the_page_shows_the_result_that_is_here():
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert page == shown, "run `python benchmarks/reliability_page.py`"


def test_every_test_the_page_names_is_there():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = {text for text in page.split("`") if text.startswith(("test_", "tests/serving/test_"))}
    assert len(named) >= 6
    for name in named:
        assert (ROOT / name).is_file() or (ROOT / "tests" / "reliability" / name).is_file(), name
