"""What a service that stands by has stored, and waits for another to apply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Waiting = TypeVar("Waiting")

PATIENCE_SECONDS = 10.0
"""How long a sender waits for the process that applies events."""


@dataclass(frozen=True)
class _Stored(Generic[Waiting]):
    waiting: Waiting
    seq: int
    with_tags: bool
    deadline: float


class Followed(Generic[Waiting]):
    """Senders in the order their events were stored. Not safe to share between threads.

    Parameters
    ----------
    patience_seconds
        See `PATIENCE_SECONDS`.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._stored: list[_Stored[Waiting]] = []

    def __len__(self) -> int:
        """Return how many senders wait."""
        return len(self._stored)

    def add(self, waiting: Sequence[tuple[Waiting, bool]], seq: int, now: float) -> None:
        """Note senders whose rows are in the log up to a number.

        Parameters
        ----------
        waiting
            Each with whether it also waits for the tags.
        seq
            The number.
        now
            Seconds of a clock that nobody sets back.
        """
        until = now + self._patience_seconds
        self._stored += [_Stored(one, seq, with_tags, until) for one, with_tags in waiting]

    def done(self, remembered_seq: int, tagged_seq: int) -> Iterator[Waiting]:
        """Take out the senders whose rows are in the memories, and evaluated where they wait for that."""
        left = []
        for one in self._stored:
            if one.seq <= (min(remembered_seq, tagged_seq) if one.with_tags else remembered_seq):
                yield one.waiting
            else:
                left.append(one)
        self._stored = left

    def overdue(self, now: float) -> Iterator[Waiting]:
        """Take out the senders who have waited long enough."""
        late = [one for one in self._stored if one.deadline <= now]
        self._stored = [one for one in self._stored if one.deadline > now]
        yield from (one.waiting for one in late)

    def all(self) -> Iterator[Waiting]:
        """Take out everyone."""
        stored, self._stored = self._stored, []
        yield from (one.waiting for one in stored)
