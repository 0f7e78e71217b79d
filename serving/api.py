"""Assembles the HTTP application out of its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from configs.settings import Settings
from features.packed_store import PackedStore
from features.tag_names import TagNames
from serving.answers import Answers
from serving.audit_writer import AuditWriter
from serving.clock import Clock
from serving.consent_routes import ConsentRoutes
from serving.customer_routes import CustomerRoutes
from serving.envelope import Envelope, guarded, on_api_error, on_http_exception
from serving.erasure_routes import Eraser, ErasureRoutes
from serving.errors import ApiError
from serving.event_routes import EventRoutes
from serving.idempotency import IdempotentReplies
from serving.leadership import Leadership
from serving.lifespan import RunningPart, lifespan_of, nothing
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.openapi import Endpoints
from serving.outreach import Messenger, Outreach
from serving.readers import Readers
from serving.readiness import Check, Readiness
from serving.scores import ScorerHolder
from serving.security import BearerAuth
from serving.service_routes import ServiceRoutes
from serving.stream import Writer
from serving.stream_parts import DurableLog, RefusalKeeper, Resolver
from serving.tag_queue import TagQueue
from serving.tag_routes import TagRoutes
from serving.tagging import ClaimLedger, Tagging
from serving.tokens import TokenFile
from serving.upkeep import Background, Upkeep, until_due
from serving.wecom_diff import WecomDiff
from serving.wecom_routes import WecomRoutes

STAND_BY_SECONDS = 1.0
"""How often a process that stands by asks whether the upkeep has become its own."""


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
    outreach: Outreach | None = None,
    names: TagNames | None = None,
    replies: IdempotentReplies | None = None,
    wecom: WecomDiff | None = None,
    guard: Callable[[], AbstractContextManager[object]] = nullcontext,
    watch: Callable[[], object] | None = None,
    watch_seconds: float = 1.0,
    needs_models: bool = True,
    close: Callable[[], None] | None = None,
    tokens: TokenFile | None = None,
    audit: AuditWriter | None = None,
    eraser: Eraser | None = None,
    leadership: Leadership | None = None,
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
    outreach
        Consent, triggers and their receiver; None: everybody may be profiled, and nothing leaves by itself.
    names
        Short names of tags; None: by the rule.
    replies
        Where replies are kept for those who ask again with the same key; None: no key is taken.
    wecom
        Tells what to send to WeCom; None: nobody asks.
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
    leadership
        Settles which of several services on the same stores does what only one may; None: there is only this.
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
    permissions = None if outreach is None else outreach.permissions
    names = TagNames() if names is None else names
    answers = Answers(live_tags, scorers, clock, identities, permissions, names)
    messenger = None
    if outreach is not None:
        messenger = Messenger(outreach, log, store, live_tags, answers, clock, measures, guard)
    tagging = Tagging(
        live_tags,
        ledger,
        scorers,
        renew_after_us=settings.renew_after_hours * 3600 * 1_000_000,
        consent=permissions,
        news=None if messenger is None else messenger.news,
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
        queue_rows=settings.max_waiting_events,
        guard=guard,
        lead=leadership,
    )
    if leadership is not None:
        ledger.before_commit = leadership.check
    upkeep = Upkeep(settings, store, live_tags, tagging, measures, refresh, tags.turns)
    if clock.kind == "replay":
        writer.before_rows = upkeep.run
    if messenger is not None:
        writer.after_rows = messenger.after_rows
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
            **_checks(outbox=messenger, tokens=auth, audit=audit, clock=clock),
        },
        notes={} if leadership is None else {"lease": lambda: leadership.role},
    )
    readers = Readers()
    endpoints: list[Endpoints] = [
        EventRoutes(settings, clock, writer, answers, readers, replies, kept_ids),
        CustomerRoutes(settings, answers, readers),
        TagRoutes(live_tags, scorers, clock, names, answers, readers),
    ]
    if permissions is not None:
        endpoints.append(ConsentRoutes(settings, clock, permissions, tags, readers))
    if eraser is not None:
        endpoints.append(ErasureRoutes(eraser, clock))
    if wecom is not None:
        endpoints.append(WecomRoutes(settings, wecom, clock, answers, readers))
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
            dict if messenger is None else messenger.counts,
        )
    )
    keeping_up = _while_leading(writer, upkeep, clock) if clock.kind == "wall" else None
    parts = [
        RunningPart(stop=close or nothing),
        *_running(audit),
        RunningPart(readers.start, readers.stop),
        *_leading(leadership),
        RunningPart(watch or nothing),
        RunningPart(writer.start, writer.stop),
        *_running(messenger),
        *_running(None if watch is None else Background("tagtide-watch", _every(watch_seconds, watch))),
        *_running(None if keeping_up is None else Background("tagtide-upkeep", keeping_up)),
    ]
    operations = [(one, operation) for one in endpoints for operation in one.operations]
    named = {operation.name: operation for _, operation in operations}
    record = None if audit is None else audit.record
    reached = [(operation, guarded(getattr(one, operation.name), operation)) for one, operation in operations]
    exact = {(one.method, one.path): endpoint for one, endpoint in reached if "{" not in one.path}
    around = Middleware(Envelope, auth=auth, measures=measures, operations=named, audit=record, exact=exact)
    app = Starlette(
        routes=[
            Route(_starlette_path(one.path), endpoint, methods=[one.method], name=one.name)
            for one, endpoint in reached
        ],
        middleware=[around],
        exception_handlers={ApiError: on_api_error, HTTPException: on_http_exception},
        lifespan=lifespan_of(parts),
    )
    app.router.redirect_slashes = False
    app.state.readiness = readiness
    return app


class _Troubled(Protocol):
    @property
    def problem(self) -> str: ...


class _Startable(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


def _checks(**parts: _Troubled | None) -> dict[str, Check]:
    return {name: partial(getattr, part, "problem") for name, part in parts.items() if part is not None}


def _running(part: _Startable | None) -> list[RunningPart]:
    return [] if part is None else [RunningPart(part.start, part.stop)]


def _leading(leadership: Leadership | None) -> list[RunningPart]:
    if leadership is None:
        return []
    renewals = Background("tagtide-lease", leadership.tick, pause_seconds=1.0)
    return [RunningPart(leadership.tick, leadership.end), RunningPart(renewals.start, renewals.stop)]


def _every(seconds: float, act: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        act()
        return seconds

    return run


def _while_leading(writer: Writer, upkeep: Upkeep, clock: Clock) -> Callable[[], float]:
    return lambda: until_due(upkeep, clock) if writer.is_leading else STAND_BY_SECONDS


def _reached(store: PackedStore) -> str:
    store.mark("reached")
    return ""


def _starlette_path(path: str) -> str:
    # Ids may hold slashes.
    return path.replace("_id}", "_id:path}")
