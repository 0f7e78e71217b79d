"""Serves test parts with consent, triggers and deliveries by the real server; arguments: home, port.

Settings come from the environment. Says "started" once it answers.
"""

import os
import sys
from pathlib import Path

from configs.home import open_home
from serving import server
from serving.clock import WallClock
from tests.serving.parts import Parts

if __name__ == "__main__":
    home = open_home(Path(sys.argv[1]), create=True)
    prefix = "TAGTIDE_"
    changes = {
        name.removeprefix(prefix).lower(): value
        for name, value in os.environ.items()
        if name.startswith(prefix) and name != "TAGTIDE_DATA"
    }

    def say(text):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    server.run(
        home,
        os.environ,
        lambda: Parts(home, clock=WallClock(), with_outreach=True, **changes).app,
        server.listen("127.0.0.1", int(sys.argv[2])),
        lambda: say("started"),
    )
