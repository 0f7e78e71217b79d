"""Parts the service is assembled from in tests: real stores, a scorer that says what it is told."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx

from configs.home import Home
from configs.settings import load_settings
from configs.wecom import WecomConfig
from features.database import one_at_a_time, open_engine
from features.event_log import EventLog
from features.lease import Lease
from features.packed_memory import decode_memory
from features.packed_store import CUSTOMER_MEMORY
from features.quarantine import Quarantine
from features.sqlite_packed_store import SqlitePackedStore
from features.stored_ids import StoredIds
from features.tag_names import TagNames
from monitoring.ledger import Ledger
from monitoring.tag_changes import TagChanges
from serving.api import create_app
from serving.clock import ReplayClock
from serving.idempotency import IdempotentReplies
from serving.leadership import STREAM_LEASE, Leadership
from serving.outreach import open_outreach
from serving.scores import CustomerScores, ScoredTag
from serving.tag_schemas import TagContract
from serving.wecom_diff import WecomDiff
from serving.wecom_removals import WecomRemovals
from training.reasons import LOG_ODDS, Explanation, Reason

TOKEN = "a-token-for-tests-only"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
DAY_US = 86_400 * 1_000_000
START_US = 1_509_494_400 * 1_000_000
"""2017-11-01T00:00:00Z."""
EXPLAINED = Explanation(
    LOG_ODDS, -1.0, 0.25, -0.25, [Reason("views_24h", 1.0, 0.5, "viewed something once in 24 hours")]
)


def settings_of(home: Home, **changes):
    environ = {f"TAGTIDE_{name.upper()}": str(value) for name, value in changes.items()}
    return load_settings(home.root, {"TAGTIDE_API_TOKEN": TOKEN, **environ}).settings


def contract_of(tag_id, reason=""):
    family, _, key = tag_id.partition(":")
    return TagContract(tag_id, family, key or None, not reason, reason, 0.8, 0.85, 4.0, "1")


class CategoryScorer:
    """Tags each category in a customer's memory; the more events, the likelier."""

    def __init__(self, store, version="1"):
        self.store = store
        self.versions = {"tags-interest": version}
        self.calls = []
        self.fails = False
        self.breaks_on = None
        self.quiet_families = frozenset()
        self.contracts = [
            contract_of("interest:MILK"),
            contract_of("interest:UNPROVEN", reason="lift 1.20; expected 2.0"),
        ]

    def score_many(self, customers, now_us, *, with_tags, with_reasons):
        if self.fails:
            raise RuntimeError("the scorer broke")
        self.calls.append((tuple(customers), now_us))
        return {customer: self._score(customer, now_us, with_tags, with_reasons) for customer in customers}

    def _score(self, customer, now_us, with_tags, with_reasons):
        if self.breaks_on is not None and customer.startswith(self.breaks_on):
            raise KeyError(customer)
        row = self.store.get(CUSTOMER_MEMORY, customer, now_us=now_us, ttl_us=3 * DAY_US)
        categories = [] if row is None else [text for text in decode_memory(row.value).category if text]
        tags = [
            ScoredTag(
                tag_id=f"interest:{category}",
                family="interest",
                key=category,
                probability=0.6,
                probability_if_observed=0.9,
                threshold=0.8,
                certified_precision=0.85,
                certified_lift=4.0,
                certified=category != "UNPROVEN",
                above=category != "UNLIKELY",
                explanation=EXPLAINED if with_reasons and category != "WITHDRAWN" else None,
            )
            for category in sorted(set(categories))
        ]
        return CustomerScores(
            propensity={"72h": min(0.9, 0.1 * len(categories)), "7d": min(0.95, 0.2 * len(categories))},
            clv=None,
            life_cycle_stage="new" if row is None else "activated",
            tags=tags if with_tags else [],
            status="ok" if row else "cold_start",
            model_versions=self.versions,
            explanations={"propensity": {"72h": EXPLAINED}} if with_reasons else {},
        )


class Holder:
    """Holds a scorer, or none."""

    def __init__(self, scorer):
        self.scorer = scorer
        self.problem = "" if scorer else "no bundle is published"

    @property
    def versions(self):
        return self.scorer.versions if self.scorer else {}


class Parts:
    """One assembled service and what it is made of."""

    def __init__(
        self,
        home,
        clock=None,
        with_model=True,
        database_url=None,
        identities=None,
        lake=None,
        with_outreach=False,
        store=None,
        is_shared=False,
        config=None,
        **changes,
    ):
        self.home = home
        self.settings = settings_of(home, **changes)
        self.store = store or SqlitePackedStore(home.online_store)
        self.engine = open_engine(database_url, home)
        with one_at_a_time(self.engine):
            self.log = EventLog(self.engine, None if lake is None else StoredIds(lake))
            self.ledger = Ledger(self.engine)
            lease = Lease(self.engine, STREAM_LEASE) if is_shared else None
        self.leadership = None if lease is None else Leadership(lease, self.store, home.processes)
        self.quarantine = Quarantine(home.quarantine)
        self.clock = clock or ReplayClock(START_US)
        self.scorer = CategoryScorer(self.store)
        self.holder = Holder(self.scorer if with_model else None)
        self.refreshed = []
        self.outreach = None
        if with_outreach:
            self.outreach = open_outreach(home, self.settings, self.engine, self.log, identities)
        self.wecom = WecomDiff(
            TagChanges(self.engine), WecomRemovals(self.engine), None, TagNames(), config or WecomConfig()
        )
        self.app = create_app(
            self.settings,
            self.store,
            self.log,
            self.ledger,
            self.holder,
            self.clock,
            refresh=self.refreshed.append,
            quarantine=self.quarantine,
            identities=identities,
            outreach=self.outreach,
            leadership=self.leadership,
            replies=IdempotentReplies(self.engine),
            wecom=self.wecom,
        )

    def close(self):
        self.store.close()
        self.engine.dispose()

    def claims(self):
        frame = self.ledger.read()
        return frame.filter(~frame["is_control"])

    @asynccontextmanager
    async def running(self):
        """Run the application's lifespan and give a client that speaks to it."""
        async with self.app.router.lifespan_context(self.app):
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://test", headers=HEADERS
            ) as client:
                yield client


def event(number=1, customer="c1", at=0.0, **changes):
    """An event that arrives when it happens, ``at`` seconds after the start of the replay."""
    seconds = START_US / 1_000_000 + at
    row = {
        "event_id": f"e{number}",
        "customer_id": customer,
        "event_type": "view",
        "event_time": seconds,
        "ingested_at": seconds,
        "category": "MILK",
    }
    row |= changes
    return {name: value for name, value in row.items() if value is not ...}
