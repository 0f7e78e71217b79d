"""Tag families named on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from configs.errors import did_you_mean
from pipelines.errors import CommandError


def names_in(option: str) -> list[str]:
    """Return the names of a comma-separated option.

    >>> names_in("interest, high_intent,")
    ['interest', 'high_intent']
    """
    return [name.strip() for name in option.split(",") if name.strip()]


def require_known(names: Sequence[str], catalogue: Iterable[str]) -> None:
    """Refuse a name that the catalogue does not have.

    Raises
    ------
    CommandError
        Naming the nearest one.
    """
    known = list(catalogue)
    for name in names:
        if name not in known:
            raise CommandError(
                f"unknown tag family {name!r}{did_you_mean(name, known)}; expected one of {', '.join(known)}"
            )
