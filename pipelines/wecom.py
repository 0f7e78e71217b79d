"""`tagtide wecom`: keep the tags that WeCom shows of customers as they are here."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr

from configs.home import Home
from configs.settings import Settings
from pipelines.errors import CommandError
from pipelines.invocation import Invocation, JsonFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from serving.wecom import Pauses
    from serving.wecom_push import PushReport
    from serving.wecom_schemas import WecomDiffReply
    from serving.wecom_state import WecomState

EVERY_SECONDS = 10.0

app = typer.Typer()


@app.callback(invoke_without_command=True)
def before_wecom(ctx: typer.Context) -> None:
    """Keep the tags that WeCom shows of customers as they are here."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@dataclass(frozen=True)
class Pushed:
    """What a push did; see `serving.wecom_push.PushReport` for the first fields.

    Attributes
    ----------
    calls
        Made to WeCom, by interface.
    busy
        Refusals that were waited out, by WeCom's error code.
    """

    is_dry_run: bool
    pages: int
    marked: int
    added: int
    removed: int
    tags_made: int
    skipped: dict[str, int]
    refused: dict[str, int]
    calls: dict[str, int]
    busy: dict[str, int]


def push(
    home: Home,
    settings: Settings,
    *,
    service_url: str,
    wecom_url: str,
    is_dry_run: bool = False,
    from_start: bool = False,
    every_seconds: float | None = None,
    pauses: Pauses | None = None,
    on_page: Callable[[PushReport], None] = lambda _: None,
    on_wait: Callable[[], None] | None = None,
) -> Pushed:
    """Push what has changed since the last push, once or again and again.

    Parameters
    ----------
    home
        Keeps how far that came, and the ids of tags.
    settings
        The service's token, and WeCom's corporation and secret unless nothing is sent.
    from_start
        Whether to begin with all tags carried now, as if nothing had been pushed.
    every_seconds
        Push again so much later, until interrupted; None: once.
    on_page
        Called after each page.
    on_wait
        Called if another push on this home has to be waited for.

    Raises
    ------
    CommandError
        If the service's token is missing, or one of WeCom's.
    MachineError
        If the service cannot be asked.
    WecomError
        If WeCom refuses; the next push goes on from what was noted.
    """
    from features.file_lock import SharedLock
    from serving.wecom_state import WecomState

    token = _given(settings.api_token, "TAGTIDE_API_TOKEN", "the service's bearer token").split(",")[0]
    if not is_dry_run:
        _given(settings.wecom_corp_id, "TAGTIDE_WECOM_CORP_ID", "the corporation's id")
        _given(settings.wecom_secret, "TAGTIDE_WECOM_SECRET", "the application's secret")
    state = WecomState(home)
    with SharedLock(state.lock).alone(on_wait):
        return asyncio.run(
            _push(
                settings,
                state,
                token.strip(),
                (service_url, wecom_url),
                is_dry_run=is_dry_run,
                cursor=None if from_start else state.cursor(),
                every_seconds=every_seconds,
                pauses=pauses,
                on_page=on_page,
            )
        )


