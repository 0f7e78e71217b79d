from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from configs.home import Home, open_home
from pipelines import cli
from tests.pipelines.two_shops import POS, WEB, bring_in, post, rows, source


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Plain customers 7, 8 and 9, and pos:7 and pos:8, three events each; 8 and pos:7 share a unionid."""
    folder = tmp_path_factory.mktemp("two_shops")
    home = open_home(folder / "home", create=True)
    bring_in(home, source(folder, "web", rows(WEB), identities={"unionid": "wx"}))
    bring_in(home, source(folder, "pos", rows(POS), identities={"unionid": "wx"}))
    return home


class Line:
    """The command line on a home."""

    def __init__(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.capsys = home, capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = cli.main(["--home", str(self.home.root), "identities", *arguments], {})
        shown = self.capsys.readouterr()
        return code, shown.out, shown.err

    def json(self, *arguments: str) -> Any:
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def line(made: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Line:
    shutil.copytree(made.root, tmp_path / "home")
    return Line(open_home(tmp_path / "home", create=False), capsys)


def test_a_customer_is_shown_with_every_id_their_events_and_why(line: Line) -> None:
    shown = line.json("show", "pos:7")
    assert shown["customer_id"] == "8"
    assert shown["ids"] == [
        {"id": "8", "events": 3},
        {"id": "pos:7", "events": 3},
        {"id": "unionid:U-8", "events": 0},
    ]
    assert [(one["left"], one["right"], one["why"]) for one in shown["links"]] == [
        ("8", "unionid:U-8", "import web"),
        ("pos:7", "unionid:U-8", "import pos"),
    ]
    assert line.json("show", "nobody") == {
        "customer_id": "nobody",
        "ids": [{"id": "nobody", "events": 0}],
        "links": [],
    }


def test_posted_events_are_counted_too(line: Line) -> None:
    post(line.home, "web:8", "8")
    assert line.json("show", "8")["ids"][0] == {"id": "8", "events": 5}


def test_linking_moves_history_and_unlinking_moves_it_back(line: Line) -> None:
    linked = line.json("link", "9", "pos:8", "--why", "asked at the counter")
    assert linked == {"customer_id": "9", "ids": ["9", "pos:8"], "customers_moved": 1, "events_moved": 3}
    assert line.json("show", "web:9")["customer_id"] == "9"
    undone = line.json("unlink", "pos:8", "web:9")
    assert undone == {"customer_id": "pos:8", "ids": ["pos:8"], "customers_moved": 1, "events_moved": 3}


def test_the_log_tells_every_step(line: Line) -> None:
    line.run("link", "9", "pos:8", "--why", "asked")
    line.run("unlink", "9", "pos:8")
    lines = line.json("log")["lines"]
    assert [(one["operation"], one["left"], one["right"], one["why"]) for one in lines] == [
        ("link", "8", "unionid:U-8", "import web"),
        ("link", "pos:7", "unionid:U-8", "import pos"),
        ("link", "9", "pos:8", "asked"),
        ("unlink", "9", "pos:8", "by hand"),
    ]
    assert line.json("log", "--last", "1")["lines"] == lines[-1:]
    code, out, _ = line.run("log")
    assert (code, out.count("import")) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message", "next_step"),
    [
        (("link", "8", "unionid:U-8"), "linked already", "identities show"),
        (("link", "8", "web:8"), "nothing to link", ""),
        (("unlink", "8", "pos:7"), "no link between these two", "names the links"),
        (("link", "8", "posx:7"), "no space 'posx' has come up (did you mean 'pos'?)", "add --new-space"),
        (("link", "8", "posx:7"), "no space 'posx'", "is written web:posx:7"),
        (("link", "8", "x" * 129), "expected 1 to 128 bytes", ""),
        (("link", "8", "web:"), "expected 1 to 128 bytes", ""),
        (("link", "8", "a\nb"), "no control characters", ""),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    line: Line, arguments: tuple[str, ...], message: str, next_step: str
) -> None:
    code, out, err = line.run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert next_step in err
    assert "Traceback" not in err


def test_a_new_kind_of_id_may_be_begun(line: Line) -> None:
    assert line.run("link", "9", "member:M1", "--new-space")[0] == 0
    assert line.json("link", "pos:8", "member:M1")["customer_id"] == "9"
    assert line.json("show", "member:M1")["ids"][-1] == {"id": "member:M1", "events": 0}


def test_a_plain_id_with_a_colon_is_written_with_the_first_sources_name(line: Line) -> None:
    assert line.json("link", "9", "web:no:space")["ids"] == ["9", "no:space"]


def test_what_is_shown_to_people_fits_a_screen(line: Line) -> None:
    code, out, _ = line.run("show", "8")
    assert code == 0
    assert "unionid:U-8" in out
    assert "import pos" in out
    code, out, _ = line.run("link", "9", "pos:8")
    assert out == "9, also known as pos:8; 3 events moved\n"
    code, out, _ = line.run("unlink", "9", "pos:8")
    assert out == "9, alone; 3 events moved\n"


def test_without_a_word_the_help_is_shown(line: Line) -> None:
    code, out, _ = line.run()
    assert code == 0
    assert "unlink" in out
