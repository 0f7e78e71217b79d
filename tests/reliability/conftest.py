"""One service for the tests that leave it as it was."""

import pytest

from configs.home import open_home
from tests.reliability.service import services


@pytest.fixture(scope="package")
def service(tmp_path_factory):
    with services(open_home(tmp_path_factory.mktemp("reliability") / "home", create=True)) as (one,):
        yield one
