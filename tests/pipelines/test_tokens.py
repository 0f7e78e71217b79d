from __future__ import annotations

import json
from typing import Any

import pytest

from configs.home import Home
from pipelines import cli
from serving.security import BearerAuth
from serving.tokens import TokenFile, digest_of


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["--home", str(home.root), *arguments], {})
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_a_token_is_printed_once_and_opens_the_service(home: Home, run: Any) -> None:
    code, out, err = run("tokens", "add", "scrm", "--scope", "write")
    assert code == 0
    assert "shown this once" in err
    secret = out.strip()
    auth = BearerAuth(None, TokenFile(home.tokens))
    caller = auth.check([(b"authorization", f"Bearer {secret}".encode())])
    assert (caller.name, caller.scope) == ("scrm", "write")
    for path in home.root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    listed = json.loads(run("tokens", "ls", "--json")[1])["tokens"]
    assert [(one["name"], one["scope"], one["is_valid"]) for one in listed] == [("scrm", "write", True)]
    assert digest_of(secret.encode()) not in str(listed)


def test_rotation_and_revocation_are_what_the_options_say(home: Home, run: Any) -> None:
    first = run("tokens", "add", "scrm")[1].strip()
    second = json.loads(run("tokens", "rotate", "scrm", "--grace-hours", "0", "--json")[1])["token"]
    kept = [one.digest for one in TokenFile(home.tokens).read()]
    assert kept == [digest_of(second.encode())]
    assert first != second
    assert run("tokens", "add", "late", "--expires-days", "0")[0] == 0
    shown = run("tokens", "ls")[1]
    assert "(expired)" in next(line for line in shown.splitlines() if line.startswith("late"))
    assert run("tokens", "revoke", "scrm")[0] == 0
    code, _, err = run("tokens", "revoke", "scrm")
    assert (code, "no valid token" in err) == (2, True)
    assert run("tokens", "add", "scrm", "--scope", "root")[0] == 2


def test_every_change_is_in_the_audit_log_which_is_whole(run: Any) -> None:
    run("tokens", "add", "scrm", "--scope", "write")
    run("tokens", "rotate", "scrm")
    run("tokens", "revoke", "scrm")
    lines = json.loads(run("audit", "ls", "--what", "token", "--json")[1])["lines"]
    assert [line["detail"] for line in lines] == ["add scrm write", "rotate scrm", "revoke scrm"]
    assert {line["who"] for line in lines} == {"cli"}
    code, out, _ = run("audit", "verify", "--json")
    assert (code, json.loads(out)["lines"]) == (0, 3)
    head = json.loads(out)["head"]
    assert run("audit", "verify", "--head", head)[0] == 0
    assert run("audit", "ls", "--since", "2000-01-01")[1].count("token") == 3
    assert json.loads(run("audit", "ls", "--since", "2999-01-01", "--json")[1])["lines"] == []
    assert json.loads(run("audit", "ls", "--last", "1", "--json")[1])["lines"] == lines[-1:]


def test_a_log_that_was_tampered_with_fails_the_command(home: Home, run: Any) -> None:
    import sqlite3

    run("tokens", "add", "scrm")
    run("tokens", "rotate", "scrm")
    connection = sqlite3.connect(home.database)
    connection.execute("DROP TRIGGER audit_no_update")
    connection.execute("UPDATE audit SET who = 'nobody' WHERE seq = 2")
    connection.commit()
    connection.close()
    code, _, err = run("audit", "verify")
    assert code == 2
    assert "line 2 is not what was written; 1 lines before it are whole" in err


def test_who_wants_no_audit_log_has_none(home: Home, run: Any) -> None:
    (home.root / "tagtide.yaml").write_text("audit: off\n")
    run("tokens", "add", "scrm")
    assert json.loads(run("audit", "ls", "--json")[1])["lines"] == []
