"""From events to signed messages, through the whole service, over HTTP to a receiver."""

import time
from datetime import UTC, datetime

import pytest

from configs.home import open_home
from features.consent import Consent
from features.windows import to_us
from serving.clock import WallClock
from serving.webhooks import verify
from tests.serving.parts import Parts, event
from tests.serving.receiver import SECRET, receiving

pytestmark = pytest.mark.anyio
NO_QUIET = {"quiet_hours_from": "00:00", "quiet_hours_until": "00:00"}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.fixture
def make(tmp_path, receiver):
    made = []

    def of(**changes):
        options = {"webhook_url": receiver.url, "webhook_secret": SECRET, **NO_QUIET, **changes}
        options = {name: value for name, value in options.items() if value is not None}
        parts = Parts(open_home(tmp_path / "home", create=True), with_outreach=True, **options)
        made.append(parts)
        return parts

    yield of
    for parts in made:
        parts.close()


def triggers(contents):
    return [one for one in contents if one["type"] == "trigger.fired"]


def changes(contents):
    return [one for one in contents if one["type"] == "tag.changed"]


async def test_an_assigned_tag_is_told_signed_and_named_by_its_key(make, receiver):
    async with make().running() as client:
        reply = await client.post("/v1/events?return=tags", json={"events": [event()]})
        tag = reply.json()["customers"][0]["tags"][0]
        (content,) = receiver.wait_for(1)
    assert content == {
        "type": "tag.changed",
        "customer_id": "c1",
        "tag_id": "interest:MILK",
        "from_state": "absent",
        "to_state": "assigned",
        "at": tag["assigned_at"],
        "reason": "evidence found",
        "expires_at": tag["expires_at"],
        "model_version": "1",
    }
    got = receiver.taken[0]
    assert len(got.key) == 32
    assert verify(SECRET, got.body, got.signature, time.time())
    assert not verify(SECRET, got.body + b" ", got.signature, time.time())


async def test_every_step_of_a_tags_life_is_told_in_its_order(make, receiver):
    parts = make()
    day = 86_400
    async with parts.running() as client:
        for number, at in enumerate([0, day + 1, 2 * day + 2]):
            await client.post("/v1/events", json={"events": [event(number, at=at)]})
        parts.scorer.fails = False
        # Another customer's event, four days later: the sweep writes down that the tag has expired.
        await client.post("/v1/events", json={"events": [event(9, "c2", at=7 * day)]})
        await client.post("/v1/events", json={"events": [event(10, "c2", at=7 * day + 4000)]})
        receiver.wait_until(lambda: any(got.content.get("to_state") == "expired" for got in receiver.taken))
    told = [one for one in changes(got.content for got in receiver.taken) if one["customer_id"] == "c1"]
    assert [one["to_state"] for one in told] == ["assigned", "renewed", "renewed", "expired"]
    assert [one["from_state"] for one in told] == ["absent", "assigned", "renewed", "renewed"]
    assert told[-1]["at"] == told[-2]["expires_at"] == told[-1]["expires_at"]


async def test_a_cart_without_checkout_is_told_when_its_wait_is_over(make, receiver):
    cart = {"event_type": "add_to_cart", "item_id": "i7"}
    async with make().running() as client:
        await client.post("/v1/events", json={"events": [event(1, **cart)]})
        await client.post("/v1/events", json={"events": [event(2, "c2", at=1799)]})
        receiver.wait_for(2)
        assert triggers(got.content for got in receiver.taken) == []
        await client.post("/v1/events", json={"events": [event(3, "c2", at=1801)]})
        receiver.wait_until(lambda: triggers(got.content for got in receiver.taken))
    (fired,) = triggers(got.content for got in receiver.taken)
    assert fired["trigger"] == "cart_without_checkout"
    assert fired["customer_id"] == "c1"
    assert fired["at"] == "2017-11-01T00:30:00Z"
    assert fired["event"]["item_id"] == "i7"
    assert fired["event"]["event_id"] == "e1"
    assert [tag["tag_id"] for tag in fired["tags"]] == ["interest:MILK"]
    assert set(fired["propensity"]) == {"72h", "7d"}


