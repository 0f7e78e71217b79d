"""The client against a real service over HTTP, and against one that misbehaves."""

import asyncio
import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime

import httpx
import msgspec
import pytest

from serving import client_errors
from serving.client import AsyncTagtideClient, Patience, TagtideClient
from serving.client_calls import lots, merged
from serving.schemas import CustomerRef, Detail, EventsReply, PostedEvent
from tests.serving.parts import TOKEN, event
from tests.serving.processes import running

ODD = "牛奶/乳制品 与 a+b&c?d#e%2F"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    from configs.home import open_home

    with running(open_home(tmp_path_factory.mktemp("client") / "home", create=True)) as service:
        yield service


@pytest.fixture(params=["sync", "async"])
def call(request, service):
    """Return what calls a method of either client: ``call("tags")``; iterators come back as lists."""

    def one(name, *arguments, **options):
        if request.param == "sync":
            with TagtideClient(TOKEN, service.url) as client:
                found = getattr(client, name)(*arguments, **options)
                return list(found) if hasattr(found, "__next__") else found

        async def run():
            async with AsyncTagtideClient(TOKEN, service.url) as client:
                found = getattr(client, name)(*arguments, **options)
                return [row async for row in found] if hasattr(found, "__anext__") else await found

        return asyncio.run(run())

    # The service is shared by all tests: each has ids of its own.
    one.run = uuid.uuid4().hex[:12]
    return one


def made(kind, number, **changes):
    return event(f"{kind}-{number}", f"{kind}/{number:04}", number / 1e3, **changes)


def test_events_of_any_number_are_posted_and_their_customers_asked_about(call):
    kind = f"many {call.run}"
    rows = [made(kind, number) for number in range(1205)]
    rows[1100]["event_type"] = "gaze"
    reply = call("post_events", iter(rows))
    assert (reply.accepted, reply.duplicates) == (1204, 0)
    assert [(one.index, one.field) for one in reply.errors] == [(1100, "event_type")]
    found = call("predictions", [row["customer_id"] for row in rows])
    assert len(found) == 1205
    assert {row.status for row in found[:1000]} == {"ok"}
    assert [one.accepted for one in call("post_events_in_lots", rows[:5], lot=2)] == [0, 0, 0]


def test_everybody_who_carries_a_tag_is_walked_through_page_by_page(call):
    kind = f"carrier {call.run}"
    category = f"{ODD} {call.run}"
    rows = [made(kind, number, category=category) for number in range(7)]
    reply = call("post_events", rows, return_tags=True)
    (tag,) = {tag.tag_id for one in reply.customers for tag in one.tags}
    carried = call("carriers", tag, page=3)
    assert [one.customer_id for one in carried] == [row["customer_id"] for row in rows]
    (summary,) = [one for one in call("tags").tags if one.tag_id == tag]
    assert (summary.carriers, len(summary.name) <= 30) == (7, True)
    assert call("carriers", summary.name) == carried


def test_one_customer_comes_with_reasons_or_without(call):
    row = made(f"why {call.run}", 1)
    call("post_events", [row], return_tags=True)
    told, untold = (call("customer", row["customer_id"], reasons=wanted).customer for wanted in (True, False))
    assert [bool(tag.reasons) for tag in told.tags] == [True]
    assert [tag.reasons for tag in untold.tags] == [msgspec.UNSET]
    assert [tag.tag_id for tag in told.tags] == [tag.tag_id for tag in untold.tags]


def test_an_event_may_be_a_struct_and_an_id_of_another_space(call):
    at = datetime(2017, 11, 1, tzinfo=UTC)
    posted = PostedEvent(
        event_id=f"s{call.run}", event_type="view", event_time=at, ingested_at=at, unionid=f"oX/{call.run}"
    )
    assert call("post_events", [posted], idempotency_key=f"k{call.run}").accepted == 1
    assert call("post_events", [posted], idempotency_key=f"k{call.run}").accepted == 1
    (row,) = call("batch_get", [CustomerRef(unionid=posted.unionid)]).customers
    assert (row.customer_id, row.status) == (f"unionid:{posted.unionid}", "ok")
    assert call("customer", row.customer_id).customer.tags == []


