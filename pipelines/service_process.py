"""A service in a process of its own, for the demo and for tests."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from configs.home import Home
from pipelines.errors import MachineError
from serving.clock import ClockKind

START_SECONDS = 60.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.1
LOG_LINES_SHOWN = 5


def new_token() -> str:
    """Make a bearer token nobody can guess."""
    return secrets.token_urlsafe(32)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class ServiceProcess:
    """Runs ``tagtide serve`` and stops it at the end of a ``with`` block.

    Parameters
    ----------
    home
        The home that is served.
    environ
        The process's environment; settings in it hold.
    port
        Where it listens, on loopback.
    token
        Bearer token, handed over in the environment.
    clock
        See the setting of that name.
    options
        More of the command's options.

    Attributes
    ----------
    url
        Of the running service.
    log
        File with what the service says.
    """

    def __init__(
        self,
        home: Home,
        environ: Mapping[str, str],
        *,
        port: int,
        token: str,
        clock: ClockKind,
        options: Sequence[str] = (),
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = token
        self.log = home.root / "serve.log"
        self._command = [
            *(sys.executable, "-m", "pipelines.cli", "--home", str(home.root.absolute()), "serve"),
            *("--host", "127.0.0.1", "--port", str(port), "--clock", clock, *options),
        ]
        self._environ = {**environ, "TAGTIDE_API_TOKEN": token, "PYTHONSAFEPATH": "1"}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start, and wait until requests are answered."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, unless `leave_running` was called."""
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id, or None where none of ours runs."""
        return None if self._process is None else self._process.pid

    def client(self, timeout_seconds: float = 120.0) -> httpx.Client:
        """Return a client that knows address and token."""
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout_seconds, trust_env=False)

    def start(self, timeout_seconds: float = START_SECONDS) -> None:
        """Start the process and wait until it is ready.

        Raises
        ------
        MachineError
            If it ends or is not ready in time; the message has the last lines it said.
        """
        with self.log.open("wb") as log:
            # In a session of its own, so that Ctrl-C reaches it only through us.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + timeout_seconds
        with self.client(timeout_seconds=5.0) as client:
            while not _is_ready(client):
                if self._process.poll() is not None:
                    raise MachineError(
                        f"the service ended at its start: {self._last_words()}", f"see {self.log}"
                    )
                if time.monotonic() > deadline:
                    self.stop()
                    raise MachineError(
                        f"the service was not ready after {timeout_seconds:.0f} s: {self._last_words()}",
                        f"see {self.log}",
                    )
                # The service says nothing when it is ready: it has to be asked.
                time.sleep(POLL_SECONDS)

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """End the process: asked first, then killed."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def leave_running(self) -> int | None:
        """Let the process outlive this object; return its id."""
        pid, self._process = self.pid, None
        return pid

    def _last_words(self) -> str:
        lines = Path(self.log).read_text(encoding="utf-8", errors="replace").split("\n")
        return " / ".join([line for line in lines if line.strip()][-LOG_LINES_SHOWN:])


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
