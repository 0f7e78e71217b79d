"""Every dependency's telemetry, and MLflow's pickle loading, switched off."""

from __future__ import annotations

from collections.abc import MutableMapping

OFF: dict[str, str] = {
    "BENTOML_DO_NOT_TRACK": "true",
    "DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AUTOLOGGING": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def switch_off(environ: MutableMapping[str, str]) -> None:
    """Set the variables that silence every dependency, before any of them is imported.

    >>> environ = {"DO_NOT_TRACK": "0"}
    >>> switch_off(environ)
    >>> environ["DO_NOT_TRACK"], environ["BENTOML_DO_NOT_TRACK"]
    ('1', 'true')
    """
    environ.update(OFF)
