"""`tagtide replay`: post recorded events over HTTP in the order they became known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import numpy as np
import polars as pl
import typer

from configs.home import Home
from configs.settings import Settings
from features.lake import Lake
from features.mapping import load_mapping
from features.sources import read_source
from pipelines.errors import CommandError, MachineError
from pipelines.instants import instant_option
from pipelines.invocation import Invocation, JsonFlag
from pipelines.measurements import record_measurement
from pipelines.posting import post_events
from pipelines.source_ids import settled_ids

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress

BATCH_MAX = 1000
FROM_LAKE = "lake"


@dataclass(frozen=True)
class ReplayReport:
    """What a replay did and how fast it was answered.

    Attributes
    ----------
    requests
        Posts sent; a basket, and what became known at one instant, go into one post where they fit.
    accepted, duplicates, refused
        Events stored now, stored already, and refused.
    p50_ms, p99_ms
        Time from sending a post to its reply.
    event_to_tag_p50_ms, event_to_tag_p99_ms
        The same, by event: the reply carries the fresh tags of its customers.
    tags_seen
        Live tags in those replies, of distinct (customer, tag).
    erased
        Events left out because their customers asked to be forgotten.
    asked_to_wait_seconds
        How long the service, having too much to do, asked to be asked later.
    behind_seconds
        How far the last post was behind a stated speed.
    """

    events: int
    requests: int
    accepted: int
    duplicates: int
    refused: int
    seconds: float
    events_per_second: float
    p50_ms: float
    p99_ms: float
    event_to_tag_p50_ms: float
    event_to_tag_p99_ms: float
    tags_seen: int
    first_refusal: str
    as_of: str
    erased: int = 0
    asked_to_wait_seconds: float = 0.0
    behind_seconds: float = 0.0


def recorded_events(
    source: str,
    home: Home,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.DataFrame:
    """Return events that became known in ``(since, until]``, in that order.

    Parameters
    ----------
    source
        Name or path of a source's mapping; or ``lake``: what the home holds.
    now
        The present instant: nothing may have happened after it.

    Raises
    ------
    SourceError
        If the source cannot be read.
    """
    if source == FROM_LAKE:
        events = Lake(home.lake).read(known_by=until)
    else:
        mapping = load_mapping(source, environ)
        ids = settled_ids(home, settings, mapping)
        events = read_source(mapping, environ, now=now, threads=settings.threads, ids=ids).good
    if since is not None:
        events = events.filter(pl.col("ingested_at") > since)
    if until is not None:
        events = events.filter(pl.col("ingested_at") <= until)
    return events.unique(("source", "event_id"), keep="first", maintain_order=True).sort(
        "ingested_at", "event_time", maintain_order=True
    )


def posts_of(events: pl.DataFrame, batch: int | None, most: int) -> Iterator[pl.DataFrame]:
    """Cut events into posts of consecutive rows.

    Parameters
    ----------
    events
        In order of arrival.
    batch
        Fill posts up to so many rows. None: what became known at one instant, such as the lines of a basket,
        is one post.
    most
        No post is larger than this.
    """
    if events.is_empty():
        return
    starts = [0, *(events["ingested_at"].diff() != timedelta(0)).arg_true().to_list(), events.height]
    most = min(batch or most, most)
    begin = 0
    for instant_begin, instant_end in pairwise(starts):
        is_full = batch is None or instant_end - begin > most
        if is_full and instant_begin > begin:
            yield events[begin:instant_begin]
            begin = instant_begin
        while instant_end - begin > most:
            yield events[begin : begin + most]
            begin += most
    if begin < events.height:
        yield events[begin:]


def replay(
    client: httpx.Client,
    events: pl.DataFrame,
    *,
    settings: Settings,
    batch: int | None = None,
    speed: float = 0.0,
    on_day: Callable[[datetime], None] | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Post events to a service that runs with ``--clock replay``, and measure how fast it answers.

    Parameters
    ----------
    client
        Knows the service's address and token.
    events
        From `recorded_events`.
    batch
        See `posts_of`.
    speed
        How many times faster than it happened; 0: as fast as the service answers.
    on_day
        Called with each local midnight of the business zone that lies between two posts, before the later.
    progress
        Shows a bar.

    Raises
    ------
    CommandError
        If the service refuses the token or does not run with a replay clock.
    MachineError
        If it cannot be reached.
    """
    _check_clock(client)
    task = None if progress is None else progress.add_task("replaying", total=events.height)
    seconds: list[float] = []
    sizes: list[int] = []
    tags: set[tuple[str, str]] = set()
    counts = {"accepted": 0, "duplicates": 0, "erased": 0, "refused": 0}
    waited = behind = 0.0
    first_refusal, as_of, before = "", "", None
    began, first_us = time.perf_counter(), None
    for rows in posts_of(events, batch, settings.max_batch_events):
        arrival: datetime = rows["ingested_at"].to_list()[-1]
        if on_day is not None:
            for midnight in _midnights(before, arrival, settings):
                on_day(midnight)
        before = arrival
        first_us = arrival if first_us is None else first_us
        behind = _pace(began, (arrival - first_us).total_seconds(), speed)
        sent = time.perf_counter()
        reply, asked_to_wait = post_events(client, rows)
        seconds.append(time.perf_counter() - sent)
        sizes.append(rows.height)
        waited += asked_to_wait
        for name in ("accepted", "duplicates", "erased"):
            counts[name] += reply.get(name, 0)
        errors = reply.get("errors", reply.get("details", []))
        counts["refused"] += len(errors)
        if errors and not first_refusal:
            first_refusal = " ".join(f"{name}={value!r}" for name, value in errors[0].items())
        as_of = reply.get("as_of", as_of)
        for customer in reply.get("customers", []):
            tags.update((customer["customer_id"], tag["tag_id"]) for tag in customer["tags"])
        if progress is not None and task is not None:
            progress.advance(task, rows.height)
    total = time.perf_counter() - began
    p50, p99 = _quantiles_ms(np.array(seconds))
    event_p50, event_p99 = _quantiles_ms(np.repeat(seconds, sizes))
    return ReplayReport(
        events=events.height,
        requests=len(seconds),
        **counts,
        seconds=total,
        events_per_second=events.height / total if total else 0.0,
        p50_ms=p50,
        p99_ms=p99,
        event_to_tag_p50_ms=event_p50,
        event_to_tag_p99_ms=event_p99,
        tags_seen=len(tags),
        first_refusal=first_refusal,
        as_of=as_of,
        asked_to_wait_seconds=waited,
        behind_seconds=behind,
    )


