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
    """

    def __init__(self, required: Mapping[str, Check], informative: Mapping[str, Check]) -> None:
        self._required = dict(required)
        self._informative = dict(informative)

    def parts(self) -> dict[str, PartStatus]:
        """Ask every part."""
        return {name: _status(check) for name, check in (self._required | self._informative).items()}

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
