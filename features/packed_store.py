"""Packed online values: one binary value per (view, key), in SQLite or elsewhere.

The service reads and writes here directly; Feast reaches the same rows through `features.online_store`.
Four rules that Feast leaves open are kept by the store: a value past its life is not returned, an older
value never replaces a newer one, one customer can be erased from every view, and what has expired can be
cleared away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from configs.errors import ConfigError
from configs.home import Home
from configs.settings import Settings
from features.errors import FeatureStoreError, LeaseLostError

PROJECT = "tagtide"

CUSTOMER_MEMORY = "customer_memory"
CUSTOMER_PROFILE = "customer_profile"
KEY_PROFILE = "key_profile"

LIFE_US = 72 * 3600 * 1_000_000
"""Life of every online value, in microseconds."""

FENCE_MARK = "fence"
"""Progress mark: the number of the lease by which values were written last; see `PackedStore.fence`."""

SEPARATOR = "\x1f"
ESCAPE = "\x1e"


class PackedRow(NamedTuple):
    """One value of one key.

    Attributes
    ----------
    key
        As `packed_key` gives it.
    event_us
        The instant the value is as of, microseconds since the epoch, UTC.
    value
        The packed value.
    """

    key: str
    event_us: int
    value: bytes


def is_alive(row: PackedRow, now_us: int, ttl_us: int | None) -> bool:
    """Tell whether a row is within its life.

    >>> row = PackedRow("c-17", 100, b"")
    >>> is_alive(row, 109, 10), is_alive(row, 110, 10), is_alive(row, 110, None)
    (True, False, True)
    """
    return ttl_us is None or row.event_us > now_us - ttl_us


def packed_key(join_keys: Mapping[str, str]) -> str:
    r"""Map a view's join keys to the key its rows lie under.

    A view with one join key uses its value as it is. Several are taken in the order of their names and
    joined by a separator, which is escaped inside them, so that two different keys never meet.

    Parameters
    ----------
    join_keys
        Value by name of the join key.

    >>> packed_key({"customer_id": "c-17"})
    'c-17'
    >>> packed_key({"key_value": "MILK", "key_column": "category"})
    'category\x1fMILK'
    """
    if len(join_keys) == 1:
        return next(iter(join_keys.values()))
    return SEPARATOR.join(
        join_keys[name].replace(ESCAPE, ESCAPE + "1").replace(SEPARATOR, ESCAPE + "2")
        for name in sorted(join_keys)
    )


def profile_key(key_column: str, key_value: str) -> str:
    """Return the key of a category's or a brand's row in `KEY_PROFILE`.

    >>> profile_key("brand", "69") == packed_key({"key_column": "brand", "key_value": "69"})
    True
    """
    return packed_key({"key_column": key_column, "key_value": key_value})


class PackedStore(Protocol):
    """What the service and Feast ask of an online store. Safe to share between threads.

    Attributes
    ----------
    fence
        Returns the number of the lease that `put_many` and `put_mark` write by, or raises `LeaseLostError`.
        Nothing is written, and that error raised, once somebody has written by a larger number. None: by no
        lease, always.
    """

    fence: Callable[[], int] | None

    def put_many(self, view: str, rows: Sequence[PackedRow], mark: tuple[str, int] | None = None) -> int:
        """Write rows, and a mark with them, in one transaction.

        A row older than the one stored under its key is left out; one as old replaces it.

        Parameters
        ----------
        view
            Name of the view.
        rows
            May hold a key more than once.
        mark
            Name and value of a progress mark that becomes true with these rows, or not at all.

        Returns
        -------
        Number of rows written.
        """

    def get(self, view: str, key: str, *, now_us: int, ttl_us: int | None) -> PackedRow | None:
        """Return a key's row, or None where there is none or it has expired.

        Parameters
        ----------
        view, key
            Where it lies.
        now_us
            The present, microseconds since the epoch, UTC.
        ttl_us
            Life in microseconds: a row is alive iff ``event_us > now_us - ttl_us``. None: for ever.
        """

    def get_many(
        self, view: str, keys: Sequence[str], *, now_us: int, ttl_us: int | None
    ) -> dict[str, PackedRow]:
        """Return the live rows of many keys; a key without one is missing. See `get`."""

    def get_views(
        self, views: Sequence[str], keys: Sequence[str], *, now_us: int, ttl_us: int | None
    ) -> dict[str, dict[str, PackedRow]]:
        """Return the live rows of many keys in several views, by view; over a network in one step.

        See `get_many`.
        """

    def keys(self, view: str, *, newer_than_us: int | None = None) -> Iterator[str]:
        """Iterate over a view's keys, in no particular order.

        Parameters
        ----------
        view
            Name of the view.
        newer_than_us
            Only keys whose row has a larger ``event_us``; None: all of them.
        """

    def page(self, view: str, *, after: str, limit: int, newer_than_us: int) -> list[str]:
        """Return the first keys of a view behind one, in the order of their characters.

        Parameters
        ----------
        after
            Only keys behind this one; the empty text is before all.
        limit
            At most so many, > 0.
        newer_than_us
            Only keys whose row has a larger ``event_us``.
        """

    def change_views(
        self, written: Mapping[str, Sequence[PackedRow]], removed: Mapping[str, Collection[str]]
    ) -> None:
        """Write rows, as `put_many` does, and delete keys, by view, in one transaction."""

    def ages(self, view: str) -> dict[str, int]:
        """Return the ``event_us`` of every row of a view by key, expired ones included."""

    def advance(self, view: str, from_us: int, to_us: int, except_keys: Collection[str]) -> int:
        """Declare rows that are as of one instant to be as of a later one, their values being the same then.

        Parameters
        ----------
        view
            Name of the view.
        from_us, to_us
            Rows with this very ``event_us`` get that one, some thousand in a transaction.
        except_keys
            Keys that are left as they are.

        Returns
        -------
        Number of rows advanced.

        Raises
        ------
        FeatureStoreError
            If ``to_us`` lies before ``from_us``.
        """

    def erase(self, key: str) -> int:
        """Delete a key's row from every view, leaving no copy of it in files, and return how many rows."""

    def remove(self, view: str, keys: Collection[str]) -> int:
        """Delete the rows of some keys from one view and return how many rows that were."""

    def prune(self, view: str, until_us: int) -> int:
        """Delete the rows of a view with ``event_us <= until_us`` and return how many rows that were.

        With ``until_us = now_us - ttl_us`` these are the rows that no read returns any more.
        """

    def drop(self, view: str) -> int:
        """Delete every row of a view and return how many rows that were."""

    def count(self, view: str, *, newer_than_us: int | None = None) -> int:
        """Count a view's rows, expired ones included unless only newer ones are asked for."""

    def put_mark(self, name: str, value: int) -> None:
        """Set a progress mark, whatever it was before."""

    def mark(self, name: str) -> int | None:
        """Return a progress mark, or None where it was never set."""

    def close(self) -> None:
        """Give the connections back. Closing twice is harmless."""


