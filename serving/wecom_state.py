"""How far a home's tags were pushed to WeCom, and the ids tags have there: small files, replaced whole."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from configs.home import Home
from serving.errors import ServingError
from serving.paging import as_cursor, read_cursor
from serving.wecom_diff import Position

FOLDER, CURSOR_FILE, IDS_FILE, LOCK_FILE = "wecom", "cursor.json", "tag_ids.json", "push.lock"

Content = TypeVar("Content")


class WecomState:
    """The files of one home. Each write is complete and on the disk, or not there at all.

    Parameters
    ----------
    home
        The home; a folder ``wecom`` is made in it at the first write.
    """

    def __init__(self, home: Home) -> None:
        self._folder = home.root / FOLDER

    @property
    def lock(self) -> Path:
        """Held by the one process that pushes."""
        self._folder.mkdir(exist_ok=True)
        return self._folder / LOCK_FILE

    def cursor(self) -> str | None:
        """Return where to go on, or None before the first push.

        Raises
        ------
        ServingError
            If the file is damaged; so do all that read.
        """
        return self._read(CURSOR_FILE, dict[str, str], {}).get("cursor")

    def keep_cursor(self, cursor: str) -> None:
        """Note that everything before a cursor was pushed."""
        self._write(CURSOR_FILE, {"cursor": cursor})

    def tag_ids(self) -> dict[str, str]:
        """Return WeCom's tag id by tag id, of the tags that were made or found there."""
        return self._read(IDS_FILE, dict[str, str], {})

    def keep_tag_ids(self, tag_ids: Mapping[str, str]) -> None:
        """Note the ids of tags at WeCom."""
        self._write(IDS_FILE, dict(sorted(tag_ids.items())))

    def forget(self, ids: Collection[str]) -> int:
        """Take somebody who is erased out of the cursor, which goes back for that; return how often."""
        text = self.cursor()
        if text is None:
            return 0
        position = read_cursor(text, Position)
        if position.behind not in ids:
            return 0
        self.keep_cursor(as_cursor(Position(position.since, position.removals)))
        return 1

    def _read(self, name: str, kind: type[Content], default: Content) -> Content:
        path = self._folder / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return default
        except msgspec.DecodeError as error:
            raise ServingError(
                f"{path} is damaged: {error}", "remove it; the next push then starts from the beginning"
            ) from None

    def _write(self, name: str, content: Mapping[str, str]) -> None:
        self._folder.mkdir(exist_ok=True)
        path = self._folder / name
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
