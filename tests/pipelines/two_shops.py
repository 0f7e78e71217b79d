"""Two sources whose customers have ids that look alike, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from configs.home import Home
from configs.settings import Settings, load_settings
from features.database import open_engine
from features.event_log import EventLog
from features.mapping import SourceMapping, check_mapping
from pipelines.import_events import ImportReport, import_source
from tests.features.made_events import event, frame

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
FIRST = datetime(2024, 5, 1, 9, tzinfo=UTC)
COLUMNS = {
    "event_id": "id",
    "customer_id": "who",
    "event_type": "kind",
    "event_time": "at",
    "category": "family",
    "amount_minor": "CAST(price AS BIGINT)",
}
WEB = [("7", None), ("8", "U-8"), ("9", None)]
POS = [("7", "U-8"), ("8", None)]


def rows(customers: Sequence[tuple[str, str | None]], each: int = 3) -> list[dict[str, Any]]:
    """``each`` purchases of every (customer, unionid), an hour apart."""
    return [
        {
            "id": f"e{number}-{customer}",
            "who": customer,
            "wx": unionid,
            "kind": "purchase",
            "at": (FIRST + timedelta(hours=number * len(customers) + place)).strftime("%Y-%m-%d %H:%M:%S"),
            "family": "TEA",
            "price": "250",
        }
        for number in range(each)
        for place, (customer, unionid) in enumerate(customers)
    ]


def source(folder: Path, name: str, made: Sequence[dict[str, Any]], **keys: Any) -> SourceMapping:
    """Write a source's rows and return its mapping."""
    pl.DataFrame(made, infer_schema_length=None).write_csv(folder / f"{name}.csv")
    written = {"source": name, "read": {"csv": f"{name}.csv"}, "time_zone": "UTC", "columns": COLUMNS}
    return check_mapping(written | keys, "mapping", folder)


def settings_of(home: Home, **changes: str) -> Settings:
    return load_settings(
        home.root, {f"TAGTIDE_{name.upper()}": value for name, value in changes.items()}
    ).settings


def bring_in(home: Home, mapping: SourceMapping, now: datetime = NOW, **options: Any) -> ImportReport:
    return import_source(home, settings_of(home), mapping, now=now, **options)


def post(home: Home, *customers: str, at: datetime = NOW, **given: Any) -> None:
    """Put events into the log as the service does."""
    engine = open_engine(None, home)
    made = [
        event(
            0,
            **(
                {
                    "event_id": f"p{place}-{customer}",
                    "customer_id": customer,
                    "event_time": at,
                    "source": "api",
                }
                | given
            ),
        )
        for place, customer in enumerate(customers)
    ]
    EventLog(engine).append(frame(made))
    engine.dispose()
