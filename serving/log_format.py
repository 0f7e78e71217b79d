"""How the service's log shows a failure: where it happened and of what kind, never with what values."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TypeAlias

from configs.errors import TagtideError

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Raised: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class WithoutValues(logging.Formatter):
    """Formats traces without the texts of exceptions: what a library says of a value may be somebody's id.

    Our own errors name no customer and are shown; so is what the operating system calls its errors.
    """

    def __init__(self) -> None:
        super().__init__(LINE)

    def formatException(self, ei: Raised) -> str:  # noqa: N802 - the library's name
        """Return the frames of an exception and of those behind it, each with its kind."""
        if ei[1] is None:
            return ""
        return "\n".join(part.rstrip("\n") for part in _shown(ei[1], set()))


def _shown(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if behind is not None and id(behind) not in seen:
        yield from _shown(behind, seen)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}{_words(error)}"


def _words(error: BaseException) -> str:
    if isinstance(error, TagtideError):
        return f": {error.message}"
    if isinstance(error, OSError) and error.strerror:
        return f": {error.strerror}"
    return ""
