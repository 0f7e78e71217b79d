"""The service beside links and erasures that are made while it runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from configs.home import Home
from features.file_lock import SharedLock
from features.identities import Space
from features.packed_store import CUSTOMER_MEMORY
from features.quarantine import Quarantine
from features.resolver import open_resolver
from features.tombstones import ErasureKeys
from features.windows import from_us
from monitoring.audit import AuditLog
from monitoring.ledger import Ledger
from pipelines.link_changes import change_links
from serving.api import create_app
from serving.audit_writer import AuditWriter
from serving.erasure import Erasures, erase
from serving.tokens import TokenFile
from tests.serving.parts import START_US, Parts, event

AT = datetime(2024, 5, 1, tzinfo=UTC)


class PeopleParts(Parts):
    """A service that knows who is who."""

    def __init__(self, home: Home, **changes: str) -> None:
        super().__init__(home, **changes)
        self.resolver = open_resolver(home, self.engine, self.settings)
        self.resolver.identities.settle(Space("web", "", is_source=True))
        self.resolver.identities.settle(Space("pos", "pos:", is_source=True))
        self.ledger = Ledger(self.engine, self.resolver)
        self.quarantine = Quarantine(home.quarantine, self.resolver.barred, self.resolver.hidden)
        keys = ErasureKeys(home, None)
        self.audit = AuditLog(self.engine, keys, lambda: self.resolver.resolution().spaces)
        self.app = create_app(
            self.settings,
            self.store,
            self.log,
            self.ledger,
            self.holder,
            self.clock,
            refresh=self.refreshed.append,
            quarantine=self.quarantine,
            identities=self.resolver,
            guard=SharedLock(home.online_lock).together,
            kept_ids=self.resolver.kept,
            eraser=Erasures(home, self.settings, self.resolver, within_seconds=0.2),
            tokens=TokenFile(home.tokens),
            audit=AuditWriter(self.audit, every_seconds=0.02),
        )

    async def link(self, one: str, other: str) -> None:
        def run() -> None:
            change_links(self.home, self.settings, lambda _, log: log.link(one, other, why="", at=AT))

        await asyncio.to_thread(run)

    async def unlink(self, one: str, other: str) -> None:
        def run() -> None:
            change_links(self.home, self.settings, lambda _, log: log.unlink(one, other, why="", at=AT))

        await asyncio.to_thread(run)


async def send(client: Any, *events: Any, tags: bool = False) -> Any:
    reply = await client.post(f"/v1/events{'?return=tags' * tags}", json={"events": list(events)})
    assert reply.status_code == 202, reply.text
    return reply.json()


async def ask(client: Any, *customers: str) -> list[Any]:
    reply = await client.post("/v1/predictions:batchGet", json={"customer_ids": list(customers)})
    return list(reply.json()["customers"])


def run(parts: Parts, job: Any) -> None:
    async def main() -> None:
        async with parts.running() as client:
            await job(client)

    try:
        asyncio.run(main())
    finally:
        parts.close()


def test_a_merged_id_answers_for_the_survivor_under_the_id_asked(home: Home) -> None:
    parts = PeopleParts(home)

    async def job(client: Any) -> None:
        await send(client, event(1, "7", category="MILK"), event(2, "pos:8", at=1, category="TEA"))
        alone = await ask(client, "7", "pos:8", "web:7")
        assert "merged_into" not in alone[0]
        assert alone[2]["merged_into"] == "7"
        await parts.link("7", "pos:8")
        seven, merged, named = await ask(client, "7", "pos:8", "web:7")
        assert {tag["tag_id"] for tag in seven["tags"]} == {"interest:MILK", "interest:TEA"}
        for asked, row in (("pos:8", merged), ("web:7", named)):
            assert row == seven | {"customer_id": asked, "merged_into": "7"}
        one = (await client.get("/v1/customers/pos:8")).json()["customer"]
        assert (one["customer_id"], one["merged_into"]) == ("pos:8", "7")
        assert one["propensity"] == seven["propensity"]
        await parts.unlink("7", "pos:8")
        assert await ask(client, "7", "pos:8", "web:7") == alone

    run(parts, job)


def test_what_is_posted_under_a_merged_id_is_the_survivors_and_keeps_its_id_in_the_log(home: Home) -> None:
    parts = PeopleParts(home)

    async def job(client: Any) -> None:
        await parts.link("7", "pos:8")
        reply = await send(client, event(1, "pos:8"), event(2, "web:7", at=1), tags=True)
        assert [one["customer_id"] for one in reply["customers"]] == ["7"]
        assert set(parts.store.keys(CUSTOMER_MEMORY)) == {"7"}
        assert parts.log.read_after(0, 9)["customer_id"].to_list() == ["pos:8", "web:7"]
        assert set(parts.claims()["customer_id"]) == {"7"}

    run(parts, job)


def test_claims_and_their_outcomes_follow_the_survivor_and_come_back(home: Home) -> None:
    parts = PeopleParts(home)

    async def job(client: Any) -> None:
        await send(client, event(1, "pos:8"))
        (claimed,) = parts.claims()["customer_id"].to_list()
        assert claimed == "pos:8"
        await parts.link("7", "pos:8")
        assert parts.ledger.open_claims(START_US + 10**15)["customer_id"].to_list() == ["7"]
        assert set(parts.ledger.read_transitions()["customer_id"]) == {"7"}
        await parts.unlink("7", "pos:8")
        assert parts.claims()["customer_id"].to_list() == ["pos:8"]

    run(parts, job)


def test_an_erased_customer_is_unknown_at_once_and_their_past_is_not_taken(home: Home) -> None:
    parts = PeopleParts(home)

    async def job(client: Any) -> None:
        await send(client, event(1, "7"), event(2, "pos:8"), event(3, "9"))
        await parts.link("7", "pos:8")
        receipt = await asyncio.to_thread(erase, home, parts.settings, "pos:8", now=from_us(START_US + 10**6))
        assert (receipt.ids, receipt.rows["event_log"]) == (2, 2)
        statuses = [row["status"] for row in await ask(client, "7", "pos:8", "9")]
        assert statuses == ["cold_start", "cold_start", "ok"]
        reply = await send(client, event(1, "7"), event(4, "pos:8"), event(5, "9", at=2), event(6, "7", at=3))
        assert (reply["accepted"], reply["erased"], reply["duplicates"]) == (2, 2, 0)
        both = await client.post("/v1/events", json={"events": [event(7, "7"), event(8, "pos:8")]})
        assert (both.status_code, both.json()["erased"]) == (202, 2)
        mixed = await send(
            client, event(9, "pos:8", quantity=-1), event(10, "9", quantity=-1), event(11, "9", at=4)
        )
        assert len(mixed["errors"]) == 2
        kept = parts.quarantine.read()["raw"].to_list()
        assert len(kept) == 1
        assert '"9"' in kept[0]
        assert {row["customer_id"]: row["status"] for row in await ask(client, "7")} == {"7": "ok"}

    run(parts, job)


def test_the_stream_waits_while_links_change_and_goes_on(home: Home) -> None:
    parts = PeopleParts(home)

    async def job(client: Any) -> None:
        with SharedLock(home.online_lock).alone():
            waiting = asyncio.create_task(send(client, event(1, "7")))
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            assert not done
            assert (await client.get("/v1/status")).status_code == 200
        assert (await asyncio.wait_for(waiting, 10))["accepted"] == 1

    run(parts, job)


def test_ids_of_wecom_and_wechat_are_taken_wherever_a_customers_id_is(home: Home) -> None:
    parts = PeopleParts(home)

    async def job(client: Any) -> None:
        for name in ("unionid", "external_userid"):
            parts.resolver.identities.settle(Space(name, f"{name}:", is_source=False))
        await parts.link("7", "unionid:oX/3")
        row = {name: value for name, value in event(1).items() if name != "customer_id"}
        reply = await send(client, row | {"unionid": "oX/3"}, row | {"external_userid": "w", "event_id": "2"})
        assert reply["accepted"] == 2
        asked = ["7", {"unionid": "oX/3"}, {"external_userid": "w"}]
        answer = await client.post("/v1/predictions:batchGet", json={"customer_ids": asked})
        seven, union, wecom = answer.json()["customers"]
        assert union == seven | {"customer_id": "unionid:oX/3", "merged_into": "7"}
        assert (wecom["customer_id"], wecom["status"]) == ("external_userid:w", "ok")
        one = (await client.get("/v1/customers/unionid:oX%2F3")).json()["customer"]
        assert one["merged_into"] == "7"

    run(parts, job)
