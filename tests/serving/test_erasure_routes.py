"""Erasing by HTTP, and what everybody may see of it afterwards."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from configs.home import Home
from features.database import open_engine
from features.file_lock import SharedLock
from serving.outbox import Outbox
from serving.tokens import TokenFile
from tests.pipelines.id_search import places_naming
from tests.serving.parts import event
from tests.serving.test_identities import PeopleParts, ask, run, send

ANN, TILL, BOB = "ann-Zq7x-1401", "pos:till-Kk81-77", "bob-Rr55"
IDS = [ANN, TILL.removeprefix("pos:")]


@pytest.fixture
def parts(home: Home) -> PeopleParts:
    return PeopleParts(home)


def test_after_an_erasure_nobody_knows_the_customer_and_nothing_names_them(parts: PeopleParts) -> None:
    async def job(client: Any) -> None:
        await send(client, event(1, ANN), event(2, TILL, at=1), event(3, BOB, at=2), tags=True)
        await client.post("/v1/events", json={"events": [event(4, ANN, quantity=-1)]})
        await parts.link(ANN, TILL)
        assert places_naming(parts.home.root, IDS)

        reply = await client.delete(f"/v1/customers/{TILL}")
        assert reply.status_code == 200, reply.text
        receipt = reply.json()
        assert receipt["tombstones"] == 2
        assert (receipt["rows"]["event_log"], receipt["rows"]["quarantine"]) == (2, 1)
        assert receipt["rows"]["online_store"] >= 2
        assert receipt["rows"]["ledger"] >= 1
        assert not any(one in reply.text for one in IDS)

        assert [row["status"] for row in await ask(client, ANN, TILL, BOB)] == ["cold_start"] * 2 + ["ok"]
        again = await send(client, event(1, ANN), event(2, TILL, at=1))
        assert (again["accepted"], again["erased"]) == (0, 2)
        assert places_naming(parts.home.root, IDS) == []
        assert places_naming(parts.home.root, [BOB])

        proof = await client.get(f"/v1/erasures/{receipt['erasure_id']}")
        assert {**proof.json(), "request_id": ""} == {**receipt, "request_id": ""}

    run(parts, job)
    assert places_naming(parts.home.root, IDS) == []


def test_the_end_of_their_tags_is_in_the_ledger_under_the_erasure_alone(parts: PeopleParts) -> None:
    async def job(client: Any) -> None:
        await send(client, event(1, ANN), event(2, BOB), tags=True)
        receipt = (await client.delete(f"/v1/customers/{ANN}")).json()
        steps = parts.ledger.read_transitions()
        ended = steps.filter(steps["to_state"] == "erased")
        assert ended["customer_id"].to_list() == [f"erased:{receipt['erasure_id']}"]
        assert ended["tag_id"].to_list() == ["interest:MILK"]
        assert set(steps["customer_id"]) == {BOB, f"erased:{receipt['erasure_id']}"}

    run(parts, job)


def test_a_receiver_is_told_that_the_tags_of_somebody_erased_are_gone(home: Home) -> None:
    parts = PeopleParts(home, webhook_url="http://127.0.0.1:9/hook", webhook_secret="a-secret-for-tests")

    async def job(client: Any) -> None:
        await send(client, event(1, ANN), event(2, BOB), tags=True)
        await client.delete(f"/v1/customers/{ANN}")

    run(parts, job)
    engine = open_engine(None, home)
    turn = Outbox(engine).turn([], owner="a deliverer", now_us=10**17, lease_us=10**6, most=10)
    assert [(one.message.customer_id, json.loads(one.message.body)["tag_id"]) for one in turn] == [
        (ANN, "interest:MILK")
    ]
    assert json.loads(turn[0].message.body)["to_state"] == "erased"
    engine.dispose()


def test_erasing_again_is_harmless_and_somebody_unknown_is_not_found(parts: PeopleParts) -> None:
    async def job(client: Any) -> None:
        await send(client, event(1, ANN))
        first = (await client.delete(f"/v1/customers/{ANN}")).json()
        second = (await client.delete(f"/v1/customers/{ANN}")).json()
        assert first["erasure_id"] != second["erasure_id"]
        assert (sum(second["rows"].values()), second["tombstones"]) == (0, 1)
        unknown = await client.delete("/v1/customers/nobody-at-all")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
        assert "nobody-at-all" not in unknown.text
        assert (await send(client, event(5, "nobody-at-all")))["accepted"] == 1
        for name, status in (("0" * 32, 404), ("x", 422), (first["erasure_id"].upper() + "0", 422)):
            assert (await client.get(f"/v1/erasures/{name}")).status_code == status

    run(parts, job)


def test_while_a_job_reads_in_bulk_it_says_when_to_come_back(parts: PeopleParts) -> None:
    async def job(client: Any) -> None:
        await send(client, event(1, ANN))
        with SharedLock(parts.home.jobs_lock).together():
            reply = await client.delete(f"/v1/customers/{ANN}")
            assert reply.status_code == 503
            assert int(reply.headers["retry-after"]) >= 1
            assert [row["status"] for row in await ask(client, ANN)] == ["ok"]
            assert not parts.resolver.tombstones.is_any()
        assert (await client.delete(f"/v1/customers/{ANN}")).status_code == 200

    run(parts, job)


def test_an_erasure_beside_a_stream_of_posts_leaves_nothing_and_loses_nobody_else(parts: PeopleParts) -> None:
    async def job(client: Any) -> None:
        await send(client, event(0, ANN))

        begun = asyncio.Event()

        async def stream() -> list[int]:
            taken = []
            for number in range(1, 40):
                if number == 5:
                    begun.set()
                rows = [event(2 * number, ANN), event(2 * number + 1, BOB, at=number / 100)]
                taken.append((await send(client, *rows))["accepted"])
            return taken

        streaming = asyncio.create_task(stream())
        await begun.wait()
        reply = await client.delete(f"/v1/customers/{ANN}")
        assert reply.status_code == 200, reply.text
        taken = await streaming
        assert taken[-1] == 1
        assert parts.log.read_after(0, 999)["customer_id"].unique().to_list() == [BOB]
        assert parts.log.read_after(0, 999).height == 39

    run(parts, job)
    assert places_naming(parts.home.root, [ANN]) == []


def bearing(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_each_token_reaches_what_its_scope_holds_and_no_more(home: Home) -> None:
    now = datetime.now(UTC)
    file = TokenFile(home.tokens)
    tokens = {scope: file.add(f"my-{scope}", scope, now=now) for scope in ("read", "write", "admin")}
    parts = PeopleParts(home)
    wants = [
        ("read", "GET", "/v1/customers/c1", None),
        ("read", "POST", "/v1/predictions:batchGet", {"customer_ids": ["c1"]}),
        ("read", "GET", "/v1/status", None),
        ("read", "GET", f"/v1/erasures/{'0' * 32}", None),
        ("write", "POST", "/v1/events", {"events": [event(1)]}),
        ("admin", "DELETE", "/v1/customers/nobody", None),
    ]
    order = ["read", "write", "admin"]

    async def job(client: Any) -> None:
        for needed, method, path, body in wants:
            for scope, secret in tokens.items():
                reply = await client.request(method, path, json=body, headers=bearing(secret))
                if order.index(scope) >= order.index(needed):
                    assert reply.status_code in (200, 202, 404), (path, scope, reply.text)
                else:
                    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
                    assert f"`{needed}`" in reply.json()["message"]
            wrong = await client.request(method, path, json=body, headers=bearing("wrong" * 9))
            assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthorized")
        for secret in tokens.values():
            reply = await client.get("/v1/no-such-thing", headers=bearing(secret))
            assert reply.status_code == 404
        assert (await client.get("/v1/no-such-thing", headers=bearing("x" * 50))).status_code == 401

    run(parts, job)


def test_a_token_good_for_less_is_refused_before_anything_of_the_body_is_read(home: Home) -> None:
    secret = TokenFile(home.tokens).add("analyst", "read", now=datetime.now(UTC))
    parts = PeopleParts(home)

    async def job(client: Any) -> None:
        chunks = []

        async def body() -> Any:
            chunks.append(1)
            yield b'{"events": []}'

        reply = await client.post("/v1/events", content=body(), headers=bearing(secret))
        assert (reply.status_code, chunks) == (403, [])

    run(parts, job)


def test_who_did_what_is_in_the_audit_log_and_who_it_was_done_to_only_as_a_hash(home: Home) -> None:
    scrm = TokenFile(home.tokens).add("scrm", "write", now=datetime.now(UTC))
    parts = PeopleParts(home)

    async def job(client: Any) -> None:
        with_id = {"x-request-id": "r-1"}
        await client.post("/v1/events", json={"events": [event(1, ANN)]}, headers=bearing(scrm) | with_id)
        await client.post(
            "/v1/predictions:batchGet", json={"customer_ids": [ANN, BOB, BOB]}, headers=bearing(scrm)
        )
        await client.get(f"/v1/customers/web:{ANN}", headers=bearing(scrm))
        await client.get("/v1/status", headers=bearing(scrm))
        await client.get("/v1/customers/" + "x" * 200, headers=bearing(scrm))
        await client.get("/livez")
        await client.delete(f"/v1/customers/{ANN}", headers=bearing(scrm))
        await client.delete(f"/v1/customers/{ANN}")

    run(parts, job)
    again = PeopleParts(home)
    lines = again.audit.read()
    assert [(one["who"], one["what"], one["customers"], one["status"]) for one in lines] == [
        ("scrm", "write", 1, 202),
        ("scrm", "read", 2, 200),
        ("scrm", "read", 1, 200),
        ("scrm", "denied", 0, 403),
        ("environment", "erasure", 1, 200),
    ]
    assert lines[0]["request_id"] == "r-1"
    assert lines[-1]["detail"].startswith("delete_customer ")
    assert [one["seq"] for one in again.audit.read(customers=[ANN])] == [1, 3, 5]
    assert again.audit.read(customers=[BOB]) == []
    assert again.audit.verify().problem == ""
    assert ANN not in json.dumps(lines)
    again.close()
    assert places_naming(home.root, IDS) == []