def test_state_measures_document_and_changes_for_wecom_come_too(call):
    assert call("status").is_ready
    assert (call("is_ready"), call("is_alive")) == (True, True)
    assert "tagtide_http_requests_total" in call("metrics")
    assert call("openapi")["openapi"].startswith("3.1")
    page = call("wecom_diff", limit=1)
    assert call("wecom_diff", page.next_cursor).next_cursor


def test_an_error_is_an_exception_with_everything_that_was_told(call, service):
    with pytest.raises(client_errors.RequestRefused) as refused:
        call("post_events", [event(quantity="two")])
    error = refused.value
    assert (error.status, error.code) == (422, "invalid_request")
    assert (error.details[0].index, error.details[0].field) == (0, "quantity")
    assert len(error.request_id) == 32
    assert "row 0, quantity is 'two', expected" in str(error)
    with pytest.raises(client_errors.RequestRefused, match="404 not_found"):
        call("carriers", "nonsense")
    with TagtideClient("x" * 20, service.url) as stranger, pytest.raises(client_errors.NotAllowed):
        stranger.status()
    with pytest.raises(ValueError, match="no event"):
        call("post_events", [])


def test_a_given_request_id_is_sent_along(service):
    with TagtideClient(TOKEN, service.url, headers={"x-request-id": "abc-1"}) as client:
        assert client.status().request_id == "abc-1"


class Moody:
    """Answers with what it was told to, in order; keeps what it was asked."""

    def __init__(self, *replies):
        self.replies, self.asked, self.slept = list(replies), [], []

    def answer(self, request):
        self.asked.append((request.method, request.url.raw_path.decode(), request.content))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, content=reply.content, headers=reply.headers)

    def call(self, name, *arguments, patience=None, **options):
        patience = patience or Patience(draw=lambda: 0.0)
        transport = httpx.MockTransport(self.answer)
        with TagtideClient(
            TOKEN, "http://moody", patience=patience, transport=transport, sleep=self.slept.append
        ) as client:
            found = getattr(client, name)(*arguments, **options)
            return list(found) if hasattr(found, "__next__") else found

    def call_async(self, name, *arguments, patience=None):
        async def sleep(seconds):
            self.slept.append(seconds)

        async def run():
            transport = httpx.MockTransport(self.answer)
            async with AsyncTagtideClient(
                TOKEN,
                "http://moody",
                patience=patience or Patience(draw=lambda: 0.0),
                transport=transport,
                sleep=sleep,
            ) as client:
                return await getattr(client, name)(*arguments)

        return asyncio.run(run())


