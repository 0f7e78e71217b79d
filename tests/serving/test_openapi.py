"""The document says what the service does."""

import re

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from serving.openapi_examples import BODIES, ERROR, REPLIES
from serving.schemas import ErrorReply
from tests.serving.parts import Parts, event
from tests.serving.test_api import ask, get, post


@pytest.fixture
def parts(home):
    made = Parts(home)
    yield made
    made.close()


@pytest.fixture
def document(parts):
    (reply,) = ask(parts, get("/openapi.json"))
    return reply.json()


def operations(document):
    return {
        told["operationId"]: (method, path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    }


def resolved(document, told):
    while "$ref" in told:
        place = document
        for part in told["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        told = place
    return told


def test_the_document_is_openapi_3_1(document):
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["openapi"].startswith("3.1")


def test_every_route_of_the_application_stands_in_it(parts, document):
    routes = {
        (method.lower(), route.name) for route in parts.app.routes for method in route.methods - {"HEAD"}
    }
    told = {(method, name) for name, (method, _, _) in operations(document).items()}
    assert routes == told - {("get", "livez"), ("get", "readyz")}


def test_every_parameter_of_a_path_is_described(document):
    for _, path, told in operations(document).values():
        named = {one["name"] for one in told.get("parameters", ()) if one.get("in") == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


def test_examples_are_what_the_service_reads_and_writes(document):
    from serving.schemas import (
        CustomerReply,
        EventsReply,
        EventsRequest,
        PredictionsReply,
        PredictionsRequest,
    )
    from serving.tag_schemas import CarriersReply, TagsReply
    from serving.wecom_schemas import WecomDiffReply, WecomDiffRequest

    bodies = {
        "post_events": EventsRequest,
        "post_predictions": PredictionsRequest,
        "post_wecom_diff": WecomDiffRequest,
    }
    replies = {
        "post_events": EventsReply,
        "post_predictions": PredictionsReply,
        "get_customer": CustomerReply,
        "get_tags": TagsReply,
        "get_tag_customers": CarriersReply,
        "post_wecom_diff": WecomDiffReply,
    }
    for examples, kinds in ((BODIES, bodies), (REPLIES, replies)):
        assert set(examples) == set(kinds)
        for name, example in examples.items():
            msgspec.convert(example, kinds[name])
            assert name in operations(document)
    msgspec.convert(ERROR, ErrorReply)


def test_the_events_of_the_examples_are_taken(home):
    from serving.clock import WallClock

    parts = Parts(home, clock=WallClock())
    past = [row | {"event_time": "2024-05-01T08:00:00+08:00"} for row in BODIES["post_events"]["events"]]
    (reply,) = ask(parts, post(*past))
    assert reply.json()["accepted"] == 2
    parts.close()


def test_replies_carry_the_headers_that_are_told(parts, document):
    row = event()
    key = {"idempotency-key": "k"}
    fine, again, missing = ask(
        parts,
        post(row, headers=key),
        post(row, headers=key),
        get("/v1/status", headers={"authorization": "Bearer wrong"}),
    )
    told = operations(document)
    for name, reply in (("post_events", fine), ("post_events", again), ("get_status", missing)):
        headers = told[name][2]["responses"][str(reply.status_code)]["headers"]
        for header, described in headers.items():
            one = resolved(document, described)
            if one["required"]:
                assert header in reply.headers
            if header in reply.headers and "pattern" in one["schema"]:
                assert re.fullmatch(one["schema"]["pattern"], reply.headers[header])
    assert "Idempotent-Replayed" in told["post_events"][2]["responses"]["202"]["headers"]
    for _, _, one in told.values():
        for status in ("429", "503"):
            if status in one["responses"] and "headers" in one["responses"][status]:
                assert "Retry-After" in one["responses"][status]["headers"]


def test_the_page_shows_every_route_and_its_examples_and_loads_nothing(parts, document):
    (page,) = ask(parts, get("/docs"))
    for _, path, told in operations(document).values():
        assert f"<code>{path}</code>" in page.text
        assert f'id="{told["operationId"]}"' in page.text
    assert "an example" in page.text
    assert not re.search(r'(src|href)="(?!#|/openapi)', page.text)
    assert "<script" not in page.text
