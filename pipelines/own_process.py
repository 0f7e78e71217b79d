"""Runs a step in a process of its own, so that the memory it needed is given back when it is done."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from configs.errors import TagtideError
from pipelines.errors import MachineError

Say = Callable[[str], None]
Result = TypeVar("Result")


def run_apart(step: Callable[..., Result], *arguments: Any, say: Say) -> Result:
    """Call ``step(*arguments, say)`` in a new process and return what it returns.

    Parameters
    ----------
    step
        A function of a module; its arguments and result can be pickled.
    say
        Told here what the step says there.

    Raises
    ------
    TagtideError
        As the step raised it.
    MachineError
        If the process ended without an answer, for instance because memory ran out.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, step, arguments), daemon=True)
    process.start()
    there.close()
    try:
        while True:
            kind, content = here.recv()
            if kind == "says":
                say(content)
            elif kind == "failed":
                raise content
            else:
                result: Result = content
                return result
    except EOFError:
        process.join()
        raise MachineError(
            f"a step ended without an answer (exit code {process.exitcode})",
            "free some memory and try again; `tagtide doctor` shows how much there is",
        ) from None
    finally:
        here.close()
        process.join(timeout=10)
        if process.is_alive():
            process.kill()


def _work(there: Connection, step: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer = step(*arguments, lambda text: there.send(("says", text)))
    except TagtideError as error:
        there.send(("failed", error))
    else:
        there.send(("done", answer))
    there.close()
