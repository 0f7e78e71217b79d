"""Killed at any moment, the service loses no message and no trigger, and doubles none but by its key."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import polars as pl
import pytest
import sqlalchemy as sa

from configs.home import open_home
from features.database import open_engine
from features.events import EVENT_SCHEMA
from features.windows import from_us
from monitoring.ledger import Ledger
from pipelines.service_process import free_port
from serving.outbox import Outbox, message_key
from serving.pending import PendingTriggers
from tests.serving.parts import HEADERS, START_US, Parts, event
from tests.serving.processes import ROOT
from tests.serving.receiver import SECRET, receiving

TRIGGERS = """
triggers:
  - {trigger: bought, on: {event: purchase}}
  - {trigger: cart, on: {event: add_to_cart, without: purchase, for_minutes: 1}}
"""


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.fixture
def home(tmp_path):
    made = open_home(tmp_path / "home", create=True)
    (made.root / "triggers.yaml").write_text(TRIGGERS)
    return made


@contextmanager
def served(home, receiver):
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TAGTIDE_")}
    environ |= {
        "TAGTIDE_WEBHOOK_URL": receiver.url,
        "TAGTIDE_WEBHOOK_SECRET": SECRET,
        "TAGTIDE_QUIET_HOURS_FROM": "00:00",
        "TAGTIDE_QUIET_HOURS_UNTIL": "00:00",
    }
    command = [sys.executable, "-m", "tests.serving.run_outreach", str(home.root), str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "started\n"
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=30, trust_env=False
        ) as client:
            yield process, client
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def posted(number, **changes):
    row = event(number, f"c{number}", ingested_at=..., event_time=time.time(), **changes)
    return row | {"category": "MILK"}


def transitions(home):
    engine = open_engine(None, home)
    try:
        steps = Ledger(engine).read_transitions()
        return {
            message_key("tag.changed", one["customer_id"], one["tag_id"], one["at_us"], one["to_state"])
            for one in steps.iter_rows(named=True)
        }
    finally:
        engine.dispose()


@pytest.mark.slow
def test_whatever_moment_it_is_killed_at_every_change_and_trigger_arrives(home, receiver):
    drawn = random.Random(7)
    acknowledged, number = set(), 0
    for _ in range(3):
        with served(home, receiver) as (process, client):
            die_after = drawn.uniform(0.05, 1.0)
            began = time.monotonic()
            while time.monotonic() - began < die_after:
                lot = [posted(number + one, event_type="purchase", order_id="o") for one in range(10)]
                number += 10
                reply = client.post("/v1/events", json={"events": lot})
                assert reply.status_code == 202
                acknowledged |= {one["customer_id"] for one in lot}
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    with served(home, receiver) as (process, client):

        def of(kind):
            return [got for got in list(receiver.taken) if got.content["type"] == kind]

        def is_complete():
            told = {got.content["customer_id"] for got in of("tag.changed")}
            bought = {got.content["customer_id"] for got in of("trigger.fired")}
            return acknowledged <= told and acknowledged <= bought

        receiver.wait_until(is_complete, 60)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    # Every transition of the ledger was told, and nothing else was.
    assert {got.key for got in of("tag.changed")} == transitions(home)
    fired = {got.key for got in of("trigger.fired")}
    assert fired == {message_key("bought", "api", f"e{name[1:]}") for name in acknowledged}
    engine = open_engine(None, home)
    try:
        assert Outbox(engine).standing().waiting == 0
        assert PendingTriggers(engine).counts() == {"pending": 0, "sent": len(acknowledged)}
    finally:
        engine.dispose()


def test_a_wait_goes_on_over_a_restart(home, receiver):
    with served(home, receiver) as (process, client):
        # Its minute is over in three seconds.
        cart = posted(1, event_type="add_to_cart") | {"event_time": time.time() - 57}
        assert client.post("/v1/events", json={"events": [cart]}).status_code == 202
        receiver.wait_for(1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with served(home, receiver):
        receiver.wait_until(lambda: any(got.content["type"] == "trigger.fired" for got in receiver.taken))


def run(parts, events=(), until=lambda: None):
    async def of():
        async with parts.running() as client:
            if events:
                reply = await client.post("/v1/events", json={"events": list(events)})
                assert reply.status_code == 202
            await asyncio.to_thread(until)

    try:
        asyncio.run(of())
    finally:
        parts.close()


def parts_of(home, receiver, **changes):
    quiet = {"quiet_hours_from": "00:00", "quiet_hours_until": "00:00"}
    return Parts(home, webhook_url=receiver.url, webhook_secret=SECRET, **quiet, **changes)


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_death_between_the_log_and_the_triggers_costs_nothing(home, receiver, is_remembered):
    run(parts_of(home, receiver, with_outreach=True))
    bought = event(1, event_type="purchase", order_id="o")
    if is_remembered:
        # Dies when the event is in the log and in the memory, before triggers look at it.
        run(parts_of(home, receiver), [bought])
    else:
        # Dies when it is in the log alone.
        parts = parts_of(home, receiver)
        instant = from_us(START_US)
        row = dict.fromkeys(EVENT_SCHEMA) | bought | {"source": "api", "quantity": 1}
        row |= {"event_time": instant, "ingested_at": instant}
        parts.log.append(pl.DataFrame([row], schema=EVENT_SCHEMA))
        parts.close()

    def fires():
        receiver.wait_until(lambda: any(got.content["type"] == "trigger.fired" for got in receiver.taken))

    for _ in range(2):
        run(parts_of(home, receiver, with_outreach=True), until=fires)
    keys = [got.key for got in receiver.taken if got.content["type"] == "trigger.fired"]
    assert keys == [message_key("bought", "api", "e1")]


def test_the_past_of_a_home_that_had_no_triggers_sets_nothing_off(home, receiver):
    run(parts_of(home, receiver), [event(1, event_type="purchase", order_id="o")])
    run(parts_of(home, receiver, with_outreach=True), [event(2, "c2", at=5)])
    engine = open_engine(None, home)
    try:
        with engine.connect() as connection:
            assert connection.execute(sa.text("select count(*) from trigger_records")).scalar() == 0
    finally:
        engine.dispose()
