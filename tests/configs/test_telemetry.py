import os
import subprocess
import sys

from configs import telemetry


def test_switching_off_overrides_what_was_set_and_keeps_the_rest():
    environ = {"MLFLOW_DISABLE_TELEMETRY": "false", "PATH": "/bin"}
    telemetry.switch_off(environ)
    assert environ == {"PATH": "/bin", **telemetry.OFF}


def test_bentoml_and_mlflow_themselves_read_it_as_off():
    asked = (
        "from bentoml._internal.utils.analytics.usage_stats import do_not_track\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION as pickled\n"
        "print(do_not_track(), is_telemetry_disabled(), pickled.get())\n"
    )
    environ = dict(os.environ)
    telemetry.switch_off(environ)
    done = subprocess.run(
        [sys.executable, "-c", asked], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True", "False"]
