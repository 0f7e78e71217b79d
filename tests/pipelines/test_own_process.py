"""Steps that run in a process of their own."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pipelines.errors import CommandError, MachineError
from pipelines.own_process import run_apart

Say = Callable[[str], None]


def told(number: int, say: Say) -> tuple[int, int]:
    say("counting")
    say("done counting")
    return number + 1, os.getpid()


def refused(_name: str, _say: Say) -> None:
    raise CommandError("no such thing: 'x'", "name another")


def killed(_say: Say) -> None:
    os._exit(9)


def test_the_result_comes_from_another_process_and_what_it_says_is_heard() -> None:
    heard: list[str] = []
    result, process = run_apart(told, 41, say=heard.append)
    assert result == 42
    assert process != os.getpid()
    assert heard == ["counting", "done counting"]


def test_a_failure_that_can_be_mended_arrives_with_its_next_step() -> None:
    with pytest.raises(CommandError, match="no such thing") as caught:
        run_apart(refused, "x", say=print)
    assert caught.value.message == "no such thing: 'x'"
    assert caught.value.next_step == "name another"


def test_a_process_that_dies_without_an_answer_is_named_as_that() -> None:
    with pytest.raises(MachineError, match="exit code 9"):
        run_apart(killed, say=print)
