"""What reaches the service and what does not: odd requests by the real server, and what its log holds."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from configs.home import open_home
from tests.serving.parts import TOKEN, event
from tests.serving.processes import running

IDS = ["c-Zq7x-1401", "broken-Kk81-77", "张三-Rr55-9921", "a/b c-Ww22"]
"""Of different lengths: their events are told apart by that."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with running(open_home(tmp_path_factory.mktemp("doors") / "home", create=True)) as one:
        yield one


NOT_OURS = [
    "/",
    "/healthz",
    "/schema.json",
    "/docs.json",
    "/static_content/",
    "/static_content/index.html",
    "/static_content/..%2f..%2fetc/passwd",
    "/v1alpha/models",
    "/predict",
    "/is_ready",
    "/task/submit",
    "/tagtide.db",
    "/v1",
    "/v1/",
    "/v1//events",
    "/v1/events/",
]


@pytest.mark.parametrize("path", NOT_OURS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_nothing_is_reachable_besides_our_routes_and_the_probes(service, method, path):
    reply = service.client.request(method, path, json={})
    assert reply.status_code == 404, reply.text
    assert reply.json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/v1/status", "/v1/nothing", "/v1/customers/c1", "/v1"])
def test_without_a_token_nothing_under_v1_tells_what_there_is(service, path):
    reply = service.client.get(path, headers={"authorization": ""})
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthorized")
    assert reply.headers["www-authenticate"] == "Bearer"


HEADERS = {"cache-control", "content-security-policy", "referrer-policy", "x-content-type-options"}


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/metrics", "/v1/status", "/nowhere"])
def test_every_reply_of_ours_has_the_security_headers(service, path):
    reply = service.client.get(path)
    assert HEADERS | {"x-frame-options", "x-request-id"} <= set(reply.headers)
    assert "server" not in reply.headers


KINDS = [
    "application/octet-stream",
    "application/vnd.bentoml+pickle",
    "application/x-pickle",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/json; charset=utf-16",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/v1/events", "/v1/predictions:batchGet"])
def test_only_plain_json_is_read(service, path, kind):
    # A pickle that would run something, were it loaded.
    pickled = b"cposix\nsystem\n(S'exit 1'\ntR."
    reply = service.client.post(path, content=pickled, headers={"content-type": kind})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("how", ["gzip", "deflate", "br"])
def test_a_compressed_body_is_refused_before_it_is_unpacked(service, how):
    given = {"content-type": "application/json", "content-encoding": how}
    assert service.client.post("/v1/events", content=b"x", headers=given).status_code == 415


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:1/x", "s3://bucket/x"])
def test_an_address_is_a_text_like_any_other_and_never_fetched(service, url):
    answer = service.client.post("/v1/predictions:batchGet", json={"customer_ids": [url]})
    assert answer.json()["customers"][0]["status"] == "cold_start"
    assert service.client.post("/v1/predictions:batchGet", json=url).status_code == 422


DEEP = [b'{"events": ' + b"[" * 100_000, b'{"events": [' + b'{"a":' * 100_000, b"[" * 2_000_000]


@pytest.mark.parametrize("body", DEEP, ids=["lists", "objects", "two million"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/predictions:batchGet"])
def test_a_body_nested_too_deep_is_refused_in_a_moment(service, path, body):
    reply = service.client.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code in (400, 422)
    assert reply.elapsed.total_seconds() < 5


def test_of_a_key_given_twice_the_last_counts_and_nothing_is_doubled(service):
    body = b'{"customer_ids": ["first"], "customer_ids": ["c-last"]}'
    reply = service.client.post(
        "/v1/predictions:batchGet", content=body, headers={"content-type": "application/json"}
    )
    assert [row["customer_id"] for row in reply.json()["customers"]] == ["c-last"]


def test_a_body_in_chunks_is_refused_as_soon_as_it_has_too_much(service):
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    # The last chunk, which would say that the body ends, is never sent.
    received = raw(service, head.encode() + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 80)
    assert received.startswith(b"HTTP/1.1 413")


def test_more_rows_than_allowed_are_refused_whole(service):
    rows = [event(number, "c-many") for number in range(1_001)]
    assert service.client.post("/v1/events", json={"events": rows}).status_code == 422
    ids = {"customer_ids": ["c-many"] * 501}
    assert service.client.post("/v1/predictions:batchGet", json=ids).status_code == 422
    assert service.client.get("/v1/customers/c-many").json()["customer"]["status"] == "cold_start"


def raw(service, sent: bytes) -> bytes:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
            if b"\r\n\r\n" in received:
                break
    return received


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + b"X-Many: a\r\n" * 20_000 + b"\r\n",
    ],
    ids=["long header", "long path", "many headers"],
)
def test_headers_beyond_measure_are_refused_and_the_service_goes_on(service, head):
    try:
        status = raw(service, head).split(b" ", 2)[1:2]
    except OSError:
        status = [b"cut off"]
    assert status in ([b"400"], [b"401"], [b"404"], [b"431"], [b"cut off"], [])
    assert service.client.get("/livez").status_code == 200


def odd_requests(client, one: str) -> None:
    name = quote(one, safe="")
    first, second, bad = (event(f"{number}-{len(one)}", one) for number in range(3))
    bad["quantity"] = -1
    client.get(f"/v1/customers/{name}")
    client.get(f"/v1/customers/{name}", headers={"authorization": f"Bearer {name}"})
    client.get(f"/v1/nowhere/{name}?customer={name}")
    client.put(f"/v1/customers/{name}")
    client.get(f"/{name}")
    client.get(f"/v1/customers/{name * 20}")
    client.post("/v1/predictions:batchGet", json={"customer_ids": [one, "", one * 99]})
    client.post("/v1/predictions:batchGet", json={one: [one]})
    client.post("/v1/events", json={"events": [first, bad, {"customer_id": one}, one]})
    client.post("/v1/events?return=tags", json={"events": [second | {"category": one}]})
    client.post("/v1/events", json={"events": [second | {"brand": "other content"}]})
    client.post(f"/v1/events?return={name}", json={"events": []})
    for body in (f'{{"events": [{one}', json.dumps({"events": [{one: one}]}), f'"{one}"'):
        client.post("/v1/events", content=body.encode(), headers={"content-type": "application/json"})
    client.post("/v1/events", content=one.encode(), headers={"content-type": name})


def test_no_id_is_in_the_log_whatever_is_sent_and_whatever_breaks(tmp_path):
    with running(open_home(tmp_path / "home", create=True)) as service:
        for one in IDS:
            odd_requests(service.client, one)
        reply = service.client.get("/v1/customers/broken-Kk81-77")
        assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
        assert "Kk81" not in reply.text
        raw(service, b"\x00" + IDS[0].encode() + b"\r\n\r\n")
        code, _, said = service.end()
    assert code == 0
    # What broke is there, so that the search below looks at something.
    assert "KeyError" in said
    assert "tags could not be evaluated" in said
    for one in [*IDS, *(quote(one, safe="") for one in IDS), "Zq7x", "Kk81", "Rr55", "Ww22", TOKEN]:
        assert one not in said, said
