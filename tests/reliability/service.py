"""A service in a process of its own that can be killed, stopped and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from pipelines.service_process import free_port
from tests.serving.parts import HEADERS

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = 'tagtide_events_total{result="accepted"}'


class Service:
    """One process; ``url`` stays the same over its starts."""

    def __init__(self, home, database_url=None, redis_url=None, scoring_seconds=0, settings=None):
        self.home = home
        self.options = [str(scoring_seconds)] if scoring_seconds else []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        stores = {"TAGTIDE_DATABASE_URL": database_url, "TAGTIDE_REDIS_URL": redis_url}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGTIDE_")}
        self.environ = {**kept, **{name: value for name, value in stores.items() if value}}
        self.environ |= settings or {}
        self.log = home.root.parent / f"service-{self.port}.log"
        self.process = None

    def begin(self):
        """Start the process without waiting for it."""
        command = [sys.executable, "-m", "tests.reliability.served", str(self.home.root), str(self.port)]
        command += self.options
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def wait(self):
        """Wait until requests are answered."""
        assert self.process.stdout.readline() == "started\n", self.log.read_text()[-2000:]

    def start(self):
        self.begin()
        self.wait()
        return self

    def kill(self):
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=30)

    def end(self):
        """Ask it to stop; return its exit code and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode, time.monotonic() - began

    def client(self, seconds=30.0):
        return httpx.Client(base_url=self.url, headers=HEADERS, timeout=seconds, trust_env=False)

    def status(self):
        with self.client() as client:
            return client.get("/v1/status").json()

    def is_leading(self):
        return self.status()["parts"]["lease"]["detail"].startswith("this process")

    def accepted_events(self):
        with self.client() as client:
            lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(ACCEPTED))

    def rss_mb(self):
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def children(self):
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def services(home, count=1, **stores):
    """Start services on one home together, and leave none behind."""
    made = [Service(home, **stores) for _ in range(count)]
    try:
        for one in made:
            one.begin()
        for one in made:
            one.wait()
        yield made
    finally:
        for one in made:
            if one.process is not None and one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
                one.kill()


def until(is_so, seconds=30.0, pause_seconds=0.02):
    """Wait for something that happens by itself; return the seconds it took."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"did not happen within {seconds} s")
        time.sleep(pause_seconds)
    return time.monotonic() - began
