"""The error tree every package grows its own branch from.

TagtideError                 what a user can mend; the command line prints one line and exits with 2
├── ConfigError              a setting, an environment variable or a declaration file
└── HomeError                a home directory that is missing, foreign or of another version
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TagtideError(Exception):
    """Something a user can mend.

    Parameters
    ----------
    message
        One line that names what is wrong and shows the bad value.
    next_step
        What to do about it, one line; empty where the message says it already.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message, next_step)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        """Return the message alone."""
        return self.message


class ConfigError(TagtideError):
    """A setting, an environment variable or a declaration file is wrong."""


class HomeError(TagtideError):
    """The home directory is missing, foreign, or written by another version."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return a suggestion to append to a message, or an empty string.

    >>> did_you_mean("catgory", ["category", "brand"])
    " (did you mean 'category'?)"
    >>> did_you_mean("xyz", ["category", "brand"])
    ''
    """
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
