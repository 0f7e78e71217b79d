"""Families about not buying at work: assigned, renewed and withdrawn as events come in, and judged."""

from __future__ import annotations

import threading
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from features.candidates import seen_within
from features.events import EVENT_SCHEMA
from features.history import History
from features.packed_store import CUSTOMER_MEMORY, CUSTOMER_PROFILE, KEY_PROFILE
from features.publishing import key_rows, memory_rows, profile_rows
from features.tags import load_catalogue
from features.windows import HOUR_US, profile_boundary, to_us
from monitoring.closing import close_windows
from serving.clock import ReplayClock
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.scorer import BundleScorer
from serving.tagging import Tagging
from serving.upkeep import BOUNDARY_MARK, Upkeep
from tests.serving.parts import DAY_US, Holder, Parts
from tests.serving.test_stream import write, writer_of
from tests.training.browsing_shop import (
    AS_OF,
    FAMILIES,
    browsing_bench,
    browsing_bundle,
    browsing_events,
    is_dreamer,
)

AS_OF_US = to_us(AS_OF)
CATALOGUE = load_catalogue()


@pytest.fixture
def shop(home, tmp_path_factory):
    made = LiveShop(home, tmp_path_factory.getbasetemp())
    yield made
    made.parts.close()


class LiveShop:
    """A service over the browsing shop, with its own bundles, from `AS_OF` on."""

    def __init__(self, home, folder):
        self.known = browsing_bench(folder).events
        self.parts = Parts(home, clock=ReplayClock(AS_OF_US), with_model=False, time_zone="UTC")
        self.settings, self.posted = self.parts.settings, []
        now = np.array([AS_OF_US])
        self.refresh(int(profile_boundary(now, self.settings.zone, self.settings.publication_lag)[0]))
        self.parts.store.put_many(CUSTOMER_MEMORY, memory_rows(self.known, AS_OF_US))
        bundles = {f"tags-{name}": browsing_bundle(folder, name) for name in FAMILIES}
        self.scorer = BundleScorer(
            self.parts.store, self.settings, bundles, {task: f"{task}@1" for task in bundles}
        )
        self.parts.holder = Holder(self.scorer)
        tags = LiveTags(self.parts.store)
        self.upkeep = Upkeep(
            self.settings,
            self.parts.store,
            tags,
            Tagging(tags, self.parts.ledger, self.parts.holder, renew_after_us=DAY_US),
            Measures(),
            self.refresh,
            threading.RLock(),
        )
        self.upkeep.run(AS_OF_US)

    @property
    def events(self):
        rows = pl.DataFrame(self.posted, schema_overrides={"customer_id": pl.String})
        if rows.is_empty():
            return self.known
        instant = pl.from_epoch((pl.col("event_time") * 1_000_000).cast(pl.Int64), "us").dt.replace_time_zone(
            "UTC"
        )
        made = rows.with_columns(event_time=instant, ingested_at=instant, source=pl.lit("api"))
        missing = [pl.lit(None).alias(name) for name in EVENT_SCHEMA if name not in made.columns]
        return pl.concat(
            [
                self.known,
                made.with_columns(missing).select(
                    pl.col(name).cast(dtype) for name, dtype in EVENT_SCHEMA.items()
                ),
            ]
        )

    def refresh(self, boundary_us):
        history = History(self.events, self.settings.zone, self.settings.publication_lag)
        self.parts.store.put_many(CUSTOMER_PROFILE, profile_rows(history, boundary_us))
        self.parts.store.put_many(KEY_PROFILE, key_rows(history, boundary_us))
        self.parts.store.put_mark(BOUNDARY_MARK, boundary_us)

    def post(self, customer, hours, *event_types):
        """Let events of a customer happen so many hours after `AS_OF`."""
        at = AS_OF_US / 1_000_000 + hours * 3600
        rows = [
            {
                "event_id": f"p{len(self.posted) + number}",
                "customer_id": customer,
                "event_type": event_type,
                "event_time": at + number,
                "ingested_at": at + number,
                "category": "tea",
                "amount_minor": 1000 if event_type == "purchase" else None,
            }
            for number, event_type in enumerate(event_types)
        ]
        self.posted += rows
        write(writer_of(self.parts), rows)

    def run(self, hours):
        self.upkeep.run(AS_OF_US + int(hours * HOUR_US))
        assert self.upkeep.sweep_problem == self.upkeep.refresh_problem == ""

    def carried(self, customer, hours):
        now_us = AS_OF_US + int(hours * HOUR_US)
        live = LiveTags(self.parts.store).live([customer], now_us).get(customer, [])
        return {record.evidence.tag_id for record in live}

    def steps(self, customer, tag_id):
        told = self.parts.ledger.read_transitions().sort("at_us")
        mine = told.filter((pl.col("customer_id") == customer) & (pl.col("tag_id") == tag_id))
        return list(zip(mine["to_state"], mine["reason"], strict=True))


