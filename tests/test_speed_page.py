"""The figures on the page of speed are those of the benchmarks' results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHOW = "import speed_page; print(speed_page.page(), end='')"


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_the_page_shows_the_results_that_are_here():
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert page == shown, "run `python benchmarks/speed_page.py`"


@pytest.mark.parametrize("name", ["window_features", "online_read", "training_set"])
def test_both_sides_made_the_same_features(name):
    assert result(name)["cells_differing"] == 0


def test_ratios_say_what_the_times_do():
    windows, serving = result("window_features"), result("serving")
    # Medians of rounds, each of which had its own ratio.
    assert windows["ratio_vs_polars"] == pytest.approx(windows["polars_s"] / windows["ours_s"], rel=0.2)
    assert serving["ratio_naive_bento"] == pytest.approx(
        serving["ours_rps"] / serving["naive_bento_rps"], rel=0.2
    )


def test_no_event_of_the_live_run_was_lost_or_counted_twice():
    live = result("live")
    assert live["sent"] == live["received"] > 0
    assert (live["lost"], live["duplicated"]) == (0, 0)
