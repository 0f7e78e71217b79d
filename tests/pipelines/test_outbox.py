"""`tagtide outbox`: what it lists, and what it lets wait again."""

import json

import pytest

from configs.home import open_home
from features.database import open_engine
from pipelines.cli import main
from serving.outbox import Message, Outbox, Outcome, message_key


@pytest.fixture
def home(tmp_path):
    return open_home(tmp_path / "home", create=True)


@pytest.fixture
def outbox(home):
    engine = open_engine(None, home)
    yield Outbox(engine)
    engine.dispose()


def run(capsys, home, *arguments):
    code = main(["--home", str(home.root), "outbox", *arguments], {})
    return code, *capsys.readouterr()


def test_it_counts_lists_and_retries(capsys, home, outbox):
    messages = [Message(message_key(n), "tag.changed", f"c/{n % 2}", b"{}") for n in range(4)]
    outbox.add(messages, 1_700_000_000_000_000)
    first, other = outbox.turn([], owner="w", now_us=1_700_000_000_000_001, lease_us=1, most=9)
    outcomes = [Outcome(first, "HTTP 400"), Outcome(other)]
    outbox.turn(outcomes, owner="w", now_us=1_700_000_000_000_002, lease_us=1, most=0)

    code, out, _ = run(capsys, home, "ls", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["waiting"], told["dead"], told["delivered"]) == (2, 1, 1)
    assert told["oldest_seconds"] > 0
    assert [one["state"] for one in told["messages"]] == ["dead", "waiting", "waiting"]
    dead = told["messages"][0]
    assert (dead["customer_id"], dead["attempts"], dead["problem"]) == ("c/0", 1, "HTTP 400")
    assert dead["created_at"] == "2023-11-14T22:13:20+00:00"

    _, out, _ = run(capsys, home, "ls", "--state", "dead", "--json")
    assert [one["key"] for one in json.loads(out)["messages"]] == [dead["key"]]
    assert "HTTP 400" in run(capsys, home, "ls")[1]

    assert json.loads(run(capsys, home, "retry", dead["key"], "--json")[1]) == {"retried": 1}
    assert (outbox.standing().waiting, outbox.standing().dead) == (3, 0)
    assert run(capsys, home, "retry", "--all")[1] == "0 messages wait again\n"


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "0" * 32, "--all"], ["retry", "0" * 32]])
def test_what_cannot_be_tried_again_says_where_to_look(capsys, home, outbox, arguments):
    code, _, err = run(capsys, home, *arguments)
    assert code == 2
    assert "tagtide outbox ls --state dead" in err
