"""A small CSV source for tests, and its mapping."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.mapping import SourceMapping, check_mapping
from features.sources import SourceRows, read_source

NOW = datetime(2020, 6, 1, 12, tzinfo=UTC)
COLUMNS = {
    "event_id": "id",
    "customer_id": "customer",
    "event_type": "kind",
    "event_time": "happened",
    "amount_minor": "CAST(round(100 * price) AS BIGINT)",
}
SOUND = {"id": "1", "customer": "ann", "kind": "purchase", "happened": "2019-03-01 10:00:00", "price": "2.50"}


def mapping(columns: dict[str, str] | None = None, **changed: Any) -> SourceMapping:
    written = {
        "source": "shop",
        "read": {"csv": "shop.csv"},
        "time_zone": "UTC",
        "columns": COLUMNS if columns is None else columns,
    }
    return check_mapping(written | changed, "mapping", Path("/"))


def read(
    tmp_path: Path, rows: list[dict[str, Any]], made: SourceMapping, *, arrival: datetime | None = None
) -> SourceRows:
    """Write rows as CSV and read them through the mapping."""
    path = tmp_path / "shop.csv"
    pl.DataFrame([SOUND | row for row in rows], infer_schema_length=None).write_csv(path)
    filled = made.model_copy(update={"folder": tmp_path})
    return read_source(filled, {}, now=NOW, arrival=arrival)


def times(found: SourceRows) -> list[str]:
    return [moment.isoformat() for moment in found.good["event_time"]]
