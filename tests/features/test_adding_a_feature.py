"""One function makes a feature: the example of the documentation, run in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "views_per_order_30d"
BLOCK = re.compile(r"^```python\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)

PROGRAM = """
import json, sys
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from configs.home import open_home
from configs.settings import load_settings
from features import affinity, customer

exec(sys.argv[2], vars(customer))

from features.feast_objects import CUSTOMER_SNAPSHOT, feature_views
from features.history import History
from features.store import apply, training_frame, write_snapshot
from features.windows import to_us
from tests.features.streams import START, event, frame
from training.datasets import DecisionRows, customer_snapshot, key_frame
from training.model_inputs import customer_inputs, dtypes_of

NAME = sys.argv[3]
NONE, DAY = timedelta(0), timedelta(days=1)
kinds = ["view", "view", "view", "purchase", "view", "purchase"]
rows = [event(number, "ann", kind, START + number * DAY, NONE) for number, kind in enumerate(kinds)]
rows.append(event(99, "bob", "view", START, NONE))
history = History(frame(rows), ZoneInfo("UTC"), timedelta(hours=1))
at = np.full(2, to_us(START + 9 * DAY))
decisions = DecisionRows(np.arange(2), at, np.zeros(2, np.int64), np.zeros(2, np.int64))

home = open_home(Path(sys.argv[1]), create=True)
settings = load_settings(home.root, {}).settings
views = feature_views(home, customer.catalogue(), affinity.catalogue())
apply(home, settings, customer.catalogue(), affinity.catalogue())
write_snapshot(home, CUSTOMER_SNAPSHOT, customer_snapshot(history, decisions))
joined = training_frame(home, settings, "propensity_v1", key_frame(history, decisions))
definition = next(one for one in customer.catalogue() if one.name == NAME)
found = {
    "customers": joined["customer_id"].to_list(),
    "values": [None if value != value else value for value in joined[NAME].to_list()],
    "in view": [field.description for field in views[CUSTOMER_SNAPSHOT].features if field.name == NAME],
    "inputs": [task for task in ("propensity", "tags-high_intent", "clv") if NAME in customer_inputs(task)],
    "dtype": dtypes_of([NAME]),
    "unit": definition.unit,
    "null": definition.null_meaning,
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def example() -> str:
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    (body,) = [block["body"] for block in BLOCK.finditer(page) if f"def {NAME}(" in block["body"]]
    return body


@pytest.fixture(scope="module")
def grown(example: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process says in which the function was written and nothing else."""
    folder = tmp_path_factory.mktemp("grown")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "home"), example, NAME],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_example_is_one_function_that_is_not_there_yet(example: str) -> None:
    assert example.count("def ") == 1
    assert "import" not in example
    assert not any(f"def {NAME}(" in path.read_text("utf-8") for path in (ROOT / "features").glob("*.py"))


def test_the_function_is_in_the_feature_view_with_its_meaning(grown: dict[str, Any]) -> None:
    assert grown["in view"] == ["Views for each order of the last 30 days."]
    assert (grown["unit"], grown["null"]) == ("views", "no order in 30 days")


def test_the_function_is_an_input_of_the_models_of_customers(grown: dict[str, Any]) -> None:
    assert grown["inputs"] == ["propensity", "tags-high_intent"]
    assert grown["dtype"] == {NAME: "float"}


def test_the_function_is_in_the_training_frame_with_its_values(grown: dict[str, Any]) -> None:
    assert grown["customers"] == ["ann", "bob"]
    assert grown["values"] == [2.0, None]
