"""The examples of the pages about the HTTP service, run as they stand against a real service."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from configs.home import open_home
from tests.serving.parts import START_US, TOKEN
from tests.serving.processes import ROOT, Running, running
from tests.test_docs import DOCS, blocks

PAGES = (DOCS / "api.md", DOCS / "wecom.md")
ADDRESS = "http://127.0.0.1:8710"
DAY = "2026-11-21T10:15:00+08:00"
"""What stands for today on the pages."""

PAIR = re.compile(r"```sh\n(?P<command>.*?)```\n\n```json\n(?P<answer>.*?)```", re.DOTALL)
CUT = "…"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    with running(open_home(tmp_path_factory.mktemp("examples") / "home", create=True), "wall") as service:
        yield service


def run(command: list[str], service: Running) -> str:
    environ = {"PATH": os.environ["PATH"], "TAGTIDE_API_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_today(text: str, service: Running) -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return text.replace(ADDRESS, service.url).replace(DAY, now)


def session(text: str) -> str:
    return text.split("<!-- begin session -->")[1].split("<!-- end session -->", maxsplit=1)[0]


def curls(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- begin session -->")
    own = before + rest.partition("<!-- end session -->")[2]
    shell = re.findall(r"^```sh\n(.*?)^```$", own, re.MULTILINE | re.DOTALL)
    return [one for body in shell for one in body.split("\n\n") if one.startswith("curl")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_curl_command_gets_a_reply_that_is_no_error(page: Path, service: Running):
    found = curls(page)
    assert found
    for command in found:
        shown = as_today(command, service).replace("curl ", "curl -sS -w '\\n%{http_code}' ", 1)
        body, _, status = run(["/bin/bash", "-c", shown], service).rpartition("\n")
        assert status in ("200", "202"), body
        assert "request_id" in json.loads(body)


def test_the_python_examples_run_and_find_what_they_posted(service: Running):
    sync, asynchronous = (as_today(one, service) for one in blocks(DOCS / "api.md", "python"))
    lines = run([sys.executable, "-c", sync], service).splitlines()
    assert lines[0].startswith("c-21 ok 0.1 ['interest:FLUID MILK PRODUCTS']")
    assert lines[2].startswith("nobody cold_start")
    assert {"c-21", "c-22", "c-23"} <= {line.split()[0] for line in lines[3:]}
    told, refused = run([sys.executable, "-c", asynchronous], service).splitlines()
    assert "('interest:FLUID MILK PRODUCTS', " in told
    assert refused.startswith("422 invalid_request ['event_time']")


def pairs() -> list[tuple[str, Any]]:
    text = session((DOCS / "api.md").read_text(encoding="utf-8"))
    return [(one["command"], json.loads(one["answer"], strict=False)) for one in PAIR.finditer(text)]


def assert_same_shape(shown: Any, real: Any, place: str = "reply") -> None:
    """Compare names and kinds; what differs from home to home may: ids, numbers, how many rows there are."""
    if shown == CUT or shown is None or real is None:
        return
    assert type(shown) is type(real) or {type(shown), type(real)} == {int, float}, place
    if isinstance(shown, dict) and place.rsplit(".", 1)[-1] not in OPEN_KEYS:
        assert list(shown) == list(real), place
        for name in shown:
            assert_same_shape(shown[name], real[name], f"{place}.{name}")
    if isinstance(shown, list):
        for one, other in zip(shown, real, strict=False):
            assert_same_shape(one, other, f"{place}[]")


OPEN_KEYS = {"model_version", "counts", "propensity", "clv", "parts", "explanations"}
"""Whose names differ from home to home."""


def test_the_session_is_in_step_with_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(DOCS)
    refresh = importlib.import_module("refresh_api")
    found = pairs()
    assert len(found) >= 8
    home = open_home(tmp_path / "home", create=True)
    (home.root / "wecom.yaml").write_text(refresh.WECOM)
    with running(home) as replayed:
        at = datetime.fromtimestamp(START_US / 1e6, UTC)
        for command, shown in found:
            wanted = re.sub(r"2017-1\d-\d\dT[\d:]+Z", f"{at:%Y-%m-%dT%H:%M:%SZ}", command)
            real = refresh.answer(wanted, replayed.url, TOKEN)
            assert_same_shape(shown, refresh.shortened(real))


def test_the_session_types_what_its_script_would(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(DOCS)
    refresh = importlib.import_module("refresh_api")
    text = session((DOCS / "api.md").read_text(encoding="utf-8"))
    (customer,) = set(re.findall(r"Customer (\S+) carries no tag", text))
    posts = [json.loads(body) for body in re.findall(r"-d '([^']+)'", text)]
    first = posts[0]["events"][0]
    at = datetime.fromisoformat(first["event_time"])
    expected = list(refresh.commands(customer, first["category"], at))
    assert [command for command, _ in pairs()] == [f"{command}\n" for _, command in expected]
    assert all(said in text for said, _ in expected)
