"""The README's requests and what a service really answered them: asked of a copy of a demo's home."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from configs.home import open_home
from features.lake import Lake
from pipelines.service_process import ServiceProcess, free_port, new_token

FAMILY = "interest"
HISTORY_DAYS = 90
ASKED_AT_ONCE = 500
TRIED_MOST = 200
LINE = 106
TAGS_SHOWN, REASONS_SHOWN = 1, 2

LEFT_OUT = {
    *("request_id", "renewed_at", "purchase_minor", "interaction_minor", "referral_minor"),
    *("explanation", "explanations"),
}
"""Shown as an ellipsis: they say nothing that a first look needs."""

AUTHORISED = '-H "Authorization: Bearer $TAGTIDE_API_TOKEN"'
ADDRESS = "http://127.0.0.1:8710/v1"


@contextmanager
def served_copy(home: Path) -> Iterator[httpx.Client]:
    """Serve a copy of a home, so that asking leaves no trace in the home itself."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy)
        service = ServiceProcess(
            open_home(copy, create=False), os.environ, port=free_port(), token=new_token(), clock="replay"
        )
        with service, service.client() as client:
            yield client


def view(customer: str, category: str, at: datetime) -> dict[str, Any]:
    """Return the event that is posted: a customer looks at a category."""
    instant = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "event_id": f"view-{at:%H%M%S}",
        "customer_id": customer,
        "event_type": "view",
        "category": category,
        "event_time": instant,
        "ingested_at": instant,
    }


def post(client: httpx.Client, event: Mapping[str, Any]) -> dict[str, Any]:
    """Post one event and return the reply, tags included."""
    reply = client.post("/v1/events?return=tags", json={"events": [event]}).raise_for_status()
    return dict(reply.json())


def without_tags(client: httpx.Client, customers: list[str]) -> set[str]:
    """Return those customers who carry no tag."""
    found: set[str] = set()
    for begin in range(0, len(customers), ASKED_AT_ONCE):
        body = {"customer_ids": customers[begin : begin + ASKED_AT_ONCE]}
        rows = client.post("/v1/predictions:batchGet", json=body).raise_for_status().json()["customers"]
        found |= {row["customer_id"] for row in rows if not row["tags"]}
    return found


def certified_keys(home: Path) -> list[str]:
    """Return the categories whose tags the champion may give out."""
    pointer = json.loads((home / "bundles" / "champion.json").read_text(encoding="utf-8"))
    digest = pointer[f"tags-{FAMILY}"]["sha256"]
    for path in (home / "bundles").glob("*/bundle.json"):
        if digest.startswith(path.parent.name):
            contract = json.loads(path.read_text(encoding="utf-8"))["content"]["contract"]
            return [row["tag"] for row in contract if row["certified"]]
    return []


def show_case(home: Path, at: datetime) -> tuple[str, str]:
    """Find a customer without a tag whom one view of a category gives that category's tag: the likeliest one.

    Raises
    ------
    LookupError
        If none of those who buy certified categories most is such a one.
    """
    regulars = (
        Lake(home / "lake")
        .read(since=at - timedelta(days=HISTORY_DAYS))
        .filter(pl.col("category").is_in(certified_keys(home)), pl.col("event_type") == "purchase")
        .filter(~pl.col("category").str.contains("'", literal=True))  # it goes between a shell's quotes
        .group_by("customer_id", "category")
        .agg(pl.col("order_id").n_unique().alias("orders"))
        .sort("orders", "customer_id", "category", descending=[True, False, False])
    )
    hits: list[tuple[float, str, str]] = []
    with served_copy(home) as client:
        free = without_tags(client, regulars["customer_id"].unique().sort().to_list())
        tried = regulars.filter(pl.col("customer_id").is_in(sorted(free))).head(TRIED_MOST)
        for second, (customer, category, _) in enumerate(tried.iter_rows()):
            reply = post(client, view(customer, category, at + timedelta(seconds=second)))
            (row,) = reply["customers"]
            hits += [
                (tag["probability"], customer, category)
                for tag in row["tags"]
                if tag["tag_id"] == f"{FAMILY}:{category}"
            ]
    if not hits:
        raise LookupError(f"none of {tried.height} customers got a tag by a view")
    _, customer, category = max(hits)
    return customer, category


def shortened(value: Any) -> Any:
    """Return a reply with numbers rounded to two digits and what a first look does not need left out.

    >>> shortened({"p": 0.123, "request_id": "x"})
    {'p': 0.12, '…': '…'}
    """
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, list):
        return [shortened(one) for one in value]
    if isinstance(value, Mapping):
        short = {name: shortened(one) for name, one in value.items() if name not in LEFT_OUT}
        for name, most in (("tags", TAGS_SHOWN), ("reasons", REASONS_SHOWN)):
            if len(short.get(name, [])) > most:
                short[name] = [*short[name][:most], {"…": "…"}]
        if "model_version" in short and isinstance(short["model_version"], dict):
            del short["model_version"]
        return short if len(short) == len(value) else {**short, "…": "…"}
    return value


def as_block(reply: Mapping[str, Any]) -> str:
    """Return a shortened reply as a block of wrapped lines."""
    text = json.dumps(shortened(reply), ensure_ascii=False)
    text = text.replace('{"…": "…"}', "…").replace('"…": "…"', "…")
    return "```\n" + broken_after_commas(text, " ") + "\n```"


def broken_after_commas(text: str, indent: str) -> str:
    """Return JSON wrapped where a reader expects it: names of tags hold spaces too.

    >>> broken_after_commas('{"tag": "SOFT DRINKS"}', "")
    '{"tag": "SOFT DRINKS"}'
    """
    glued = re.sub(r"(?<![,}\]]) ", "\0", text)
    lines = textwrap.wrap(
        glued, LINE - len(indent), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace("\0", " ")


def replies_block(home: Path, at: datetime) -> str:
    """Return the README's three requests with their answers.

    Parameters
    ----------
    home
        Of a demo that has run; it is not changed.
    at
        When the posted event happens: after the end of the demo's replay.
    """
    customer, category = show_case(home, at)
    event = view(customer, category, at)
    asked = [customer, "nobody"]
    with served_copy(home) as client:
        posted = post(client, event)
        one = client.get(f"/v1/customers/{customer}").raise_for_status().json()
        many = client.post("/v1/predictions:batchGet", json={"customer_ids": asked}).raise_for_status().json()
    body = broken_after_commas(json.dumps({"events": [event]}), " " * 6)
    json_header = "-H 'Content-Type: application/json'"
    return f"""Customer {customer} carries no tag. Post that they look at {category.lower()}, and have the
fresh tags in the reply:

```sh
curl -s {AUTHORISED} {json_header} \\
  '{ADDRESS}/events?return=tags' \\
  -d '{body}'
```

{as_block(posted)}

One customer, with the reasons:

```sh
curl -s {AUTHORISED} {ADDRESS}/customers/{customer}
```

{as_block(one)}

Up to {ASKED_AT_ONCE} at once; somebody unknown gets newcomers' propensities and no tags:

```sh
curl -s {AUTHORISED} {json_header} \\
  {ADDRESS}/predictions:batchGet -d '{json.dumps({"customer_ids": asked})}'
```

{as_block(many)}"""
