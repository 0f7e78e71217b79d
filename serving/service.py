"""The BentoML service: probes are BentoML's, everything else is the mounted application."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from configs.home import open_home
from configs.settings import load_settings

NAME = "tagtide"

TIMEOUT_SECONDS = 30
"""BentoML cuts a request off after this; it keeps a timer of every request for as long."""


class _Deferred:
    """An ASGI application that exists once the service has been made."""

    app: Starlette | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is None:
            raise RuntimeError("asked before the service was made")
        await self.app(scope, receive, send)


def bento_service(make_app: Callable[[], Starlette]) -> Any:
    """Wrap an application into a BentoML service.

    Parameters
    ----------
    make_app
        Called when a worker starts; the application's lifespan is the worker's.
    """
    deferred = _Deferred()

    @bentoml.service(
        name=NAME,
        workers=1,
        traffic={"timeout": TIMEOUT_SECONDS},
        metrics={"enabled": False},
        logging={"access": {"enabled": False}},
        tracing={"excluded_urls": ".*"},
        http={"cors": {"enabled": False}},
    )
    @bentoml.asgi_app(deferred, path="/")
    class Tagtide:
        """Events in; tags, propensities and lifetime value out."""

        def __init__(self) -> None:
            deferred.app = make_app()
            self._running = AsyncExitStack()

        async def begin(self) -> None:
            """Begin the application's lifespan."""
            if deferred.app is not None:
                await self._running.enter_async_context(deferred.app.router.lifespan_context(deferred.app))

        async def end(self) -> None:
            """End the application's lifespan."""
            await self._running.aclose()

        begin, end = bentoml.on_startup(begin), bentoml.on_shutdown(end)

        def __is_ready__(self) -> bool:
            return deferred.app is not None and deferred.app.state.readiness.is_ready()

    return Tagtide


def _app_of_environment() -> Starlette:
    from serving.assembly import assemble

    home = open_home(Path(os.environ.get("TAGTIDE_HOME", ".tagtide")), create=False)
    return assemble(home, load_settings(home.root, os.environ).settings)


def __getattr__(name: str) -> Any:
    """Make ``Service``, which ``bentoml serve serving.service:Service`` runs, when it is asked for.

    Home and settings come from the environment.
    """
    if name == "Service":
        return bento_service(_app_of_environment)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
