"""Renew the session in api.md: ``python docs/refresh_api.py HOME``.

Serves a copy of a demo's home, runs each command of the session in a shell, and writes commands and answers
between the page's markers. Numbers are rounded and long lists cut; nothing else is changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from generate_reference import replaced
from readme_replies import broken_after_commas, show_case, view

from configs.home import open_home
from pipelines import cli
from pipelines.service_process import ServiceProcess, free_port, new_token

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "api.md"
SUMMARY = DOCS / "demo-summary.json"

ADDRESS = "http://127.0.0.1:8710"
CURL = 'curl -s -H "Authorization: Bearer $TAGTIDE_API_TOKEN"'
JSON = "-H 'Content-Type: application/json'"
WECOM = "staff: {default: zhangsan}\n"
WECOM_ID = "woAJ2G"
LINKED = f"external_userid:{WECOM_ID}"
CUT = "…"
ROWS_SHOWN = 2
DIGITS = 3
SECONDS = 60
AFTERWARDS = timedelta(hours=8)


def shortened(value: Any) -> Any:
    """Return a reply with numbers rounded and lists cut: an ellipsis says where.

    >>> shortened({"p": 0.12345, "rows": [1, 2, 3]})
    {'p': 0.123, 'rows': [1, 2, '…']}
    """
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, list):
        cut = [CUT] if len(value) > ROWS_SHOWN else []
        return [*map(shortened, value[:ROWS_SHOWN]), *cut]
    if isinstance(value, Mapping):
        return {name: shortened(one) for name, one in value.items()}
    return value


def posted(path: str, body: Mapping[str, Any], *headers: str) -> str:
    """Return the command that posts a body."""
    text = broken_after_commas(json.dumps(body, ensure_ascii=False), "      ")
    named = "".join(f" -H '{header}'" for header in headers)
    return f"{CURL} {JSON}{named} \\\n  '{ADDRESS}{path}' \\\n  -d '{text}'"


def got(path: str) -> str:
    """Return the command that asks for a path."""
    return f"{CURL} '{ADDRESS}{path}'"


def commands(customer: str, category: str, at: datetime) -> Iterator[tuple[str, str]]:
    """Yield what is said about each command, and the command."""
    event = view(customer, category, at)
    later = view(customer, category, at + timedelta(seconds=1))
    again = {name: value for name, value in later.items() if name != "customer_id"}
    again |= {"event_id": "chat-1", "external_userid": WECOM_ID}
    tag = f"interest:{category}"
    encoded = tag.replace(":", "%3A").replace(" ", "%20").replace("/", "%2F").replace("&", "%26")
    yield "Which part is ready, and which models answer?", got("/v1/status")
    yield (
        f"Customer {customer} carries no tag. They look at a category; the reply waits for their tags.",
        posted("/v1/events?return=tags", {"events": [event]}, "Idempotency-Key: look-1"),
    )
    yield (
        "The same key with another request (no tags are wanted) is refused; the same gets its reply again.",
        posted("/v1/events", {"events": [event]}, "Idempotency-Key: look-1"),
    )
    yield (
        f"Again, by the WeCom id that is theirs (`tagtide identities link {customer} {LINKED} --new-space`).",
        posted("/v1/events", {"events": [again]}),
    )
    yield (
        "Two customers at once; the second is unknown.",
        posted("/v1/predictions:batchGet", {"customer_ids": [customer, {"unionid": "oX3f"}]}),
    )
    yield "The tags there are, and how many carry each.", got("/v1/tags")
    yield "Who carries that one? Two at a time.", got(f"/v1/tags/{encoded}/customers?limit=2")
    yield (
        "What is WeCom to be told? Only who has a WeCom id can be marked; `wecom.yaml` names their contact.",
        posted("/v1/wecom:diff", {"cursor": None, "limit": 1000}),
    )
    yield (
        "A row that cannot be taken is named by its place, field, value and what was expected.",
        posted("/v1/events", {"events": [event | {"event_id": "look-2", "event_type": "gaze"}]}),
    )
    yield "A tag that nobody knows.", got("/v1/tags/nonsense/customers")


def answer(command: str, url: str, token: str) -> Any:
    """Run a command against a service and return the JSON it answers."""
    done = subprocess.run(  # noqa: S603 - our own commands
        ["/bin/bash", "-c", command.replace(ADDRESS, url)],
        env={"PATH": os.environ["PATH"], "TAGTIDE_API_TOKEN": token, "NO_PROXY": "*"},
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    return json.loads(done.stdout)


@contextmanager
def served(home: Path, customer: str) -> Iterator[ServiceProcess]:
    """Serve a copy of a home that has a WeCom file and knows a customer's WeCom id."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy)
        (copy / "wecom.yaml").write_text(WECOM, encoding="utf-8")
        link = ["--home", str(copy), "identities", "link", customer, LINKED, "--new-space"]
        if cli.main(link) != 0:
            raise SystemExit(2)
        with ServiceProcess(
            open_home(copy, create=False), os.environ, port=free_port(), token=new_token(), clock="replay"
        ) as service:
            yield service


def session_block(home: Path, at: datetime) -> str:
    """Return the session: what is said, what is typed, what is answered."""
    customer, category = show_case(home, at)
    parts = []
    with served(home, customer) as service:
        for said, command in commands(customer, category, at):
            reply = shortened(answer(command, service.url, service.token))
            text = broken_after_commas(json.dumps(reply, ensure_ascii=False), " ")
            parts.append(f"{said}\n\n```sh\n{command}\n```\n\n```json\n{text}\n```")
    return "\n\n".join(parts)


def main() -> int:
    """Renew the session."""
    home = Path(sys.argv[1])
    until = datetime.fromisoformat(json.loads(SUMMARY.read_text(encoding="utf-8"))["replayed_until"])
    block = session_block(home, until + AFTERWARDS)
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), "session", block), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: a session with a service on {home}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
