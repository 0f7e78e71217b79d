"""Serves test parts under the wall clock, as one of several services on the same stores.

Arguments: home, port. TAGTIDE_DATABASE_URL and TAGTIDE_REDIS_URL choose other stores than the home's own.
"""

import os
import sys
from pathlib import Path

from configs.home import open_home
from features.packed_store import PROJECT
from features.redis_packed_store import RedisPackedStore
from serving import server
from serving.clock import WallClock
from tests.serving.parts import Parts

if __name__ == "__main__":
    home = open_home(Path(sys.argv[1]), create=False)
    redis_url = os.environ.get("TAGTIDE_REDIS_URL")

    def make():
        return Parts(
            home,
            clock=WallClock(),
            database_url=os.environ.get("TAGTIDE_DATABASE_URL"),
            store=RedisPackedStore(redis_url, PROJECT) if redis_url else None,
            is_shared=True,
        ).app

    def say() -> None:
        sys.stdout.write("started\n")
        sys.stdout.flush()

    server.run(home, os.environ, make, server.listen("127.0.0.1", int(sys.argv[2])), say)
