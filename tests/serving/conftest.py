"""The small shop's home for the tests of this folder."""

from __future__ import annotations

import pytest

from tests.small_shop import SmallShop, made_shop


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory: pytest.TempPathFactory) -> SmallShop:
    return made_shop(tmp_path_factory.getbasetemp())
