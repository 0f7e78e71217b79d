"""What the service does by itself: the daily profile refresh, and the sweep over quiet customers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol

import numpy as np

from configs.settings import Settings
from features.errors import LeaseLostError
from features.memory import PROFILE_LIFE_US
from features.packed_store import CUSTOMER_MEMORY, CUSTOMER_PROFILE, PackedStore
from features.windows import from_us, profile_boundary
from serving.clock import Clock
from serving.live_tags import LiveTags
from serving.measures import Measures
from serving.tagging import Tagging

logger = logging.getLogger(__name__)

BOUNDARY_MARK = "profile_boundary_us"
"""Progress mark: the day boundary the stored profiles are as of."""

SWEEP_MARK = "sweep_us"
"""Progress mark: the instant of the last sweep."""

QUIET_MARK = "quiet_sweep_us"
"""Progress mark: the boundary of the profiles by which customers without live memory were last looked at."""

SWEEP_CHUNK = 50
"""Customers evaluated before posted events get their turn."""

RETRY_US = 5 * 60 * 1_000_000
"""How long after a failed refresh it is tried again, microseconds."""

HOUR_US = 3600 * 1_000_000


class Upkeep:
    """Knows what is due at an instant, and does it.

    Of several refreshes or sweeps that are due only the latest is done: an earlier one would be overwritten
    (profiles) or speak about an instant that has passed (claims).

    Parameters
    ----------
    settings
        Time zone, publication lag and the sweep's rhythm.
    store, live_tags, tagging
        What is read and evaluated.
    refresh
        Recomputes and writes the profiles as of a boundary, microseconds since the epoch.
    lock
        Held while tags change, a chunk at a time; see `serving.tag_queue.TagQueue.turns`.
    """

    def __init__(
        self,
        settings: Settings,
        store: PackedStore,
        live_tags: LiveTags,
        tagging: Tagging,
        measures: Measures,
        refresh: Callable[[int], None],
        lock: AbstractContextManager[object],
    ) -> None:
        self._zone = settings.zone
        self._lag = settings.publication_lag
        self._every_us = settings.sweep_every_hours * HOUR_US
        self._store = store
        self._live_tags = live_tags
        self._tagging = tagging
        self._measures = measures
        self._refresh = refresh
        self._lock = lock
        self._not_before_us = 0
        self.refresh_problem = ""
        self.sweep_problem = ""

    @property
    def boundary_us(self) -> int | None:
        """The day boundary of the profiles in use, or None before any was written."""
        return self._store.mark(BOUNDARY_MARK)

    def next_due_us(self, now_us: int) -> int:
        """Return the earliest instant after ``now_us`` at which something falls due."""
        return min(self._next_publication_us(now_us), (now_us // self._every_us + 1) * self._every_us)

    def run(self, now_us: int) -> int:
        """Do what is due at ``now_us``, the refresh first.

        Returns
        -------
        The instant from which something is due again.
        """
        boundary = self._boundary_at(now_us)
        if boundary > (self.boundary_us or 0) and now_us >= self._not_before_us:
            self._run_refresh(boundary, now_us)
        instant = now_us // self._every_us * self._every_us
        last = self._store.mark(SWEEP_MARK)
        if last is None or last > instant + self._every_us:
            # Never before, or by a clock that was ahead: no sweep may wait until time has caught up.
            self._store.put_mark(SWEEP_MARK, instant)
        elif instant > last:
            self._run_sweep(instant, last)
        return self.next_due_us(now_us)

    def sweep(self, now_us: int, last_us: int) -> int:
        """Evaluate every customer with live memory, and write down the expiries of the others.

        Where a family also looks at customers who have been quiet for longer, the first sweep by new profiles
        evaluates it for everyone else who has one.

        Parameters
        ----------
        now_us, last_us
            The instants of this sweep and of the one before, microseconds since the epoch, UTC.

        Returns
        -------
        Number of customers evaluated.

        Raises
        ------
        Exception
            The last one that a chunk of customers raised, after all other chunks were done.
        """
        active = list(self._store.keys(CUSTOMER_MEMORY, newer_than_us=now_us - PROFILE_LIFE_US))
        known = set(active)
        boundary, families = self.boundary_us, self._tagging.quiet_families
        quiet: list[str] = []
        if families and boundary is not None and self._store.mark(QUIET_MARK) != boundary:
            quiet = [customer for customer in self._store.keys(CUSTOMER_PROFILE) if customer not in known]
            known |= set(quiet)
        idle = [customer for customer in self._live_tags.carriers(last_us) if customer not in known]

        def evaluated(chunk: list[str]) -> None:
            self._tagging.evaluate(chunk, now_us, origin="sweep")

        def evaluated_quiet(chunk: list[str]) -> None:
            self._tagging.evaluate(chunk, now_us, origin="sweep", families=families)

        def expired(chunk: list[str]) -> None:
            self._tagging.expire(chunk, now_us)

        failure: Exception | None = None
        for customers, act in ((active, evaluated), (quiet, evaluated_quiet), (idle, expired)):
            for start in range(0, len(customers), SWEEP_CHUNK):
                try:
                    with self._lock:
                        act(customers[start : start + SWEEP_CHUNK])
                # Whoever holds the lease by now sweeps.
                except LeaseLostError:
                    raise
                # One customer's damaged data must not cost everybody's sweep.
                except Exception as error:  # noqa: BLE001
                    failure = error
        if quiet and boundary is not None:
            self._store.put_mark(QUIET_MARK, boundary)
        if failure is not None:
            raise failure
        return len(active) + len(quiet)

    def _run_refresh(self, boundary_us: int, now_us: int) -> None:
        try:
            self._refresh(boundary_us)
            self._store.put_mark(BOUNDARY_MARK, boundary_us)
        # The old profiles serve on, and status says why.
        except Exception as error:
            self._not_before_us = now_us + RETRY_US
            self._measures.failures.labels("refresh").inc()
            self.refresh_problem = f"the refresh as of {from_us(boundary_us)} failed: {type(error).__name__}"
            logger.exception("profiles could not be refreshed")
        else:
            self.refresh_problem = ""
            logger.info("profiles as of %s", from_us(boundary_us))

    def _run_sweep(self, instant_us: int, last_us: int) -> None:
        try:
            self._store.put_mark(SWEEP_MARK, instant_us)
            count = self.sweep(instant_us, last_us)
            self._live_tags.prune(instant_us)
        # The next sweep comes within the hour, and status says why this one failed.
        except Exception as error:
            self._measures.failures.labels("sweep").inc()
            self.sweep_problem = f"the last sweep failed: {type(error).__name__}"
            logger.exception("the sweep failed")
        else:
            self.sweep_problem = ""
            logger.info("swept %d customers", count)

    def _boundary_at(self, now_us: int) -> int:
        return int(profile_boundary(np.array([now_us], np.int64), self._zone, self._lag)[0])

    def _next_publication_us(self, now_us: int) -> int:
        current = self._boundary_at(now_us)
        lag_us = self._lag // timedelta(microseconds=1)
        # Days have 23 to 25 hours: the next boundary is the first one seen when asking hour by hour.
        probe = now_us
        while (found := self._boundary_at(probe)) == current:
            probe += HOUR_US
        return found + lag_us


class Runner(Protocol):
    """Something to be run again and again."""

    def __call__(self) -> float:
        """Run once; return the seconds until it wants to run again."""


class Background:
    """A thread that runs something until it is told to stop.

    Parameters
    ----------
    name
        Of the thread.
    run
        See `Runner`. What it raises is logged, and it is run again after ``pause_seconds``.
    """

    def __init__(self, name: str, run: Runner, *, pause_seconds: float = 5.0) -> None:
        self._run = run
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Let the present run end, for at most ``timeout_seconds``, and begin no other."""
        self._stopping.set()
        self._thread.join(timeout_seconds)

    def _loop(self) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            try:
                wait = self._run()
            # The thread must outlive any one failure.
            except Exception:
                logger.exception("%s failed", self._thread.name)
                wait = self._pause_seconds


def until_due(upkeep: Upkeep, clock: Clock) -> float:
    """Run what is due now; return the seconds until something is due again, at most a minute."""
    due_us = upkeep.run(clock.now_us())
    return min(max((due_us - clock.now_us()) / 1_000_000, 1.0), 60.0)
