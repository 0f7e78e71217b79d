"""The services that ours is compared with, each in processes of its own, all with one model.

(a) BentoML with the scikit-learn wrapper on a DataFrame, (b) ``mlflow models serve``, (c) FastAPI around the
booster. Each has one worker, as by default, and one thread for LightGBM: more made it slower.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import http_load

from pipelines.service_process import free_port

START_SECONDS = 180.0
STOP_SECONDS = 15.0
HOST = "127.0.0.1"
JSON = {"host": "localhost", "content-type": "application/json", "accept": "application/json"}

Row = Sequence[float | None]


@dataclass(frozen=True)
class Peer:
    """How a peer is started and asked.

    Attributes
    ----------
    command
        With ``PORT`` where the port goes.
    path
        Of its predictions.
    body
        Given names and values of features: the request.
    said
        Given the reply: the probability.
    """

    command: Sequence[str]
    path: str
    body: Callable[[Sequence[str], Row], Any]
    said: Callable[[Any], float]


def peers(model: Path, mlflow_model: Path) -> dict[str, Peer]:
    """Return the peers by name.

    Parameters
    ----------
    model
        File with the model's text.
    mlflow_model
        Directory of the same model as MLflow saves it.
    """
    os.environ["PEER_MODEL"] = str(model)
    python = (sys.executable, "-m")
    return {
        "naive_bento": Peer(
            (*python, "bentoml", "serve", "bento_peer:Peer", "--host", HOST, "--port", "PORT"),
            "/predict",
            lambda names, row: {"customers": [dict(zip(names, row, strict=True))]},
            lambda reply: float(reply[0]),
        ),
        "mlflow": Peer(
            (
                *(*python, "mlflow", "models", "serve", "--model-uri", str(mlflow_model)),
                *("--env-manager", "local", "--host", HOST, "--port", "PORT", "--workers", "1"),
            ),
            "/invocations",
            lambda names, row: {"dataframe_split": {"columns": list(names), "data": [list(row)]}},
            lambda reply: float(reply["predictions"][0]),
        ),
        "fastapi": Peer(
            (*python, "uvicorn", "fastapi_peer:app", "--host", HOST, "--port", "PORT", "--no-access-log"),
            "/predict",
            lambda _, row: {"features": list(row)},
            lambda reply: float(reply["probability"]),
        ),
    }


def save_for_mlflow(model: Path, folder: Path, names: Sequence[str]) -> Path:
    """Save a model's text as MLflow serves it: the booster itself, with a signature."""
    import lightgbm
    import mlflow.lightgbm
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = Schema([ColSpec("double", name, required=False) for name in names])
    mlflow.lightgbm.save_model(
        lightgbm.Booster(model_str=model.read_text(encoding="utf-8")),
        str(folder),
        signature=ModelSignature(inputs=columns),
        pip_requirements=["lightgbm"],
    )
    return folder


class PeerProcess:
    """Runs a peer and stops it, its workers too, at the end of a ``with`` block."""

    def __init__(self, name: str, peer: Peer, folder: Path) -> None:
        self.name = name
        self.peer = peer
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        command = [str(self.port) if part == "PORT" else part for part in self.peer.command]
        here = str(Path(__file__).parent)
        environ = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]),
            "BENTOML_HOME": str(self._folder / "bentoml"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        with (self._folder / f"{self.name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=here, env=environ, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and whatever it started."""
        if self._process is None:
            return
        group = os.getpgid(self._process.pid)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        try:
            # Of the session that only this process and its workers are in.
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return

    @property
    def pid(self) -> int:
        """Of the process started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    def wait_until(self, names: Sequence[str], row: Row, expected: float) -> None:
        """Wait until it answers, and compare what it says with the model's own answer.

        Raises
        ------
        SystemExit
            If it does not answer in time, or says something else.
        """
        body = json.dumps(self.peer.body(names, row)).encode()
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}{self.peer.path}",
            body,
            {name: value for name, value in JSON.items() if name != "host"},
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 - a peer of ours
                    said = self.peer.said(json.loads(reply.read()))
                break
            except OSError as error:
                is_refusal = isinstance(error, urllib.error.HTTPError)
                if is_refusal or time.monotonic() > deadline:
                    log = (self._folder / f"{self.name}.log").read_text(encoding="utf-8", errors="replace")
                    raise SystemExit(f"{self.name} does not answer: {error}\n{log[-2000:]}") from None
                time.sleep(0.5)
        if abs(said - expected) > 1e-9:
            raise SystemExit(f"{self.name} says {said}, the model {expected}")

    def requests(self, names: Sequence[str], rows: Sequence[Row]) -> list[str]:
        """Return a request for each row of features."""
        return [
            http_load.message("POST", self.peer.path, JSON, json.dumps(self.peer.body(names, row)).encode())
            for row in rows
        ]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and all below it have taken; Linux tells."""
    children: dict[int, list[int]] = {}
    taken: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        number = int(path.parent.name)
        children.setdefault(int(fields[1]), []).append(number)
        taken[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total, left = 0.0, [pid]
    while left:
        one = left.pop()
        total += taken.get(one, 0.0)
        left += children.get(one, ())
    return total
