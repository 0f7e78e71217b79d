"""Which part of the service is ready, and why one is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.schemas import PartStatus

Check = Callable[[], str]
"""Returns why a part is not ready, or an empty string."""


class Readiness:
    """The service's parts by name.

    Parameters
    ----------
    required
        Without these no request can be answered.
    informative
        What these say is shown; the service is ready without them.
    notes
        What these return is shown of a part with which nothing can be wrong.
    """

    def __init__(
        self,
        required: Mapping[str, Check],
        informative: Mapping[str, Check],
        notes: Mapping[str, Callable[[], str]] | None = None,
    ) -> None:
        self._required = dict(required)
        self._informative = dict(informative)
        self._notes = dict(notes or {})

    def parts(self) -> dict[str, PartStatus]:
        """Ask every part."""
        checked = {name: _status(check) for name, check in (self._required | self._informative).items()}
        return checked | {name: PartStatus(True, note()) for name, note in self._notes.items()}

    def is_ready(self) -> bool:
        """Tell whether every required part is ready."""
        return all(_status(check).is_ready for check in self._required.values())


def _status(check: Check) -> PartStatus:
    try:
        problem = check()
    # A part that cannot even answer is not ready; anything it raises says so.
    except Exception as error:  # noqa: BLE001
        problem = f"{type(error).__name__}: {error}"
    return PartStatus(not problem, problem or "ready")
