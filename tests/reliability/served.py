"""Serves test parts under the wall clock, as one of several services on the same stores.

Arguments: home, port, and the seconds that scoring shall take. TAGTIDE_DATABASE_URL and TAGTIDE_REDIS_URL
choose other stores than the home's own. With TAGTIDE_WEBHOOK_URL changes of tags are posted there.
"""

import os
import sys
import time
from collections import deque
from pathlib import Path

from configs.home import open_home
from features.packed_store import PROJECT
from features.redis_packed_store import RedisPackedStore
from serving import server
from serving.clock import WallClock
from tests.reliability.load import WAITING_EVENTS_MAX
from tests.serving.parts import Parts


class Slow:
    """A scorer that takes its time."""

    def __init__(self, scorer, seconds):
        self._scorer, self._seconds = scorer, seconds

    def __getattr__(self, name):
        return getattr(self._scorer, name)

    def score_many(self, customers, now_us, **asked):
        time.sleep(self._seconds)
        return self._scorer.score_many(customers, now_us, **asked)


def outreach():
    """Return what test parts need to post changes of tags, where that is wanted."""
    names = ("webhook_url", "webhook_secret")
    given = {name: os.environ.get(f"TAGTIDE_{name.upper()}") for name in names}
    return {"with_outreach": True, **given} if given["webhook_url"] else {}


if __name__ == "__main__":
    home = open_home(Path(sys.argv[1]), create=False)
    redis_url = os.environ.get("TAGTIDE_REDIS_URL")

    def make():
        parts = Parts(
            home,
            clock=WallClock(),
            database_url=os.environ.get("TAGTIDE_DATABASE_URL"),
            store=RedisPackedStore(redis_url, PROJECT) if redis_url else None,
            is_shared=True,
            max_waiting_events=WAITING_EVENTS_MAX,
            **outreach(),
        )
        # What it was asked is looked at by nobody here, and would grow for as long as the service runs.
        parts.scorer.calls = deque(maxlen=0)
        if len(sys.argv) > 3:
            parts.holder.scorer = Slow(parts.scorer, float(sys.argv[3]))
        return parts.app

    def say() -> None:
        sys.stdout.write("started\n")
        sys.stdout.flush()

    server.run(home, os.environ, make, server.listen("127.0.0.1", int(sys.argv[2])), say)
