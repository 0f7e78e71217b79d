"""Runs the BentoML service in this process: one process, so that none is left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, MutableMapping

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from configs import telemetry
from configs.home import Home
from serving.errors import ServingError
from serving.log_format import WithoutValues
from serving.service import bento_service

GRACE_SECONDS = 5
"""How long requests in flight may take after SIGTERM."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than callers keep theirs (httpx 5 s, proxies up to 60 s), so
that none is closed just as its next request is under way."""

BACKLOG = 512
SWITCH_SECONDS = 0.001
"""How long one thread may keep the interpreter while another waits: the writer must not stall reads."""

NOT_WANTED = frozenset({"TimeoutMiddleware", "OpenTelemetryMiddleware", "ContextMiddleware"})
"""BentoML's middleware we run without. The first keeps a timer of every request for the length of its
timeout, and would cut off a replay's refresh; the second costs half of a request's CPU for nobody; the third
prepares what only BentoML's own endpoints ask for, and takes longer than the rest of BentoML."""


PATHS = frozenset({"", "/livez", "/readyz"})
"""What BentoML answers: the mounted application, and two probes. Its other pages show what nobody asked for
without a token."""


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Raises
    ------
    ServingError
        If it is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ServingError(
            f"port {port} on {host} cannot be used: {error.strerror}",
            "stop what listens there, or choose another with --port or TAGTIDE_SERVE_PORT",
        ) from None
    return listener


def run(
    home: Home,
    environ: MutableMapping[str, str],
    assemble: Callable[[], Starlette],
    listener: socket.socket,
    on_started: Callable[[], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Parameters
    ----------
    home
        Where BentoML's own files may lie.
    environ
        The process's environment; telemetry is switched off in it.
    assemble
        Makes the application; called before anything is served, so that what is wrong shows at once.
    listener
        From `listen`.
    on_started
        Called once requests are answered.
    """
    telemetry.switch_off(environ)
    environ.setdefault("BENTOML_HOME", str(home.root / "bentoml"))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WithoutValues())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("serving").setLevel(logging.INFO)
    app = assemble()
    asgi = bento_service(lambda: app).to_asgi()
    asgi.user_middleware = [one for one in asgi.user_middleware if one.cls.__name__ not in NOT_WANTED]
    asgi.router.routes = [one for one in asgi.router.routes if getattr(one, "path", "") in PATHS]
    config = uvicorn.Config(
        _Front(app, asgi),
        log_config=None,
        access_log=False,
        server_header=False,
        # Who asks is known by the token, from wherever they come.
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    # uvicorn ends gracefully on SIGTERM and then hands the signal on; the default would call that a crash.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server = _Server(config, on_started)
        server.run(sockets=[listener])
    finally:
        gc.unfreeze()
        signal.signal(signal.SIGTERM, before)
        listener.close()
    if not server.started:
        raise ServingError(
            "the service did not start; see the messages above", "see GET /v1/status once it runs"
        )


class _Front:
    """Hands a request straight to the application, past BentoML's own layers, which would only hand it on."""

    def __init__(self, app: ASGIApp, bento: ASGIApp) -> None:
        self._app = app
        self._bento = bento

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and scope["path"] not in PATHS
        await (self._app if is_ours else self._bento)(scope, receive, send)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was loaded stays: to look through it for garbage again and again would halt every request.
        gc.collect()
        gc.freeze()
        if self.started:
            await asyncio.to_thread(self._on_started)