def service_now(client: httpx.Client) -> datetime:
    """Return what a service with a replay clock calls now: the latest arrival it knows.

    Raises
    ------
    CommandError
        If the service refuses the token or does not run with a replay clock.
    MachineError
        If it cannot be reached.
    """
    return datetime.fromisoformat(_check_clock(client)["as_of"])


def _check_clock(client: httpx.Client) -> dict[str, Any]:
    try:
        status = client.get("/v1/status")
    except httpx.TransportError as error:
        raise MachineError(
            f"no service answers at {client.base_url}: {error}", "start `tagtide serve`"
        ) from None
    if status.status_code == 401:
        raise CommandError(
            f"the service at {client.base_url} refuses the bearer token", "set TAGTIDE_API_TOKEN to its token"
        )
    if status.status_code != 200 or status.json()["clock"] != "replay":
        raise CommandError(
            f"the service at {client.base_url} does not run with a replay clock",
            "start it with `tagtide serve --clock replay`",
        )
    told: dict[str, Any] = status.json()
    return told


def _pace(began: float, recorded_seconds: float, speed: float) -> float:
    """Wait until it is time; return how many seconds late it is."""
    if speed <= 0:
        return 0.0
    ahead = recorded_seconds / speed - (time.perf_counter() - began)
    if ahead > 0:
        # A replay at a stated speed waits for its events to happen.
        time.sleep(ahead)
    return max(-ahead, 0.0)


def _midnights(before: datetime | None, arrival: datetime, settings: Settings) -> Iterator[datetime]:
    if before is None:
        return
    day = before.astimezone(settings.zone).date() + timedelta(days=1)
    while (midnight := datetime(day.year, day.month, day.day, tzinfo=settings.zone)) <= arrival:
        yield midnight.astimezone(UTC)
        day += timedelta(days=1)


