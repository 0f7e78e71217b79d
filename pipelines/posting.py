"""Posts events to a service: patiently where it is busy, again where a post was lost on the way."""

from __future__ import annotations

import time
from typing import Any

import httpx
import msgspec
import polars as pl

from features.events import EVENT_SCHEMA
from pipelines.errors import MachineError

TRIES = 6
"""How often a post is sent that fails on the way."""

BUSY_SECONDS = 600.0
"""How long a service may go on asking to be asked later before it is given up."""


def post_events(client: httpx.Client, rows: pl.DataFrame) -> tuple[dict[str, Any], float]:
    """Post rows, again where that fails on the way: the service stores each once.

    Returns
    -------
    The reply, and for how many seconds the service asked to be asked later.

    Raises
    ------
    MachineError
        If it does not take them.
    """
    plain = [
        {name: value for name, value in row.items() if value is not None}
        for row in rows.select(list(EVENT_SCHEMA)).iter_rows(named=True)
    ]
    body = msgspec.json.encode({"events": plain})
    headers = {"content-type": "application/json"}
    problem, waited, failures = "", 0.0, 0
    while failures < TRIES and waited < BUSY_SECONDS:
        wait = min(0.2 * 2**failures, 5.0)
        try:
            reply = client.post("/v1/events?return=tags", content=body, headers=headers)
        except httpx.TransportError as error:
            problem = str(error) or type(error).__name__
            failures += 1
        else:
            if reply.status_code in (202, 422):
                answer: dict[str, Any] = reply.json()
                return answer, waited
            problem = f"{reply.status_code} {reply.text[:200]}"
            if reply.status_code not in (429, 503):
                break
            wait = float(reply.headers.get("retry-after", wait))
            # A service that has too much to do takes part; one that is not ready may never be.
            failures += reply.status_code == 503
            waited += wait if reply.status_code == 429 else 0.0
        time.sleep(wait)
    arrival = rows["ingested_at"].to_list()[0]
    raise MachineError(
        f"the service at {client.base_url} took no events: {problem}",
        f"see its output, then go on from {arrival.isoformat()} with --resume",
    )
