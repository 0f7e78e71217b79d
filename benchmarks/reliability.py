"""What a service survives: deaths, outages, overload, long service and malformed requests, in real processes.

Each trial is one of the reliability tests in its long form; see docs/reliability.md. The result says what was
tried, what survived and what was lost. A trial that this machine does not allow says why.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# By way of the test package: the trials are the tests' own.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measurement
import pytest
import reliability_page

from configs import telemetry
from configs.home import Home, open_home
from features.database import open_engine
from features.event_log import EventLog
from tests.features.postgres_database import empty_postgres_schema
from tests.features.redis_database import empty_redis_database
from tests.reliability.bodies import broken, fuzz
from tests.reliability.kills import kill_in_mid_stream
from tests.reliability.load import SCORING_SECONDS, overload, soak, stop_under_way
from tests.reliability.outages import (
    ballast,
    disk_full,
    limit_file_size,
    redis_stops_and_starts,
    small_disk,
)
from tests.reliability.service import services

EPILOG = "`--only NAME` runs one trial and leaves the others' figures in the result as they are."

Trial = Callable[[Home, bool], dict[str, Any]]


def kills(home: Home, is_quick: bool) -> dict[str, Any]:
    """Two services on one home: whoever applies events is killed, every third time both."""
    return kill_in_mid_stream(home, kills=1 if is_quick else 5, pauses=0 if is_quick else 1)


def kills_of_hosts(home: Home, is_quick: bool) -> dict[str, Any]:
    """Do the same with PostgreSQL and Redis."""
    with empty_postgres_schema() as database_url, empty_redis_database() as redis_url:
        return kill_in_mid_stream(
            home,
            kills=1 if is_quick else 3,
            pauses=0 if is_quick else 1,
            database_url=database_url,
            redis_url=redis_url,
        )


def redis_outages(home: Home, is_quick: bool) -> dict[str, Any]:
    """Stop the online store's Redis and start it again."""
    return redis_stops_and_starts(home, home.root.parent, times=1 if is_quick else 10)


def quota(home: Home, _: bool) -> dict[str, Any]:
    """Let no file grow any more, then again."""
    return disk_full(home, *limit_file_size(home))


def full_disk(home: Home, _: bool) -> dict[str, Any]:
    """Fill the home's file system, then make room."""
    with small_disk(home.root.parent / "disk") as folder:
        return disk_full(open_home(folder / "home", create=True), *ballast(folder))


def too_much(home: Home, is_quick: bool) -> dict[str, Any]:
    """Offer four times what may wait."""
    with services(home, scoring_seconds=SCORING_SECONDS) as (service,):
        return overload(service, 2 if is_quick else 30)


def end(home: Home, _: bool) -> dict[str, Any]:
    """Send SIGTERM while posts wait for their tags."""
    with services(home, scoring_seconds=1.0) as (service,):
        return stop_under_way(service)


def long_service(home: Home, is_quick: bool) -> dict[str, Any]:
    """Serve for ten minutes."""
    with services(home) as (service,):
        return soak(service, *((10, 5) if is_quick else (600, 90)))


def random_bodies(home: Home, is_quick: bool) -> dict[str, Any]:
    """Post whatever comes to mind."""
    with services(home) as (service,):
        with service.client() as client:
            found = fuzz(client, 1000 if is_quick else 50_000, 3, "fuzz")
        service.end()
    engine = open_engine(None, home)
    try:
        rows = EventLog(engine).read_after(0, 10**7).to_dicts()
    finally:
        engine.dispose()
    failed = sum(count for status, count in found["statuses"].items() if status >= "5")
    return found | {
        "failed": failed,
        "events_stored": len(rows),
        "events_that_are_none": sum(bool(broken(row)) for row in rows),
    }


TRIALS: Mapping[str, Trial] = {
    "kill_one_home": kills,
    "kill_hosts": kills_of_hosts,
    "redis_outage": redis_outages,
    "file_quota": quota,
    "disk_full": full_disk,
    "overload": too_much,
    "sigterm": end,
    "random_bodies": random_bodies,
    "soak": long_service,
}


def tried(name: str, is_quick: bool) -> dict[str, Any]:
    """Run one trial in a new home."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tagtide-reliability-") as folder:
        try:
            found = TRIALS[name](open_home(Path(folder) / "home", create=True), is_quick)
        except pytest.skip.Exception as reason:
            return {"not_tried": str(reason)}
    return found | {"trial_seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    """Run the trials."""
    parser = measurement.options("reliability", __doc__, EPILOG)
    parser.add_argument("--only", choices=TRIALS, action="append", help="run this trial (may be repeated)")
    parser.add_argument("--page", action="store_true", help="only write the page's table from the result")
    arguments = parser.parse_args()
    # Whoever ends this ends the services with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not arguments.page:
        telemetry.switch_off(os.environ)
        result: dict[str, Any] = dict(reliability_page.read()) if arguments.only else {}
        for name in arguments.only or TRIALS:
            measurement.ERR.print(f"trying {name} …")
            result[name] = tried(name, arguments.quick)
        measurement.publish("reliability", result, ("tagtide", "bentoml", "uvicorn", "redis"), arguments)
    if arguments.page or not (arguments.quick or arguments.out):
        reliability_page.write()


if __name__ == "__main__":
    main()
