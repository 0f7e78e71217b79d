from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from features.windows import DAY_US
from training import propensity, tags
from training.errors import TrainingDataError
from training.tuning import (
    ROUNDS,
    SPACE,
    STRETCH_DAYS_MAX,
    STRETCHES,
    SearchBudget,
    SearchRows,
    log_loss,
    search,
    stretches,
)

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = propensity.PARAMETERS | {ROUNDS: 20}


def made_rows(rows: int = 1500, span_days: int = 90, window_days: int = 3, seed: int = 0) -> SearchRows:
    """Draw rows whose outcome is a product of two inputs; the third input is the row's day."""
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=rows), rng.normal(size=rows)
    day = rng.integers(0, span_days, rows)
    labels = rng.random(rows) < 1 / (1 + np.exp(-3 * left * right))
    features = {"left": left, "right": right, "day": day.astype(float)}
    return SearchRows(features, labels, day * DAY_US, window_days * DAY_US)


def test_nothing_is_fitted_on_whose_outcome_was_open_when_the_held_out_stretch_began():
    rows = made_rows()
    found = stretches(rows, seed=1)
    assert len(found) == STRETCHES
    day = list(rows.features).index("day")
    begin_of_latest = 90 - STRETCH_DAYS_MAX
    for number, one in enumerate(found):
        held, fitted = one.matrix[:, day], one.fit_matrix[:, day]
        assert held.max() - held.min() < STRETCH_DAYS_MAX
        assert fitted.max() + 3 < held.min()
        assert held.min() == begin_of_latest - number * STRETCH_DAYS_MAX


def test_labels_stay_with_their_rows():
    rows = made_rows()
    known = {
        float(np.float32(left)): label for left, label in zip(rows.features["left"], rows.labels, strict=True)
    }
    for one in stretches(rows, seed=1):
        assert [known[float(left)] for left in one.matrix[:, 0]] == one.labels.astype(bool).tolist()
        assert [known[float(left)] for left in one.fit_matrix[:, 0]] == one.fit_labels.astype(bool).tolist()


def test_too_few_outcomes_refuse_with_the_numbers():
    rows = made_rows(rows=80)
    with pytest.raises(TrainingDataError, match=r"50 rows of each outcome.*80 rows over \d+ days"):
        stretches(rows, seed=1)


def test_the_log_loss_is_that_of_the_textbook():
    rng = np.random.default_rng(4)
    said = rng.random(300)
    seen = (rng.random(300) < said).astype(float)
    assert log_loss(seen, said) == pytest.approx(reference.log_loss(seen, said))


def searched(trials: int, seed: int = 3, told=lambda trial: None, minutes: float | None = None):
    problem = stretches(made_rows(), seed)
    return search([problem], DEFAULTS, SearchBudget(trials, minutes), seed=seed, threads=1, told=told)


def test_the_same_rows_trials_and_seed_find_the_same_parameters():
    assert searched(4) == searched(4)


def test_one_trial_is_the_defaults_and_more_are_never_worse():
    heard = []
    one, four = searched(1), searched(4, told=heard.append)
    assert one.loss == one.default_loss == four.default_loss
    assert four.loss <= four.default_loss
    assert (one.trials, four.trials) == (1, 4)
    assert [trial.number for trial in heard] == [1, 2, 3, 4]
    bests = [trial.best for trial in heard]
    assert bests == sorted(bests, reverse=True)


def test_a_default_outside_of_the_space_is_tried_at_its_edge():
    found = searched(1)
    assert found.parameters[ROUNDS] == SPACE[ROUNDS][0]
    assert found.parameters["num_leaves"] == DEFAULTS["num_leaves"]


def test_no_trial_is_begun_when_the_time_is_over():
    assert searched(50, minutes=1e-6).trials == 1


@pytest.mark.parametrize("module", [propensity, tags])
def test_what_is_searched_is_a_parameter_of_the_model_inside_the_space(module):
    used = module.PARAMETERS | {ROUNDS: module.ROUNDS}
    # The least rows of a leaf follow from the rows where a model does not name them.
    assert used.keys() >= SPACE.keys() - {"min_data_in_leaf"}
    for name, (low, high, _) in SPACE.items():
        assert low <= used.get(name, low) <= high, name


def test_without_optuna_the_extra_is_named_before_anything_is_read(tmp_path: Path):
    asked = (
        "import sys\n"
        "sys.modules['optuna'] = None\n"
        "from pathlib import Path\n"
        "from configs.home import open_home\n"
        "open_home(Path(sys.argv[1]), create=True)\n"
        "from pipelines import cli\n"
        "sys.exit(cli.main(['--home', sys.argv[1], 'train', '--as-of', '2024-01-01', '--tune', '3'], {}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 2
    error, next_step = done.stderr.splitlines()
    assert error == "error: a search for parameters needs the package optuna, which is not installed"
    assert "pip install 'tagtide[tune]'" in next_step
