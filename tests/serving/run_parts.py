"""Serves test parts by the real server; argument: home, port. Says what was imported when it ends."""

import os
import sys
from pathlib import Path

from configs.home import open_home
from configs.wecom import load_wecom
from serving import server
from serving.clock import WallClock
from tests.serving.parts import Parts

if __name__ == "__main__":
    home = open_home(Path(sys.argv[1]), create=True)
    parts = []

    def make():
        clock = WallClock() if sys.argv[3:] == ["wall"] else None
        parts.append(Parts(home, clock=clock, config=load_wecom(home.root), with_outreach=True))
        parts[0].scorer.breaks_on = "broken-"
        return parts[0].app

    listener = server.listen("127.0.0.1", int(sys.argv[2]))

    def say(text):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    server.run(home, os.environ, make, listener, lambda: say("started"))
    heavy = {"mlflow", "feast", "pandas", "sklearn", "evidently", "scipy", "matplotlib"}
    say(f"imported {sorted(heavy & sys.modules.keys())}")
