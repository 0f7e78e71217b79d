"""The published bundles: what the service follows, without MLflow.

``bundles/<first 16 hex digits of the checksum>/`` holds one immutable copy of a bundle;
``bundles/champion.json`` names, per task, the one that serves. Both appear by a rename, so that a reader sees
the old state or the new one, never something between.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from configs.home import Home
from features.file_lock import exclusive
from training import registry
from training.artifact import bundle_hash, load_bundle
from training.errors import BundleError, RegistryError
from training.model_inputs import require_features

POINTER = "champion.json"
LOCK = ".lock"
FOLDER_DIGITS = 16


@dataclass(frozen=True)
class PublishedBundle:
    """The bundle that serves one task.

    Attributes
    ----------
    sha256
        Of its ``SHA256SUMS``, which in turn covers every other file.
    """

    task: str
    directory: Path
    sha256: str
    model_version: str
    promoted_at: datetime


def publish(home: Home, task: str, *, at: datetime) -> PublishedBundle:
    """Copy the champion's bundle to where the service finds it, and point to it.

    Publishing what is published already changes nothing but the instant.

    Parameters
    ----------
    at
        Aware; recorded as ``promoted_at``.

    Raises
    ------
    RegistryError
        If the task has no champion.
    BundleError
        If a file of the bundle is missing or was altered, or it reads a feature that does not exist any more.
    """
    if at.tzinfo is None:
        raise ValueError(f"expected an aware instant, got {at.isoformat()}")
    model = registry.champion(home, task)
    if model is None:
        raise RegistryError(f"{task} has no champion to publish", "run `tagtide promote` first")
    digest = servable_hash(model.directory)
    home.bundles.mkdir(parents=True, exist_ok=True)
    folder = digest[:FOLDER_DIGITS]
    with exclusive(home.bundles / LOCK):
        _copy_once(model.directory, home.bundles / folder, digest)
        pointer = _read_pointer(home)
        pointer[task] = {
            "sha256": digest,
            "path": folder,
            "model_version": model.model_version,
            "promoted_at": at.astimezone(UTC).isoformat(),
        }
        _write_atomically(home.bundles / POINTER, json.dumps(pointer, indent=2, sort_keys=True) + "\n")
    return PublishedBundle(task, home.bundles / folder, digest, model.model_version, at.astimezone(UTC))


def published(home: Home) -> dict[str, PublishedBundle]:
    """Return what serves, per task; empty if nothing was published.

    Raises
    ------
    BundleError
        If the pointer is damaged.
    """
    try:
        return {
            task: PublishedBundle(
                task,
                home.bundles / entry["path"],
                entry["sha256"],
                entry["model_version"],
                datetime.fromisoformat(entry["promoted_at"]),
            )
            for task, entry in _read_pointer(home).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _damaged(home) from None


def servable_hash(directory: Path) -> str:
    """Read a bundle, check that everything it reads can be computed, and return its hash.

    Raises
    ------
    BundleError
        If a file is missing, altered or not listed, or a feature does not exist or is of another type.
    """
    require_features(load_bundle(directory))
    return bundle_hash(directory)


def verified_hash(directory: Path) -> str:
    """Read a bundle, which checks every file of it, and return its hash.

    Raises
    ------
    BundleError
        If a file is missing, altered or not listed.
    """
    load_bundle(directory)
    return bundle_hash(directory)


def _copy_once(source: Path, target: Path, digest: str) -> None:
    if target.exists():
        if verified_hash(target) != digest:
            raise BundleError(
                f"published bundle {target} was altered", "remove that folder and publish again"
            )
        return
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=target.parent))
    try:
        copy = staging / "bundle"
        shutil.copytree(source, copy)
        if verified_hash(copy) != digest:
            raise BundleError(f"bundle {source} changed while it was copied", "publish again")
        copy.rename(target)
    finally:
        shutil.rmtree(staging)


def _read_pointer(home: Home) -> dict[str, dict[str, str]]:
    try:
        content = json.loads((home.bundles / POINTER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise _damaged(home) from None
    if not isinstance(content, dict):
        raise _damaged(home)
    return content


def _damaged(home: Home) -> BundleError:
    return BundleError(f"{home.bundles / POINTER} is damaged", "remove it and promote again")


def _write_atomically(path: Path, text: str) -> None:
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    with staging.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
