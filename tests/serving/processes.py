"""A service of test parts in a process of its own, under the real server."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

from pipelines.service_process import free_port
from tests.serving.parts import HEADERS

ROOT = Path(__file__).resolve().parents[2]


class Running:
    def __init__(self, home, port, *options):
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "tests.serving.run_parts", str(home.root), str(port), *options]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.client = httpx.Client(base_url=self.url, headers=HEADERS, timeout=30, trust_env=False)
        assert self.process.stdout.readline() == "started\n"

    def end(self):
        """Ask it to stop; return its exit code, the seconds it took and what it said."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=20)
        self.client.close()
        return self.process.returncode, time.monotonic() - began, said


@contextmanager
def running(home, *options):
    service = Running(home, free_port(), *options)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.communicate()
        service.client.close()