async def _push(
    settings: Settings,
    state: WecomState,
    token: str,
    urls: tuple[str, str],
    *,
    is_dry_run: bool,
    cursor: str | None,
    every_seconds: float | None,
    pauses: Pauses | None,
    on_page: Callable[[PushReport], None],
) -> Pushed:
    from pipelines.errors import MachineError
    from serving.client import AsyncTagtideClient
    from serving.client_errors import ClientError
    from serving.wecom import Traffic, Wecom
    from serving.wecom_push import Push

    async with AsyncExitStack() as opened:
        service = await opened.enter_async_context(AsyncTagtideClient(token, urls[0]))
        wecom = None
        if not is_dry_run:
            corp_id = _given(settings.wecom_corp_id, "", "")
            made = Wecom(corp_id, _given(settings.wecom_secret, "", ""), urls[1], pauses=pauses)
            wecom = await opened.enter_async_context(made)

        async def ask(at: str | None) -> WecomDiffReply:
            return await service.wecom_diff(at, dry_run=is_dry_run)

        pushing = Push(ask, wecom, state, on_page)
        try:
            cursor = await pushing.all_there_is(cursor)
            while every_seconds is not None:
                await asyncio.sleep(every_seconds)
                cursor = await pushing.all_there_is(cursor)
        except ClientError as error:
            raise MachineError(
                f"the service at {urls[0]} could not be asked: {error}", "see `tagtide serve` and --service"
            ) from None
        report = pushing.report
        traffic = Traffic() if wecom is None else wecom.traffic
        return Pushed(
            is_dry_run=is_dry_run,
            pages=report.pages,
            marked=report.marked,
            added=report.added,
            removed=report.removed,
            tags_made=report.tags_made,
            skipped=dict(report.skipped),
            refused=dict(report.refused),
            calls=dict(traffic.calls),
            busy=dict(traffic.busy),
        )


def _given(secret: SecretStr | None, name: str, what: str) -> str:
    if secret is None or not secret.get_secret_value().strip():
        raise CommandError(f"{name} is not set", f"set it to {what}")
    return secret.get_secret_value().strip()


@app.command("push")
def push_command(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Push what has changed and end.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be sent; WeCom is not asked. Implies --once.")
    ] = False,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with all tags carried now, as if nothing was pushed.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=1.0, help="How often to look for changes.")
    ] = EVERY_SECONDS,
    service: Annotated[
        str | None, typer.Option("--service", metavar="URL", help="Of the service; default: this machine's.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Of WeCom; default: the public one.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Put tags on WeCom contacts, and take them off, as customers here gain and lose them.

    Asks the running service what has changed and calls WeCom's `mark_tag` within the platform's limits. Tags
    that WeCom does not have are made. Ends with Ctrl-C, unless --once; started again it goes on where it was.
    TAGTIDE_API_TOKEN, TAGTIDE_WECOM_CORP_ID and TAGTIDE_WECOM_SECRET come from the environment; wecom.yaml in
    the home says what tags are called and whose contact a customer is.

    \b
    [bold]Examples[/bold]
      tagtide wecom push --dry-run            what would be sent
      tagtide wecom push --once --json
      tagtide wecom push --every 60
    """
    from serving.wecom import PUBLIC_URL

    invocation = ctx.ensure_object(Invocation)
    settings = invocation.settings
    console = invocation.console

    def on_page(report: PushReport) -> None:
        if report.marked or report.skipped or report.refused:
            told = f"{report.added:,} tags on, {report.removed:,} off"
            console.print(f"… {report.marked:,} contacts marked, {told}")

    pushed = push(
        invocation.home(),
        settings,
        service_url=service or f"http://{settings.serve_host}:{settings.serve_port}",
        wecom_url=base_url or PUBLIC_URL,
        is_dry_run=dry_run,
        from_start=from_start,
        every_seconds=None if once or dry_run else every,
        on_page=on_page,
        on_wait=lambda: console.print("waiting for another push on this home to end …"),
    )
    invocation.emit(asdict(pushed), as_table(pushed), as_json)


def as_table(pushed: Pushed) -> RenderableType:
    """Show a push as a table."""
    from rich.table import Table

    table = Table("what", "count", box=None, pad_edge=False, header_style="bold")
    table.title = "Would be pushed" if pushed.is_dry_run else "Pushed"
    table.columns[1].justify = "right"
    rows = {
        "contacts marked": pushed.marked,
        "tags put on": pushed.added,
        "tags taken off": pushed.removed,
        "tags made": pushed.tags_made,
        **{f"skipped: {reason.replace('_', ' ')}": count for reason, count in pushed.skipped.items()},
        **{f"refused by WeCom: {code}": count for code, count in pushed.refused.items()},
        **{f"waited out: {code}": count for code, count in pushed.busy.items()},
    }
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    return table
