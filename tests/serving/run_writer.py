"""Writes made events in a process that may die on the way.

Arguments: home, where to die (``nowhere``, ``memory``, ``claims`` or ``tags``: before that is written), and
at which write of that kind, the first being 1.
"""

import os
import signal
import sys
from pathlib import Path

from configs.home import open_home
from features.packed_store import CUSTOMER_MEMORY
from serving.clock import WallClock
from serving.live_tags import CUSTOMER_TAGS
from tests.serving.parts import Parts
from tests.serving.test_stream import wall_event, wall_post, writer_of

CUSTOMERS, POSTS, ROWS = 5, 12, 10

VIEWS = {CUSTOMER_MEMORY: "memory", CUSTOMER_TAGS: "tags"}


class Fate:
    """Kills the process at the given write."""

    def __init__(self, where: str, number: int) -> None:
        self.where, self.left = where, number

    def passes(self, where: str) -> None:
        if where == self.where:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A store or a ledger under a fate."""

    def __init__(self, inner, fate):
        self._inner, self._fate = inner, fate

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def put_many(self, view, rows, mark=None):
        if rows:
            self._fate.passes(VIEWS.get(view, view))
        return self._inner.put_many(view, rows, mark)

    def record(self, claims, transitions=()):
        self._fate.passes("claims")
        self._inner.record(claims, transitions)


def events_of(post: int) -> list[dict]:
    return [
        wall_event(post * ROWS + row, f"c{(post + row) % CUSTOMERS}") | {"category": f"K{post // 4}"}
        for row in range(ROWS)
    ]


def main(root: str, where: str, number: str) -> None:
    parts = Parts(open_home(Path(root), create=False), clock=WallClock())
    fate = Fate(where, int(number))
    parts.store, parts.ledger = Mortal(parts.store, fate), Mortal(parts.ledger, fate)
    writer = writer_of(parts)
    writer.start()
    for post in range(POSTS):
        done = writer.submit(wall_post(parts, *events_of(post)), with_tags=post % 2 == 0).result(60)
        sys.stdout.write(f"{done.accepted} {done.duplicates}\n")
        sys.stdout.flush()
    writer.stop()
    parts.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
