"""A lean HTTP/1.1 client that puts load on a service, in a process of its own.

    python http_load.py PLAN

PLAN is a JSON file of a `Plan`; the result is printed as one line of JSON. Requests are whole HTTP messages
made beforehand; connections are kept open; of replies only status and length are read. One thread and no
HTTP library: it takes a few hundredths of a millisecond of CPU a request, and says how much.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RECEIVED_BYTES = 1 << 20
LATEST_REPLY_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes
    ----------
    requests
        Whole HTTP messages, in turn.
    seconds
        For how long.
    connections
        How many; each has one request under way at a time.
    per_second
        Requests begun a second at equal distances, whether answers keep up or not; 0: a connection asks
        again as soon as it has its answer.
    """

    host: str
    port: int
    requests: Sequence[str]
    seconds: float
    connections: int
    per_second: float = 0.0


@dataclass(frozen=True)
class Load:
    """What came of it.

    Attributes
    ----------
    answered
        Replies with a status from 200 to 299.
    statuses
        Replies by status.
    seconds
        From the first request to the last reply.
    times_ms
        From when a request was due until its reply was complete, in the order of replies.
    client_cpu_seconds
        What the client itself took.
    """

    answered: int
    statuses: dict[str, int]
    seconds: float
    times_ms: list[float]
    client_cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return self.answered / self.seconds


def put_load(plan: Plan) -> Load:
    """Run a plan in a process of its own.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails; what it says goes to standard error.
    """
    with tempfile.TemporaryDirectory(prefix="tagtide-load-") as folder:
        path = Path(folder) / "plan.json"
        path.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        done = subprocess.run([sys.executable, __file__, str(path)], stdout=subprocess.PIPE, check=True)
    return Load(**json.loads(done.stdout))


def message(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> str:
    """Return a whole request as text of single bytes.

    >>> message("GET", "/x", {"host": "here"})
    'GET /x HTTP/1.1\\r\\nhost: here\\r\\n\\r\\n'
    """
    if body:
        headers = headers | {"content-length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines) + body.decode("latin-1")


class _Connection:
    """One connection with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=LATEST_REPLY_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._buffer = b""
        self._wanted = 0

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at an instant."""
        self.due = due
        self._buffer, self._wanted = b"", 0
        self.socket.sendall(request)

    def receive(self) -> int:
        """Read what has come; return the status once the reply is complete, else 0."""
        came = self.socket.recv(RECEIVED_BYTES)
        if not came:
            raise ConnectionError("the service closed a connection")
        self._buffer += came
        if not self._wanted:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return 0
            head = self._buffer[:end].lower()
            place = head.find(b"content-length:")
            if place < 0:
                raise ConnectionError("a reply without content-length")
            self._wanted = end + 4 + int(head[place + 15 :].split(b"\r\n", 1)[0])
        return int(self._buffer[9:12]) if len(self._buffer) >= self._wanted else 0


def run(plan: Plan) -> Load:
    """Run a plan in this process.

    Raises
    ------
    ConnectionError
        If the service closes a connection, or does not answer within `LATEST_REPLY_SECONDS`.
    """
    requests = [one.encode("latin-1") for one in plan.requests]
    idle = deque(_Connection(plan.host, plan.port) for _ in range(plan.connections))
    busy: dict[socket.socket, _Connection] = {}
    statuses: dict[str, int] = {}
    times: list[float] = []
    sent, cpu, began = 0, time.process_time(), time.perf_counter()
    end = last = began + plan.seconds

    def due(now: float) -> float:
        return began + sent / plan.per_second if plan.per_second else now

    while True:
        now = time.perf_counter()
        while idle and due(now) <= now and due(now) < end:
            connection = idle.popleft()
            connection.send(requests[sent % len(requests)], due(now))
            busy[connection.socket] = connection
            sent += 1
        may_send = bool(idle) and due(now) < end
        if not busy and not may_send:
            break
        # Unlike poll, it counts in microseconds: nothing is sent late, and nobody spins.
        ready, _, _ = select.select(list(busy), [], [], due(now) - now if may_send else LATEST_REPLY_SECONDS)
        if not ready and not may_send:
            raise ConnectionError(f"no reply within {LATEST_REPLY_SECONDS:.0f} s")
        for one in ready:
            status = busy[one].receive()
            if status:
                last = time.perf_counter()
                times.append((last - busy[one].due) * 1000)
                statuses[str(status)] = statuses.get(str(status), 0) + 1
                idle.append(busy.pop(one))
    seconds, cpu = last - began, time.process_time() - cpu
    for connection in idle:
        connection.socket.close()
    answered = sum(count for status, count in statuses.items() if status.startswith("2"))
    return Load(answered, statuses, seconds, times, cpu)


def main() -> None:
    """Run the plan in the file named."""
    plan: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(asdict(run(Plan(**plan)))))


if __name__ == "__main__":
    main()
