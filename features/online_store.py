"""Feast's online store plug-in over packed values, named by dotted path in ``configs/feature_store``.

Only Feast imports this module. It adds to Feast's own behaviour what Feast leaves open: a value past its
view's life reads as missing, and an older write never replaces a newer value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from feast.types import Bytes
from pydantic import AwareDatetime
from typing_extensions import override

from features.errors import FeatureStoreError
from features.packed_store import PackedRow, PackedStore, packed_key
from features.redis_packed_store import RedisPackedStore
from features.sqlite_packed_store import SqlitePackedStore

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

FeastRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""Entity key, values by feature, event time, created time: what Feast hands over to be written."""


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """The ``online_store`` block of a Feast configuration."""

    type: Literal["features.online_store.PackedOnlineStore"] = "features.online_store.PackedOnlineStore"
    backend: Literal["sqlite", "redis"] = "sqlite"
    path: str = ""
    """SQLite file."""
    url: str = ""
    """Redis URL."""
    now: AwareDatetime | None = None
    """The present that a value's life is measured against; the wall clock where it is not given.

    Feast's read has no such argument, so a replay or a test states it here.
    """


class PackedOnlineStore(OnlineStore):
    """Feast's view of a `PackedStore`.

    A view whose only feature is ``packed`` (Bytes) is stored as those very bytes, which is what the
    service reads without Feast. Any other view's row is a msgpack map from feature to protobuf value.
    """

    def __init__(self) -> None:
        self._store: PackedStore | None = None

    @override
    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows in one transaction, unless newer ones are there."""
        rows = [
            PackedRow(_stored_key(entity_key), _microseconds(event_time), _pack(table, values))
            for entity_key, values, event_time, _ in data
        ]
        self._opened(config).put_many(table.name, rows)
        if progress is not None:
            progress(len(data))

    @override
    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Read rows within their view's life; an expired one is as missing as one never written."""
        now = config.online_store.now or datetime.now(UTC)
        ttl_us = table.ttl // MICROSECOND if table.ttl else None
        keys = [_stored_key(entity_key) for entity_key in entity_keys]
        rows = self._opened(config).get_many(table.name, keys, now_us=_microseconds(now), ttl_us=ttl_us)
        return [_read(table, rows.get(key), requested_features) for key in keys]

    @override
    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Delete the rows of views that are no more."""
        for table in tables_to_delete:
            self._opened(config).drop(table.name)

    @override
    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],
        entities: Sequence[Entity],
    ) -> None:
        """Delete every row of the views, and close the store."""
        store = self._opened(config)
        for table in tables:
            store.drop(table.name)
        self._release()

    @override
    async def close(self) -> None:
        """Close the store's connections; the next call opens them again."""
        self._release()

    def _release(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self, config: RepoConfig) -> PackedStore:
        if self._store is None:
            settings = config.online_store
            self._store = (
                SqlitePackedStore(Path(settings.path))
                if settings.backend == "sqlite"
                else RedisPackedStore(settings.url, config.project)
            )
        return self._store


def is_packed(table: FeatureView) -> bool:
    """Tell whether a view's only feature is its packed value."""
    return [(field.name, field.dtype) for field in table.features] == [("packed", Bytes)]


def _stored_key(entity_key: EntityKey) -> str:
    return packed_key(
        {
            name: value.string_val
            for name, value in zip(entity_key.join_keys, entity_key.entity_values, strict=True)
        }
    )


def _microseconds(instant: datetime) -> int:
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return (aware - EPOCH) // MICROSECOND


def _pack(table: FeatureView, values: dict[str, Value]) -> bytes:
    if not is_packed(table):
        return msgspec.msgpack.encode({name: value.SerializeToString() for name, value in values.items()})
    if values["packed"].WhichOneof("val") != "bytes_val":
        raise FeatureStoreError(f"view {table.name!r}: feature 'packed' is null, expected bytes")
    return bytes(values["packed"].bytes_val)


def _read(
    table: FeatureView, row: PackedRow | None, requested: list[str] | None
) -> tuple[datetime | None, dict[str, Value] | None]:
    if row is None:
        return None, None
    event_time = EPOCH + row.event_us * MICROSECOND
    if is_packed(table):
        return event_time, {"packed": Value(bytes_val=row.value)}
    stored = msgspec.msgpack.decode(row.value, type=dict[str, bytes])
    names = stored if requested is None else [name for name in requested if name in stored]
    return event_time, {name: Value.FromString(stored[name]) for name in names}
