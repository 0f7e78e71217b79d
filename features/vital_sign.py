"""Whether a process is alive, told by a locked file: the system lets go of it however the process ends."""

from __future__ import annotations

import fcntl
from io import TextIOWrapper
from pathlib import Path

from features.errors import EventLogError


class VitalSign:
    """A locked file of the calling process, from now until `end`.

    Parameters
    ----------
    folder
        Shared with those who ask; made where missing.
    name
        Of the process; a file's name.

    Raises
    ------
    EventLogError
        If the file cannot be made.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: TextIOWrapper | None = self._path.open("w", encoding="ascii")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EventLogError(
                f"{self._path} cannot be written: {error.strerror}",
                "check the home's permissions and its disk",
            ) from None

    def end(self) -> None:
        """Give no sign any more. Ending twice is harmless."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def is_gone(folder: Path, name: str) -> bool:
    """Tell whether a process is known to have ended without saying so.

    False of one that is alive, and of one that gave no sign in this folder: it may be on another machine.
    """
    try:
        with (folder / name).open("r+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except (FileNotFoundError, BlockingIOError):
        return False


def clear_away(folder: Path) -> None:
    """Remove the files of processes that are gone."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_gone(folder, path.name):
            path.unlink(missing_ok=True)
