"""One OpenAPI 3.1 document of the routes, and a page that shows it without a network."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from serving.schemas import ErrorReply

Scope = Literal["read", "write", "admin"]
"""What a bearer token may be good for: asking, posting, or everything."""

REFERENCE = "#/components/schemas/{name}"


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
    media_type: str = "text/plain"


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
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _operation(one: Operation) -> dict[str, Any]:
    replies: dict[str, Any] = {
        str(one.status): {"description": "Done."} | _content(one.reply, one.media_type)
    }
    for status in sorted({*one.errors, *(() if one.is_open else (401,))}):
        reply: dict[str, Any] = {"description": ERRORS[status]}
        if not one.is_open:
            reply |= _content(ErrorReply)
        replies[str(status)] = reply
    told: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "description": one.description,
        "responses": replies,
    }
    if one.parameters:
        told["parameters"] = [dict(parameter) for parameter in one.parameters]
    if one.body is not None:
        told["requestBody"] = {"required": True} | _content(one.body)
    if one.is_open:
        told["security"] = []
    return told


def _content(schema: type[msgspec.Struct] | None, media_type: str = "text/plain") -> dict[str, Any]:
    if schema is None:
        kind = "object" if media_type == "application/json" else "string"
        return {"content": {media_type: {"schema": {"type": kind}}}}
    reference = {"$ref": REFERENCE.format(name=schema.__name__)}
    return {"content": {"application/json": {"schema": reference}}}


STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2530}
h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem;border-top:1px solid #d5dbe1;padding-top:1rem}
code,pre{font:13px/1.45 ui-monospace,monospace;background:#f3f5f7;border-radius:4px}
code{padding:.1rem .3rem}pre{padding:.8rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem;
border-bottom:1px solid #e6eaee}.method{color:#0b5cad;font-weight:600}
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """Render the document as one page that loads nothing."""
    parts = [f"<h1>{_text(document['info']['title'])} {_text(document['info']['version'])}</h1>"]
    parts.append(f"<p>{_text(document['info']['description'])} ")
    parts.append('The same as a document for machines: <a href="/openapi.json">openapi.json</a>.</p>')
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            parts.append(_operation_html(path, method, told))
    parts.append("<h2>Types</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(_schema_html(name, schema))
    head = f'<meta charset="utf-8"><title>Tagtide API</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _operation_html(path: str, method: str, told: Mapping[str, Any]) -> str:
    rows = []
    for parameter in told.get("parameters", ()):
        where = f"{parameter['in']} parameter"
        rows.append((f"{parameter['name']} ({where})", _text(parameter["description"])))
    if "requestBody" in told:
        rows.append(("body", _reference_html(told["requestBody"])))
    for status, reply in told["responses"].items():
        rows.append((status, f"{_text(reply['description'])} {_reference_html(reply)}"))
    body = "".join(f"<tr><th>{_text(name)}</th><td>{value}</td></tr>" for name, value in rows)
    title = (
        f'<span class="method">{method.upper()}</span> <code>{_text(path)}</code> {_text(told["summary"])}'
    )
    return f"<h2>{title}</h2><p>{_text(told['description'])}</p><table>{body}</table>"


def _schema_html(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = []
    for field_name, told in schema.get("properties", {}).items():
        needed = "required" if field_name in required else "optional"
        kind = _kind(told)
        rows.append(
            f"<tr><th><code>{_text(field_name)}</code></th><td>{needed}</td><td>{kind}</td>"
            f"<td>{_text(told.get('description', ''))}</td></tr>"
        )
    about = _text(schema.get("description", ""))
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


def _text(value: object) -> str:
    return html.escape(str(value))
