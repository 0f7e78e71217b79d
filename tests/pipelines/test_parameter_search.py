from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from configs.settings import load_settings
from pipelines.parameter_search import NO_SEARCH, ParameterSearch
from tests.training.test_tuning import DEFAULTS, made_rows

SETTINGS = load_settings(Path("nowhere"), {}).settings.model_copy(update={"threads": 1})


def test_no_trials_are_no_search():
    assert ParameterSearch.within(0, None, None) is NO_SEARCH
    assert not NO_SEARCH
    assert NO_SEARCH.of("propensity", [made_rows()], DEFAULTS, SETTINGS, print) is None


def test_budget_and_gain_are_said_and_the_bar_shows_trials_and_time_left():
    screen, said = io.StringIO(), []

    def progress() -> Progress:
        return Progress(console=Console(file=screen, force_terminal=True, width=160))

    search = ParameterSearch.within(2, 5, progress)
    assert search
    found = search.of("propensity", [made_rows()], DEFAULTS, SETTINGS, said.append)
    assert said[0] == "searching parameters of propensity: 2 trials, at most 5 minutes"
    assert said[1] == (
        f"parameters of propensity: log loss {found.loss:.5f} after 2 trials, "
        f"{found.default_loss:.5f} by default"
    )
    assert "trial 2 of 2" in screen.getvalue()
    assert "about 0 s left" in screen.getvalue()
