import asyncio
import json

import pytest

from configs.errors import ConfigError
from features.lake import Lake
from serving.clock import WallClock
from tests.serving.parts import HEADERS, START_US, Parts, event
from tests.serving.test_stream import intake


@pytest.fixture
def parts(home):
    made = Parts(home)
    yield made
    made.close()


def ask(parts, *steps):
    """Run requests one after the other against a running service; return their replies."""

    async def run():
        async with parts.running() as client:
            return [await step(client) for step in steps]

    return asyncio.run(run())


def post(*events, path="/v1/events", **options):
    return lambda client: client.post(path, json={"events": list(events)}, **options)


def get(path, **options):
    return lambda client: client.get(path, **options)


def batch(*ids):
    return lambda client: client.post("/v1/predictions:batchGet", json={"customer_ids": list(ids)})


def assert_error_form(reply, status, code):
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert list(body) == ["code", "message", "details", "request_id"]
    assert body["code"] == code
    assert all(list(detail) == ["index", "field", "value", "expected"] for detail in body["details"])
    assert body["request_id"] == reply.headers["x-request-id"]
    return body


def test_a_posted_event_changes_the_next_answer(parts):
    before, posted, after = ask(parts, get("/v1/customers/c1"), post(event()), get("/v1/customers/c1"))
    assert before.json()["customer"]["status"] == "cold_start"
    assert (posted.status_code, posted.json()["accepted"]) == (202, 1)
    customer = after.json()["customer"]
    assert customer["status"] == "ok"
    assert customer["propensity"] == {"72h": 0.1, "7d": 0.2}
    assert [tag["tag_id"] for tag in customer["tags"]] == ["interest:MILK"]
    reason = {
        "feature": "views_24h",
        "value": 1.0,
        "contribution": 0.5,
        "words": "viewed something once in 24 hours",
        "direction": "speaks for",
    }
    why = {"scale": "log-odds", "base": -1.0, "rest": 0.25, "score": -0.25}
    why["words"] = "Speaks for: viewed something once in 24 hours."
    assert customer["tags"][0]["reasons"] == [reason]
    assert customer["tags"][0]["explanation"] == why
    assert customer["explanations"] == {"propensity": {"72h": why | {"reasons": [reason]}}}
    assert customer["tags"][0]["expires_at"] == "2017-11-04T00:00:00Z"
    assert after.json()["as_of"] == "2017-11-01T00:00:00Z"
    assert after.json()["model_version"] == {"tags-interest": "1"}


def test_a_customer_is_answered_without_reasons_where_none_are_wanted(parts):
    posted = post(event(), path="/v1/events?return=tags")
    asked = [get(f"/v1/customers/c1{query}") for query in ("", "?reasons=true", "?reasons=false")]
    _, usual, told, untold = ask(parts, posted, *asked)
    without, full = untold.json()["customer"], told.json()["customer"]
    assert usual.json()["customer"] == full
    assert "explanations" not in without
    assert [tag["tag_id"] for tag in without["tags"]] == ["interest:MILK"]
    assert {"reasons", "explanation"}.isdisjoint(without["tags"][0])
    del full["explanations"], full["tags"][0]["reasons"], full["tags"][0]["explanation"]
    assert without == full
    (wrong,) = ask(parts, get("/v1/customers/c1?reasons=no"))
    (detail,) = assert_error_form(wrong, 422, "invalid_request")["details"]
    assert (detail["field"], detail["value"], detail["expected"]) == ("reasons", "no", "true or false")


def test_fresh_tags_come_back_on_request_only(parts):
    plain, fresh = ask(parts, post(event()), post(event(2, "c2"), path="/v1/events?return=tags"))
    assert "customers" not in plain.json()
    assert [tag["tag_id"] for tag in fresh.json()["customers"][0]["tags"]] == ["interest:MILK"]


