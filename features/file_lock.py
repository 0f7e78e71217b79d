"""A lock that processes of one machine share by a file's name."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that no other process or thread holds meanwhile. Not re-entrant.

    Parameters
    ----------
    path
        The lock's own file, made where missing and never removed; its directory must exist.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
