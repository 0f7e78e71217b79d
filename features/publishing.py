"""What the online store is given: short memories, and profiles of customers, categories and brands."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from features.events import INSTANT
from features.history import History
from features.memory import KEY_COLUMNS
from features.packed_memory import latest_known_us, pack_memories
from features.packed_store import PackedRow, profile_key

KEY_SEPARATOR = "\x1f"


def memory_rows(events: pl.DataFrame, now_us: int) -> list[PackedRow]:
    """Return every customer's short memory at an instant, timed by its newest event.

    Parameters
    ----------
    events
        Rows of the event schema that hold at least the last 96 hours.
    """
    return [
        PackedRow(customer, latest_known_us(packed), packed)
        for customer, packed in pack_memories(events, now_us).items()
    ]


def profile_rows(history: History, boundary_us: int) -> list[PackedRow]:
    """Return every customer's profile at a day boundary."""
    return [
        PackedRow(customer, boundary_us, packed) for customer, packed in history.packed_profiles(boundary_us)
    ]


def key_rows(history: History, boundary_us: int) -> list[PackedRow]:
    """Return the profile of every category and brand at a day boundary."""
    return [
        PackedRow(profile_key(key_column, text), boundary_us, packed)
        for key_column in KEY_COLUMNS
        for text, packed in history.packed_keys(key_column, boundary_us)
    ]


def customer_frame(rows: Iterable[PackedRow]) -> pl.DataFrame:
    """Arrange customers' packed rows as the feature store's Parquet has them."""
    return _frame(rows).rename({"key": "customer_id"})


def key_frame(rows: Iterable[PackedRow]) -> pl.DataFrame:
    """Arrange packed rows of categories and brands as the feature store's Parquet has them."""
    parts = pl.col("key").str.splitn(KEY_SEPARATOR, 2).struct.rename_fields(["key_column", "key_value"])
    return _frame(rows).with_columns(parts.alias("parts")).unnest("parts").drop("key")


def _frame(rows: Iterable[PackedRow]) -> pl.DataFrame:
    listed = list(rows)
    return pl.DataFrame(
        {
            "key": pl.Series([row.key for row in listed], dtype=pl.String),
            "event_timestamp": pl.Series([row.event_us for row in listed], dtype=pl.Int64)
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC"),
            "packed": pl.Series([row.value for row in listed], dtype=pl.Binary),
        },
        schema_overrides={"event_timestamp": INSTANT},
    )