def test_the_same_event_again_is_a_duplicate_and_other_content_is_an_error(parts):
    replies = ask(parts, post(event()), post(event()), post(event(brand="X"), event(2)))
    assert [(r.json()["accepted"], r.json()["duplicates"]) for r in replies] == [(1, 0), (0, 1), (1, 0)]
    conflict = replies[2].json()["errors"]
    assert [(one["index"], one["field"]) for one in conflict] == [(0, "event_id")]


def test_bad_rows_are_named_by_index_and_kept_in_quarantine_while_good_ones_go_on(parts):
    rows = [
        event(1),
        event(2, event_type="gaze"),
        event(3, quantity="two"),
        event(4, nonsense=1),
        event(5, customer_id=...),
        event(6, event_time="2017-11-01T00:00:00"),
        event(7, ingested_at=...),
        event(8, quantity=2**40),
        event(9, amount_minor=-1),
        7,
        event(10),
    ]
    (reply,) = ask(parts, post(*rows))
    assert (reply.status_code, reply.json()["accepted"]) == (202, 2)
    found = {one["index"]: one["field"] for one in reply.json()["errors"]}
    assert found == {
        1: "event_type",
        2: "quantity",
        3: "nonsense",
        4: "customer_id",
        5: "event_time",
        6: "ingested_at",
        7: "quantity",
        8: "amount_minor",
        9: "",
    }
    assert sorted(parts.quarantine.read("api")["row"].to_list()) == [2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_request_without_one_good_row_is_refused(parts):
    (reply,) = ask(parts, post(event(event_type="gaze")))
    body = assert_error_form(reply, 422, "invalid_request")
    assert body["details"][0]["value"] == "gaze"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "bad_request"),
        (b"\xff\xfe", {}, 400, "bad_request"),
        (b'{"events": ' + b"[" * 100_000, {}, 400, "bad_request"),
        (b"[]", {}, 422, "invalid_request"),
        (b'{"events": []}', {}, 422, "invalid_request"),
        (b'{"events": {}}', {}, 422, "invalid_request"),
        (b'{"events": [], "more": 1}', {}, 422, "invalid_request"),
        (json.dumps({"events": [event()] * 1001}).encode(), {}, 422, "invalid_request"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": "application/json; charset=latin-1"}, 415, "unsupported_media_type"),
        (b"{}", {"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        (b" " * 5_000_000, {}, 413, "payload_too_large"),
    ],
)
def test_a_bad_request_gets_the_error_form(parts, body, headers, status, code):
    headers = {"content-type": "application/json", **headers}
    (reply,) = ask(parts, lambda client: client.post("/v1/events", content=body, headers=headers))
    assert_error_form(reply, status, code)


def test_a_body_without_a_length_is_cut_off_at_the_limit(parts):
    async def endless():
        for _ in range(10_000):
            yield b" " * 1000

    headers = {"content-type": "application/json"}
    (reply,) = ask(parts, lambda client: client.post("/v1/events", content=endless(), headers=headers))
    assert_error_form(reply, 413, "payload_too_large")


def test_without_the_right_token_nothing_under_v1_answers(parts):
    async def run():
        async with parts.running() as client:
            client.headers.pop("authorization")
            wrong = [
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": f"Basic {HEADERS['authorization']}"},
            ]
            paths = ["/v1/status", "/v1/customers/c1", "/v1/nothing"]
            return [await client.get(path, headers=one) for one in wrong for path in paths]

    for reply in asyncio.run(run()):
        assert_error_form(reply, 401, "unauthorized")
        assert reply.headers["www-authenticate"] == "Bearer"


def test_unknown_routes_and_methods_get_the_error_form(parts):
    missing, method = ask(parts, get("/v1/nothing"), get("/v1/events"))
    assert_error_form(missing, 404, "not_found")
    assert_error_form(method, 405, "method_not_allowed")
    assert method.headers["allow"] == "POST"


def test_a_defect_is_told_without_a_trace(parts):
    parts.scorer.fails = True
    (reply,) = ask(parts, get("/v1/customers/c1"))
    body = assert_error_form(reply, 500, "internal_error")
    assert "broke" not in json.dumps(body)
    assert "Traceback" not in reply.text


def test_a_broken_scorer_costs_no_event_and_status_says_so(parts):
    parts.scorer.fails = True
    posted, status = ask(parts, post(event()), get("/v1/status"))
    assert posted.status_code == 202
    assert "RuntimeError" in status.json()["parts"]["tagging"]["detail"]


def test_the_request_id_is_echoed_if_it_is_sound_and_made_otherwise(parts):
    given, odd = ask(
        parts,
        get("/v1/status", headers={"x-request-id": "abc-1"}),
        get("/v1/status", headers={"x-request-id": "a b\tc"}),
    )
    assert given.headers["x-request-id"] == given.json()["request_id"] == "abc-1"
    assert odd.headers["x-request-id"] != "a b\tc"


def test_a_batch_answers_each_id_in_order_and_names_bad_ones(parts):
    (_, reply) = ask(
        parts, post(event(1, "c1"), event(2, "商/店 1")), batch("c9", "c1", "", "商/店 1", "c1", "x" * 129)
    )
    body = reply.json()
    assert [one["customer_id"] for one in body["customers"]] == ["c9", "c1", "商/店 1", "c1"]
    assert [one["status"] for one in body["customers"]] == ["cold_start", "ok", "ok", "ok"]
    assert [one["index"] for one in body["errors"]] == [2, 5]
    assert {"reasons", "explanation"}.isdisjoint(body["customers"][1]["tags"][0])
    assert "explanations" not in body["customers"][1]


def test_a_batch_has_limits(parts):
    none, many, bad = ask(parts, batch(), batch(*map(str, range(501))), batch(""))
    for reply in (none, many, bad):
        assert_error_form(reply, 422, "invalid_request")


def test_an_id_with_slashes_and_spaces_can_be_asked_for(parts):
    _, reply = ask(parts, post(event(1, "商/店 1")), get("/v1/customers/%E5%95%86%2F%E5%BA%97%201"))
    assert reply.json()["customer"]["customer_id"] == "商/店 1"
    assert reply.json()["customer"]["status"] == "ok"


def test_without_a_model_events_are_taken_and_predictions_wait(home):
    parts = Parts(home, with_model=False)
    posted, asked, status = ask(parts, post(event()), batch("c1"), get("/v1/status"))
    assert posted.status_code == 202
    assert_error_form(asked, 503, "not_ready")
    assert int(asked.headers["retry-after"]) > 0
    assert not status.json()["is_ready"]
    assert status.json()["parts"]["models"] == {"is_ready": False, "detail": "no bundle is published"}
    parts.close()


def test_reads_make_no_claims_and_a_dead_tag_is_not_shown(parts):
    later = 73 * 3600
    replies = ask(
        parts,
        post(event(1, "c1")),
        get("/v1/customers/c1"),
        batch("c1"),
        post(event(2, "c2", later)),
        get("/v1/customers/c1"),
    )
    assert len(replies[1].json()["customer"]["tags"]) == 1
    assert replies[4].json()["customer"]["tags"] == []
    claims = parts.claims()
    assert sorted(claims["customer_id"].to_list()) == ["c1", "c2"]


def test_status_names_models_counts_clock_and_profiles(parts):
    (_, reply) = ask(parts, post(event(at=7200.0)), get("/v1/status"))
    body = reply.json()
    assert body["is_ready"]
    assert body["clock"] == "replay"
    assert body["counts"]["customers_remembered"] == 1
    assert body["profile_boundary"] == "2017-11-01T00:00:00Z"
    assert body["model_version"] == {"tags-interest": "1"}


def test_under_the_wall_clock_stating_an_arrival_is_an_error_of_the_row(home):
    parts = Parts(home, clock=WallClock())
    stated, plain = ask(
        parts, post(event()), post(event(2, event_time="2025-01-01T08:00:00+08:00", ingested_at=...))
    )
    assert assert_error_form(stated, 422, "invalid_request")["details"][0]["field"] == "ingested_at"
    assert plain.json()["accepted"] == 1
    assert parts.log.read_after(0, 10)["event_time"].to_list()[0].isoformat() == "2025-01-01T00:00:00+00:00"
    parts.close()


def test_every_reply_carries_security_headers_and_no_label_comes_from_a_request(parts):
    missing, docs, metrics = ask(parts, get("/v1/some/scanner/path"), get("/docs"), get("/metrics"))
    for reply in (missing, docs, metrics):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
    assert "scanner" not in metrics.text
    assert 'route="other"' in metrics.text
    assert 'tagtide_http_requests_total{method="GET",route="/docs",status="200"} 1.0' in metrics.text


def test_a_service_without_a_token_is_not_assembled(home, monkeypatch):
    from configs.settings import load_settings
    from serving.security import BearerAuth

    for token in (None, "", "short"):
        environ = {} if token is None else {"TAGTIDE_API_TOKEN": token}
        with pytest.raises(ConfigError, match="TAGTIDE_API_TOKEN"):
            BearerAuth(load_settings(home.root, environ).settings.api_token)


def test_many_senders_at_once_lose_and_double_nothing(parts):
    async def run():
        async with parts.running() as client:
            bodies = [[event(10 * n + i, f"c{i}", n) for i in range(10)] for n in range(30)]
            sends = [client.post("/v1/events", json={"events": body}) for body in bodies + bodies]
            return await asyncio.gather(*sends)

    replies = asyncio.run(run())
    assert sum(reply.json()["accepted"] for reply in replies) == 300
    assert sum(reply.json()["duplicates"] for reply in replies) == 300
    assert parts.log.last_seq() >= 300
    assert parts.clock.now_us() == START_US + 29 * 1_000_000


class Forgetful:
    def resolve(self, events):
        return events

    def erased(self, events):
        return events["customer_id"] == "gone"

    def resolution(self):
        return self

    def one(self, customer):
        return customer


def test_events_of_who_was_erased_are_counted_and_no_error(home):
    parts = Parts(home, identities=Forgetful())
    alone, mixed = ask(
        parts, post(event(1, "gone")), post(event(2, "gone"), event(3), path="/v1/events?return=tags")
    )
    assert (alone.status_code, alone.json()["erased"], alone.json()["accepted"]) == (202, 1, 0)
    assert (mixed.json()["erased"], mixed.json()["accepted"]) == (1, 1)
    assert [one["customer_id"] for one in mixed.json()["customers"]] == ["c1"]
    parts.close()


def test_an_event_that_an_import_brought_is_a_duplicate_or_a_conflict(home):
    lake = Lake(home.lake)
    with lake.writing():
        lake.append(intake(event(1), event(2)).admitted)
    parts = Parts(home, lake=lake)
    (reply,) = ask(parts, post(event(1), event(2, brand="x"), event(3)))
    body = reply.json()
    assert (body["accepted"], body["duplicates"]) == (1, 1)
    assert [(one["index"], one["field"]) for one in body["errors"]] == [(1, "event_id")]
    parts.close()


def test_under_the_wall_clock_the_reply_with_tags_has_waited_for_them(home):
    parts = Parts(home, clock=WallClock())
    fresh = event(ingested_at=..., event_time=1.7e9)
    with_tags, status = ask(parts, post(fresh, path="/v1/events?return=tags"), get("/v1/status"))
    assert [tag["tag_id"] for tag in with_tags.json()["customers"][0]["tags"]] == ["interest:MILK"]
    assert status.json()["counts"]["waiting_customers"] == 0
    assert status.json()["parts"]["tagging"]["is_ready"]
    parts.close()
