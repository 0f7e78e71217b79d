"""Follows the pointer to the published bundles and swaps the scorer when it changes."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from configs.errors import TagtideError
from serving.scores import Scorer

logger = logging.getLogger(__name__)

POINTER = "champion.json"
"""File in the bundles' directory that names the champion of each task."""


@dataclass(frozen=True)
class _InForce:
    scorer: Scorer
    versions: Mapping[str, str]


class BundleWatch:
    """Loads what the pointer names; keeps serving the old models while the new ones cannot be loaded.

    Parameters
    ----------
    pointer
        Path of ``champion.json``: ``{task: {"sha256", "path", "model_version"}}``.
    load
        Makes a scorer of the pointer's content; raises if a bundle is damaged.
    """

    def __init__(self, pointer: Path, load: Callable[[Mapping[str, Any]], Scorer]) -> None:
        self._pointer = pointer
        self._load = load
        self._lock = threading.Lock()
        self._seen_stat: tuple[int, int] | None = None
        self._seen_digest = b""
        self._in_force: _InForce | None = None
        self._problem = f"no bundle is published: {pointer} does not exist"

    @property
    def scorer(self) -> Scorer | None:
        """See `ScorerHolder.scorer`."""
        in_force = self._in_force
        return None if in_force is None else in_force.scorer

    @property
    def versions(self) -> Mapping[str, str]:
        """See `ScorerHolder.versions`."""
        in_force = self._in_force
        return {} if in_force is None else in_force.versions

    @property
    def problem(self) -> str:
        """See `ScorerHolder.problem`."""
        return self._problem

    def check(self) -> bool:
        """Look at the pointer and load what it names if that is new.

        Returns
        -------
        Whether the scorer in force was replaced.
        """
        with self._lock:
            try:
                stat = self._pointer.stat()
                if (stat.st_mtime_ns, stat.st_size) == self._seen_stat:
                    return False
                content = self._pointer.read_bytes()
            except OSError as error:
                self._seen_stat = None
                self._problem = f"{self._pointer.name} cannot be read: {error.strerror}"
                return False
            self._seen_stat = (stat.st_mtime_ns, stat.st_size)
            digest = hashlib.sha256(content).digest()
            if digest == self._seen_digest and not self._problem:
                return False
            self._seen_digest = digest
            return self._swap(content)

    def _swap(self, content: bytes) -> bool:
        try:
            named = msgspec.json.decode(content, type=dict[str, dict[str, Any]])
            scorer = self._load(named)
            versions = {task: str(entry["model_version"]) for task, entry in sorted(named.items())}
        # Whatever a damaged bundle makes a library raise, the old models serve on.
        except Exception as error:  # noqa: BLE001
            step = f"; {error.next_step}" if isinstance(error, TagtideError) and error.next_step else ""
            self._problem = f"the published models were refused: {type(error).__name__}: {error}{step}"
            logger.error("%s", self._problem)
            return False
        self._in_force = _InForce(scorer, versions)
        self._problem = ""
        logger.info("models in force: %s", dict(versions))
        return True
