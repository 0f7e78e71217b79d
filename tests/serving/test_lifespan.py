"""Parts are started in order and stopped in the reverse, whatever one of them does."""

import asyncio

import pytest
from starlette.applications import Starlette

from serving.lifespan import RunningPart, lifespan_of


class Noting:
    def __init__(self):
        self.notes = []

    def part(self, name, *, fails_at=()):
        def act(what):
            def run():
                self.notes.append(f"{what} {name}")
                if what in fails_at:
                    raise OSError(f"{name} does not {what}")

            return run

        return RunningPart(act("start"), act("stop"))


def run(*parts):
    async def begin_and_end():
        async with lifespan_of(parts)(Starlette()):
            pass

    asyncio.run(begin_and_end())


def test_what_was_started_last_is_stopped_first():
    noting = Noting()
    run(noting.part("a"), noting.part("b"))
    assert noting.notes == ["start a", "start b", "stop b", "stop a"]


def test_what_was_started_is_stopped_where_a_later_part_does_not_start():
    noting = Noting()
    with pytest.raises(OSError, match="b does not start"):
        run(noting.part("a"), noting.part("b", fails_at=("start",)), noting.part("c"))
    assert noting.notes == ["start a", "start b", "stop a"]


def test_one_that_does_not_stop_keeps_no_other_from_being_stopped():
    noting = Noting()
    with pytest.raises(OSError, match="b does not stop"):
        run(noting.part("a"), noting.part("b", fails_at=("stop",)))
    assert noting.notes == ["start a", "start b", "stop b", "stop a"]
