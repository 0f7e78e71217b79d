"""The home directory: where each thing lies, and which version wrote it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from configs.errors import HomeError

LAYOUT_VERSION = 1
"""Raised whenever a home written by this version could not be read by an older one, or the reverse."""

MARKER = "home.json"


@dataclass(frozen=True)
class Home:
    """Paths under one home directory. Nothing is created before `open_home`."""

    root: Path

    @property
    def lake(self) -> Path:
        """Events as Parquet, one folder a day."""
        return self.root / "lake"

    @property
    def quarantine(self) -> Path:
        """Rows that were refused, with the reason."""
        return self.root / "quarantine"

    @property
    def sources(self) -> Path:
        """What each import read: its mapping and its reports."""
        return self.root / "sources"

    @property
    def database(self) -> Path:
        """SQLite file of event log and ledger where no other database is configured."""
        return self.root / "tagtide.db"

    @property
    def erasure_key(self) -> Path:
        """Secret that erased ids are hashed with where the environment gives none."""
        return self.root / "erasure.key"

    @property
    def id_marker(self) -> Path:
        """Says that customers' ids are kept as pseudonyms, and by which key."""
        return self.root / "ids.json"

    @property
    def tokens(self) -> Path:
        """Hashes of the bearer tokens that `tagtide tokens` made."""
        return self.root / "tokens.json"

    @property
    def jobs_lock(self) -> Path:
        """Held by everybody who reads customers' data in bulk, and alone by whoever moves or erases some."""
        return self.root / "jobs.lock"

    @property
    def online_lock(self) -> Path:
        """Held by whoever changes what the online store knows of a customer."""
        return self.root / "online.lock"

    @property
    def processes(self) -> Path:
        """A locked file for each service that runs on this home."""
        return self.root / "processes"

    @property
    def feature_store(self) -> Path:
        """Feast registry, snapshots and profiles."""
        return self.root / "feature_store"

    @property
    def online_store(self) -> Path:
        """SQLite file of the embedded online store."""
        return self.feature_store / "online.db"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artefacts."""
        return self.root / "mlflow"

    @property
    def bundles(self) -> Path:
        """Published bundles, one immutable folder each, and the pointer to the champions."""
        return self.root / "bundles"

    @property
    def reports(self) -> Path:
        """Everything made to be looked at."""
        return self.root / "reports"

    @property
    def scores(self) -> Path:
        """Batch scores as Parquet."""
        return self.root / "scores"


def open_home(root: Path, *, create: bool) -> Home:
    """Open a home directory, checking that this version can read it.

    Parameters
    ----------
    root
        The directory.
    create
        Make it if it does not exist or is empty.

    Raises
    ------
    HomeError
        If it is missing (and ``create`` is false), is not a home, or was written by another layout.
    """
    marker = root / MARKER
    if marker.is_file():
        try:
            version = json.loads(marker.read_text(encoding="utf-8"))["layout_version"]
        except (ValueError, KeyError, TypeError):
            raise HomeError(f"{marker} is damaged", "restore it, or start with another --home") from None
        if version != LAYOUT_VERSION:
            raise HomeError(
                f"home {root} has layout {version!r}; this version reads layout {LAYOUT_VERSION}",
                "use the version that wrote it, or start with another --home and import again",
            )
        return Home(root)
    if root.exists() and not root.is_dir():
        raise HomeError(f"home {root} is a file, not a directory", "choose another --home")
    if root.is_dir() and any(entry.name != "tagtide.yaml" for entry in root.iterdir()):
        raise HomeError(f"{root} is not a Tagtide home: it has no {MARKER}", "choose another --home")
    if not create:
        raise HomeError(
            f"no home at {root}", "run `tagtide import SOURCE` or `tagtide demo` first, or pass --home"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps({"layout_version": LAYOUT_VERSION}) + "\n", encoding="utf-8")
    except OSError as error:
        raise HomeError(f"cannot write home {root}: {error.strerror}", "choose another --home") from None
    return Home(root)
