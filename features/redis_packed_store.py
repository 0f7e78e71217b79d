"""Packed online values in Redis: the same rules, kept on the server by scripts."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

from features.errors import FeatureStoreError, LeaseLostError
from features.packed_store import FENCE_MARK, PackedRow, check_advance, check_fence, is_alive

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline
    from redis.commands.core import Script

REDIS_PUT = """
local written = 0
for i = 2, #KEYS do
  local key, event, stored = ARGV[3 * i - 5], ARGV[3 * i - 4], ARGV[3 * i - 3]
  local present = redis.call('ZSCORE', KEYS[1], key)
  if not present or tonumber(event) >= tonumber(present) then
    redis.call('SET', KEYS[i], stored)
    redis.call('ZADD', KEYS[1], event, key)
    written = written + 1
  end
end
return written
"""
"""Writes a chunk of rows of one view unless newer ones are there.

Scores are doubles, exact for microseconds until the year 2255.
"""

REDIS_ADVANCE = """
local advanced = 0
for i = 2, #KEYS do
  local key = ARGV[i + 2]
  local present = redis.call('ZSCORE', KEYS[1], key)
  if present and tonumber(present) == tonumber(ARGV[1]) then
    redis.call('SETRANGE', KEYS[i], 0, ARGV[3])
    redis.call('ZADD', KEYS[1], ARGV[2], key)
    advanced = advanced + 1
  end
end
return advanced
"""
"""Gives a chunk of rows of one view another age, where they still have the one stated."""

REDIS_PRUNE = """
local pruned = 0
for i = 2, #KEYS do
  local key = ARGV[i]
  local present = redis.call('ZSCORE', KEYS[1], key)
  if present and tonumber(present) <= tonumber(ARGV[1]) then
    redis.call('DEL', KEYS[i])
    redis.call('ZREM', KEYS[1], key)
    pruned = pruned + 1
  end
