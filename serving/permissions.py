"""What may be done with a customer now: whether to look at their behaviour, and whether to contact them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from configs.errors import TagtideError
from configs.settings import Settings
from features.consent import Consent, Permission, strictest
from features.contacts import Contacts
from features.identities import Resolution
from serving.errors import NotReady
from serving.guard import Limits, Standing, Verdict, judge

CHECK_SECONDS = 0.05
"""How soon is known here what another process wrote; what this one writes is known at once."""

NOT_ALLOWED = "consent withdrawn"
"""Why a tag is withdrawn whose customer may not be profiled."""


class Links(Protocol):
    """Knows which customers are one; see `features.resolver.Resolver`."""

    def resolution(self) -> Resolution:
        """Return who is who now."""


class Permissions:
    """Consent, contacts and limits together. Safe to share between threads.

    Parameters
    ----------
    consent, contacts, links
        Of the home; without links every id is a customer of its own.
    settings
        The default where nothing was said, the cap, the quiet hours and the business's zone.
    monotonic
        A clock for `CHECK_SECONDS`.

    Raises
    ------
    NotReady
        Where the database refuses, by every method: nobody is contacted on what may be out of date.
    """

    def __init__(
        self,
        consent: Consent,
        contacts: Contacts,
        links: Links | None,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.contacts = contacts
        self.limits = Limits(settings.contacts_per_day, settings.contacts_per_week, *settings.quiet_hours)
        self._consent = consent
        self._links = links
        self._by_default = settings.consent_default == "allow"
        self._zone = settings.zone
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._checked = float("-inf")
        self._resolution = Resolution()

    def of(self, customer: str) -> Permission:
        """Return what was said of a customer, under whatever id."""
        return self._joined([customer])[customer]

    def may(self, said: bool | None) -> bool:
        """Tell whether a purpose is allowed, given what was said about it."""
        return self._by_default if said is None else said

    def without_profiling(self, customers: Sequence[str]) -> set[str]:
        """Return the customers whose behaviour may not be looked at."""
        return {name for name, one in self._joined(customers).items() if not self.may(one.profiling)}

    def standings(self, customers: Sequence[str], now_us: int) -> dict[str, Standing]:
        """Return what the guard looks at."""
        joined = self._joined(customers)
        ids = self._ids(customers)
        with _answered():
            contacts = self.contacts.of(one for members in ids.values() for one in members)
        return {
            name: Standing(
                may_market=self.may(one.marketing),
                wants_quiet=bool(one.do_not_disturb),
                is_taken_over=one.is_taken_over(now_us),
                zone=self._zone if one.time_zone is None else _zone(one.time_zone),
                contacts_us=[at_us for member in ids[name] for at_us in contacts[member]],
            )
            for name, one in joined.items()
        }

    def verdicts(self, customers: Sequence[str], now_us: int) -> dict[str, Verdict]:
        """Return whether each customer may be contacted."""
        return {
            name: judge(standing, self.limits, now_us)
            for name, standing in self.standings(customers, now_us).items()
        }

    def change(self, customer: str, changes: Mapping[str, Any], *, at_us: int, said_by: str) -> str:
        """Write down what a customer said, under whatever id.

        Returns
        -------
        The customer who carries the id's history.
        """
        with _answered():
            self._refresh(at_once=True)
            survivor, *others = self._resolution.members(customer)
            self._consent.change(survivor, changes, at_us=at_us, said_by=said_by, others=others)
        return survivor

    def resolve(self, customer: str) -> str:
        """Return the customer who carries an id's history."""
        self._refresh()
        return self._resolution.one(customer)

    def canonical(self, customer: str) -> str:
        """Return the one spelling of an id under which contacts are stored."""
        self._refresh()
        return self._resolution.spaces.canonical(customer)

    def _joined(self, customers: Sequence[str]) -> dict[str, Permission]:
        with _answered():
            self._refresh()
            ids = self._ids(customers)
            said = self._consent.of(one for members in ids.values() for one in members)
        return {
            name: said[members[0]] if len(members) == 1 else strictest([said[one] for one in members])
            for name, members in ids.items()
        }

    def _ids(self, customers: Iterable[str]) -> dict[str, tuple[str, ...]]:
        resolution = self._resolution
        return {name: resolution.members(name) for name in customers}

    def _refresh(self, *, at_once: bool = False) -> None:
        now = self._monotonic()
        with self._lock:
            if now - self._checked < CHECK_SECONDS and not at_once:
                return
            self._checked = now
        try:
            self._consent.refresh()
            self.contacts.refresh()
            if self._links is not None:
                self._resolution = self._links.resolution()
        except BaseException:
            self._checked = float("-inf")
            raise


@contextmanager
def _answered() -> Iterator[None]:
    """Turn a refusal of the database into what a caller can do about it: come back."""
    try:
        yield
    except TagtideError as error:
        raise NotReady("what customers agreed to cannot be read or written now") from error


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
