"""Posts that wait to be written: so many rows at most, and taken several at once."""

from __future__ import annotations

import math
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from serving.errors import TooManyRequests
from serving.intake import Posted
from serving.schemas import Detail

GROUP_ROWS = 2_000
"""Requests are committed together up to this many rows."""

QUEUE_ROWS = 20_000
"""Most rows that wait to be written, unless the settings say otherwise."""

RETRY_MAX_SECONDS = 30


@dataclass(frozen=True)
class Written:
    """What became of one request's events.

    Attributes
    ----------
    erased
        Rows left out because their customers asked to be forgotten.
    errors
        Rows refused by the door, and rows whose id is stored with other content, by index.
    customers
        Where their tags are waited for: whose events were taken, in order of first appearance.
    """

    accepted: int
    duplicates: int
    erased: int
    errors: list[Detail]
    customers: list[str]


@dataclass
class WaitingPost:
    """One request's events on their way, and what became of them so far."""

    posted: Posted
    with_tags: bool
    since: float
    done: Future[Written] = field(default_factory=Future)
    accepted: int = 0
    duplicates: int = 0
    erased: int = 0
    errors: list[Detail] = field(default_factory=list)
    customers: dict[str, None] = field(default_factory=dict)

    def written(self) -> Written:
        """Return what became of them."""
        errors = sorted(self.errors, key=lambda one: one.index or 0)
        return Written(self.accepted, self.duplicates, self.erased, errors, list(self.customers))


class PostQueue:
    """What was posted and is not answered yet, in the order of arrival. Safe to share between threads.

    Parameters
    ----------
    rows_max
        Most rows that may wait; a request alone may be of any size.
    """

    def __init__(self, rows_max: int) -> None:
        self._rows_max = rows_max
        self._waiting: queue.SimpleQueue[WaitingPost | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._rows_per_second = float(rows_max)
        self.rows = 0
        """Rows that are not answered yet."""

    def make_sure_of_room(self, rows: int = 1) -> None:
        """Refuse what there is no room for.

        Raises
        ------
        TooManyRequests
            If too many rows wait; it says when to come back, by how fast the last ones were written.
        """
        waiting = self.rows
        if waiting and waiting + rows > self._rows_max:
            seconds = min(math.ceil(waiting / self._rows_per_second), RETRY_MAX_SECONDS)
            message = f"{waiting} events wait to be written; send this again"
            raise TooManyRequests(message, retry_after_seconds=max(seconds, 1))

    def put(self, post: WaitingPost) -> None:
        """Let a post wait.

        Raises
        ------
        TooManyRequests
            See `make_sure_of_room`.
        """
        with self._lock:
            self.make_sure_of_room(post.posted.height)
            self.rows += post.posted.height
        self._waiting.put(post)

    def end(self) -> None:
        """Say that no post comes after those that wait."""
        self._waiting.put(None)

    def take(self, timeout_seconds: float) -> tuple[list[WaitingPost], bool]:
        """Wait for posts; return those to be written together, and whether they are the last."""
        try:
            first = self._waiting.get(timeout=timeout_seconds)
        except queue.Empty:
            return [], False
        if first is None:
            return [], True
        group, rows = [first], first.posted.height
        while rows < GROUP_ROWS:
            try:
                another = self._waiting.get_nowait()
            except queue.Empty:
                break
            if another is None:
                return group, True
            group.append(another)
            rows += another.posted.height
        return group, False

    def release(self, post: WaitingPost) -> None:
        """Note that a post is answered."""
        with self._lock:
            self.rows -= post.posted.height

    def note_rate(self, rows_per_second: float) -> None:
        """Note how fast posts were written just now."""
        self._rows_per_second += 0.2 * (rows_per_second - self._rows_per_second)
