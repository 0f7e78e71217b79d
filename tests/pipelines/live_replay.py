"""A source brought in live: a part imported, the rest replayed through a service in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

from configs.home import Home
from configs.settings import Settings, load_settings
from features.database import open_engine
from features.event_log import EventLog
from features.history import History
from features.lake import Lake
from features.live import LiveCustomers
from features.mapping import load_mapping
from features.packed_store import (
    CUSTOMER_MEMORY,
    CUSTOMER_PROFILE,
    KEY_PROFILE,
    LIFE_US,
    PackedRow,
    open_packed_store,
)
from features.sources import read_source
from features.windows import to_us
from pipelines.service_process import ServiceProcess, free_port, new_token
from serving.upkeep import BOUNDARY_MARK
from tests.features.paths import bulk_answers, differences, live_answers, unpacked_keys
from tests.small_shop import Run, clean_environ, tagtide

EXAMPLES = 10


@dataclass(frozen=True)
class LiveSource:
    """A home that a source is imported and replayed into by the commands themselves."""

    home: Home
    source: str
    data: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return load_settings(self.home.root, self.settings_environ).settings

    @property
    def settings_environ(self) -> dict[str, str]:
        return clean_environ() | {"TAGTIDE_DATA": str(self.data)} | self.environ

    def run(self, *arguments: str, **environ: str) -> Run:
        done = tagtide(self.home.root, *arguments, environ=self.settings_environ | environ)
        assert done.code == 0, done.err
        return done

    def replay(self, *spans: dict[str, str], speed: float = 0.0) -> list[dict[str, Any]]:
        """Serve the home by ``tagtide serve`` and replay spans of the source to it, one after the other."""
        token, port = new_token(), free_port()
        service = ServiceProcess(
            self.home,
            self.settings_environ,
            port=port,
            token=token,
            clock="replay",
            options=["--without-models"],
        )
        with service:
            where = ("--url", service.url, "--speed", str(speed), "--json")
            reports = []
            for span in spans:
                options = [part for name, value in span.items() for part in (f"--{name}", value)]
                run = self.run("replay", self.source, *options, *where, TAGTIDE_API_TOKEN=token)
                reports.append(run.json)
            with service.client() as client:
                status = client.get("/v1/status").json()
        assert status["counts"]["waiting_events"] == 0
        return [report | {"status": status} for report in reports]

    def events(self) -> pl.DataFrame:
        """Everything the source holds, known or not yet."""
        mapping = load_mapping(self.source, self.settings_environ)
        now = datetime.now().astimezone() + timedelta(days=1)
        return read_source(mapping, self.settings_environ, now=now).good

    def stored(self) -> pl.DataFrame:
        """Everything that came in, by import or live."""
        engine = open_engine(None, self.home)
        try:
            EventLog(engine).compact(Lake(self.home.lake))
        finally:
            engine.dispose()
        return Lake(self.home.lake).read()

    def live(self, names: list[str], at: datetime) -> LiveCustomers:
        """Read customers out of the online store, as of an instant."""
        store, settings, now_us = open_packed_store(self.home, self.settings), self.settings, to_us(at)

        def found(view: str, keys: list[str]) -> dict[str, PackedRow]:
            return store.get_many(view, keys, now_us=now_us, ttl_us=LIFE_US)

        try:
            memories, profiles = found(CUSTOMER_MEMORY, names), found(CUSTOMER_PROFILE, names)
            keys = unpacked_keys(found(KEY_PROFILE, list(store.keys(KEY_PROFILE))))
            boundary = store.mark(BOUNDARY_MARK)
        finally:
            store.close()
        assert boundary is not None
        packed = [memories[name].value if name in memories else None for name in names]
        return LiveCustomers(
            names, packed, [profiles.get(name) for name in names], now_us, boundary, keys, settings.zone
        )

    def differing(self, names: list[str], at: datetime, events: pl.DataFrame) -> tuple[int, list[str]]:
        """Compare the online store with a bulk computation.

        Parameters
        ----------
        events
            What the bulk computation has; what is known only after the instant must make no difference.

        Returns
        -------
        How many cells were compared, and those that differ.
        """
        settings = self.settings
        history = History(events, settings.zone, settings.publication_lag)
        expected = bulk_answers(history, names, [to_us(at)] * len(names))
        wrong, cells = [], 0
        for start in range(0, len(names), 200):
            some = names[start : start + 200]
            for name, online, bulk in zip(
                some, live_answers(self.live(some, at)), expected[start : start + 200], strict=True
            ):
                cells += bulk.cells
                wrong += [f"{name}: {cell}" for cell in differences(online, bulk)]
        return cells, wrong[:EXAMPLES]


def sampled(events: pl.DataFrame, at: datetime, count: int) -> list[str]:
    """Draw customers known by an instant: half of them of those with something in the last 72 hours."""
    known = events.filter(pl.col("ingested_at") <= at)
    lately = set(known.filter(pl.col("event_time") > at - timedelta(hours=72))["customer_id"])
    others = set(known["customer_id"]) - lately
    drawn = Random(4)
    chosen = drawn.sample(sorted(lately), min(count // 2, len(lately)))
    return sorted(chosen + drawn.sample(sorted(others), min(count - len(chosen), len(others))))


def counted(events: pl.DataFrame) -> dict[str, int]:
    return dict(events["event_type"].value_counts().iter_rows())
