"""Pages with figures of benchmarks show the results that are here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["reliability", "speed"])
def test_the_page_shows_the_result_that_is_here(name):
    show = f"import {name}_page; print({name}_page.page(), end='')"
    shown = subprocess.run(
        [sys.executable, "-c", show], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert page == shown, f"run `python benchmarks/{name}_page.py`"
