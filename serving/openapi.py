"""One OpenAPI 3.1 document of the routes, and a page that shows it without a network."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from serving.openapi_examples import BODIES, ERROR, REPLIES
from serving.openapi_headers import HEADERS, PARAMETERS, headers_of
from serving.schemas import ErrorReply
from serving.tokens import Scope

REFERENCE = "#/components/schemas/{name}"
PARAMETER = "#/components/parameters/{name}"


@dataclass(frozen=True)
class Operation:
    """One route as the document tells it.

    Attributes
    ----------
    path
        With parameters in braces.
    body, reply
        Schemas of request and reply; a reply of None is plain text.
    status
        Of the reply.
    errors
        Statuses it may answer with besides.
    parameters
        OpenAPI parameter objects.
    is_open
        Whether it needs no bearer token.
    scope
        What a bearer token must be good for.
    what
        What the audit log calls it; empty: as its scope.
    media_type
        Of a reply without a schema.
    """

    method: str
    path: str
    name: str
    summary: str
    description: str
    body: type[msgspec.Struct] | None = None
    reply: type[msgspec.Struct] | None = None
    status: int = 200
    errors: Sequence[int] = ()
    parameters: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    is_open: bool = False
    scope: Scope = "read"
    what: str = ""
    media_type: str = "text/plain"

    @property
    def audited_as(self) -> str:
        """What the audit log calls it."""
        return self.what or self.scope


class Endpoints(Protocol):
    """Routes that belong together: operations, and one coroutine for each, called like its operation."""

    @property
    def operations(self) -> Sequence[Operation]:
        """What is answered."""


PROBES = (
    Operation(
        "GET", "/livez", "livez", "Is the process alive?", "200 while it is.", errors=(503,), is_open=True
    ),
    Operation(
        "GET",
        "/readyz",
        "readyz",
        "Can it answer?",
        "200 once models and stores are ready, else 503; `GET /v1/status` says which part is not.",
        errors=(503,),
        is_open=True,
    ),
)
"""Answered by BentoML, which shadows mounted routes of these names."""

ERRORS = {
    400: "The body is not JSON.",
    401: "No bearer token, or a wrong one.",
    403: "The token is good for less: a scope is missing.",
    404: "Nothing is known by that name.",
    409: "The idempotency key came with another body.",
    413: "The body exceeds its limit.",
    415: "The body is not uncompressed `application/json`.",
    422: "JSON that means nothing here; `details` says what.",
    429: "The queue is full; see `Retry-After`.",
    503: "A model or a store is not ready; see `Retry-After` and `GET /v1/status`.",
}


def openapi_document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Describe the operations, with every schema taken from its type."""
    operations = [*operations, *PROBES]
    types = {one.body for one in operations} | {one.reply for one in operations} | {ErrorReply}
    ordered = sorted((one for one in types if one is not None), key=lambda one: one.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tagtide",
            "version": version,
            "description": "Retail events in; 72-hour tags, purchase propensities and lifetime value out.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": dict(PARAMETERS),
            "headers": dict(HEADERS),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _operation(one: Operation) -> dict[str, Any]:
    done = {"description": "Done."} | _content(one.reply, REPLIES.get(one.name), one.media_type)
    replies: dict[str, Any] = {str(one.status): done}
    for status in sorted({*one.errors, *_refusals(one)}):
        reply: dict[str, Any] = {"description": ERRORS[status]}
        if not one.is_open:
            reply |= _content(ErrorReply, ERROR if status == 422 else None)
        replies[str(status)] = reply
    needs = "" if one.is_open else f" Needs a token of scope `{one.scope}`."
    if one not in PROBES:
        for text, reply in replies.items():
            reply["headers"] = headers_of(int(text), one.name)
    told: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "description": one.description + needs,
        "responses": replies,
    }
    parameters = [dict(parameter) for parameter in one.parameters]
    if not one.is_open:
        parameters.append({"$ref": PARAMETER.format(name="RequestId")})
    if parameters:
        told["parameters"] = parameters
    if one.body is not None:
        told["requestBody"] = {"required": True} | _content(one.body, BODIES.get(one.name))
    if one.is_open:
        told["security"] = []
    return told


def _refusals(one: Operation) -> tuple[int, ...]:
    if one.is_open:
        return ()
    # Every token is good for reading.
    return (401,) if one.scope == "read" else (401, 403)


def _content(
    schema: type[msgspec.Struct] | None, example: object = None, media_type: str = "text/plain"
) -> dict[str, Any]:
    if schema is None:
        kind = "object" if media_type == "application/json" else "string"
        return {"content": {media_type: {"schema": {"type": kind}}}}
    told: dict[str, Any] = {"schema": {"$ref": REFERENCE.format(name=schema.__name__)}}
    if example is not None:
        told["example"] = example
    return {"content": {"application/json": told}}


STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2530}
h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem;border-top:1px solid #d5dbe1;padding-top:1rem}
code,pre{font:13px/1.45 ui-monospace,monospace;background:#f3f5f7;border-radius:4px}
code{padding:.1rem .3rem}pre{padding:.8rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem;
border-bottom:1px solid #e6eaee}details{margin:.4rem 0}.method{color:#0b5cad;font-weight:600}
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """Render the document as one page that loads nothing."""
    parts = [f"<h1>{_text(document['info']['title'])} {_text(document['info']['version'])}</h1>"]
    parts.append(f"<p>{_text(document['info']['description'])} ")
    parts.append('The same as a document for machines: <a href="/openapi.json">openapi.json</a>.</p>')
    parts.append(
        "<p>Every request under <code>/v1</code> carries <code>Authorization: Bearer TOKEN</code> and may "
        "carry <code>X-Request-Id</code>, which the reply repeats.</p>"
    )
    parts.append(_contents_html(document["paths"]))
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            parts.append(_operation_html(path, method, told))
    parts.append("<h2>Types</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(_schema_html(name, schema))
    head = f'<meta charset="utf-8"><title>Tagtide API</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _contents_html(paths: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        f'<tr><th><span class="method">{method.upper()}</span></th>'
        f'<td><a href="#{_text(told["operationId"])}"><code>{_text(path)}</code></a></td>'
        f"<td>{_text(told['summary'])}</td></tr>"
        for path, methods in paths.items()
        for method, told in methods.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _operation_html(path: str, method: str, told: Mapping[str, Any]) -> str:
    rows = []
    for parameter in told.get("parameters", ()):
        if "$ref" in parameter:
            continue  # every request may carry it: told once, at the top
        where = f"{parameter['in']} parameter"
        rows.append((f"{parameter['name']} ({where})", _marked(parameter["description"])))
    if "requestBody" in told:
        rows.append(("body", _reference_html(told["requestBody"])))
    for status, reply in told["responses"].items():
        named = [f"<code>{_text(name)}</code>" for name in reply.get("headers", {}) if name != "X-Request-Id"]
        headers = f" With {', '.join(named)}." if named else ""
        rows.append((status, f"{_marked(reply['description'])} {_reference_html(reply)}{headers}"))
    body = "".join(f"<tr><th>{_text(name)}</th><td>{value}</td></tr>" for name, value in rows)
    title = (
        f'<span class="method">{method.upper()}</span> <code>{_text(path)}</code> {_text(told["summary"])}'
    )
    examples = _example_html("Body", told.get("requestBody", {}))
    examples += "".join(
        _example_html(f"Reply {status}", reply)
        for status, reply in told["responses"].items()
        if status.startswith("2")
    )
    about = f"<p>{_marked(told['description'])}</p><table>{body}</table>{examples}"
    return f'<h2 id="{_text(told["operationId"])}">{title}</h2>{about}'


def _example_html(name: str, told: Mapping[str, Any]) -> str:
    example = told.get("content", {}).get("application/json", {}).get("example")
    if example is None:
        return ""
    shown = json.dumps(example, indent=2, ensure_ascii=False)
    return f"<details><summary>{_text(name)}: an example</summary><pre>{_text(shown)}</pre></details>"


def _schema_html(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = []
    for field_name, told in schema.get("properties", {}).items():
        needed = "required" if field_name in required else "optional"
        kind = _kind(told)
        rows.append(
            f"<tr><th><code>{_text(field_name)}</code></th><td>{needed}</td><td>{kind}</td>"
            f"<td>{_marked(told.get('description', ''))}</td></tr>"
        )
    about = _marked(schema.get("description", ""))
    return f'<h3 id="{_text(name)}">{_text(name)}</h3><p>{about}</p><table>{"".join(rows)}</table>'


def _kind(told: Mapping[str, Any]) -> str:
    if "$ref" in told:
        name = _text(told["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in told:
        return " or ".join(_kind(option) for option in told["anyOf"])
    if "enum" in told:
        return " or ".join(f"<code>{_text(value)}</code>" for value in told["enum"])
    if told.get("type") == "array":
        return f"list of {_kind(told.get('items', {}))}"
    return _text(told.get("format", told.get("type", "anything")))


def _reference_html(told: Mapping[str, Any]) -> str:
    content = told.get("content", {}).get("application/json")
    return _kind(content["schema"]) if content else ""


def _marked(value: object) -> str:
    """Show what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", _text(value))


def _text(value: object) -> str:
    return html.escape(str(value))
