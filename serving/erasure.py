"""Forgetting a customer everywhere, and keeping them from coming back: each place's own `forget` in turn."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import polars as pl
import sqlalchemy as sa

from configs.home import Home
from configs.settings import Settings
from features.consent import Consent
from features.contacts import Contacts
from features.database import open_engine
from features.event_log import EVENT_LOG, EventLog
from features.file_lock import SharedLock
from features.lake import Lake
from features.life_cycle import TagRecord
from features.life_cycle import erase as erased_tags
from features.packed_store import open_packed_store
from features.parked import Parked
from features.quarantine import Quarantine
from features.refused_ids import IdPlaces, rows_naming
from features.resolver import Resolver, open_resolver
from features.tombstones import Erasure
from features.windows import to_us
from monitoring.claims import Transition
from monitoring.ledger import Ledger
from serving.erased_files import empty_spill, forget_in_reports, forget_in_tables, leave_no_traces
from serving.errors import HomeBusyError, UnknownCustomerError
from serving.idempotency import IdempotentReplies
from serving.live_tags import LiveTags
from serving.outbox import Outbox
from serving.pending import PendingTriggers
from serving.tag_news import tell_erased
from serving.wecom_removals import take_tags_off
from serving.wecom_state import WecomState

ERASED = "erased:"
"""In the ledger the last step of an erased customer's tags stands under this and the erasure's id."""

WAIT_SECONDS = 10.0
"""How long an erasure over HTTP waits for bulk jobs to end."""


@dataclass
class Erasing:
    """One erasure under way.

    Attributes
    ----------
    members
        Every canonical id of the customer.
    ids
        Every way each of them may be written: what stored rows are looked for by.
    now
        What happens later is a new customer's.
    latest
        When the last event happened that the lake had of them.
    tags
        Their tags as they were, by id and tag id: a receiver is told that those are gone.
    """

    home: Home
    settings: Settings
    engine: sa.Engine
    resolver: Resolver
    members: tuple[str, ...]
    ids: list[str]
    now: datetime
    erasure_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    latest: datetime | None = None
    tags: dict[str, dict[str, TagRecord]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Somewhere customers are kept.

    Attributes
    ----------
    name, what
        As receipts tell it.
    forget
        Removes what is kept there of the customer; returns how many rows that were. Doing it again is
        harmless.
    when
        ``online``: while the service neither reads nor writes it, and once more after everything else, for a
        refresh may have brought back what it had read; ``at rest``: in between; ``last``: an erasure that was
        cut short needs it to know whom it is about.
    """

    name: str
    what: str
    forget: Callable[[Erasing], int]
    when: Literal["online", "at rest", "last"] = "at rest"


def _event_log(erasing: Erasing) -> int:
    # Nobody recorded whose ids are in them; without them a post that is sent again is carried out again.
    IdempotentReplies(erasing.engine).forget()
    theirs = EVENT_LOG.c.customer_id.in_(erasing.ids)
    log = EventLog(erasing.engine)
    with erasing.engine.begin() as connection:
        sources = connection.execute(sa.select(EVENT_LOG.c.source).where(theirs).distinct()).scalars().all()
    pairs = [(source, one) for source in sources for one in erasing.ids]
    return log.forget(pairs, None) if pairs else 0


def _online_store(erasing: Erasing) -> int:
    from features.profile_refresh import take_off

    with contextlib.closing(open_packed_store(erasing.home, erasing.settings)) as store:
        _end_tags(erasing, LiveTags(store))
        return take_off(store, erasing.ids) + sum(store.erase(one) for one in erasing.ids)


