"""The real BentoML application under the real server, in a process of its own."""

import json
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from serving.errors import ServingError
from serving.server import listen
from tests.serving.parts import event
from tests.serving.processes import running


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    from configs.home import open_home

    with running(open_home(tmp_path_factory.mktemp("served") / "home", create=True)) as one:
        yield one


def test_bentoml_answers_the_probes_and_the_mounted_application_the_rest(service):
    assert service.client.get("/livez").status_code == 200
    assert service.client.get("/readyz").status_code == 200
    posted = service.client.post("/v1/events?return=tags", json={"events": [event(1, "shop/1")]})
    assert posted.status_code == 202
    assert [tag["tag_id"] for tag in posted.json()["customers"][0]["tags"]] == ["interest:MILK"]
    answer = service.client.get("/v1/customers/shop%2F1").json()
    assert answer["customer"]["customer_id"] == "shop/1"


def test_the_document_names_exactly_the_routes_that_answer(service):
    document = service.client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for path, methods in document["paths"].items():
        for method in methods:
            asked = re.sub("{[a-z_]+}", "c1", path)
            reply = service.client.request(method.upper(), asked, content=b"{}")
            assert reply.status_code not in (405, 500), (method, path, reply.text)
            # A route may not know what is asked about; it must be there all the same.
            assert "no such route" not in reply.text, (method, path)


def test_every_reference_of_the_document_leads_somewhere(service):
    document = service.client.get("/openapi.json").json()
    text = json.dumps(document)
    found = [part.split('"')[0] for part in text.split('"$ref": "')[1:]]
    assert len(found) > 10
    for reference in found:
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in document["components"][kind], reference


def test_replies_have_the_shape_the_document_says(service):
    document = service.client.get("/openapi.json").json()
    replies = {
        ("/v1/status", "get", "200"): service.client.get("/v1/status"),
        ("/v1/customers/{customer_id}", "get", "200"): service.client.get("/v1/customers/c1"),
        ("/v1/customers/{customer_id}", "get", "422"): service.client.get("/v1/customers/" + "x" * 200),
    }
    for (path, method, status), reply in replies.items():
        told = document["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
        schema = document["components"]["schemas"][told["$ref"].rsplit("/", 1)[-1]]
        assert set(reply.json()) <= set(schema["properties"])
        assert set(schema["required"]) <= set(reply.json())


def test_the_page_loads_nothing_from_elsewhere(service):
    page = service.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for sign in ("<script", "<link", "src=", "http://", "https://", "@import"):
        assert sign not in page.text
    assert "/v1/predictions:batchGet" in page.text


def test_many_clients_at_once_are_all_answered(service):
    def one(number):
        events = [event(f"{number}-{line}", f"many{number % 7}", number) for line in range(5)]
        return service.client.post("/v1/events", json={"events": events}).json()["accepted"]

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(60))) == 300


def test_sigterm_ends_it_with_0_in_seconds_and_nothing_heavy_was_imported(home):
    with running(home) as service:
        service.client.post("/v1/events", json={"events": [event()]})
        code, seconds, said = service.end()
        assert (code, said.splitlines()[-1]) == (0, "imported []")
        assert seconds < 10
        with pytest.raises(httpx.TransportError):
            httpx.get(service.url + "/livez", trust_env=False)


def test_what_was_acknowledged_survives_a_kill(home):
    with running(home) as service:
        for number in range(20):
            reply = service.client.post("/v1/events", json={"events": [event(number, at=number)]})
            assert reply.status_code == 202
        service.process.send_signal(signal.SIGKILL)
        service.process.communicate()
    with running(home) as service:
        again = service.client.post("/v1/events", json={"events": [event(n, at=n) for n in range(21)]}).json()
        assert (again["accepted"], again["duplicates"]) == (1, 20)
        assert service.client.get("/v1/customers/c1").json()["customer"]["propensity"]["7d"] == 0.95
        code, _, _ = service.end()
        assert code == 0


def test_a_port_that_is_taken_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServingError, match=f"port {port} on 127.0.0.1 cannot be used"):
            listen("127.0.0.1", port)