@pytest.mark.parametrize("together", [True, False])
async def test_a_purchase_in_time_calls_the_trigger_off(make, receiver, together):
    events = [
        event(1, event_type="add_to_cart"),
        event(2, event_type="purchase", at=1000, order_id="o1"),
        event(3, "c2", at=3000),
        event(4, "c3", event_type="add_to_cart", at=3001),
        event(5, "c2", at=9000),
    ]
    parts = make()
    async with parts.running() as client:
        for lot in [events] if together else [[one] for one in events]:
            await client.post("/v1/events", json={"events": lot})
        receiver.wait_until(lambda: triggers(got.content for got in receiver.taken))
    assert [one["customer_id"] for one in triggers(got.content for got in receiver.taken)] == ["c3"]
    assert [one.customer_id for one in parts.outreach.pending.records()] == ["c3"]


async def test_a_purchase_after_the_wait_does_not(make, receiver):
    events = [
        event(1, event_type="add_to_cart"),
        event(2, event_type="purchase", at=1801, order_id="o1"),
    ]
    async with make().running() as client:
        await client.post("/v1/events", json={"events": events})
        receiver.wait_until(lambda: triggers(got.content for got in receiver.taken))


async def test_a_purchase_that_arrives_before_the_cart_it_follows_calls_the_trigger_off_too(make, receiver):
    late_cart = event(2, event_type="add_to_cart", at=500) | {"ingested_at": event(at=700)["ingested_at"]}
    events = [event(1, event_type="purchase", at=600, order_id="o1"), late_cart, event(3, "c2", at=9000)]
    parts = make()
    async with parts.running() as client:
        await client.post("/v1/events", json={"events": events})
        assert parts.outreach.pending.counts() == {"pending": 1}, "c2's view alone"
        assert parts.outreach.pending.records() == []


async def test_withdrawn_consent_withdraws_tags_and_answers_nothing(make, receiver):
    parts = make()
    async with parts.running() as client:
        await client.post("/v1/events?return=tags", json={"events": [event(customer="a/b c")]})
        reply = await client.put("/v1/customers/a/b%20c/consent", json={"profiling": False})
        assert reply.status_code == 200, reply.text
        assert reply.json()["profiling"] is False
        row = (await client.get("/v1/customers/a/b%20c")).json()["customer"]
        contents = receiver.wait_for(2)
        assert row["status"] == "consent_required"
        assert (row["tags"], row["propensity"], row["clv"], row["static_tags"]) == ([], {}, None, [])
        assert row["life_cycle_stage"] is None
        calls = len(parts.scorer.calls)
        again = await client.post(
            "/v1/events?return=tags", json={"events": [event(2, customer="a/b c", at=9)]}
        )
        assert again.json()["customers"][0]["tags"] == []
        assert all("a/b c" not in asked for asked, _ in parts.scorer.calls[calls:])
        # Given again, the evidence is looked at at once.
        await client.put("/v1/customers/a/b%20c/consent", json={"profiling": True})
        row = (await client.get("/v1/customers/a/b%20c")).json()["customer"]
        assert [tag["tag_id"] for tag in row["tags"]] == ["interest:MILK"]
    assert [(one["to_state"], one["reason"]) for one in contents] == [
        ("assigned", "evidence found"),
        ("withdrawn", "consent withdrawn"),
    ]
    steps = parts.ledger.read_transitions()
    assert steps["to_state"].to_list() == ["assigned", "withdrawn", "assigned"]


async def test_default_deny_scores_nobody_who_said_nothing(make, receiver):
    parts = make(consent_default="deny")
    async with parts.running() as client:
        await client.put("/v1/customers/c2/consent", json={"profiling": True})
        await client.post("/v1/events?return=tags", json={"events": [event(1), event(2, "c2", at=1)]})
        reply = await client.post("/v1/predictions:batchGet", json={"customer_ids": ["c1", "c2"]})
    rows = reply.json()["customers"]
    assert [row["status"] for row in rows] == ["consent_required", "ok"]
    assert [row["contact"]["reason"] for row in rows] == ["no consent to marketing"] * 2
    assert parts.claims()["customer_id"].to_list() == ["c2"]