def _quantiles_ms(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    if not len(seconds):
        return 0.0, 0.0
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    return float(p50), float(p99)


def as_table(report: ReplayReport) -> RenderableType:
    """Show a report as two columns."""
    from rich.table import Table

    table = Table("replay", "", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = "right"
    for name, value in (
        ("events", f"{report.events:,} in {report.requests:,} posts"),
        ("accepted", f"{report.accepted:,}"),
        ("duplicate", f"{report.duplicates:,}"),
        ("refused", f"{report.refused:,}"),
        ("seconds", f"{report.seconds:.1f} ({report.events_per_second:,.0f} events/s)"),
        ("reply p50 / p99", f"{report.p50_ms:.1f} / {report.p99_ms:.1f} ms"),
        ("event to tag p50 / p99", f"{report.event_to_tag_p50_ms:.1f} / {report.event_to_tag_p99_ms:.1f} ms"),
        ("tags seen", f"{report.tags_seen:,}"),
        ("now", report.as_of),
    ):
        table.add_row(name, value)
    if report.asked_to_wait_seconds:
        table.add_row("service asked to wait", f"{report.asked_to_wait_seconds:.1f} s")
    if report.behind_seconds:
        table.add_row("behind the stated speed", f"{report.behind_seconds:.1f} s")
    if report.erased:
        table.add_row("of erased customers", f"{report.erased:,}")
    if report.first_refusal:
        table.add_row("first refusal", report.first_refusal)
    return table


def command(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(help="A shipped source's name, the path of a mapping, or `lake`: this home's events."),
    ],
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="ISO", help="Events that became known after this instant."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="ISO", help="Events that were known by this instant.")
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.0, help="Times faster than it happened; 0: as fast as it goes.")
    ] = 0.0,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, max=BATCH_MAX, help="Fill posts up to so many events.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where the service's clock stands: skip what was known before."),
    ] = False,
    url: Annotated[
        str | None, typer.Option("--url", help="Address of the service; default: this machine's.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Post recorded events to a running service, in the order they became known, and measure its answers.

    The service must run with `--clock replay`; the bearer token comes from TAGTIDE_API_TOKEN.

    \b
    [bold]Examples[/bold]
      tagtide replay completejourney --since 2017-10-31 --until 2017-11-07
      tagtide replay completejourney --since 2017-10-31 --speed 3600      an hour a second
      tagtide replay shop.yaml --batch 500 --json
      tagtide replay retailrocket --batch 1000 --resume                   after an interruption
    """
    invocation = ctx.ensure_object(Invocation)
    settings = invocation.settings
    if settings.api_token is None:
        raise CommandError("TAGTIDE_API_TOKEN is not set", "set it to the service's bearer token")
    address = url or f"http://{settings.serve_host}:{settings.serve_port}"
    token = settings.api_token.get_secret_value().split(",")[0].strip()
    headers = {"authorization": f"Bearer {token}"}
    with (
        httpx.Client(base_url=address, headers=headers, timeout=120.0, trust_env=False) as client,
        invocation.progress() as progress,
    ):
        now = service_now(client)
        events = recorded_events(
            source,
            invocation.home(),
            settings,
            invocation.environ,
            now=datetime.now(UTC),
            since=None if since is None else instant_option(since, "--since", settings.zone),
            until=None if until is None else instant_option(until, "--until", settings.zone),
        )
        if resume:
            # What arrived at that very instant may not all have been sent.
            events = events.filter(pl.col("ingested_at") >= now)
        if events.is_empty():
            raise CommandError(f"{source} has no events in that span", "check --since, --until and --resume")
        report = replay(client, events, settings=settings, batch=batch, speed=speed, progress=progress)
    if url is None and report.as_of:
        record_measurement(
            invocation.home(),
            settings,
            "event_to_tag_p99_ms",
            report.event_to_tag_p99_ms,
            datetime.fromisoformat(report.as_of),
            f"from posting to the reply with the new tags, {report.events:,} replayed events",
        )
    invocation.emit(asdict(report), as_table(report), as_json)
