"""Services on the same stores are killed in mid-stream, one of them or all."""

from __future__ import annotations

import os
import signal
import time

from features.packed_store import PROJECT
from features.redis_packed_store import RedisPackedStore
from serving.clock import WallClock
from tests.reliability.service import services, until
from tests.reliability.stream import Senders, figures, settled
from tests.serving.parts import Parts

QUIET_SECONDS = 2.0
"""In which what was posted is answered and evaluated."""

BETWEEN = 60
"""Events acknowledged between one death and the next."""


def kill_in_mid_stream(home, *, kills, pauses=0, **stores):
    """Kill the service that applies events, again and again, the whole pair every third time.

    Parameters
    ----------
    kills
        How often.
    pauses
        How often it is stopped for longer than its lease lasts, and then goes on.

    Returns
    -------
    Figures; see `tests.reliability.stream.figures`.
    """
    deaths = 0
    takeovers = []
    with services(home, 2, **stores) as pair:
        senders = Senders([one.url for one in pair])
        for number in range(kills + pauses):
            until(senders.have_acknowledged(BETWEEN), 60)
            leading, other = pair if pair[0].is_leading() else pair[::-1]
            began = time.monotonic()
            if number >= kills:
                with senders.held():
                    # Stopped within a transaction it would keep everybody else from writing.
                    time.sleep(QUIET_SECONDS)
                    os.kill(leading.process.pid, signal.SIGSTOP)
                until(other.is_leading, 60)
                takeovers.append(time.monotonic() - began)
                os.kill(leading.process.pid, signal.SIGCONT)
                continue
            leading.kill()
            deaths += 1
            if number % 3 == 2:
                other.kill()
                deaths += 1
                other.start()
            else:
                until(other.is_leading, 60)
                takeovers.append(time.monotonic() - began)
            leading.start()
        until(senders.have_acknowledged(BETWEEN), 60)
        sent = senders.stop()
        redis_url = stores.get("redis_url")
        parts = Parts(
            home,
            clock=WallClock(),
            database_url=stores.get("database_url"),
            store=RedisPackedStore(redis_url, PROJECT) if redis_url else None,
        )
        try:
            until(lambda: settled(parts), 60)
            found = figures(parts, sent)
        finally:
            parts.close()
        ends = [one.end() for one in pair]
    return found | {
        "kills": deaths,
        "pauses": pauses,
        "longest_takeover_seconds": round(max(takeovers, default=0.0), 2),
        "exit_codes": [code for code, _ in ends],
    }