async def test_the_guard_blocks_and_says_why(make, receiver):
    cart = {"event_type": "add_to_cart"}
    parts = make()
    names = ["free", "refused", "unseen", "quiet", "taken", "contacted", "contacted-in-time"]
    async with parts.running() as client:
        await client.put("/v1/customers/refused/consent", json={"marketing": False})
        await client.put("/v1/customers/unseen/consent", json={"profiling": False})
        await client.put("/v1/customers/quiet/consent", json={"do_not_disturb": True})
        await client.put("/v1/customers/taken/takeover", json={"on": True})
        contact = {"event_type": "contact", "source": "crm"}
        events = [event(100, "contacted", **contact)]
        events += [event(number, name, at=1 + number, **cart) for number, name in enumerate(names)]
        events += [event(101, "contacted-in-time", at=100, **contact), event(102, "z", at=3000)]
        await client.post("/v1/events", json={"events": events})
        receiver.wait_until(lambda: triggers(got.content for got in receiver.taken))
        reply = await client.post("/v1/predictions:batchGet", json={"customer_ids": names})
    told = {row["customer_id"]: row["contact"]["reason"] for row in reply.json()["customers"]}
    expected = {
        "refused": "no consent to marketing",
        "quiet": "do not disturb",
        "taken": "taken over by a person",
        "contacted": "frequency cap: 1 a day",
        "contacted-in-time": "frequency cap: 1 a day",
    }
    records = {one.customer_id: (one.result, one.reason) for one in parts.outreach.pending.records()}
    assert records.pop("free") == ("sent", "")
    assert records.pop("unseen") == ("blocked", "no consent to profiling")
    assert records == {name: ("blocked", reason) for name, reason in expected.items()}
    # What was sent counts as a contact, too.
    assert told == expected | {"free": "frequency cap: 1 a day", "unseen": None}
    assert [one["customer_id"] for one in triggers(got.content for got in receiver.taken)] == ["free"]


async def test_a_contact_reported_under_the_delivery_key_counts_once(make, receiver):
    parts = make(contacts_per_day=2)
    async with parts.running() as client:
        events = [event(1, event_type="add_to_cart"), event(2, "z", at=3000)]
        await client.post("/v1/events", json={"events": events})
        receiver.wait_until(lambda: triggers(got.content for got in receiver.taken))
        key = next(got.key for got in receiver.taken if got.content["type"] == "trigger.fired")
        sent = event(3, event_type="contact", source="crm", at=3001) | {"event_id": key}
        await client.post("/v1/events", json={"events": [sent]})
        row = (await client.get("/v1/customers/c1")).json()["customer"]
        assert row["contact"] == {"allowed": True, "reason": None}
        await client.post("/v1/events", json={"events": [event(4, event_type="contact", at=3002)]})
        row = (await client.get("/v1/customers/c1")).json()["customer"]
        assert row["contact"] == {"allowed": False, "reason": "frequency cap: 2 a day"}


async def test_quiet_hours_put_off_what_may_wait_and_block_the_rest(make, receiver):
    # 00:30 and 02:00 UTC, where the replay begins, are 08:30 and 10:00 in Shanghai.
    quiet = {"quiet_hours_from": "21:00", "quiet_hours_until": "09:00", "time_zone": "Asia/Shanghai"}
    parts = make(**quiet)
    async with parts.running() as client:
        await client.put("/v1/customers/c3/consent", json={"time_zone": "Europe/London"})
        carts = [event(n, f"c{n}", event_type="add_to_cart", at=n) for n in (1, 3)]
        later = [event(5, "z", at=3500), event(6, "z", at=3700)]
        await client.post("/v1/events", json={"events": [*carts, *later]})
        receiver.wait_until(lambda: triggers(got.content for got in receiver.taken))
        assert parts.outreach.pending.next_due_us() is not None
        views = [event(7, "c3", event_type="view", at=3701), event(8, "z", at=20_000)]
        await client.post("/v1/events", json={"events": views})
    fired = {one["customer_id"]: one["at"] for one in triggers(got.content for got in receiver.taken)}
    assert fired["c1"] == "2017-11-01T01:00:00Z"
    assert "c3" not in fired
    nine = to_us(datetime(2017, 11, 1, 9, tzinfo=UTC))
    postponed = {one.customer_id: one.due_at_us for one in parts.outreach.pending.due(nine, 10)}
    assert postponed["c3"] == nine
    blocked = [one for one in parts.outreach.pending.records() if one.result == "blocked"]
    assert {(one.customer_id, one.trigger, one.reason) for one in blocked} == {
        ("c3", "browse_without_order", "quiet hours: 21:00-09:00")
    }


