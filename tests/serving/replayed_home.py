"""A home that is served while a real stream is posted to it, and whose online store is looked into."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import httpx
import msgspec
import polars as pl

from configs.home import Home
from features.database import open_engine
from features.event_log import EventLog
from features.lake import Lake
from features.live import LiveCustomers
from features.packed_store import (
    CUSTOMER_MEMORY,
    CUSTOMER_PROFILE,
    KEY_PROFILE,
    LIFE_US,
    open_packed_store,
)
from serving.assembly import assemble
from serving.stream import STREAM_MARK
from serving.upkeep import BOUNDARY_MARK
from tests.features.oracle import Instant, from_microseconds
from tests.features.paths import unpacked_keys
from tests.serving.parts import HEADERS, settings_of

BATCH_ROWS = 1000
BYSTANDER = "bystander"
"""A customer whose contacts tell the service's clock the time, and nothing else."""
PATIENCE_SECONDS = 60


def tick(at_us: int) -> dict[str, object]:
    """Return the bystander's event at an instant."""
    at = from_microseconds(at_us)
    return {
        "event_id": f"tick-{at_us}",
        "customer_id": BYSTANDER,
        "event_type": "contact",
        "event_time": at,
        "ingested_at": at,
        "quantity": 1,
        "source": "clock",
    }


class ReplayedHome:
    """Posts deliveries over HTTP up to an instant, and reads customers as the scorer does.

    Parameters
    ----------
    deliveries
        Rows of the event schema in the order of ``ingested_at``.
    """

    def __init__(
        self, home: Home, client: httpx.AsyncClient, deliveries: pl.DataFrame, zone_name: str
    ) -> None:
        self.settings = _settings(home, zone_name)
        self.store = open_packed_store(home, self.settings)
        self.engine = open_engine(None, home)
        self.log, self.lake = EventLog(self.engine), Lake(home.lake)
        self.accepted = self.duplicates = self.ticks = 0
        self._client = client
        self._deliveries = deliveries
        self._posted = 0
        self._keys: tuple[int, dict] | None = None

    async def reach(self, at: Instant) -> None:
        """Post what arrives by an instant, and wait until the online store is as of it."""
        arrived = self._deliveries["ingested_at"].search_sorted(from_microseconds(at.us), side="right")
        for start in range(self._posted, arrived, BATCH_ROWS):
            await self._post(self._deliveries[start : min(start + BATCH_ROWS, arrived)].to_dicts())
        self._posted = max(self._posted, arrived)
        await self._post([tick(at.us)])
        self.ticks += 1
        for _ in range(PATIENCE_SECONDS * 1000):
            if (
                self.store.mark(STREAM_MARK) == self.log.last_seq()
                and self.store.mark(BOUNDARY_MARK) == at.boundary
            ):
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"the online store is not as of {from_microseconds(at.us)}")

    async def _post(self, rows: list[dict]) -> None:
        events = [{name: value for name, value in row.items() if value is not None} for row in rows]
        reply = await self._client.post(
            "/v1/events",
            content=msgspec.json.encode({"events": events}),
            headers={"content-type": "application/json"},
        )
        assert reply.is_success, reply.text
        answer = reply.json()
        assert not answer["errors"], answer["errors"][0]
        self.accepted += answer["accepted"]
        self.duplicates += answer["duplicates"]

    def read(self, customer: str, at: Instant) -> LiveCustomers:
        """Read one customer out of the online store."""
        life = {"now_us": at.us, "ttl_us": LIFE_US}
        memory = self.store.get(CUSTOMER_MEMORY, customer, **life)
        profile = self.store.get(CUSTOMER_PROFILE, customer, **life)
        boundary = self.store.mark(BOUNDARY_MARK)
        if self._keys is None or self._keys[0] != boundary:
            names = list(self.store.keys(KEY_PROFILE))
            self._keys = boundary, unpacked_keys(self.store.get_many(KEY_PROFILE, names, **life))
        packed = None if memory is None else memory.value
        return LiveCustomers([customer], [packed], [profile], at.us, boundary, self._keys[1], at.zone)

    def close(self) -> None:
        self.store.close()
        self.engine.dispose()


def _settings(home: Home, zone_name: str):
    return settings_of(home, clock="replay", time_zone=zone_name, sweep_every_hours=24)


@asynccontextmanager
async def replayed_home(home: Home, deliveries: pl.DataFrame, zone_name: str) -> AsyncIterator[ReplayedHome]:
    """Serve a home in this process, as `tagtide serve --clock replay` does, and replay deliveries to it."""
    app = assemble(home, _settings(home, zone_name))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", headers=HEADERS, timeout=600
        ) as client,
    ):
        replayed = ReplayedHome(home, client, deliveries, zone_name)
        try:
            yield replayed
        finally:
            replayed.close()


def with_ticks(events: pl.DataFrame, instants: list[Instant]) -> pl.DataFrame:
    """Add what the bystander did to the events, as the lake will hold them."""
    ticks = pl.DataFrame([tick(at.us) for at in instants], schema=dict(events.schema))
    return pl.concat([events, ticks])


def as_time(at: Instant) -> datetime:
    return from_microseconds(at.us)