def _end_tags(erasing: Erasing, live_tags: LiveTags) -> None:
    """Write down that live tags ended by an erasure, under its id: whose they were stands nowhere."""
    now_us, whose = to_us(erasing.now), ERASED + erasing.erasure_id
    ended: dict[str, Transition] = {}
    erasing.tags |= live_tags.read(erasing.ids, now_us)
    for records in erasing.tags.values():
        for one in erased_tags(records, now_us):
            step = Transition(whose, one.tag_id, one.at_us, one.from_state, one.to_state, one.reason)
            ended.setdefault(one.tag_id, step)
    if ended:
        Ledger(erasing.engine).record([], list(ended.values()))


def _ledger(erasing: Erasing) -> int:
    ledger = Ledger(erasing.engine)
    return sum(ledger.forget(one) for one in erasing.ids)


def _consent(erasing: Erasing) -> int:
    contacts = Contacts(erasing.engine).forget(erasing.ids)
    return contacts + Consent(erasing.engine).forget(erasing.ids)


def _lake(erasing: Erasing) -> int:
    WecomState(erasing.home).forget(erasing.ids)
    done = Lake(erasing.home.lake).forget(erasing.ids)
    erasing.latest = done.latest
    return done.rows


def _quarantine(erasing: Erasing) -> int:
    from features.errors import SourceError
    from features.sources import imported_mapping

    spaces, members = erasing.resolver.resolution().spaces, set(erasing.members)

    def is_theirs(source: str, rows: pl.DataFrame) -> pl.Series:
        try:
            mapping = imported_mapping(erasing.home, source)
            places = IdPlaces.of(mapping, spaces.prefix_of(source), spaces)
        except SourceError:
            places = IdPlaces()
        return rows_naming(rows, places, spaces, members.intersection)

    return Quarantine(erasing.home.quarantine).forget(is_theirs)


def _feature_store(erasing: Erasing) -> int:
    empty_spill(erasing.home)
    return forget_in_tables(erasing.home.feature_store, erasing.ids)


def _reports(erasing: Erasing) -> int:
    folders = (erasing.home.reports, erasing.home.sources)
    return sum(forget_in_reports(folder, erasing.ids) for folder in folders)


def _identities(erasing: Erasing) -> int:
    links = erasing.resolver.identities.forget(erasing.members)
    return links + Parked(erasing.engine).forget(erasing.members)


PLACES = (
    Place("lake", "events", _lake),
    Place("event_log", "posted events", _event_log, "online"),
    Place("quarantine", "refused rows", _quarantine),
    Place("online_store", "memories, profiles and tags", _online_store, "online"),
    Place("ledger", "claims, outcomes, transitions and served propensities", _ledger, "online"),
    Place("consent", "what they agreed to, and when they were contacted", _consent, "online"),
    Place(
        "triggers",
        "triggers pending and recorded",
        lambda one: PendingTriggers(one.engine).forget(one.ids),
        "online",
    ),
    Place("outbox", "messages not delivered yet", lambda one: Outbox(one.engine).forget(one.ids), "online"),
    Place("feature_store", "rows of snapshots and profiles", _feature_store),
    Place("scores", "rows of batch scores", lambda one: forget_in_tables(one.home.scores, one.ids)),
    Place("reports", "mentions in reports", _reports),
    Place("identities", "links, and what was parked of them", _identities, "last"),
)
"""Where something is erased, and what. Models and their registry hold no id; the audit log holds hashes."""


@dataclass(frozen=True)
class Receipt:
    """What an erasure did; it names nobody.

    Attributes
    ----------
    erased_at
        ISO instant up to which events of this customer no longer come in.
    ids
        How many ids the customer had: all are gone.
    rows
        What was erased, by place.
    """

    erasure_id: str
    erased_at: str
    ids: int
    rows: dict[str, int]


