"""Starts the parts of the service one after another, and stops them in the reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette


def nothing() -> None:
    """Do nothing: the start or the stop of a part that needs none."""


@dataclass(frozen=True)
class RunningPart:
    """Something that runs as long as the service does; both calls may block.

    Attributes
    ----------
    start
        Called before any part behind it is started.
    stop
        Called after every part behind it was stopped, and only if ``start`` returned.
    """

    start: Callable[[], object] = nothing
    stop: Callable[[], object] = nothing


def lifespan_of(parts: Sequence[RunningPart]) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Make the lifespan of an application out of the parts it needs.

    If one cannot be started, those started before it are stopped and the lifespan fails. One that cannot be
    stopped keeps no other from being stopped.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as begun:
            for part in parts:
                await asyncio.to_thread(part.start)
                begun.push_async_callback(asyncio.to_thread, part.stop)
            yield

    return lifespan