def failure(status, **headers):
    body = {"code": "x", "message": "m", "details": [], "request_id": "r"}
    return httpx.Response(status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


TAGS = httpx.Response(
    200, json={"as_of": "2024-01-01T00:00:00Z", "model_version": {}, "request_id": "r", "tags": []}
)


@pytest.mark.parametrize("way", ["call", "call_async"])
def test_a_busy_service_is_asked_again_when_it_says_and_later_each_time(way):
    moody = Moody(failure(429, retry_after="3"), failure(503), httpx.ConnectError("no"), TAGS)
    assert getattr(moody, way)("tags").tags == []
    assert moody.slept == [3.0, 0.4, 0.8]


@pytest.mark.parametrize(
    ("reply", "kind", "tries"),
    [
        (failure(500), client_errors.Failed, 1),
        (failure(409), client_errors.Contradicted, 1),
        (failure(403), client_errors.NotAllowed, 1),
        (failure(413), client_errors.RequestRefused, 1),
        (httpx.Response(502, text="<html>"), client_errors.NotUnderstood, 1),
        (httpx.Response(200, text="<html>"), client_errors.NotUnderstood, 1),
        (failure(429), client_errors.Busy, 3),
        (failure(503, retry_after="1"), client_errors.Failed, 3),
        (httpx.ReadTimeout("slow"), client_errors.NotReached, 3),
    ],
)
@pytest.mark.parametrize("way", ["call", "call_async"])
def test_what_may_help_is_tried_again_and_nothing_else(way, reply, kind, tries):
    moody = Moody(*[reply] * 6)
    with pytest.raises(kind):
        getattr(moody, way)("tags", patience=Patience(tries=3, draw=lambda: 0.0))
    assert len(moody.asked) == tries


def test_the_longest_pause_is_bounded_and_spread():
    patience = Patience(tries=99, draw=lambda: 0.5)
    busy = client_errors.Busy(429, "x", "m")
    assert patience.pause_seconds(busy, 50) == 20.0 * 1.125
    asked = client_errors.Busy(429, "x", "m", retry_after_seconds=60.0)
    assert patience.pause_seconds(asked, 1) == 60.0 * 1.125


def test_consent_takeover_and_erasure_are_said_as_the_routes_want_it():
    state = {"profiling": True, "marketing": False, "do_not_disturb": False, "time_zone": None, "new": 1}
    receipt = {"erasure_id": "e1", "erased_at": "2024-01-01T00:00:00+00:00", "rows": {"lake": 3}, "ids": 2}
    moody = Moody(*[httpx.Response(200, json=state)] * 2, *[httpx.Response(200, json=receipt)] * 2)
    assert not moody.call("put_consent", "商/店 1", marketing=False).marketing
    until = datetime(2026, 1, 1, tzinfo=UTC)
    moody.call("put_takeover", "7", on=True, until=until)
    assert moody.call("erase", "pos:7/8").rows == {"lake": 3}
    assert moody.call("erasure", "e1").erased_at == datetime(2024, 1, 1, tzinfo=UTC)
    assert [(method, path) for method, path, _ in moody.asked] == [
        ("PUT", "/v1/customers/%E5%95%86%2F%E5%BA%97%201/consent"),
        ("PUT", "/v1/customers/7/takeover"),
        ("DELETE", "/v1/customers/pos%3A7%2F8"),
        ("GET", "/v1/erasures/e1"),
    ]
    assert json.loads(moody.asked[0][2]) == {"marketing": False}
    assert json.loads(moody.asked[1][2]) == {"on": True, "until": "2026-01-01T00:00:00Z"}


def test_a_service_that_is_not_there_is_neither_ready_nor_alive():
    moody = Moody(*[httpx.ConnectError("no")] * 2)
    assert (moody.call("is_ready"), moody.call("is_alive")) == (False, False)


def test_both_clients_have_the_same_methods():
    def public(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(TagtideClient) == public(AsyncTagtideClient)


def test_there_is_a_method_for_every_operation_of_the_service(service):
    named = {
        "post_events": "post_events",
        "post_predictions": "batch_get",
        "get_customer": "customer",
        "put_consent": "put_consent",
        "put_takeover": "put_takeover",
        "delete_customer": "erase",
        "get_erasure": "erasure",
        "get_tags": "tags",
        "get_tag_customers": "carriers",
        "post_wecom_diff": "wecom_diff",
        "get_status": "status",
        "get_metrics": "metrics",
        "get_openapi": "openapi",
        "livez": "is_alive",
        "readyz": "is_ready",
    }
    with TagtideClient(TOKEN, service.url) as client:
        paths = client.openapi()["paths"].values()
    found = {operation["operationId"] for methods in paths for operation in methods.values()}
    assert found - {"get_docs"} <= set(named)
    assert all(hasattr(TagtideClient, method) for method in named.values())


def test_replies_of_several_lots_add_up():
    at = datetime(2024, 1, 1, tzinfo=UTC)
    parts = [EventsReply(n, n, 0, [Detail(n, "f", "", "")], at, {}, "r") for n in (1, 2)]
    total = merged(parts, [10, 5])
    assert (total.accepted, total.duplicates) == (3, 3)
    assert [one.index for one in total.errors] == [1, 12]
    assert list(lots(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_importing_the_client_brings_nothing_heavy():
    heavy = ["numpy", "polars", "pandas", "pyarrow", "starlette", "pydantic", "sqlalchemy", "bentoml"]
    code = f"import serving.client, sys; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
