"""What the OpenAPI document says is what the service does, tried with generated requests."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.serving.parts import HEADERS

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: extra `dev`")

OFTEN, SELDOM = 200, 15


def checks():
    """Return what is checked. That a row is refused which its schema allows is no fault: rules say more."""
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    names = ("not_a_server_error", "status_code_conformance", "content_type_conformance")
    names += ("response_headers_conformance", "response_schema_conformance")
    return CHECKS.get_by_names(names)


def holds(service, examples):
    document = schemathesis.openapi.from_url(service.url + "/openapi.json")
    tried = []
    for found in document.get_all_operations():
        operation = found.ok()
        tried.append(operation.label)

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def stands(case):
            case.call_and_validate(base_url=service.url, headers=HEADERS, timeout=30, checks=checks())

        stands()
    assert {"POST /v1/events", "POST /v1/predictions:batchGet", "GET /v1/status"} <= set(tried)


def test_no_request_that_the_document_allows_fails_or_is_answered_otherwise_than_it_says(service):
    holds(service, SELDOM)


@pytest.mark.slow
def test_so_it_is_with_many_requests(service):
    holds(service, OFTEN)
