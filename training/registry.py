"""Which bundle of each task is champion and which is challenger: MLflow's model registry in SQLite.

One registered model per task; each version's artefacts are one bundle folder. The alias ``champion`` names
what serves, ``challenger`` what waits. Artefacts are found by run id under the home, never by the absolute
address MLflow stores, so that a home can be moved.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.home import Home
from configs.telemetry import switch_off
from training.artifact import bundle_hash, load_bundle
from training.errors import BundleError, PromotionRefusedError, RegistryError
from training.gate import GateDecision, flatten, promotion_gate, rules_for

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "tagtide"
BUNDLE_FOLDER = "bundle"
CHAMPION = "champion"
CHALLENGER = "challenger"
HISTORY_TAG = "champion_history"
SHA256_TAG = "sha256"
HISTORY_LENGTH = 100
"""Former champions remembered for rollback."""


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of one task's model.

    Attributes
    ----------
    directory
        The bundle folder in the registry; published copies lie elsewhere.
    metrics
        Flat, dotted names, as measured at training.
    """

    task: str
    version: int
    directory: Path
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def model_version(self) -> str:
        """The name under which every answer quotes it: ``propensity/3``."""
        return f"{self.task}/{self.version}"


@dataclass(frozen=True)
class Promotion:
    """What a promotion or rollback did.

    Attributes
    ----------
    previous
        The champion before, if any.
    decision
        The gate's findings; None for a rollback.
    forced
        True if the gate refused and was overruled.
    """

    champion: ModelVersion
    previous: ModelVersion | None
    decision: GateDecision | None
    forced: bool