def check_advance(view: str, from_us: int, to_us: int) -> None:
    """Refuse to make rows of a view older.

    Raises
    ------
    FeatureStoreError
        If ``to_us`` lies before ``from_us``.
    """
    if to_us < from_us:
        raise FeatureStoreError(
            f"rows of view {view!r} cannot be advanced from {from_us} µs back to {to_us} µs",
            "name the later instant second",
        )


def check_fence(stored: int, mine: int) -> None:
    """Refuse to write by an older lease.

    Raises
    ------
    LeaseLostError
        If ``stored``, the number that was written by last, is larger than ``mine``.
    """
    if stored > mine:
        raise LeaseLostError(f"the online store is written by number {stored}, not {mine} any more")


def open_packed_store(home: Home, settings: Settings) -> PackedStore:
    """Open the online store the settings name.

    Raises
    ------
    ConfigError
        If Redis is chosen and no URL is set.
    FeatureStoreError
        If it cannot be opened.
    """
    if settings.online_store == "sqlite":
        from features.sqlite_packed_store import SqlitePackedStore

        return SqlitePackedStore(home.online_store)
    from features.redis_packed_store import RedisPackedStore

    if settings.redis_url is None:
        raise ConfigError(
            "setting 'online_store' is 'redis', but 'redis_url' is not set", "set TAGTIDE_REDIS_URL"
        )
    return RedisPackedStore(settings.redis_url.get_secret_value(), PROJECT)
