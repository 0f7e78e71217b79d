"""A store or the disk goes away for a while under a service that runs on."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager

import httpx
import pytest

from features.packed_store import PROJECT
from features.redis_packed_store import RedisPackedStore
from pipelines.service_process import free_port
from serving.clock import WallClock
from tests.reliability.service import services, until
from tests.reliability.stream import ROWS, Sent, figures, made_event, settled
from tests.serving.parts import Parts

PADDING = "p" * 200


class RedisServer:
    """A server of our own on a free port, which keeps every write."""

    def __init__(self, folder):
        if shutil.which("redis-server") is None:
            pytest.skip("no redis-server is installed")
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = None

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        redis = pytest.importorskip("redis", reason="the Redis client is not installed: extra `redis`")
        client = redis.Redis.from_url(self.url)

        def answers():
            try:
                return client.ping()
            except redis.RedisError:
                return False

        until(answers, 20)
        client.close()

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


@contextmanager
def redis_server(folder):
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Poster:
    """Posts one batch after the other and keeps count of what was said."""

    def __init__(self, client, padding=""):
        self.client, self.padding, self.number = client, padding, 0
        self.sent = Sent()

    def batch(self):
        self.number += ROWS
        return [
            made_event(0, self.number + row) | ({"brand": self.padding} if self.padding else {})
            for row in range(ROWS)
        ]

    def post(self, events):
        reply = self.client.post("/v1/events", json={"events": events})
        self.sent.replies[str(reply.status_code)] += 1
        if reply.status_code == 202:
            self.sent.acknowledged |= {one["event_id"] for one in events}
        return reply


def told(reply):
    """Return a refusal's status, what it says, and whether it says when to come back."""
    return reply.status_code, reply.json()["message"], "retry-after" in reply.headers


def redis_stops_and_starts(home, folder, *, times):
    """Stop and start the Redis server of the online store while events are posted and customers asked for."""
    refused, recoveries = [], []
    with redis_server(folder) as redis, services(home, redis_url=redis.url) as (service,):
        with service.client() as client:
            poster = Poster(client)
            for _ in range(times):
                assert poster.post(poster.batch()).status_code == 202
                redis.stop()
                lost = poster.batch()
                replies = [poster.post(lost), client.get("/v1/customers/c1")]
                refused += [
                    (one.status_code, one.json()["message"], "retry-after" in one.headers) for one in replies
                ]
                parts = client.get("/v1/status").json()["parts"]
                assert not parts["store"]["is_ready"]
                redis.start()
                recoveries.append(until(lambda: client.get("/readyz").status_code == 200, 30))
                assert poster.post(lost).status_code == 202
                assert client.get("/v1/customers/c1").status_code == 200
        parts = Parts(home, clock=WallClock(), store=RedisPackedStore(redis.url, PROJECT))
        try:
            until(lambda: settled(parts), 30)
            found = figures(parts, [poster.sent])
        finally:
            parts.close()
        code, _ = service.end()
    return found | {
        "outages": times,
        "refusals": sorted(set(refused)),
        "longest_recovery_seconds": round(max(recoveries), 2),
        "exit_code": code,
    }


def disk_full(home, make_full, make_room):
    """Post until the disk is full, make room, and post on.

    Parameters
    ----------
    make_full, make_room
        Called with the service: after the first, little more can be written; after the second, it can again.
    """
    with services(home) as (service,):
        with service.client() as client:
            poster = Poster(client, PADDING)
            for _ in range(20):
                assert poster.post(poster.batch()).status_code == 202
            make_full(service)
            began = time.monotonic()
            events = poster.batch()
            while (refused := poster.post(events)).status_code == 202:
                assert time.monotonic() - began < 60
                events = poster.batch()
            reads = [client.get("/v1/customers/c1").status_code, client.get("/livez").status_code]
            make_room(service)
            recovery = until(lambda: poster.post(events).status_code == 202, 30)
            for _ in range(5):
                assert poster.post(poster.batch()).status_code == 202
        parts = Parts(home, clock=WallClock())
        try:
            until(lambda: settled(parts), 30)
            found = figures(parts, [poster.sent])
            with parts.engine.connect() as connection:
                intact = [connection.exec_driver_sql("PRAGMA integrity_check").scalar_one()]
        finally:
            parts.close()
        code, _ = service.end()
    return found | {
        "refusal": told(refused),
        "reads_meanwhile": reads,
        "integrity": intact,
        "recovery_seconds": round(recovery, 2),
        "exit_code": code,
    }


def limit_file_size(home):
    """Return what limits and unlimits the size of files the service may write: a quota, without a disk."""

    def largest():
        return max(path.stat().st_size for path in home.root.rglob("*") if path.is_file())

    def make_full(service):
        limit = largest() + 100_000
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def make_room(service):
        no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, no_limit)

    return make_full, make_room


@contextmanager
def small_disk(folder, megabytes=24):
    """Mount a small file system of memory, where the system lets us."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def ballast(folder):
    """Return what fills a file system up to a few hundred kilobytes and what takes that away again."""
    path = folder / "ballast"

    def make_full(_):
        free = shutil.disk_usage(folder).free
        path.write_bytes(b"\0" * max(free - 300_000, 0))

    def make_room(_):
        path.unlink()

    return make_full, make_room


def answers(url):
    try:
        return httpx.get(url + "/livez", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
