"""`tagtide serve`: answer over HTTP until told to stop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from configs.errors import ConfigError
from configs.home import Home
from configs.settings import Settings
from pipelines.errors import MissingStepError
from pipelines.invocation import Invocation, JsonFlag

if TYPE_CHECKING:
    from collections.abc import Callable

POINTER = "champion.json"


def serve(
    home: Home,
    settings: Settings,
    *,
    may_be_reached: bool,
    on_started: Callable[[str], None],
    needs_models: bool = True,
) -> None:
    """Run the service in this process until SIGTERM or SIGINT.

    Parameters
    ----------
    home
        With published models, unless it needs none.
    settings
        Host, port, clock and token among them.
    may_be_reached
        Whether a host that other machines can reach is wanted.
    on_started
        Called with the URL once requests are answered.
    needs_models
        Whether not to start, and not to be ready, without published models.

    Raises
    ------
    ConfigError
        If no bearer token is set.
    MissingStepError
        If no model is published, but one is needed.
    ServingError
        If host or port cannot be used.
    """
    from serving.assembly import assemble
    from serving.security import BearerAuth, check_host
    from serving.server import listen, run
    from serving.tokens import TokenFile

    BearerAuth(settings.api_token, TokenFile(home.tokens))
    host = check_host(settings.serve_host, may_be_reached=may_be_reached)
    if needs_models and not (home.bundles / POINTER).is_file():
        raise MissingStepError(
            f"no model is published in {home.root}",
            "run `tagtide train` and `tagtide promote` first, or say --without-models to take events only",
        )
    listener = listen(host, settings.serve_port)
    shown_host = f"[{host}]" if ":" in host else host
    url = f"http://{shown_host}:{settings.serve_port}"
    run(
        home,
        os.environ,
        lambda: assemble(home, settings, needs_models=needs_models),
        listener,
        lambda: on_started(url),
    )


def changed(settings: Settings, *, host: str | None, port: int | None, clock: str | None) -> Settings:
    """Return the settings with the command's options over them.

    Raises
    ------
    ConfigError
        If the port is none.
    """
    options = {"serve_host": host, "serve_port": port, "clock": clock}
    given = {name: value for name, value in options.items() if value is not None}
    if port is not None and not 1 <= port <= 65535:
        raise ConfigError(f"--port is {port}; expected 1 to 65535")
    return settings.model_copy(update=given)


def curl_example(url: str) -> str:
    """Return a command to try that shows no secret."""
    return f'curl -H "Authorization: Bearer $TAGTIDE_API_TOKEN" {url}/v1/status'


def command(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="IP address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.")] = None,
    clock: Annotated[
        Literal["wall", "replay"] | None,
        typer.Option("--clock", help="What is now: the wall clock, or the latest arrival (demo and tests)."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Listen where other machines can reach it. Put TLS in front.")
    ] = False,
    without_models: Annotated[
        bool,
        typer.Option(
            "--without-models", help="Start though no model is published: events are taken and remembered."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Take events and answer with tags, propensities and lifetime value over HTTP, until Ctrl-C.

    Callers need a bearer token: those of `tagtide tokens`, or TAGTIDE_API_TOKEN, which is good for everything
    (several may be given, separated by commas).

    \b
    [bold]Examples[/bold]
      export TAGTIDE_API_TOKEN=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')
      tagtide serve                          on http://127.0.0.1:8710, page at /docs
      tagtide serve --port 9000
      tagtide serve --clock replay           time is what `tagtide replay` says it is
    """
    invocation = ctx.ensure_object(Invocation)
    home = invocation.home()
    settings = changed(invocation.settings, host=host, port=port, clock=clock)

    def on_started(url: str) -> None:
        shown = (
            f"Tagtide serves {home.root} at {url} (docs: {url}/docs; Ctrl-C stops it)\n{curl_example(url)}"
        )
        payload = {"url": url, "docs": f"{url}/docs", "clock": settings.clock, "pid": os.getpid()}
        invocation.emit(payload, shown, as_json)

    serve(home, settings, may_be_reached=public, on_started=on_started, needs_models=not without_models)