async def test_without_a_receiver_triggers_are_recorded_and_nothing_piles_up(make, receiver):
    parts = make(webhook_url=None, webhook_secret=None)
    async with parts.running() as client:
        events = [event(1, event_type="add_to_cart"), event(2, "z", at=3000)]
        await client.post("/v1/events", json={"events": events})
        row = (await client.get("/v1/customers/c1")).json()["customer"]
        status = (await client.get("/v1/status")).json()
    assert [one.result for one in parts.outreach.pending.records()] == ["recorded"]
    assert parts.outreach.outbox.standing().waiting == 0
    assert row["contact"]["allowed"] is True
    assert status["parts"]["outbox"] == {"is_ready": True, "detail": "ready"}
    told = {name: status["counts"][name] for name in ("outbox_waiting", "outbox_dead", "pending_triggers")}
    assert told == {"outbox_waiting": 0, "outbox_dead": 0, "pending_triggers": 1}


async def test_a_takeover_ends_by_itself(make, receiver):
    async with make().running() as client:
        until = event(at=100)["event_time"]
        reply = await client.put("/v1/customers/c1/takeover", json={"on": True, "until": until})
        assert reply.json()["takeover"] == {"on": True, "until": "2017-11-01T00:01:40Z"}
        assert reply.json()["contact"] == {"allowed": False, "reason": "taken over by a person"}
        await client.post("/v1/events", json={"events": [event(1, "z", at=100)]})
        reply = await client.put("/v1/customers/c1/consent", json={})
        assert reply.json()["contact"] == {"allowed": True, "reason": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"profiling": "yes"}, "profiling"),
        ({"time_zone": "Asia/Shanghia"}, "time_zone"),
        ({"marketng": True}, ""),
    ],
)
async def test_consent_that_is_none_is_refused(make, receiver, body, field):
    async with make().running() as client:
        reply = await client.put("/v1/customers/c1/consent", json=body)
        assert reply.status_code == 422
        assert reply.json()["details"][0]["field"] == field
        assert (await client.put("/v1/customers/c1/takeover", json={"on": 1})).status_code == 422
        off = {"on": False, "until": 5}
        assert (await client.put("/v1/customers/c1/takeover", json=off)).status_code == 422


async def test_who_said_what_when_is_kept(make, receiver):
    parts = make()
    async with parts.running() as client:
        await client.put("/v1/customers/c1/consent", json={"marketing": False})
        await client.put("/v1/customers/c1/consent", json={"marketing": True, "time_zone": None})
    told = Consent(parts.engine).history("c1")
    assert [said for _, _, said in told] == [{"marketing": False}, {"marketing": True, "time_zone": None}]
    assert {by for _, by, _ in told} == {"environment"}


async def test_under_the_wall_clock_an_event_is_told_within_a_second(tmp_path, receiver):
    home = open_home(tmp_path / "wall", create=True)
    settings = {"webhook_url": receiver.url, "webhook_secret": SECRET, **NO_QUIET}
    parts = Parts(home, clock=WallClock(), with_outreach=True, **settings)
    (home.root / "triggers.yaml").write_text("triggers: [{trigger: bought, on: {event: purchase}}]")
    parts.close()
    parts = Parts(home, clock=WallClock(), with_outreach=True, **settings)
    bought = event(event_type="purchase", ingested_at=..., event_time=time.time())
    try:
        async with parts.running() as client:
            await client.post("/v1/events", json={"events": [bought]})
            await client.post("/v1/events", json={"events": [bought]})
            contents = receiver.wait_for(2)
    finally:
        parts.close()
    assert {one["type"] for one in contents} == {"tag.changed", "trigger.fired"}
    assert len(receiver.taken) == 2
