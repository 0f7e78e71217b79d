"""What tests of every package share: the data folder, a home, and quiet dependencies."""

from __future__ import annotations

import os
from pathlib import Path

# Before Feast, whose import makes all counters of a process with the same name and labels one.
import prometheus_client  # noqa: F401
import pytest
from hypothesis import settings

from configs import telemetry
from configs.home import Home, open_home


def pytest_configure() -> None:
    # Before any test module imports a dependency that would phone home or open a window.
    telemetry.switch_off(os.environ)
    os.environ["MPLBACKEND"] = "agg"
    # A busy machine is no reason for a test to fail, and a run must be repeatable.
    settings.register_profile("tagtide", deadline=None, derandomize=True, print_blob=True)
    settings.load_profile("tagtide")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of public data sets that TAGTIDE_DATA names."""
    place = os.environ.get("TAGTIDE_DATA")
    if not place:
        pytest.skip("TAGTIDE_DATA is not set: it names the folder of the public data sets")
    return Path(place)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A new, empty home."""
    return open_home(tmp_path / "home", create=True)
