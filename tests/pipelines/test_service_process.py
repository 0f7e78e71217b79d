"""`tagtide serve` as users start it, and BentoML's own command on the same service."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from pipelines.service_process import ServiceProcess, free_port, new_token
from tests.serving.parts import TOKEN, event


def clean_environ(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGTIDE_")}
    return kept | more


def wait_for(url, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            return httpx.get(url, trust_env=False)
        except httpx.TransportError:
            # Another program's start is all there is to wait for.
            time.sleep(0.1)
    raise AssertionError("it did not start")


@pytest.fixture
def damaged_home(home):
    home.bundles.mkdir()
    pointer = {"propensity": {"sha256": "0" * 64, "path": "0" * 16, "model_version": "1"}}
    (home.bundles / "champion.json").write_text(json.dumps(pointer))
    return home


def test_with_damaged_models_it_runs_takes_events_and_says_why_it_is_not_ready(damaged_home):
    port = free_port()
    command = [sys.executable, "-m", "pipelines.cli", "--home", str(damaged_home.root), "serve"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--clock", "replay", "--json"],
        env=clean_environ(TAGTIDE_API_TOKEN=TOKEN),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        assert wait_for(f"{url}/livez", process).status_code == 200
        with httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False
        ) as client:
            assert client.get("/readyz").status_code == 503
            status = client.get("/v1/status").json()
            assert "refused" in status["parts"]["models"]["detail"]
            assert client.post("/v1/events", json={"events": [event()]}).status_code == 202
            assert client.get("/v1/customers/c1").json()["code"] == "not_ready"
        second = subprocess.run(
            [*command, "--port", str(port)],
            env=clean_environ(TAGTIDE_API_TOKEN=TOKEN),
            capture_output=True,
            text=True,
        )
        assert second.returncode == 2
        assert f"error: port {port} on 127.0.0.1 cannot be used" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(said)["url"] == url


def test_a_service_that_ends_at_its_start_leaves_nothing_behind(home):
    process = ServiceProcess(home, clean_environ(), port=free_port(), token=new_token(), clock="replay")
    with pytest.raises(Exception, match="no model is published"), process:
        pass
    process.stop()
    assert process.pid is None


def test_bentoml_serves_it_too(damaged_home):
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bentoml", "serve", "serving.service:Service"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        env=clean_environ(
            TAGTIDE_API_TOKEN=TOKEN, TAGTIDE_HOME=str(damaged_home.root), BENTOML_DO_NOT_TRACK="true"
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=damaged_home.root,
        start_new_session=True,
    )
    try:
        assert wait_for(f"http://127.0.0.1:{port}/livez", process).status_code == 200
        headers = {"authorization": f"Bearer {TOKEN}"}
        status = httpx.get(f"http://127.0.0.1:{port}/v1/status", headers=headers, trust_env=False)
        assert status.json()["parts"]["stream"]["is_ready"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