end
return pruned
"""
"""Deletes a chunk of rows of one view, where they are still as old as stated."""

REDIS_CHUNK_ROWS = 200
STAMP_BYTES = 8


class RedisPackedStore:
    """Packed values in Redis, one string per row and one sorted set by age per view.

    Every key begins with the project. Persistence is the server's: see its ``appendonly`` setting.

    Parameters
    ----------
    url
        ``redis://…``, ``rediss://…`` or ``unix://…``. It is never shown: it may hold a password.
    project
        Prefix of every key.

    Raises
    ------
    FeatureStoreError
        If the client is missing, the URL is malformed, no server answers, or an operation fails.
    """

    def __init__(self, url: str, project: str) -> None:
        try:
            import redis
        except ModuleNotFoundError:
            raise FeatureStoreError(
                "setting 'online_store' is 'redis', but the Redis client is not installed",
                "pip install 'tagtide[redis]'",
            ) from None

        self.fence: Callable[[], int] | None = None
        self._error, self._overtaken = redis.RedisError, redis.WatchError
        self._project = project
        try:
            self._redis: Redis = redis.Redis.from_url(url)
        except ValueError:
            raise FeatureStoreError(
                "setting 'redis_url' is not a Redis URL",
                "expected redis://HOST:PORT/DB, rediss://… or unix://…",
            ) from None
        self._put = self._redis.register_script(REDIS_PUT)
        self._advance = self._redis.register_script(REDIS_ADVANCE)
        self._prune = self._redis.register_script(REDIS_PRUNE)
        with self._mended():
            self._redis.ping()

    @contextmanager
    def _mended(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise FeatureStoreError(
                f"Redis online store: {error}", "check TAGTIDE_REDIS_URL and that the server runs"
            ) from error

    def _row(self, view: str, key: str) -> str:
        return f"{self._project}:row:{view}:{key}"

    def _ages(self, view: str) -> str:
        return f"{self._project}:ages:{view}"

    def _mark(self, name: str) -> str:
        return f"{self._project}:mark:{name}"

    @property
    def _views(self) -> str:
        return f"{self._project}:views"

    def put_many(self, view: str, rows: Sequence[PackedRow], mark: tuple[str, int] | None = None) -> int:
        """See `PackedStore.put_many`."""
        with self._writing() as (pipe, first):
            chunks = self._put_into(pipe, view, rows)
            if mark is not None:
                pipe.set(self._mark(mark[0]), mark[1])
            return sum(int(written) for written in pipe.execute()[first + 1 : first + 1 + chunks])

    @contextmanager
    def _writing(self) -> Iterator[tuple[Pipeline, int]]:
        """Begin a transaction; yield it, and how many answers come before the writer's own."""
        with self._mended(), self._redis.pipeline(transaction=True) as pipe:
            if self.fence is None:
                yield pipe, 0
                return
            mine = self.fence()
            # redis-py gives this method no types.
            pipe.watch(self._mark(FENCE_MARK))  # type: ignore[no-untyped-call]
            found: Any = pipe.get(self._mark(FENCE_MARK))
            stored = int(found or 0)
            check_fence(stored, mine)
            pipe.multi()
            if stored != mine:
                pipe.set(self._mark(FENCE_MARK), mine)
            try:
                yield pipe, int(stored != mine)
            except self._overtaken:
                raise LeaseLostError("somebody else began to write to the online store") from None

    def _put_into(self, pipe: Pipeline, view: str, rows: Sequence[PackedRow]) -> int:
        pipe.sadd(self._views, view)
        chunks = 0
        for start in range(0, len(rows), REDIS_CHUNK_ROWS):
            some = rows[start : start + REDIS_CHUNK_ROWS]
            names = [self._ages(view), *(self._row(view, row.key) for row in some)]
            values: list[str | int | bytes] = []
            for row in some:
                stamp = row.event_us.to_bytes(STAMP_BYTES, "big", signed=True)
                values += [row.key, row.event_us, stamp + row.value]
            self._put(keys=names, args=values, client=pipe)
            chunks += 1
        return chunks

    def change_views(
        self, written: Mapping[str, Sequence[PackedRow]], removed: Mapping[str, Collection[str]]
    ) -> None:
        """See `PackedStore.change_views`."""
        with self._writing() as (pipe, _):
            for view, rows in written.items():
                self._put_into(pipe, view, rows)
            for view, keys in removed.items():
                for key in keys:
                    pipe.delete(self._row(view, key))
                    pipe.zrem(self._ages(view), key)
            pipe.execute()

    def get(self, view: str, key: str, *, now_us: int, ttl_us: int | None) -> PackedRow | None:
        """See `PackedStore.get`."""
        return self.get_many(view, [key], now_us=now_us, ttl_us=ttl_us).get(key)

    def get_many(
        self, view: str, keys: Sequence[str], *, now_us: int, ttl_us: int | None
    ) -> dict[str, PackedRow]:
        """See `PackedStore.get_many`."""
        return self.get_views([view], keys, now_us=now_us, ttl_us=ttl_us)[view]

    def get_views(
        self, views: Sequence[str], keys: Sequence[str], *, now_us: int, ttl_us: int | None
    ) -> dict[str, dict[str, PackedRow]]:
        """See `PackedStore.get_views`."""
        rows: dict[str, dict[str, PackedRow]] = {view: {} for view in views}
        if not keys:
            return rows
        with self._mended():
            found: list[Any] = self._redis.mget([self._row(view, key) for view in views for key in keys])
        for (view, key), stored in zip(product(views, keys), found, strict=True):
            row = None if stored is None else _stored_row(key, stored)
            if row is not None and is_alive(row, now_us, ttl_us):
                rows[view][key] = row
        return rows

    def keys(self, view: str, *, newer_than_us: int | None = None) -> Iterator[str]:
        """See `PackedStore.keys`."""
        return iter(self._aged(view, "-inf" if newer_than_us is None else f"({newer_than_us}", "+inf"))

    def page(self, view: str, *, after: str, limit: int, newer_than_us: int) -> list[str]:
        """See `PackedStore.page`."""
        alive = self._aged(view, f"({newer_than_us}", "+inf")
        return heapq.nsmallest(limit, (key for key in alive if key > after))

    def ages(self, view: str) -> dict[str, int]:
        """See `PackedStore.ages`."""
        with self._mended():
            found: list[Any] = self._redis.zrange(self._ages(view), 0, -1, withscores=True)
        return {str(key, "utf-8"): int(score) for key, score in found}

    def advance(self, view: str, from_us: int, to_us: int, except_keys: Collection[str]) -> int:
        """See `PackedStore.advance`."""
        check_advance(view, from_us, to_us)
        kept = set(except_keys)
        keys = [key for key in self._aged(view, from_us, from_us) if key not in kept]
        stamp = to_us.to_bytes(STAMP_BYTES, "big", signed=True)
        return self._scripted(self._advance, view, keys, [from_us, to_us, stamp])

    def remove(self, view: str, keys: Collection[str]) -> int:
        """See `PackedStore.remove`."""
        return self._scripted(self._prune, view, list(keys), ["inf"])

    def prune(self, view: str, until_us: int) -> int:
        """See `PackedStore.prune`."""
        return self._scripted(self._prune, view, self._aged(view, "-inf", until_us), [until_us])

    def _aged(self, view: str, first_us: int | str, last_us: int | str) -> list[str]:
        with self._mended():
            found: list[Any] = self._redis.zrangebyscore(self._ages(view), first_us, last_us)
        return [str(key, "utf-8") for key in found]

    def _scripted(
        self, script: Script, view: str, keys: Sequence[str], arguments: Sequence[str | int | bytes]
    ) -> int:
        """Run a script over rows of a view, some at a time; return the sum of its answers.

        Others get their turn in between: no server may stand still for a large view.
        """
        changed = 0
        with self._mended():
            for start in range(0, len(keys), REDIS_CHUNK_ROWS):
                some = keys[start : start + REDIS_CHUNK_ROWS]
                names = [self._ages(view), *(self._row(view, key) for key in some)]
                changed += int(script(keys=names, args=[*arguments, *some]))
        return changed

    def erase(self, key: str) -> int:
        """See `PackedStore.erase`."""
        with self._mended(), self._redis.pipeline(transaction=True) as pipe:
            members: set[Any] = self._redis.smembers(self._views)
            views = sorted(str(view, "utf-8") for view in members)
            for view in views:
                pipe.delete(self._row(view, key))
                pipe.zrem(self._ages(view), key)
            return sum(int(deleted) for deleted in pipe.execute()[::2])

    def drop(self, view: str) -> int:
        """See `PackedStore.drop`."""
        return self.remove(view, list(self.keys(view)))

    def count(self, view: str, *, newer_than_us: int | None = None) -> int:
        """See `PackedStore.count`."""
        newest = "-inf" if newer_than_us is None else f"({newer_than_us}"
        with self._mended():
            return int(self._redis.zcount(self._ages(view), newest, "+inf"))

    def put_mark(self, name: str, value: int) -> None:
        """See `PackedStore.put_mark`."""
        with self._writing() as (pipe, _):
            pipe.set(self._mark(name), value)
            pipe.execute()

    def mark(self, name: str) -> int | None:
        """See `PackedStore.mark`."""
        with self._mended():
            value = self._redis.get(self._mark(name))
        return None if value is None else int(value)

    def close(self) -> None:
        """See `PackedStore.close`."""
        self._redis.close()


def _stored_row(key: str, stored: bytes) -> PackedRow:
    return PackedRow(key, int.from_bytes(stored[:STAMP_BYTES], "big", signed=True), stored[STAMP_BYTES:])