def log_bundle(
    home: Home,
    task: str,
    directory: Path,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    tags: Mapping[str, str],
    documents: Path | None = None,
    as_challenger: bool = True,
) -> ModelVersion:
    """Register a bundle folder as the next version of its task, and make it the challenger.

    Parameters
    ----------
    task
        ``tags-<family>``, ``propensity``, ``clv`` or ``segments``.
    directory
        A saved bundle; it is copied.
    params, metrics
        Of the training run. Metrics may be nested; numbers are recorded under dotted names.
    tags
        Kept with run and version: source, as-of instant, checksum.
    documents
        A folder of further artefacts of the run, such as card and plots; copied beside the bundle.
    as_challenger
        Whether it waits for promotion; otherwise the challenger stays who it is.

    Raises
    ------
    RegistryError
        If the task is unknown or the folder does not exist.
    """
    rules_for(task)
    if not directory.is_dir():
        raise RegistryError(f"no bundle at {directory}", "train the model first")
    from mlflow.entities import Metric, Param, RunTag

    client = _client(home)
    run = client.create_run(_experiment(client, home), run_name=task)
    run_id = run.info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, 0, 0) for name, value in flatten(metrics).items()],
        params=[Param(name, str(value)) for name, value in params.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    # Not through MLflow, which would write to where the home was when it was made.
    shutil.copytree(directory, _bundle_folder(home, run_id))
    if documents is not None:
        shutil.copytree(documents, _bundle_folder(home, run_id).parent, dirs_exist_ok=True)
    client.set_terminated(run_id)
    _ensure_model(client, task)
    source = f"{run.info.artifact_uri}/{BUNDLE_FOLDER}"
    version = client.create_model_version(task, source=source, run_id=run_id, tags=dict(tags))
    if as_challenger:
        client.set_registered_model_alias(task, CHALLENGER, str(version.version))
    return _version(client, home, task, str(version.version))


def registered_as(home: Home, task: str, sha256: str) -> ModelVersion | None:
    """Return the latest version that holds a bundle of this hash, undamaged; None if there is none."""
    for known in reversed(versions(home, task)):
        if known.tags.get(SHA256_TAG) == sha256 and _is_sound(known.directory, sha256):
            return known
    return None


def _is_sound(directory: Path, sha256: str) -> bool:
    try:
        load_bundle(directory)
        return bundle_hash(directory) == sha256
    except (BundleError, OSError):
        return False


def challenge(home: Home, model: ModelVersion) -> None:
    """Let a registered version wait for promotion. What is champion already changes nothing."""
    current = champion(home, model.task)
    if current is None or current.version != model.version:
        _client(home).set_registered_model_alias(model.task, CHALLENGER, str(model.version))


def find_version(home: Home, task: str, name: str) -> ModelVersion:
    """Return the version that an alias or number names.

    Parameters
    ----------
    name
        ``champion``, ``challenger``, or a number such as ``3``.

    Raises
    ------
    RegistryError
        If there is none, or the name is neither.
    """
    if name in {CHAMPION, CHALLENGER}:
        found = _by_alias(home, task, name)
        if found is None:
            raise RegistryError(f"{task} has no {name}", _how_to_have_one(name))
        return found
    if not name.isdecimal():
        raise RegistryError(
            f"{task} has no version {name!r}: expected {CHAMPION}, {CHALLENGER} or a number",
            "for example `tagtide compare champion 3`",
        )
    return _existing(home, task, int(name))


def _how_to_have_one(alias: str) -> str:
    return "run `tagtide promote` first" if alias == CHAMPION else "run `tagtide train --challenger` first"


def champion(home: Home, task: str) -> ModelVersion | None:
    """Return what serves, if anything was promoted."""
    return _by_alias(home, task, CHAMPION)


def challenger(home: Home, task: str) -> ModelVersion | None:
    """Return what waits for promotion, if anything does."""
    return _by_alias(home, task, CHALLENGER)


def tasks(home: Home) -> list[str]:
    """Return the tasks that have a registered model, sorted; empty for a home without a registry."""
    if not _database(home).exists():
        return []
    return sorted(model.name for model in _client(home).search_registered_models())


def versions(home: Home, task: str) -> list[ModelVersion]:
    """Return every version of a task, oldest first."""
    if task not in tasks(home):
        return []
    client = _client(home)
    found = client.search_model_versions(f"name='{task}'")
    return [_version(client, home, task, number) for number in sorted((v.version for v in found), key=int)]


def promote(home: Home, task: str, version: int | None = None, *, force: bool = False) -> Promotion:
    """Make a version the champion if the gate lets it pass.

    Parameters
    ----------
    version
        Default: the challenger.
    force
        Promote even though the gate refuses. What it said is still returned.

    Raises
    ------
    PromotionRefusedError
        If the gate refuses; the message holds its objections.
    RegistryError
        If there is no such version, or no challenger.
    """
    candidate = challenger(home, task) if version is None else _existing(home, task, version)
    current = champion(home, task)
    if candidate is None:
        if version is None and current is not None:
            raise RegistryError(
                f"{task} has no challenger: champion is {current.model_version}", "train first"
            )
        raise RegistryError(f"{task} has no registered version", "run `tagtide train` first")
    if current is not None and current.version == candidate.version:
        return Promotion(current, current, None, forced=False)
    decision = promotion_gate(current.metrics if current else None, candidate.metrics, rules_for(task))
    if not decision.passed and not force:
        raise PromotionRefusedError(
            f"{candidate.model_version} was refused: {'; '.join(decision.objections)}",
            "improve the model, see both on the same rows with `tagtide compare champion challenger`, or "
            "overrule the gate with --force",
        )
    client = _client(home)
    history = _history(client, task)
    if current is not None:
        history.append(current.version)
    _crown(client, task, candidate.version, history)
    waiting = challenger(home, task)
    if waiting is not None and waiting.version == candidate.version:
        client.delete_registered_model_alias(task, CHALLENGER)
    return Promotion(candidate, current, decision, forced=not decision.passed)


def rollback(home: Home, task: str, check: Callable[[ModelVersion], object] | None = None) -> Promotion:
    """Make the previous champion the champion again. Repeated, it goes back further.

    Parameters
    ----------
    check
        Looks at the previous champion first; if it raises, nothing is changed.

    Raises
    ------
    RegistryError
        If there is no earlier champion.
    """
    current = champion(home, task)
    if current is None:
        raise RegistryError(f"{task} has no champion to roll back", "run `tagtide promote` first")
    client = _client(home)
    history = _history(client, task)
    if not history:
        raise RegistryError(
            f"{task} has no champion before {current.model_version}", "train and promote another one first"
        )
    previous = _version(client, home, task, str(history[-1]))
    if check is not None:
        check(previous)
    _crown(client, task, previous.version, history[:-1])
    return Promotion(previous, current, None, forced=False)


def has_former_champion(home: Home, task: str) -> bool:
    """Return whether there is a champion that `rollback` could put back."""
    return champion(home, task) is not None and bool(_history(_client(home), task))


def _crown(client: MlflowClient, task: str, version: int, history: list[int]) -> None:
    client.set_registered_model_tag(task, HISTORY_TAG, json.dumps(history[-HISTORY_LENGTH:]))
    client.set_registered_model_alias(task, CHAMPION, str(version))


def _history(client: MlflowClient, task: str) -> list[int]:
    text = client.get_registered_model(task).tags.get(HISTORY_TAG, "[]")
    return [int(version) for version in json.loads(text)]


def _by_alias(home: Home, task: str, alias: str) -> ModelVersion | None:
    rules_for(task)
    if task not in tasks(home):
        return None
    client = _client(home)
    number = client.get_registered_model(task).aliases.get(alias)
    return None if number is None else _version(client, home, task, str(number))


def _existing(home: Home, task: str, version: int) -> ModelVersion:
    known = [found.version for found in versions(home, task)]
    if version not in known:
        shown = ", ".join(map(str, known)) or "none"
        raise RegistryError(f"{task} has no version {version}: registered are {shown}")
    return _version(_client(home), home, task, str(version))


def _version(client: MlflowClient, home: Home, task: str, number: str) -> ModelVersion:
    found = client.get_model_version(task, number)
    directory = _bundle_folder(home, str(found.run_id))
    metrics = client.get_run(str(found.run_id)).data.metrics
    return ModelVersion(task, int(found.version), directory, metrics, found.tags)


def _ensure_model(client: MlflowClient, task: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(task)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _experiment(client: MlflowClient, home: Home) -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known is not None:
        return str(known.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=_artifacts(home).resolve().as_uri()))


def _artifacts(home: Home) -> Path:
    return home.mlflow / "artifacts"


def _bundle_folder(home: Home, run_id: str) -> Path:
    return _artifacts(home) / run_id / "artifacts" / BUNDLE_FOLDER


def _database(home: Home) -> Path:
    return home.mlflow / "mlflow.db"


def _client(home: Home) -> MlflowClient:
    home.mlflow.mkdir(parents=True, exist_ok=True)
    return _connect(f"sqlite:///{_database(home).resolve()}")


@lru_cache(maxsize=8)
def _connect(address: str) -> MlflowClient:
    switch_off(os.environ)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # MLflow's own table definitions use a loader that SQLAlchemy 2.1 deprecates.
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy")
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=address, registry_uri=address)
