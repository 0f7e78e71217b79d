"""An empty database of a real Redis server, for tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from features.file_lock import SharedLock

DEFAULT_URL = "redis://127.0.0.1:6379"
DATABASES = range(15, 0, -1)


@contextmanager
def empty_redis_database() -> Iterator[str]:
    """Yield the URL of a database that was empty, and empty it again; skip where no server answers."""
    redis = pytest.importorskip("redis", reason="the Redis client is not installed: extra `redis`")
    base = os.environ.get("TAGTIDE_REDIS_URL", DEFAULT_URL)
    for number in DATABASES:
        # A number in the URL's path goes before the argument, so the path is taken off.
        url = f"{base.split('://')[0]}://{base.split('://')[1].split('/')[0]}/{number}"
        with ExitStack() as held:
            # Tests in other processes look for one too.
            claim = SharedLock(Path(tempfile.gettempdir(), f"tagtide-test-redis-{number}"))
            try:
                held.enter_context(claim.alone(within_seconds=0))
            except TimeoutError:
                continue
            client = redis.Redis.from_url(url)
            held.callback(client.close)
            try:
                is_empty = client.dbsize() == 0
            except redis.RedisError:
                pytest.skip(f"no Redis server answers at {DEFAULT_URL} or TAGTIDE_REDIS_URL")
            if is_empty:
                try:
                    yield url
                finally:
                    client.flushdb()
                return
    pytest.skip("the Redis server has no empty database to test in")
