"""Compiled loops do what the same loop does in plain Python, on disk or not."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from features.compiled import compiled

SOURCE = """
import numpy as np
from features.compiled import compiled

@compiled
def total(numbers):
    found = 0
    for number in numbers:
        found += number
    return found

print(total(np.arange(5)), total(np.array([0.5, 1.0])))
"""


@compiled
def largest_gap(times: np.ndarray) -> int:
    """Return the longest time between two neighbours."""
    gap = 0
    for place in range(1, len(times)):
        gap = max(gap, times[place] - times[place - 1])
    return gap


def test_a_compiled_loop_returns_what_the_plain_one_does() -> None:
    times = np.array([1, 4, 5, 9, 9])
    assert largest_gap(times) == 4
    plain = inspect.unwrap(largest_gap)
    assert plain is not largest_gap
    assert plain(times) == 4
    assert largest_gap.__doc__ == "Return the longest time between two neighbours."


def test_nothing_is_compiled_before_it_is_called() -> None:
    code = "import features.windows, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_loop_is_compiled_where_no_folder_can_be_written(tmp_path: Path) -> None:
    script = tmp_path / "loops.py"
    script.write_text(SOURCE, encoding="utf-8")
    no_folder = tmp_path / "file"
    no_folder.touch()
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path[1:]])}
    # What is no folder holds no cache, not even root's.
    for unwritable in ({}, {"NUMBA_CACHE_DIR": str(no_folder / "cache")}):
        done = subprocess.run(
            [sys.executable, script], env=environ | unwritable, capture_output=True, text=True, cwd=tmp_path
        )
        assert done.stdout.split() == ["10", "1.5"], done.stderr