def erase(
    home: Home,
    settings: Settings,
    customer: str,
    *,
    now: datetime,
    on_wait: Callable[[], None] | None = None,
    within_seconds: float | None = None,
) -> Receipt:
    """Erase everything of a customer, under all of their ids, and leave a tombstone for each id.

    Doing it again is harmless, and completes what was cut short. While it runs, no command and no refresh
    reads customers in bulk; posted events wait only while the online store is changed.

    Parameters
    ----------
    customer
        One of the customer's ids.
    now
        The present: what happens later is a new customer's.
    on_wait
        Called if others have to be waited for.
    within_seconds
        How long they are waited for at most; None: until they end.

    Raises
    ------
    UnknownCustomerError
        If nothing is known of such a customer.
    HomeBusyError
        If others do not end in time; nothing was erased.
    TagtideError
        If a store refuses; what was erased until then stays erased.
    """
    engine = open_engine(settings.database_url, home)
    try:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(SharedLock(home.jobs_lock).alone(on_wait, within_seconds))
            except TimeoutError:
                raise HomeBusyError(
                    "other commands read this home's customers", "try again when they have ended"
                ) from None
            receipt = _erased(home, settings, engine, customer, now)
        if engine.dialect.name == "sqlite" and engine.url.database:
            leave_no_traces(Path(engine.url.database))
        leave_no_traces(home.online_store)
    finally:
        engine.dispose()
    return receipt


def _erased(home: Home, settings: Settings, engine: sa.Engine, customer: str, now: datetime) -> Receipt:
    resolver = open_resolver(home, engine, settings)
    resolution = resolver.resolution()
    members = resolution.members(customer)
    was_buried = bool(resolver.tombstones.until(members))
    take_tags_off(home, engine, members, resolution.spaces, now)
    # Before anything is gone: whatever comes in from now on finds the tombstones.
    resolver.tombstones.bury(members, now)
    ids = sorted(resolution.spellings(members))
    erasing = Erasing(home, settings, engine, resolver, members, ids, now)
    rows = {place.name: 0 for place in PLACES}
    _forget(erasing, "online", rows)
    _forget(erasing, "at rest", rows)
    # A replay refreshes profiles whenever its events say so: it may have had the lake as it was.
    _forget(erasing, "online", rows)
    _forget(erasing, "last", rows)
    if not any(rows.values()) and not was_buried:
        resolver.tombstones.lift(members)
        raise UnknownCustomerError(
            f"nothing is known of such a customer in {home.root}",
            "ids of further sources are written SOURCE:ID; see docs/identities.md",
        )
    if settings.webhook_url is not None:
        # Whoever was told of the tags hears that they are gone; the message goes once it is delivered.
        tell_erased(Outbox(engine), erasing.tags, to_us(now), time.time_ns() // 1000)
    erased_at = now if erasing.latest is None else max(now, erasing.latest)
    if erased_at > now:
        resolver.tombstones.bury(members, erased_at)
    resolver.tombstones.record(Erasure(erasing.erasure_id, erased_at, len(members), rows))
    return Receipt(erasing.erasure_id, erased_at.isoformat(), len(members), rows)


def _forget(erasing: Erasing, when: str, rows: dict[str, int]) -> None:
    held = SharedLock(erasing.home.online_lock).alone() if when == "online" else contextlib.nullcontext()
    with held:
        for place in PLACES:
            if place.when == when:
                rows[place.name] += place.forget(erasing)


class Erasures:
    """Erasures of one home, for the service.

    Parameters
    ----------
    home, settings
        Of the service.
    resolver
        Knows the erasures that were done.
    within_seconds
        See `WAIT_SECONDS`.
    """

    def __init__(
        self, home: Home, settings: Settings, resolver: Resolver, *, within_seconds: float = WAIT_SECONDS
    ) -> None:
        self._home = home
        self._settings = settings
        self._resolver = resolver
        self._within_seconds = within_seconds

    def erase(self, customer: str, now: datetime) -> Receipt:
        """Erase a customer; see `erase`."""
        return erase(self._home, self._settings, customer, now=now, within_seconds=self._within_seconds)

    def find(self, erasure_id: str) -> Erasure | None:
        """Return an erasure that was done, or None."""
        return self._resolver.tombstones.find(erasure_id)
