import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from configs.errors import ConfigError
from pipelines.errors import MachineError, MissingStepError
from pipelines.serve import changed, curl_example, serve
from pipelines.service_process import ServiceProcess, free_port, new_token
from serving.errors import ServingError
from serving.tokens import TokenFile
from tests.serving.parts import settings_of


def never(url):
    raise AssertionError(f"must not start: {url}")


def test_without_a_token_it_does_not_start_and_says_how_to_make_one(home):
    settings = settings_of(home).model_copy(update={"api_token": None})
    with pytest.raises(ConfigError, match="TAGTIDE_API_TOKEN") as refused:
        serve(home, settings, may_be_reached=False, on_started=never)
    assert "token_urlsafe" in refused.value.next_step


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.7", "::"])
@pytest.mark.parametrize("may_be_reached", [False, True])
def test_no_address_is_listened_on_without_a_token(home, host, may_be_reached):
    settings = settings_of(home).model_copy(update={"api_token": None, "serve_host": host})
    with pytest.raises(ConfigError, match="no bearer token is set"):
        serve(home, settings, may_be_reached=may_be_reached, on_started=never)


def test_a_token_of_the_home_is_enough(home):
    TokenFile(home.tokens).add("scrm", "write", now=datetime.now(UTC))
    settings = settings_of(home).model_copy(update={"api_token": None})
    with pytest.raises(MissingStepError, match="no model is published"):
        serve(home, settings, may_be_reached=False, on_started=never)


def test_without_published_models_it_names_the_step_that_is_missing(home):
    with pytest.raises(MissingStepError, match="no model is published") as refused:
        serve(home, settings_of(home), may_be_reached=False, on_started=never)
    assert "tagtide promote" in refused.value.next_step


def test_a_port_that_is_taken_is_named(home):
    home.bundles.mkdir()
    (home.bundles / "champion.json").write_text("{}")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = changed(settings_of(home), host=None, port=port, clock=None)
        with pytest.raises(ServingError, match=f"port {port} "):
            serve(home, settings, may_be_reached=False, on_started=never)


def test_an_address_others_can_reach_needs_an_acknowledgement(home):
    settings = changed(settings_of(home), host="10.0.0.1", port=None, clock=None)
    with pytest.raises(ServingError, match="other machines"):
        serve(home, settings, may_be_reached=False, on_started=never)


def test_options_stand_over_settings(home):
    settings = changed(settings_of(home), host="::1", port=9000, clock="replay")
    assert (settings.serve_host, settings.serve_port, settings.clock) == ("::1", 9000, "replay")
    assert changed(settings, host=None, port=None, clock=None) == settings
    with pytest.raises(ConfigError, match="65536"):
        changed(settings, host=None, port=65536, clock=None)


def test_the_example_shows_no_secret():
    assert curl_example("http://h:1") == (
        'curl -H "Authorization: Bearer $TAGTIDE_API_TOKEN" http://h:1/v1/status'
    )


def test_a_service_that_cannot_start_is_reported_with_its_last_words(home):
    process = ServiceProcess(home, {}, port=free_port(), token=new_token(), clock="replay")
    with pytest.raises(MachineError, match="no model is published"):
        process.start()


def test_importing_the_command_brings_no_server_along():
    code = (
        "import sys, pipelines.serve, pipelines.replay\n"
        "print('bentoml' in sys.modules, 'uvicorn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
