from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from monitoring.drift import DriftInputs
from monitoring.errors import ReportError
from monitoring.ledger import READ_SCHEMA
from monitoring.reports import write_report
from tests.monitoring.report_parts import empty_figures, full_figures

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CLAIMS = pl.DataFrame(schema=READ_SCHEMA).with_columns(day=pl.lit(None, pl.Date))


def test_page_and_figures_are_written_and_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "report"
    for figures in (empty_figures(), full_figures()):
        written = write_report(folder, figures)
        assert json.loads(written.figures.read_text(encoding="utf-8")) == json.loads(
            json.dumps(figures.as_json())
        )
        assert figures.title in written.page.read_text(encoding="utf-8")
        assert written.evidently is None
    assert sorted(path.name for path in folder.iterdir()) == ["figures.json", "index.html"]


def test_evidently_is_linked_when_there_is_something_in_it_and_gone_when_not(tmp_path: Path) -> None:
    rows = pl.DataFrame({"x": [1.0, 2.0, 3.0] * 50})
    inputs = DriftInputs(rows, rows, ("x",), "then", "now")
    written = write_report(tmp_path, full_figures(), NO_CLAIMS, inputs)
    assert written.evidently == tmp_path / "evidently.html"
    assert written.evidently.stat().st_size > 1_000_000
    assert 'href="evidently.html"' in written.page.read_text(encoding="utf-8")
    written = write_report(tmp_path, full_figures(), NO_CLAIMS, None)
    assert written.evidently is None
    assert not (tmp_path / "evidently.html").exists()
    assert "evidently.html" not in written.page.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(ReportError, match=r"cannot write report .*taken"):
        write_report(tmp_path / "taken", empty_figures())


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page with")
def test_a_browser_shows_the_page_and_its_script_runs(tmp_path: Path) -> None:
    page = write_report(tmp_path / "report", full_figures()).page
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        page.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert '<html lang="en" class="has-script">' in shown
    assert "3 of 3 shown" in shown
    assert '<button type="button">Precision</button>' in shown
