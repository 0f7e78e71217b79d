import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from configs.errors import HomeError
from pipelines.invocation import Invocation, plain


def test_nothing_is_read_or_made_before_it_is_asked_for(tmp_path: Path):
    Invocation(tmp_path / "none", {"TAGTIDE_THREADS": "two"})
    assert not (tmp_path / "none").exists()


def test_a_home_is_made_only_on_request(tmp_path: Path):
    invocation = Invocation(tmp_path / "home", {})
    with pytest.raises(HomeError):
        invocation.home()
    assert invocation.home(create=True) == invocation.home()


def test_settings_are_read_once(tmp_path: Path):
    environ = {"TAGTIDE_THREADS": "3"}
    invocation = Invocation(tmp_path, environ)
    assert invocation.settings.threads == 3
    environ["TAGTIDE_THREADS"] = "4"
    assert invocation.settings is invocation.loaded.settings
    assert invocation.settings.threads == 3


@pytest.mark.parametrize(("before", "own"), [(True, False), (False, True)])
def test_json_goes_to_standard_output_alone(before: bool, own: bool):
    invocation = Invocation(Path("home"), {}, as_json=before)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        with invocation.progress() as progress:
            progress.advance(progress.add_task("counting", total=1))
        invocation.console.print("a note")
        invocation.emit({"总数": np.int64(3)}, "three", own)
    assert json.loads(out.getvalue()) == {"总数": 3}
    assert err.getvalue() == "a note\n"


def test_people_get_what_is_shown():
    out = io.StringIO()
    with redirect_stdout(out):
        Invocation(Path("home"), {}).emit({"total": 3}, "three in all")
    assert out.getvalue() == "three in all\n"


def test_every_kind_of_value_a_report_holds_has_a_json_form():
    @dataclass
    class Row:
        when: date
        share: float

    payload = {
        "row": Row(date(2017, 10, 31), float("inf")),
        "at": datetime(2017, 10, 31, 12, tzinfo=UTC),
        "numpy": [np.float32(0.5), np.bool_(True), np.array([1.0, np.nan])],
        3: None,
    }
    assert plain(payload) == {
        "row": {"when": "2017-10-31", "share": None},
        "at": "2017-10-31T12:00:00+00:00",
        "numpy": [0.5, True, [1.0, None]],
        "3": None,
    }


def test_a_value_without_a_json_form_is_refused_rather_than_guessed():
    with pytest.raises(TypeError, match="object has no JSON form"):
        plain({"what": object()})