def two_dreamers(shop):
    """Return two who have bought nothing for days and have nothing in the cart."""
    late = shop.known.filter(pl.col("event_time") > AS_OF - timedelta(days=2))["customer_id"].unique()
    quiet = [name for name in map(str, range(240)) if is_dreamer(int(name)) and name not in late]
    return quiet[:2]


def test_an_abandoned_cart_is_tagged_renewed_and_withdrawn_and_the_ledger_judges_it(shop):
    buyer, dreamer = two_dreamers(shop)
    for hours, customer in ((1, buyer), (1.5, dreamer)):
        shop.post(customer, hours, "view", "add_to_cart")
    both = {"cart_abandoner", "browsing_no_order"}
    assert both <= shop.carried(buyer, 2)
    assert both <= shop.carried(dreamer, 2)

    shop.run(27)
    assert [step for step, _ in shop.steps(buyer, "cart_abandoner")] == ["assigned", "renewed"]
    shop.post(buyer, 30, "purchase")
    assert not both & shop.carried(buyer, 30.5)
    assert shop.steps(buyer, "cart_abandoner")[-1] == ("withdrawn", "no longer a candidate")
    for hours in range(32, 200, 6):
        shop.run(hours)
    states = [step for step, _ in shop.steps(dreamer, "cart_abandoner")]
    assert states[:2] == ["assigned", "renewed"]
    assert states[-1] in ("expired", "withdrawn")
    assert not shop.carried(dreamer, 200) & both

    now_us = AS_OF_US + 200 * HOUR_US
    closed = close_windows(shop.parts.ledger, shop.events, CATALOGUE, now_us, timedelta(0))
    assert closed.left_open == 0
    judged = shop.parts.claims().filter(pl.col("family") == "cart_abandoner")
    outcomes = {
        name: set(judged.filter(pl.col("customer_id") == name)["outcome"]) for name in (buyer, dreamer)
    }
    assert outcomes == {buyer: {"refuted"}, dreamer: {"confirmed"}}
    assert set(judged["model_version"]) == {"tags-cart_abandoner@1"}


def test_the_next_order_judges_a_deal_seeker(shop):
    hunters = [str(number) for number in range(2, 240, 6)]
    hunter = next(name for name in hunters if "deal_seeker" in tags_of(shop, name))
    shop.post(hunter, 1, "view")
    assert "deal_seeker" in shop.carried(hunter, 1.1)
    shop.post(hunter, 3, "purchase")
    close_windows(shop.parts.ledger, shop.events, CATALOGUE, AS_OF_US + 80 * HOUR_US, timedelta(0))
    claims = shop.parts.claims().filter(
        (pl.col("customer_id") == hunter) & (pl.col("family") == "deal_seeker")
    )
    assert claims.sort("assigned_at_us")["outcome"][0] == "refuted"


def tags_of(shop, name):
    found = shop.scorer.score_many([name], AS_OF_US, with_tags=True, with_reasons=False)[name]
    return {tag.tag_id for tag in found.tags if tag.above}


@pytest.mark.parametrize("hours", [0, 24, 40])
def test_each_family_is_scored_for_its_candidates_and_nobody_else(shop, hours):
    now_us = AS_OF_US + hours * HOUR_US
    history = History(shop.known, shop.settings.zone, timedelta(hours=1 + hours))
    names = list(history.columns.customers)
    rows = history.customer_rows(np.arange(len(names)), np.full(len(names), now_us))
    expected = set()
    for name in FAMILIES:
        candidate = CATALOGUE[name].candidate
        chosen = candidate.customer_rule.holds(rows) & seen_within(rows, candidate.seen_within)
        expected |= {(names[row], name) for row in np.flatnonzero(chosen).tolist()}
    found = shop.scorer.score_many(names, now_us, with_tags=True, with_reasons=False)
    assert {(name, tag.tag_id) for name, one in found.items() for tag in one.tags} == expected
    assert {family for _, family in expected} == set(FAMILIES)
    lately = set(
        browsing_events().filter(
            (pl.col("event_time") <= AS_OF) & (pl.col("event_time") > AS_OF - timedelta(hours=72 - hours))
        )["customer_id"]
    )
    quiet = {family for name, family in expected if name not in lately}
    assert quiet == {"slipping_away"}
    assert shop.scorer.quiet_families == {"slipping_away"}
