"""What readers and the stream ask about ids: whose they are now, and whether that customer was erased."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import polars as pl
import sqlalchemy as sa

from configs.home import Home
from configs.settings import Settings
from features.event_limits import ID_BYTES_MAX
from features.identities import Resolution
from features.identity_log import Identities
from features.pseudonyms import hidden, open_pseudonyms
from features.refused_ids import IdPlaces, rows_naming
from features.tombstones import ErasureKeys, Tombstones


class Resolver:
    """Answers by the links and tombstones in force at the moment. Safe to share between threads.

    Each question asks the database for the tables' version, a fraction of a millisecond, and reads only what
    is new.

    Parameters
    ----------
    identities, tombstones
        Of the home.
    """

    def __init__(self, identities: Identities, tombstones: Tombstones) -> None:
        self.identities = identities
        self.tombstones = tombstones

    def resolution(self) -> Resolution:
        """Return who is who now."""
        return self.identities.resolution()

    def one(self, customer: str) -> str:
        """Return the customer who carries an id's history."""
        return self.resolution().one(customer)

    def resolve(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return the same rows, each under the customer who carries its history."""
        return self.resolution().resolve(events)

    def spellings(self, customers: Collection[str]) -> set[str]:
        """Return every id under which events of these customers may be stored."""
        return self.resolution().spellings(customers)

    def cover(self, ids: pl.Series, times: pl.Series) -> pl.Series:
        """Tell which events are an erased customer's; see `features.tombstones.Tombstones.cover`."""
        if not self.tombstones.is_any():
            return pl.Series([False], dtype=pl.Boolean).new_from_index(0, ids.len())
        return self.tombstones.cover(self.resolution().spaces.canonical_column(ids), times)

    def erased(self, events: pl.DataFrame) -> pl.Series:
        """Tell which rows of the event schema are an erased customer's: they are not to be stored."""
        return self.cover(events["customer_id"], events["event_time"])

    def barred(self, rows: pl.DataFrame, places: IdPlaces | None = None) -> pl.Series:
        """Tell which refused rows hold an erased customer's id: they are not to be kept either.

        Parameters
        ----------
        rows
            ``value expected raw``, and where they are known ``customer_id`` and ``event_time``.
        places
            Where the source's rows hold ids; None: as in posted events.
        """
        if rows.is_empty() or not self.tombstones.is_any():
            return pl.Series([False], dtype=pl.Boolean).new_from_index(0, rows.height)
        spaces = self.resolution().spaces

        def erased(ids: set[str]) -> Iterable[str]:
            return self.tombstones.until(ids)

        naming = rows_naming(rows, places or IdPlaces(), spaces, erased)
        if "event_time" not in rows.columns or not naming.any():
            return naming
        # What happened after the erasure is a new customer's, and may be kept under the same id.
        own = spaces.canonical_column(rows["customer_id"])
        is_new = (~self.tombstones.cover(own, rows["event_time"])) & own.is_in(
            pl.Series(list(erased(set(own.drop_nulls()))), dtype=pl.String).implode()
        )
        return naming & ~is_new.fill_null(value=False)

    def hidden(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return refused rows as they may be kept; see `features.pseudonyms.hidden`."""
        return hidden(rows, self.resolution().spaces)

    def kept(self, ids: Sequence[str]) -> list[str]:
        """Return ids as they are stored: pseudonyms where the home keeps those, else as they came.

        What can be no id stays as it is, for the door to refuse.
        """
        spaces = self.resolution().spaces
        if spaces.pseudonym is None:
            return list(ids)
        return [
            spaces.canonical(one) if len(one.encode()) <= ID_BYTES_MAX and one.isprintable() else one
            for one in ids
        ]


def open_resolver(home: Home, engine: sa.Engine, settings: Settings) -> Resolver:
    """Open links and tombstones of a home.

    Parameters
    ----------
    engine
        From `features.database.open_engine`.
    settings
        Their ``erasure_key`` hashes what is erased, ``pseudonymous_ids`` and ``id_key`` say what stands for
        ids.

    Raises
    ------
    IdentityError
        If the tables cannot be made, or the home keeps ids otherwise than the settings say.
    ConfigError
        If ids are to be pseudonyms and there is no key.
    """
    pseudonyms = open_pseudonyms(home, settings, engine)
    tombstones = Tombstones(engine, ErasureKeys(home, settings.erasure_key))
    return Resolver(Identities(engine, pseudonyms), tombstones)
