"""The figures on the page of reliability are those of the benchmark's result."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("trial", ["file_quota", "disk_full", "redis_outage", "kill_one_home"])
def test_the_result_says_that_nothing_was_lost(trial):
    result = json.loads((ROOT / "benchmarks" / "results" / "reliability.json").read_text(encoding="utf-8"))
    assert result[trial]["tried"] == result[trial]["survived"] > 0
    assert result[trial]["lost"] == result[trial]["doubled"] == 0


def test_every_test_the_page_names_is_there():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = {text for text in page.split("`") if text.startswith(("test_", "tests/serving/test_"))}
    assert len(named) >= 6
    for name in named:
        assert (ROOT / name).is_file() or (ROOT / "tests" / "reliability" / name).is_file(), name
