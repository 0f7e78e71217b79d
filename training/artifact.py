"""The saved model: text models, one JSON file, and a checksum of everything."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from training.calibration import Calibrator
from training.errors import BundleError
from training.trees import ReadTrees, Trees, read_booster

if TYPE_CHECKING:
    from lightgbm import Booster

FORMAT = 2
CONTENT_FILE = "bundle.json"
SUMS_FILE = "SHA256SUMS"
THREADS = re.compile(r"\[num_threads: \d+\]")

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bundle:
    """Everything that turns features into answers, readable without MLflow and without pickle.

    Attributes
    ----------
    task
        Such as ``tags-interest``, ``propensity`` or ``clv``.
    as_of
        ISO instant as of which it was trained.
    models
        Per role a LightGBM model as text.
    features
        Per role the names of its inputs, in order.
    keys
        Categories or brands in the order of their numbers, for a role that reads the key itself.
    calibrators
        Per name a map from score to probability.
    content
        Whatever else the task needs to answer: thresholds, contract, levels, intervals.
    fingerprint
        Of the training data: rows, customers, span, and a hash.
    metrics
        Figures of the training run, baselines included.
    versions
        Of the libraries that trained it.
    dtypes
        Per feature that a model reads its type when it was fitted, ``int`` or ``float``.
    """

    task: str
    as_of: str
    models: Mapping[str, str]
    features: Mapping[str, Sequence[str]]
    keys: Sequence[str] = ()
    calibrators: Mapping[str, Calibrator] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Leave out of the models how many threads fitted them: the trees do not depend on it."""
        object.__setattr__(
            self,
            "models",
            {role: THREADS.sub("[num_threads: 0]", text) for role, text in self.models.items()},
        )

    def boosters(self) -> dict[str, Booster]:
        """Return the models, parsed by LightGBM."""
        return {role: read_booster(role, text) for role, text in self.models.items()}

    def trees(self, read: ReadTrees = read_booster) -> dict[str, Trees]:
        """Return the models, read some way."""
        return {role: read(f"{self.task} {role}", text) for role, text in self.models.items()}


def save_bundle(directory: Path, bundle: Bundle) -> str:
    """Write a bundle into an empty or new directory.

    Returns
    -------
    The bundle's hash: SHA-256 of its checksum file, 64 hexadecimal digits.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "task": bundle.task,
        "as_of": bundle.as_of,
        "models": {role: f"{role}.lgb" for role in bundle.models},
        "features": {role: list(names) for role, names in bundle.features.items()},
        "dtypes": dict(bundle.dtypes),
        "keys": list(bundle.keys),
        "calibrators": {name: calibrator.to_json() for name, calibrator in bundle.calibrators.items()},
        "content": bundle.content,
        "fingerprint": bundle.fingerprint,
        "metrics": bundle.metrics,
        "versions": bundle.versions,
    }
    files = {f"{role}.lgb": text.encode() for role, text in bundle.models.items()}
    files[CONTENT_FILE] = _strict_json(content)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    (directory / SUMS_FILE).write_text(sums, encoding="utf-8")
    return hashlib.sha256(sums.encode()).hexdigest()


def _strict_json(content: Mapping[str, Any]) -> bytes:
    """Write JSON that every reader takes: a number that does not exist becomes null."""

    def finite(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, Mapping):
            return {name: finite(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [finite(inner) for inner in value]
        return value

    text = json.dumps(finite(content), indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return text.encode()


def load_bundle(directory: Path) -> Bundle:
    """Read a bundle after checking every file against its checksum.

    Raises
    ------
    BundleError
        If a file is missing, altered or unlisted, or the format is another version's.
    """
    files = _verified_files(directory)
    try:
        content = json.loads(files[CONTENT_FILE])
        if content["format"] != FORMAT:
            raise BundleError(
                f"bundle {directory} has format {content['format']!r}; this version reads {FORMAT}",
                "train again",
            )
        return Bundle(
            task=content["task"],
            as_of=content["as_of"],
            models={role: files[name].decode() for role, name in content["models"].items()},
            features=content["features"],
            dtypes=content["dtypes"],
            keys=content["keys"],
            calibrators={name: Calibrator.from_json(knots) for name, knots in content["calibrators"].items()},
            content=content["content"],
            fingerprint=content["fingerprint"],
            metrics=content["metrics"],
            versions=content["versions"],
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"bundle {directory} is incomplete: {error!r}", "train again") from None


def bundle_hash(directory: Path) -> str:
    """Return the hash `save_bundle` returned, read from the checksum file."""
    return hashlib.sha256((directory / SUMS_FILE).read_bytes()).hexdigest()


def _verified_files(directory: Path) -> dict[str, bytes]:
    listed, files = _listed(directory), {}
    for name, digest in listed.items():
        try:
            files[name] = (directory / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"bundle {directory} is incomplete: {name}: {error.strerror}", "train again"
            ) from None
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise BundleError(f"bundle {directory}: {name} does not match its checksum", "train again")
    for name in sorted(path.name for path in directory.iterdir()):
        if name != SUMS_FILE and name not in listed:
            raise BundleError(f"bundle {directory}: {name} is not listed in {SUMS_FILE}", "train again")
    if CONTENT_FILE not in files:
        raise BundleError(f"bundle {directory} has no {CONTENT_FILE}", "train again")
    return files


def _listed(directory: Path) -> dict[str, str]:
    try:
        lines = (directory / SUMS_FILE).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BundleError(
            f"bundle {directory} is incomplete: {SUMS_FILE}: {error.strerror}", "train again"
        ) from None
    except UnicodeDecodeError:
        raise BundleError(f"bundle {directory}: {SUMS_FILE} is damaged", "train again") from None
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in listed:
        if not name or "\0" in name:
            raise BundleError(f"bundle {directory}: {SUMS_FILE} is damaged", "train again")
        if "/" in name or name.startswith("."):
            raise BundleError(f"bundle {directory} lists {name!r}, a file outside of itself", "train again")
    return listed
