"""The figures on the page of speed are those of the benchmarks' results."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


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
