"""Assembles the HTTP application out of its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import timedelta

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from configs.settings import Settings
from features.packed_store import PackedStore
from serving.answers import Answers
from serving.audit_writer import AuditWriter
from serving.clock import Clock
from serving.customer_routes import CustomerRoutes
from serving.envelope import Envelope, guarded, on_api_error, on_http_exception
from serving.erasure_routes import Eraser, ErasureRoutes
from serving.errors import ApiError
from serving.event_routes import EventRoutes
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.openapi import Endpoints
from serving.readers import Readers
from serving.readiness import Check, Readiness
from serving.scores import ScorerHolder
from serving.security import BearerAuth
from serving.service_routes import ServiceRoutes
from serving.stream import Writer
from serving.stream_parts import DurableLog, RefusalKeeper, Resolver
from serving.tag_queue import TagQueue
from serving.tagging import ClaimLedger, Tagging
from serving.tokens import TokenFile
from serving.upkeep import Background, Upkeep, until_due


def create_app(
    settings: Settings,
    store: PackedStore,
    log: DurableLog,
    ledger: ClaimLedger,
    scorers: ScorerHolder,
    clock: Clock,
    *,
    refresh: Callable[[int], None],
    quarantine: RefusalKeeper | None = None,
    identities: Resolver | None = None,
    guard: Callable[[], AbstractContextManager[object]] = nullcontext,
    watch: Callable[[], object] | None = None,
    watch_seconds: float = 1.0,
    needs_models: bool = True,
    close: Callable[[], None] | None = None,
    tokens: TokenFile | None = None,
    audit: AuditWriter | None = None,
    eraser: Eraser | None = None,
    kept_ids: Callable[[Sequence[str]], list[str]] | None = None,
) -> Starlette:
    """Assemble the service out of its parts. Nothing runs before the application's lifespan begins.

    Parameters
    ----------
    settings
        Limits, rhythms and the bearer token.
    store, log, ledger, scorers, clock
        Online values, durable events, claims, models and the present.
    refresh
        Recomputes and writes the profiles as of a day boundary, microseconds since the epoch.
    quarantine
        Where refused rows are kept.
    identities
        Which customers are one, and which asked to be forgotten.
    guard
        Makes what is held while memories or tags change; who joins, parts or erases customers waits for it.
    watch
        Called every ``watch_seconds``; follows the published models.
    needs_models
        Whether the service is not ready before there are models: without any it takes and remembers events.
    close
        Called last of all: gives back what was opened for the service.
    tokens
        Bearer tokens beside that of the settings.
    audit
        Writes down who reads and changes what.
    eraser
        Erases customers; without one there is no route that does.
    kept_ids
        Turns ids as they are posted into ids as they are stored; None: they are stored as they are posted.

    Returns
    -------
    The application; ``app.state.readiness`` tells whether it can answer.

    Raises
    ------
    ConfigError
        If no bearer token is configured.
    """
    auth = BearerAuth(settings.api_token, tokens)
    measures = Measures()
    live_tags = LiveTags(store)
    tagging = Tagging(
        live_tags, ledger, scorers, renew_after_us=settings.renew_after_hours * 3600 * 1_000_000
    )
    tags = TagQueue(tagging, store, clock, measures, guard=guard)
    writer = Writer(
        log,
        store,
        tags,
        clock,
        measures,
        quarantine=quarantine,
        identities=identities,
        future_skew=timedelta(minutes=settings.future_skew_minutes),
        guard=guard,
    )
    upkeep = Upkeep(settings, store, live_tags, tagging, measures, refresh, tags.turns)
    if clock.kind == "replay":
        writer.before_rows = upkeep.run
    models: dict[str, Check] = {"models": lambda: "" if scorers.scorer is not None else scorers.problem}
    readiness = Readiness(
        required={
            "store": lambda: _reached(store),
            "stream": lambda: writer.problem,
            **(models if needs_models else {}),
        },
        informative={
            **({} if needs_models else models),
            "published_models": lambda: scorers.problem,
            "profiles": lambda: upkeep.refresh_problem,
            "tagging": lambda: tags.problem,
            "sweep": lambda: upkeep.sweep_problem,
            "tokens": lambda: auth.problem,
            **({} if audit is None else {"audit": lambda: audit.problem}),
        },
    )
    answers = Answers(live_tags, scorers, clock, identities)
    readers = Readers()
    endpoints: list[Endpoints] = [
        EventRoutes(settings, clock, writer, answers, readers, kept_ids),
        CustomerRoutes(settings, answers, readers),
    ]
    if eraser is not None:
        endpoints.append(ErasureRoutes(eraser, clock))
    described = [operation for one in endpoints for operation in one.operations]
    endpoints.append(
        ServiceRoutes(
            store,
            live_tags,
            clock,
            writer,
            tags,
            upkeep,
            readiness,
            measures,
            answers,
            readers,
            described,
        )
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        threads = []
        if watch is not None:
            await asyncio.to_thread(watch)
            threads.append(Background("tagtide-watch", _every(watch_seconds, watch)))
        if clock.kind == "wall":
            threads.append(Background("tagtide-upkeep", lambda: until_due(upkeep, clock)))
        await asyncio.to_thread(writer.start)
        for thread in threads:
            thread.start()
        readers.start()
        if audit is not None:
            audit.start()
        try:
            yield
        finally:
            for thread in threads:
                await asyncio.to_thread(thread.stop)
            await asyncio.to_thread(writer.stop)
            readers.stop()
            if audit is not None:
                await asyncio.to_thread(audit.stop)
            if close is not None:
                close()

    operations = [(one, operation) for one in endpoints for operation in one.operations]
    named = {operation.name: operation for _, operation in operations}
    record = None if audit is None else audit.record
    app = Starlette(
        routes=[
            Route(
                _starlette_path(operation.path),
                guarded(getattr(one, operation.name), operation),
                methods=[operation.method],
                name=operation.name,
            )
            for one, operation in operations
        ],
        middleware=[Middleware(Envelope, auth=auth, measures=measures, operations=named, audit=record)],
        exception_handlers={ApiError: on_api_error, HTTPException: on_http_exception},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.readiness = readiness
    return app


def _every(seconds: float, act: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        act()
        return seconds

    return run


def _reached(store: PackedStore) -> str:
    store.mark("reached")
    return ""


def _starlette_path(path: str) -> str:
    # Ids may hold slashes.
    return path.replace("_id}", "_id:path}")
